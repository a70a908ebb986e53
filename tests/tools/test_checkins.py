"""The check-ins of data D become events and notes that the contract accepts."""

from __future__ import annotations

from itertools import islice

import msgspec

from tools import checkins

TABLE = """tid,lat_lon,date_time,time,rating,price,weather,day,root_type,type
126,40.83 -73.94,2012-11-12 23:24:55,1404,8.2,1,Clouds,Monday,Food,Deli / Bodega
126,40.84 -73.95,2012-11-12 05:17:18,317,-1,-1,Clear,Monday,Residence,Home (private)
127,40.83 -73.94,2012-11-13 00:00:07,0,-1,-1,Clouds,Tuesday,Food,Deli / Bodega
"""


def test_check_ins_go_by_time() -> None:
    """Times are UTC; whoever was somewhere first comes first."""
    found = checkins.check_ins_from(TABLE)
    assert [one.user for one in found] == ["126", "126", "127"]
    assert found[0].at == 1_352_697_438_000


def test_a_place_is_published_once_and_before_its_first_check_in() -> None:
    """The same coordinates and category are the same note, with tag, channel and place."""
    found = checkins.check_ins_from(TABLE)
    first, second = (msgspec.json.decode(line) for line in checkins.notes(found))
    assert first["timestamp"] == found[0].at - 1000
    assert (second["tags"], second["channel"], second["lat"], second["lon"]) == (["deli / bodega"], "food", 40.83, -73.94)


def test_a_check_in_says_where_it_was() -> None:
    """An impression and a view, at one time, with coordinates: they become where the user was last."""
    seen, taken = (msgspec.json.decode(line) for line in islice(checkins.events(checkins.check_ins_from(TABLE)), 2))
    assert (seen["type"], taken["type"]) == ("impression", "view")
    assert (taken["user_id"], taken["lat"], taken["lon"]) == ("path-126", 40.84, -73.95)
