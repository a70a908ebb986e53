"""Beyond the counter horizon: every counter is what an oracle of bounded rings says, in the whole system, without faults.

The oracle knows the rule in `docs/decisions/0005-what-is-kept-of-a-user.md` and shares no code with the project: an action counts once
while its note is among the last notes engaged with, an impression while its note is there or among the last ones seen, and an event id
is known while it is among the last ones.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque
from typing import Any

from config.events import ACTIONS
from config.keys import hash64, note_key
from config.settings import load
from store.layout import notes_from
from streams.local import Local

SEEN, ENGAGED, IDS = 40, 24, 16
NOTES, USERS, EVENTS = 150, 3, 12_000
TYPES = (
    ["impression"] * 50 + ["click"] * 18 + ["like"] * 8 + ["unlike"] * 5 + ["collect", "collect", "uncollect", "share", "unshare", "view"]
)


class Person:
    """What the rule lets a system remember of one user."""

    def __init__(self) -> None:
        self.seen: deque[str] = deque(maxlen=SEEN)
        self.ids: deque[str] = deque(maxlen=IDS)
        self.engaged: dict[str, set[str]] = {}

    def acts(self, event: dict[str, Any]) -> Counter[tuple[str, str]]:
        """What an event adds to the counters."""
        type, note, moves = event["type"], event["note_id"], Counter[tuple[str, str]]()
        done = self.engaged.get(note)
        if type == "impression":
            if "impression" in done if done is not None else note in self.seen:
                return moves
            if done is None:
                self.seen.append(note)
            else:
                done.add("impression")
            moves[note, type] = 1
            return moves
        if event["event_id"] in self.ids:
            return moves
        self.ids.append(event["event_id"])
        if type.startswith("un"):
            if done is not None and type[2:] in done:
                done.remove(type[2:])
                moves[note, type[2:]] = -1
            return moves
        if done is None:
            if len(self.engaged) == ENGAGED:
                del self.engaged[next(iter(self.engaged))]
            done = self.engaged[note] = {"impression"} if note in self.seen else set()
            if not done:
                self.seen.append(note)
        for action in (type, "finish") if event.get("completion") == 1 else (type,):
            if action not in done:
                done.add(action)
                moves[note, action] = 1
        return moves


def story(seed: int) -> list[dict[str, Any]]:
    """Events of a few people on more notes than are remembered; one in ten is an old one again, some of them older than is remembered."""
    rng = random.Random(seed)
    events: list[dict[str, Any]] = []
    for n in range(EVENTS):
        if events and rng.random() < 0.1:
            events.append(rng.choice(events[-200:]))
            continue
        event = {"type": rng.choice(TYPES), "user_id": f"u{rng.randrange(USERS)}", "event_id": f"e{n}"}
        # Some notes come back soon, some late, so that both sides of each bound are met.
        event["note_id"] = f"n{int(rng.triangular(0, NOTES, n * NOTES / EVENTS))}"
        if event["type"] == "view":
            event["completion"] = rng.choice([0.2, 1])
        events.append(event)
    return events


def test_beyond_the_horizon_every_counter_is_what_bounded_rings_remember() -> None:
    """Three seeds, 12,000 events each; with rings that forget nothing the same events give other counters, so the bounds were met."""
    for seed in range(3):
        events = story(seed)
        people = {f"u{i}": Person() for i in range(USERS)}
        wanted: Counter[tuple[str, str]] = Counter()
        for event in events:
            wanted.update(people[event["user_id"]].acts(event))
        counted = asyncio.run(counters(events))
        assert {place: n for place, n in counted.items() if n} == {place: n for place, n in wanted.items() if n}
        distinct = {(e["user_id"], e["note_id"]) for e in events if e["type"] == "impression"}
        assert sum(n for (_, action), n in wanted.items() if action == "impression") > len(distinct)


async def counters(events: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
    """(note, action) -> the count that intake, users and notes end with."""
    environment = {"UPWELL_USERS__EXPOSURES": SEEN, "UPWELL_USERS__ENGAGED": ENGAGED, "UPWELL_USERS__EVENT_IDS": IDS}
    local = Local(load(environ={name: str(value) for name, value in environment.items()}), ["intake", "users", "notes"])
    local.now = 1_750_000_000_000
    names = [f"n{i}" for i in range(NOTES + 1)]
    for name in names:
        local.append("notes", json.dumps({"note_id": name, "author_id": "a", "channel": "c"}).encode())
    await local.pump()
    for at in range(0, len(events), 500):
        local.now += 1_000
        local.append("events", json.dumps(events[at : at + 500]).encode())
        await local.pump()
    digests = [hash64(name) for name in names]
    values = await local.store.read([local.manifest.slot("notes", h).key("note", note_key(h)) for h in digests])
    records, kept = notes_from(values)
    assert len(kept) == len(names)
    return {
        (name, action): int(record["counts"][i]) for name, record in zip(names, records, strict=True) for i, action in enumerate(ACTIONS)
    }
