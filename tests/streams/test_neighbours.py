"""The neighbours stage: heads in the store, the same bytes wherever frames are cut."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.keys import Slot, note_key
from config.records import START as BEGINNING
from config.records import Link, PairRecord, Source, Tick, encode
from config.settings import SettingsError
from models.neighbours import SUMS, Around, Neighbours, read
from models.user import RECENT_ROW
from store.layout import checkpoint_bytes
from store.memory import MemoryStore
from streams import fold, neighbours, packing
from streams.stage import Record
from tests.streams.loop import DEFAULTS, START, Side


def stage(**values: Any) -> neighbours.Neighbours:
    return neighbours.Neighbours(msgspec.structs.replace(DEFAULTS, neighbours=msgspec.structs.replace(DEFAULTS.neighbours, **values)))


Before = list[tuple[int, int, int]]
"""(hash, when, engagements) of the notes before, newest last"""


def link(h: int, before: Before, t: int = START, engaged: int = 1, m: int = 0) -> Link:
    return Link(
        h=h, t=t, engaged=engaged, rows=b"".join(RECENT_ROW.pack(b, at, 1, n) for b, at, n in before), m=m or (2 << len(before)) - 1
    )


def around(side: Side, h: int) -> list[int]:
    return [int(other) for other in read(side.store.get(("head", note_key(h)))).hashes]


def test_a_head_holds_the_best_neighbours_first() -> None:
    """What was engaged with together more often, or closer, stands first; the head is bounded, the slots keep more."""
    side = Side(stage(head=2))
    side.fold(link(5, [(7, 0, 1), (6, 0, 1), (9, 0, 1), (8, 0, 1)]))
    side.fold(link(5, [(8, 0, 1)]))
    assert around(side, 5) == [8, 9]
    assert len(side.objects["around", note_key(5)]) == 4


def test_a_link_goes_both_ways() -> None:
    """The new note is a neighbour of those before it, and they are its; those before are not linked once more with each other."""
    side = Side(stage())
    side.fold(link(3, [(1, 0, 1), (2, 0, 1)]))
    assert (around(side, 3), around(side, 2), around(side, 1)) == ([2, 1], [3], [3])
    after = read(side.store["head", note_key(1)]).sums[SUMS.index("after")]
    assert after[0] == 0.5  # it came second after
    assert side.counts["link", "applied"] == 1


LINKS = st.lists(
    st.builds(
        link,
        st.integers(1, 12),
        st.lists(st.tuples(st.integers(20, 32), st.integers(START - 10**6, START + 10**10), st.integers(0, 50)), min_size=1, max_size=10,
                 unique_by=lambda row: row[0]),
        st.integers(START, START + 10**10),
        st.integers(0, 50),
    ),
    max_size=30,
)  # fmt: skip


@settings(max_examples=40)
@given(LINKS, st.integers(1, 4))
def test_partitions_share_the_work(links: list[Link], count: int) -> None:
    """However many partitions: each note's bytes are those of pairs told one by one, and only its owner has them."""
    model, plain = Neighbours(), dict[int, Around]()
    for signal in links:
        rows = list(RECENT_ROW.iter_unpack(signal.rows))[::-1]
        for d, (other, at, _, n) in reversed(list(enumerate(rows, 1))):
            model.learn(plain.setdefault(signal.h, Around()), other, d, signal.t, signal.t - at, signal.engaged, n)
        for d, (other, at, _, n) in enumerate(rows, 1):
            model.learn(plain.setdefault(other, Around()), signal.h, -d, signal.t, signal.t - at, n, signal.engaged)
    sides = [Side(stage()) for _ in range(count)]
    for signal in links:
        keys = [signal.h, *[row[0] for row in RECENT_ROW.iter_unpack(signal.rows)][::-1]]
        for partition, side in enumerate(sides):
            if mask := sum(1 << i for i, key in enumerate(keys) if key % count == partition):
                side.fold(Link(h=signal.h, t=signal.t, engaged=signal.engaged, rows=signal.rows, m=mask))
    for h, expected in plain.items():
        for partition, side in enumerate(sides):
            value = side.store.get(("slots", note_key(h)))
            assert value == (expected.encode() if h % count == partition else None)


def test_a_bound_that_cannot_be_is_named() -> None:
    """More evicted at once than there are slots stops the start, with one line."""
    with pytest.raises(SettingsError, match="neighbours"):
        stage(slots=4, batch=5)


def packed(signals: list[Any], size: int) -> list[Record]:
    groups = [signals[i : i + size] for i in range(0, len(signals), size)] + [[Tick(t=START + 10**10)]]
    return [
        Record("by-pair", 0, i, START, None, encode(PairRecord(1, None, 0, (0, 0, 0), (0, 0, 0), START, [], group)))
        for i, group in enumerate(groups)
    ]


async def folded(records: list[Record], rng: random.Random | None) -> dict[bytes, bytes | None]:
    store = MemoryStore()
    counts = {"by-user": 2, "by-note": 2, "by-list": 1, "by-pair": 1, "examples": 1}
    limits = fold.Limits(keys=3, cache_bytes=1) if rng else fold.Limits()
    part = fold.Partition(stage(slots=5, head=3, batch=2), Slot("t", 0, "neighbours", 0), Source("L", "t.by-pair", 0), counts, limits)

    async def send(out: list[packing.Outgoing]) -> None:
        assert not out

    await store.commit(part.slot, None, checkpoint_bytes("L", BEGINNING), {}, {})
    await fold.begin(part, store)
    at = 0
    while at < len(records):
        n = rng.randint(1, 4) if rng else len(records)
        part.feed(records[at : at + n])
        at += n
        while part.waiting:
            await fold.step(part, store)
            if part.full or (rng and rng.random() < 0.5):
                await fold.commit(part, store, send)
    if part.uncut:
        await fold.commit(part, store, send)
    keys = [key async for key in store.scan(b"*")]
    return dict(zip(keys, await store.read(keys), strict=True))


@settings(max_examples=40)
@given(LINKS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_where_frames_are_cut(signals: list[Any], size: int, rng: random.Random) -> None:
    """One log through the runner, whole and cut at random with next to no cache: the same bytes in the store."""
    records = packed(signals, size)
    assert asyncio.run(folded(records, None)) == asyncio.run(folded(records, rng))


@settings(max_examples=40)
@given(LINKS)
def test_bytes_are_the_state(signals: list[Any]) -> None:
    """After every link load(dump(state)) is the state; what is stored and what is served stay within their bounds."""
    side = Side(stage(slots=5, head=3, batch=2))
    for signal in signals:
        side.fold(signal)
        assert len(side.objects["around", note_key(signal.h)]) <= 5
        assert len(around(side, signal.h)) <= 3
