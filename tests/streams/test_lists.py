"""The lists stage: sorted heads in the store, and bars from what a channel's notes did."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from config.keys import Slot
from config.records import START as BEGINNING
from config.records import Bars, Evidence, ListRecord, Score, Source, Tick, encode
from models import quality
from models.lists import OnePerAuthor, Ranked, single
from store.layout import checkpoint_bytes, head_from
from store.memory import MemoryStore
from streams import fold, packing
from streams.lists import Lists
from streams.stage import Record
from tests.streams.loop import DEFAULTS, MINUTE, START, Side


def stage(**values: Any) -> Side:
    return Side(Lists(msgspec.structs.replace(DEFAULTS, lists=msgspec.structs.replace(DEFAULTS.lists, **values))))


def head(side: Side, name: str) -> list[int]:
    return [int(h) for h in head_from(side.store.get(("head", name.encode())))["hash"]]


def put(side: Side, name: str, h: int, score: float | None, a: int = 0) -> None:
    side.fold(Score(name=name, h=h, score=score, t=START, a=a))


def learned(h: int, t: int, clicks: float = 16.0, name: str = "channel:food") -> Evidence:
    evidence = quality.Evidence(100.0, (clicks, 1.0, 0.0, 0.0, 0.0, 0.0), (16.0, 0.6, 0.35, 0.1, 0.08, 0.05))
    return Evidence(name=name, h=h, t=t, tier=0, body=quality.encode(evidence))


def test_a_head_in_the_store_is_best_first() -> None:
    """What the feed reads by range: best first, ties by the smaller hash; an empty list has no key."""
    side = stage()
    for h, score in ((5, 1.0), (3, 1.0), (9, 2.0), (3, 0.5)):
        put(side, "tag:tea", h, score)
    assert head(side, "tag:tea") == [9, 5, 3]
    for h in (3, 5, 9):
        put(side, "tag:tea", h, None)
    assert ("head", b"tag:tea") not in side.store


def test_kinds_of_lists_have_bounds_of_their_own() -> None:
    """Pool tiers hold more places than tags; hot lists hold one note per author in the head."""
    side = stage(head=3, pool_head=6, hot_head=2)
    for h in range(1, 11):
        for name in ("tag:a", "pool:0", "hot", "hot:city:x", "author:hot"):
            put(side, name, h, float(h), a=h % 4 + 1)
    assert (head(side, "tag:a"), head(side, "pool:0")) == ([10, 9, 8], [10, 9, 8, 7, 6, 5])
    assert head(side, "hot") == head(side, "hot:city:x") == [10, 9]
    assert head(side, "author:hot") == [10, 9, 8]


def test_the_second_note_of_an_author_waits_for_the_first_to_go() -> None:
    """A hot list's shadow lives in a key of its own and fills the head when a place becomes free."""
    side = stage()
    put(side, "hot", 1, 5.0, a=7)
    put(side, "hot", 2, 4.0, a=7)
    put(side, "hot", 3, 3.0, a=8)
    assert head(side, "hot") == [1, 3]
    put(side, "hot", 1, None)
    assert head(side, "hot") == [2, 3]
    put(side, "hot", 1, 6.0, a=7)
    assert head(side, "hot") == [1, 3]


def test_bars_leave_at_most_once_a_minute() -> None:
    """What is enough for bars is published by the next record, what follows a minute later, and nothing while there is nothing new."""
    side = stage()
    for i in range(int(DEFAULTS.pool.prior.bar_strength) - 1):
        side.fold(learned(1000 + i, START))
    for i in range(10):
        side.fold(learned(i, START + i * 20_000))
    side.fold(Tick(t=START + 10 * MINUTE))
    bars = [signal for topic, _, signal in side.told if isinstance(signal, Bars)]
    assert [signal.version for signal in bars] == [1, 2, 3, 4]
    times = [signal.t for signal in bars]
    assert all(later - earlier >= MINUTE for earlier, later in itertools.pairwise(times))
    side.fold(Tick(t=START + 60 * MINUTE))
    assert len([1 for _, _, signal in side.told if isinstance(signal, Bars)]) == 4
    fitted = quality.decode_bars(bars[-1].body)
    assert (fitted.channel, fitted.number, len(fitted.cuts)) == ("food", 4, len(DEFAULTS.pool.tiers))


def test_few_notes_set_no_bars() -> None:
    """Until as many have taught as what is believed weighs, the bars of all notes hold, or those of the settings."""
    side = stage()
    for i in range(int(DEFAULTS.pool.prior.bar_strength) - 1):
        side.fold(learned(i, START + i))
        side.fold(learned(i, START + i))  # a note that climbs is one note
    side.fold(Tick(t=START + 10 * MINUTE))
    assert not [1 for _, _, signal in side.told if isinstance(signal, Bars)]
    side.fold(learned(1000, START + 10 * MINUTE))
    side.fold(Tick(t=START + 20 * MINUTE))
    assert [signal.version for _, _, signal in side.told if isinstance(signal, Bars)] == [1]


def test_better_notes_raise_the_bars_of_their_channel_alone() -> None:
    """What a channel's notes earn moves its cuts; another channel knows nothing of it."""
    side = stage()
    for i in range(200):
        side.fold(learned(i, START + i, clicks=40.0, name="channel:food"))
        side.fold(learned(1000 + i, START + i, clicks=8.0, name="channel:cars"))
    side.fold(Tick(t=START + 10 * MINUTE))
    last = {signal.channel: quality.decode_bars(signal.body) for _, _, signal in side.told if isinstance(signal, Bars)}
    assert all(food > cars for food, cars in zip(last["food"].cuts[1:], last["cars"].cuts[1:], strict=True))


SIGNALS = st.lists(
    st.builds(
        Score,
        name=st.sampled_from(["tag:a", "hot", "hot:channel:c", "pool:0", "author:x"]),
        h=st.integers(0, 6),
        score=st.none() | st.floats(-1e5, 1e5),
        t=st.just(START),
        a=st.integers(0, 2),
    )
    | st.builds(learned, st.integers(0, 6), st.integers(START, START + 5 * MINUTE), st.floats(0, 50)),
    max_size=80,
)


def packed(signals: list[Any], size: int) -> list[Record]:
    groups = [signals[i : i + size] for i in range(0, len(signals), size)] + [[Tick(t=START + 60 * MINUTE)]]
    return [
        Record("by-list", 0, i, START, None, encode(ListRecord(1, None, 0, (0, 0, 0), (0, 0, 0), START, [], group)))
        for i, group in enumerate(groups)
    ]


async def folded(records: list[Record], rng: random.Random | None) -> dict[bytes, bytes | None]:
    store = MemoryStore()
    counts = {"by-user": 2, "by-note": 2, "by-list": 1, "by-pair": 2, "examples": 1}
    limits = fold.Limits(keys=3, cache_bytes=1) if rng else fold.Limits()
    pools = msgspec.structs.replace(DEFAULTS.pool, prior=msgspec.structs.replace(DEFAULTS.pool.prior, bar_strength=2.0))
    part = fold.Partition(
        Lists(msgspec.structs.replace(DEFAULTS, pool=pools)), Slot("t", 0, "lists", 0), Source("L", "t.by-list", 0), counts, limits
    )

    async def send(out: list[packing.Outgoing]) -> None: ...

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


@settings(max_examples=30)
@given(SIGNALS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_where_frames_are_cut(signals: list[Any], size: int, rng: random.Random) -> None:
    """One log through the runner, whole and cut at random with next to no cache: the same bytes in the store."""
    records = packed(signals, size)
    assert asyncio.run(folded(records, None)) == asyncio.run(folded(records, rng))


@settings(max_examples=30)
@given(SIGNALS)
def test_bytes_are_the_state(signals: list[Any]) -> None:
    """After every signal load(dump(state)) is the state; heads are sorted, each note once."""
    side = stage(head=4, pool_head=5, hot_head=3)
    for signal in signals:
        side.fold(signal)
        if isinstance(signal, Score):
            state = side.objects[side.stage.reads(signal, ())[0]]
            assert isinstance(state, Ranked | OnePerAuthor)
            places = list(state)
            assert places == sorted(places, key=lambda place: (-place[1], place[0]))
            assert len({h for h, _ in places}) == len(places)
            assert all(single(score) == score for _, score in places)
