"""What a user can see and say."""

from __future__ import annotations

from config.settings import load
from tests.serving.system import System, event, note


def test_interests_say_what_moved_them(town: System) -> None:
    """Strongest first, with the event and the note that moved each."""
    town.send(event("like", "u1", "n0"), event("click", "u1", "n5"))
    body = town.get("/v1/users/u1/interests")
    first = next(i for i in body["interests"] if i["kind"] == "tag")
    assert first["value"] == "coffee"
    assert first["moved_by"]["type"] == "like"
    assert first["moved_by"]["note_id"] == "n0"
    assert first["moved_by"]["at"].endswith("Z")
    weights = [i["weight"] for i in body["interests"]]
    assert weights == sorted(weights, reverse=True)
    assert town.get("/v1/users/nobody/interests")["interests"] == []


def test_without_personalisation_no_place_is_remembered(town: System) -> None:
    """What is told while nothing may be learned is not there afterwards."""
    for on in (False, True):
        assert town.request("PUT", "/v1/users/u1/settings", json={"personalized": on}).status_code == 202
        town.pump()
        if not on:
            town.send(event("locate", "u1", lat=1.0, lon=1.0))
    assert town.request("GET", "/v1/feed/u1/nearby").json()["code"] == "location_required"


def test_interests_stay_bounded_whatever_notes_are_tagged(system: System) -> None:
    """A note of a thousand tags is refused; hundreds of tags over many notes leave the strongest, and the feed goes on."""
    refused = system.request("POST", "/v1/notes", json=note("too-many", "a", [f"t{i}" for i in range(1_000)]))
    assert (refused.status_code, refused.json()["rejected"][0]["code"]) == (422, "bad_field")
    system.publish(*(note(f"n{i}", f"a{i}", [f"t{i}-{tag}" for tag in range(64)]) for i in range(30)))
    system.send(*(event("like", "u1", f"n{i}") for i in range(25)))
    tags = [one for one in system.get("/v1/users/u1/interests")["interests"] if one["kind"] == "tag"]
    assert 0 < len(tags) <= load(environ={}).interest.tags
    assert set(system.ids("u1")) == {f"n{i}" for i in range(25, 30)}


def test_one_interest_can_be_forgotten(town: System) -> None:
    town.send(event("like", "u1", "n0"), event("like", "u1", "n1"))
    assert town.request("DELETE", "/v1/users/u1/interests/coffee").status_code == 202
    town.pump()
    tags = {i["value"] for i in town.get("/v1/users/u1/interests")["interests"] if i["kind"] == "tag"}
    assert tags == {"bread"}


def test_an_erased_user_does_not_come_back_with_what_was_before(town: System) -> None:
    """State is gone; events dated before the erasure do not count, whenever they come. What comes after does."""
    like = event("like", "u1", "n0")
    town.send(like)
    late = event("like", "u1", "n1", timestamp=town.clock + 1)
    town.clock += 2000
    town.local.now = town.clock
    assert town.request("DELETE", "/v1/users/u1").status_code == 202
    town.pump()
    assert town.get("/v1/users/u1/interests")["interests"] == []
    town.send(like, late)
    assert town.get("/v1/users/u1/interests")["interests"] == []
    town.send(event("like", "u1", "n2"))
    assert [i["value"] for i in town.get("/v1/users/u1/interests")["interests"] if i["kind"] == "tag"] == ["hiking"]


def test_an_erasure_in_a_quiet_stream_covers_what_is_on_its_way(town: System) -> None:
    """The stream's clock stands still at night. An event that was sent but not yet applied is erased too."""
    town.send(event("like", "u1", "n0"))
    town.clock += 8 * 3_600_000
    on_its_way = event("like", "u1", "n1", timestamp=town.clock - 1000)
    town.request("DELETE", "/v1/users/u1")
    town.send(on_its_way)
    assert town.get("/v1/users/u1/interests")["interests"] == []


def test_settings_want_exactly_what_they_know(town: System) -> None:
    for body in ({}, {"personalized": "no"}, {"personalized": True, "colour": "blue"}, []):
        response = town.request("PUT", "/v1/users/u1/settings", json=body)
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"


def test_reserved_and_overlong_ids_are_refused(town: System) -> None:
    for name in ("_x", "é" * 65, "x" * 129):
        assert town.request("GET", f"/v1/users/{name}/interests").status_code == 422
        assert town.request("GET", f"/v1/feed/{name}").status_code == 422
        assert town.request("GET", f"/v1/notes/{name}").status_code == 422
    assert town.request("GET", "/v1/feed/anon:abc").status_code == 200
