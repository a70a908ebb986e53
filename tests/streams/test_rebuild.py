"""What a rebuild knows of the past: how far a source was heard, which steps no fold takes, whose a key is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from config.keys import Slot
from config.records import VERSION, NoteRecord, Position, Source, encode
from store.memory import MemoryStore
from streams import fold, packing
from streams.owner import QUEUE, Owner
from streams.rebuild import Feed, Share, escaped, generation_of
from streams.stage import Record
from streams.survey import LAST_RECORDS, Survey
from tests.streams import counting

SOURCE = Source("L", "up.by-user", 0)
TP = TopicPartition("up.by-user", 0)


def told(first: int, end: int, source: Source | None = SOURCE) -> bytes:
    return encode(NoteRecord(VERSION, source, first, (first, 0, 0), (end, 0, 0), 0, [], []))


def test_a_source_that_no_log_names_begins_at_the_beginning() -> None:
    """Nothing says that it ever told anything."""
    found = Survey()
    found.packed("by-note", 0, told(5, 9, None))
    assert found.told(SOURCE.name) == Position(0)


@given(st.lists(st.tuples(st.integers(1, 30), st.sets(st.integers(0, 3), min_size=1)), min_size=1, max_size=400), st.data())
def test_all_that_was_told_before_the_place_stands_in_every_log(pieces: list[tuple[int, set[int]]], data: st.DataObject) -> None:
    """Pieces go out one after the other, each to some logs; of the last one any part may be missing, and repeats may follow. Everything
    before the place that the survey names was acknowledged, whatever is missing."""
    found, at, began = Survey(), 0, 0
    for number, (length, targets) in enumerate(pieces):
        began, end = at, at + length
        last = number == len(pieces) - 1
        arrived = data.draw(st.sets(st.sampled_from(sorted(targets)))) if last else targets
        for partition in sorted(arrived):
            found.packed("by-note", partition, told(began, end))
        at = end
    assert found.told(SOURCE.name).offset <= began
    if len(pieces) > LAST_RECORDS + 2 and all(0 in targets for _, targets in pieces):
        assert found.told(SOURCE.name).offset > 0, "a long log is not folded aloud from its beginning"


def test_a_repeat_does_not_reach_back() -> None:
    """A replay's records lie below what was heard; they are not the last pieces."""
    found = Survey()
    for at in range(0, 1_000, 10):
        found.packed("by-note", 0, told(at, at + 10))
    place = found.told(SOURCE.name)
    found.packed("by-note", 0, told(0, 10))
    assert found.told(SOURCE.name) == place


def test_a_step_that_was_passed_over_is_found_in_its_letter() -> None:
    """Offset, index and step: what a lost store knew, the letter keeps. Letters of other kinds name no step."""
    stage: Any = counting.Users()
    store = MemoryStore()
    part = fold.Partition(stage, Slot("up", 0, "users", 3), Source("L", "up.by-user", 3), {"by-note": 1})
    asyncio.run(fold.begin(part, store))
    part.record = Record("by-user", 3, 17, 0, b"k", b"v")
    position = Position(17, 2, 5)
    part.offset, part.index, part.step = position
    part.condemned[position] = "boom"
    assert part.passed_over(position)
    part.out.dead("bad_field", "another")
    found = Survey()
    for letter in part.out.public:
        found.letter("up", Letter(letter))
    assert found.skips == {("by-user", 3): [(17, 2, 5)]}


class Endless:
    """A consumer of a log that has more and more."""

    def __init__(self) -> None:
        self.at = 0

    def assign(self, tps: Any) -> None: ...

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at = offset

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0)
        self.at += 1
        return {TP: [Record("by-user", 0, self.at - 1, 0, None, b"")]}


def test_a_log_is_read_no_faster_than_it_is_folded() -> None:
    """A log of years does not fit in memory: while an owner has frames enough, nothing more is fetched."""

    async def go() -> None:
        feed, share = Feed(Endless()), Share(None, Slot("t", 1, "users", 0), SOURCE, TP)  # type: ignore[arg-type]
        part = fold.Partition(counting.Users(), share.new, SOURCE, {})
        share.owner = Owner(part, MemoryStore(), None, None, None, full_topic="t.by-user")  # type: ignore[arg-type]
        share.limit = 1 << 40
        feed.begin([share])
        feed.seek(share, 0)
        task = asyncio.create_task(feed.run())
        frames = []
        for _ in range(50):
            await asyncio.sleep(0.002)
            assert share.owner.queue.qsize() <= QUEUE
            frames.append(await share.owner.queue.get())
        task.cancel()
        assert [frame.start for frame in frames] == list(range(50))

    asyncio.run(go())


class Letter:
    """An outgoing record as a consumer would see it."""

    def __init__(self, sent: packing.Outgoing) -> None:
        self.partition, self.offset, self.timestamp, self.key, self.value, self.headers = 0, 0, 0, sent.key, sent.value, sent.headers


@pytest.mark.parametrize(
    "key, generation",
    [
        (Slot("up", 7, "users", 12).key("hot", b"}odd{"), 7),
        (Slot("up", 0, "users", 0).checkpoint, 0),
        (Slot("up", 7, "notes", 1).checkpoint, None),
        (Slot("upper", 7, "users", 1).checkpoint, None),
    ],
)
def test_only_keys_of_the_stage_are_swept(key: bytes, generation: int | None) -> None:
    """Another stage's, or another system's, never match."""
    assert generation_of(key, "up", "users") == generation


def test_a_prefix_with_signs_is_taken_literally() -> None:
    """Globs know some of them."""
    store = MemoryStore()
    key = Slot("a[b]*c", 3, "users", 1).checkpoint
    store.values[key] = b""

    async def found() -> list[bytes]:
        return [one async for one in store.scan(b"{%s.*.users[0-9]*}:*" % escaped("a[b]*c"))]

    assert asyncio.run(found()) == [key]
    assert generation_of(key, "a[b]*c", "users") == 3


class Consumer:
    """What a feed asks of its client."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def pause(self, tp: TopicPartition) -> None:
        self.paused.add(tp)

    def resume(self, tp: TopicPartition) -> None:
        self.paused.discard(tp)


def test_a_share_that_was_read_to_its_limit_is_read_again_when_its_owner_seeks_back() -> None:
    """The first frames may be there before the owner has begun, which asks for them once more."""
    consumer: Any = Consumer()
    feed = Feed(consumer)
    tp = TopicPartition("up.by-user", 3)
    share = Share(None, Slot("up", 1, "users", 3), SOURCE, tp)
    feed.allow(share, 57)
    share.start = 57
    feed.stop_at_limit(share)
    assert consumer.paused == {tp}
    feed.seek(share, 57)
    assert consumer.paused == {tp}
    feed.seek(share, 0)
    assert consumer.paused == set()
