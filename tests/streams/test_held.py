"""The bound of what a stage keeps in memory is one of memory."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc

from config.settings import load
from streams import fold
from streams.local import Local

NOW = 1_700_000_000_000
STAGES = ["intake", "users", "notes", "lists", "neighbours"]


def lived() -> Local:
    """Stages in which 300 people looked at 12 notes, now and then taking one."""
    local, rng = Local(load(environ={}), STAGES, partitions=1), random.Random(1)
    local.now = NOW
    for i in range(12):
        note = {
            "note_id": f"n{i}",
            "author_id": f"a{i % 9}",
            "tags": [f"t{i % 7}", f"u{i % 5}"],
            "channel": f"c{i % 6}",
            "title": f"Note {i}",
        }
        local.append("notes", json.dumps(note).encode())
    asyncio.run(local.pump())
    for i in range(3_000):
        local.now += 60_000
        act = {
            "type": rng.choice(["impression", "impression", "click", "like"]),
            "user_id": f"p{rng.randrange(300)}",
            "note_id": f"n{rng.randrange(12)}",
        }
        local.append("events", json.dumps(act | {"event_id": str(i), "timestamp": local.now}).encode())
        if i % 500 == 499:
            asyncio.run(local.pump())
    return local


def test_an_object_counts_as_what_it_takes_in_memory() -> None:
    """Of every family, within a factor of two: what the bound counts is what Python allocates for such objects, and their places in the tables."""
    found = set()
    local = lived()
    for _, part in local.parts:
        for name, family in part.stage.families.items():
            keys = [key for kind, key in part.objects if kind == name]
            if not keys:
                continue
            found.add(name)
            values = [[local.store.values.get(prefix + key) for prefix in part.prefixes[name]] for key in keys]  # type: ignore[attr-defined]
            alone, times = part.held[name]
            counted = sum(alone + times * part.weights[name, key] for key in keys)
            [family.load(key, value) for key, value in zip(keys, values, strict=True)]  # what is cached by name is there from now on
            tracemalloc.start()
            copies = [[bytes(bytearray(v)) if v is not None else None for v in value] for value in values]
            objects = [family.load(key, value) for key, value in zip(keys, copies, strict=True)]
            del copies
            taken = tracemalloc.get_traced_memory()[0] + fold.ENTRY * len(objects)
            tracemalloc.stop()
            assert 0.5 < counted / taken < 2.0, (name, counted / len(keys), taken / len(keys))
    assert found == {"user", "note", "text", "list", "hot", "channel", "around"}


def test_the_bound_counts_what_is_there() -> None:
    """After any folds it is the sum over the objects."""
    for _, part in lived().parts:
        counted = {key: part.held[key[0]].alone + part.held[key[0]].times * weight for key, weight in part.weights.items()}
        assert counted.keys() == part.objects.keys()
        assert sum(counted.values()) == part.weight
