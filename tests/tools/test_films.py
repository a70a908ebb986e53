"""Data A as the contract's JSON lines."""

from __future__ import annotations

import json
import time

from config.events import Event, EventRules, decode_events
from config.notes import Note, decode_notes
from tools.films import events, films_from, notes, ratings_from
from tools.replay import chunks, merged, survey

RATINGS = """user_id:token\titem_id:token\trating:float\ttimestamp:float
196\t242\t3\t881250949
186\t302\t4\t881250940
22\t377\t5\t881250949
196\t302\t1\t881250951
"""
FILMS = """item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
242\tKolya\t1996\tComedy
302\tL.A. Confidential\t1997\tCrime Film-Noir Mystery
377\tHeavyweights\t\tChildren's Comedy
9\tNever rated\t1990\tDrama
"""


def test_a_rating_is_an_impression_and_a_like_or_a_view() -> None:
    """By time, at the same second in the order of the table; four stars are a like."""
    told = [json.loads(line) for line in events(ratings_from(RATINGS))]
    assert [(one["user_id"], one["type"], one["note_id"]) for one in told] == [
        ("user-186", "impression", "film-302"),
        ("user-186", "like", "film-302"),
        ("user-196", "impression", "film-242"),
        ("user-196", "view", "film-242"),
        ("user-22", "impression", "film-377"),
        ("user-22", "like", "film-377"),
        ("user-196", "impression", "film-302"),
        ("user-196", "view", "film-302"),
    ]
    assert told[0]["timestamp"] == told[1]["timestamp"] == 881250940_000


def test_a_film_is_published_a_second_before_its_first_rating() -> None:
    """With its genres as tags and an author of its own; a film that nobody rated is no note."""
    told = [json.loads(line) for line in notes(ratings_from(RATINGS), films_from(FILMS))]
    assert [(one["note_id"], one["timestamp"]) for one in told] == [
        ("film-302", 881250939_000),
        ("film-242", 881250948_000),
        ("film-377", 881250948_000),
    ]
    assert told[0] | {"timestamp": 0} == {
        "note_id": "film-302",
        "author_id": "maker-302",
        "timestamp": 0,
        "status": "published",
        "title": "L.A. Confidential (1997)",
        "tags": ["crime", "film-noir", "mystery"],
        "channel": "film",
    }
    assert told[2]["title"] == "Heavyweights"


def test_every_line_is_valid_and_every_note_goes_ahead() -> None:
    """Intake takes all of it, and no event is sent before its film."""
    ratings, films = ratings_from(RATINGS), films_from(FILMS)
    now = int(time.time() * 1000)
    assert all(isinstance(decode_events(line, now, EventRules())[0], Event) for line in events(ratings))
    assert all(isinstance(decode_notes(line, now, 100_000)[0], Note) for line in notes(ratings, films))
    files = [list(notes(ratings, films)), list(events(ratings))]
    known: set[str] = set()
    for chunk in chunks(merged(files), survey(merged(files)).catalogue):
        known.update(one.key for one in chunk.notes)
        assert all(one.needs[0] in known for one in chunk.events)
