"""The users stage under the real runner: where frames and pieces are cut changes nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from config import settings as configuration
from config.events import PREDICTED, TYPES
from config.keys import hash64
from config.records import (
    Act,
    Erase,
    Extra,
    Facts,
    Forget,
    Served,
    Slate,
    SlateItem,
    Tick,
    UserRecord,
    decode_example,
    decode_note,
    decode_pair,
    encode,
)
from store.memory import MemoryStore
from streams import fold
from streams.stage import Record
from streams.users import Users
from tests.streams.test_fold import NOW, Bench

STAGE = Users(configuration.load(environ={}))
NOTES = [Facts(f"n{i}", i != 5, f"a{i % 3}", f"c{i % 2}", (f"t{i}", "t"), i) for i in range(6)]
DECODE: dict[str, Callable[[Any], Any]] = {"by-note": decode_note, "by-pair": decode_pair, "examples": decode_example}


def signals(rng: random.Random, count: int) -> list[Any]:
    """Anything that may stand in by-user, of few users and notes, minutes apart."""
    found: list[Any] = []
    now = NOW
    for id in range(count):
        now += rng.randrange(600_000)
        user, kind = rng.choice("uvw"), rng.random()
        if kind < 0.1:
            items = [SlateItem(hash64(f"n{i}"), i, i % 3, 2, i - 1) for i in rng.sample(range(6), 4)]
            slate = Slate(
                f"r{id}",
                "feed",
                items,
                [],
                "set",
                np.ones((4, 3), np.float16).tobytes(),
                np.full((4, len(PREDICTED)), 0.2, np.float16).tobytes(),
            )
            found.append(Served(u=user, t=now, id=id, slate=slate))
        elif kind < 0.12:
            found.append(Erase(u=user, t=now - rng.randrange(10**6), id=id))
        elif kind < 0.14:
            found.append(Forget(u=user, t=now, id=id, tag_name="t"))
        elif kind < 0.16:
            found.append(Tick(t=now))
        else:
            extra = rng.choice(
                [None, Extra(comment_id=f"c{id % 3}"), Extra(author_id="a1", scope="author", tags=("t", "x"), lat=1.5, lon=id / 7)]
            )
            late = now - rng.choice([0, 0, 0, 1_000, 10**7])
            found.append(
                Act(
                    u=user,
                    k=rng.randrange(len(TYPES)),
                    t=late,
                    id=id // rng.choice([1, 1, 3]),
                    n=rng.randrange(6),
                    f=rng.choice([0] * 8 + [1, 2]),
                    x=extra,
                )
            )
    return found


def told(bench: Bench) -> list[Any]:
    """Everything told on with its target and source position, whatever the packing."""
    return sorted(
        (
            out.topic,
            out.partition,
            packed.base + s.o,
            s.i,
            s.s,
            type(s).__name__,
            repr([getattr(s, f) for f in s.__struct_fields__ if f not in "oisn"]),
        )
        for out in bench.sent
        for packed in [DECODE[out.topic](out.value)]
        for s in packed.signals
    )


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 150))
def test_state_and_signals_do_not_depend_on_where_frames_and_pieces_are_cut(seed: int, count: int) -> None:
    """One log folded whole, and cut at random with a cache that forgets everybody: the same bytes and the same signals."""
    rng = random.Random(seed)
    log = signals(rng, count)
    records = [
        Record("by-user", 0, offset, NOW, None, encode(UserRecord(1, None, 0, (0, 0, 0), (0, 0, 0), NOW, NOTES, log[at : at + 7])))
        for offset, at in enumerate(range(0, len(log), 7))
    ]

    async def both() -> tuple[Bench, Bench, Any, Any]:
        whole, cut = Bench(STAGE, MemoryStore()), Bench(STAGE, MemoryStore(), fold.Limits(keys=30, steps=3, cache_bytes=400))
        await whole.run(records)
        await cut.run(records, random.Random(seed))
        return whole, cut, await whole.contents(), await cut.contents()

    whole, cut, one, other = asyncio.run(both())
    assert one == other
    assert told(whole) == told(cut)
