"""The demo town: seeded, valid, and with something to find out."""

from __future__ import annotations

import json
import time

from config.events import Event, EventRules, decode_events
from tools.town import FIRST_NOTE, FIRST_PERSON, Town


def test_a_seed_is_a_town() -> None:
    """The same people, notes and deeds."""

    def life(seed: int) -> list[object]:
        town = Town(seed)
        notes = [town.publish() for _ in range(20)]
        return [town.people, notes, [town.reaction(town.visitor(), note, 0) for note in notes * 5]]

    assert life(3) == life(3)
    assert life(3) != life(4)


def test_the_ids_that_up_names_exist() -> None:
    """Three things to try, with ids that exist, whatever the seed."""
    for seed in range(5):
        town = Town(seed)
        assert town.publish().id == FIRST_NOTE
        assert FIRST_PERSON in [person.id for person in town.people]


def test_what_people_do_is_valid_and_begins_with_seeing() -> None:
    """Intake takes every event."""
    town, now = Town(1), int(time.time() * 1000)
    notes = [town.publish() for _ in range(40)]
    for n in range(2_000):
        did = town.reaction(town.visitor(), notes[n % 40] if n % 50 else None, n % 10)
        assert did[0]["type"] == "impression"
        for one in did:
            body = json.dumps(one | {"user_id": "u", "note_id": "n", "request_id": "r", "position": n % 10, "surface": "feed"}).encode()
            assert isinstance(decode_events(body, now, EventRules())[0], Event), one


def test_taste_and_quality_show_in_what_is_opened() -> None:
    """Otherwise there would be nothing to learn, and nothing to promote."""
    town = Town(2)
    notes = [town.publish() for _ in range(200)]

    def opened(pairs: list[bool]) -> float:
        return sum(pairs) / len(pairs)

    loved, other, good, bad = [], [], [], []
    for _ in range(200):
        person = town.visitor()
        for note in town.rng.sample(notes, 20):
            clicked = any(one["type"] == "click" for one in town.reaction(person, note, 0))
            (loved if any(tag in person.tastes for tag in note.tags) else other).append(clicked)
            (good if note.quality > 0 else bad).append(clicked)
    assert opened(loved) > 2 * opened(other)
    assert opened(good) > 1.3 * opened(bad)
