"""The runner of a fold: positions, marks, timers, pieces, poison. Run on the counting stages and the memory store."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.keys import Slot, hash64
from config.records import MAX_BYTES, MAX_SIGNALS, START, Act, Facts, NoteRecord, Position, Source, UserRecord, decode_note, encode
from store.layout import checkpoint_bytes, decode_partition
from store.memory import MemoryStore
from streams import fold, packing
from streams.stage import Record
from tests.streams import counting

COUNTS = {"by-user": 4, "by-note": 4, "by-list": 4, "by-pair": 4, "examples": 1}
NOW = 1_700_000_000_000


class Bench:
    """One partition of one stage, with a list for what it sends."""

    def __init__(self, stage: Any, store: MemoryStore, limits: fold.Limits | None = None, topic: str = "by-user") -> None:
        self.store, self.sent = store, []
        self.part = fold.Partition(stage, Slot("t", 0, stage.name, 0), Source("L", f"t.{topic}", 0), COUNTS, limits or fold.Limits())

    async def begin(self) -> None:
        if await fold.begin(self.part, self.store) is None:
            await self.store.commit(self.part.slot, None, checkpoint_bytes("L", START), {}, {})
            await fold.begin(self.part, self.store)

    async def send(self, records: list[packing.Outgoing]) -> None:
        self.sent.extend(records)

    async def run(self, records: Sequence[Record], rng: random.Random | None = None) -> None:
        await self.begin()
        at = 0
        while at < len(records):
            n = rng.randint(1, 20) if rng else len(records)
            self.part.feed(records[at : at + n])
            at += n
            while self.part.waiting:
                await fold.step(self.part, self.store)
                if self.part.full or (rng and rng.random() < 0.5):
                    await fold.commit(self.part, self.store, self.send)
        if self.part.uncut:
            await fold.commit(self.part, self.store, self.send)

    async def contents(self) -> dict[bytes, bytes | None]:
        keys = [key async for key in self.store.scan(b"*")]
        return dict(zip(keys, await self.store.read(keys), strict=True))

    def signals(self) -> list[tuple[Position, str]]:
        """(source position, note) of everything told on, in order, whatever the packing."""
        told = []
        for out in self.sent:
            packed = decode_note(out.value)
            told += [(Position(packed.base + s.o, s.i, s.s), packed.notes[s.n]) for s in packed.signals]
        return told


def by_user(offset: int, acts: Sequence[tuple[str, str, int]], source: tuple[str, int, int] | None = None, base: int = 0) -> Record:
    """A packed record of (user, note, t); `source` = (name, first offset, end offset), signal j at source offset base + j."""
    table: dict[str, int] = {}
    signals = [Act(o=j, u=u, t=t, n=table.setdefault(note, len(table))) for j, (u, note, t) in enumerate(acts)]
    src = Source(source[0], "t.events", 0) if source else None
    first, end = ((source[1], 0, 0), (source[2], 0, 0)) if source else ((0, 0, 0), (0, 0, 0))
    packed = UserRecord(1, src, base, first, end, NOW, [Facts(note) for note in table], signals)
    return Record("by-user", 0, offset, NOW, None, encode(packed))


def counts_of(bench: Bench, keys: Sequence[str], family: str = "n") -> list[int]:
    async def read() -> list[int]:
        values = await bench.store.read([bench.part.slot.key(family, key) for key in keys])
        return [counting.CountFamily().load(b"", [value]).n for value in values]

    return asyncio.run(read())


acts = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "d", "e", "f"]), st.sampled_from(["n1", "n2", "n3"]), st.integers(0, 5_000)),
    min_size=1,
    max_size=120,
)


@settings(max_examples=40)
@given(acts, st.integers(0, 2**32))
def test_state_and_signals_do_not_depend_on_where_frames_and_pieces_are_cut(events: list[tuple[str, str, int]], seed: int) -> None:
    """One log, cut at random into frames and pieces with tiny caches: the same bytes, the same signals at the same positions."""
    clock, records = NOW, []
    for i in range(0, len(events), 3):
        chunk = []
        for user, note, ahead in events[i : i + 3]:
            clock += ahead
            chunk.append((user, note, clock))
        records.append(by_user(i // 3, chunk))

    async def both() -> tuple[Bench, Bench, dict, dict]:
        whole = Bench(counting.Users(), MemoryStore())
        await whole.run(records)
        cut = Bench(counting.Users(), MemoryStore(), fold.Limits(keys=2, steps=3, cache_bytes=400))
        await cut.run(records, random.Random(seed))
        return whole, cut, await whole.contents(), await cut.contents()

    whole, cut, one, other = asyncio.run(both())
    assert one == other
    assert sorted(whole.signals()) == sorted(cut.signals())


def test_the_last_step_that_told_a_partition_anything_is_kept() -> None:
    """Whoever waits for what was told him waits for that step, however far the log went on without a word for him."""
    bench = Bench(counting.Users(), MemoryStore(), fold.Limits(steps=2))
    asyncio.run(bench.run([by_user(i, [("a", f"n{i % 7}", NOW), ("b", f"n{i % 5}", NOW)]) for i in range(9)]))
    last: dict[int, Position] = {}
    for out in bench.sent:
        packed = decode_note(out.value)
        last[out.partition or 0] = max(Position(packed.base + s.o, s.i, s.s) for s in packed.signals)
    contents = asyncio.run(bench.contents())
    assert decode_partition(contents[bench.part.slot.ledger] or b"").told == last
    assert len(set(last.values())) > 1


def test_timers_fire_in_deadline_order_before_the_record_that_passes_them() -> None:
    """Three users fall quiet at different times; a later record passes all deadlines, and they fire first, in order."""
    bench = Bench(counting.Users(), MemoryStore())
    records = [by_user(0, [("b", "n", NOW + 5), ("a", "n", NOW + 5), ("c", "n", NOW)]), by_user(1, [("d", "last", NOW + 9_000)])]
    asyncio.run(bench.run(records))
    late = [(position, note) for position, note in bench.signals() if position.offset == 1]
    assert sorted(late) == [((1, 0, 0), "quiet"), ((1, 0, 1), "quiet"), ((1, 0, 2), "quiet"), ((1, 0, 3), "last")]


def test_a_writer_whose_clock_is_ahead_moves_no_clock_beyond_append_time() -> None:
    """What has no source was dated by an API's or a worker's own clock: like an event it counts as a minute ahead at most."""
    bench = Bench(counting.Users(), MemoryStore())
    asyncio.run(bench.run([by_user(0, [("a", "n", NOW + 86_400_000)])]))
    assert bench.part.state.clock == NOW + 60_000


def test_a_range_that_was_applied_is_dropped_when_it_comes_again() -> None:
    """A source repeats its output after a crash, packed differently: below the mark nothing counts twice, above it everything once."""
    bench = Bench(counting.Users(), MemoryStore())
    first = [("a", "n", NOW), ("b", "n", NOW), ("c", "n", NOW)]
    again = [*first[1:], ("d", "n", NOW)]
    records = [by_user(0, first, ("s", 0, 3)), by_user(1, again, ("s", 1, 4), base=1), by_user(2, first, ("s", 0, 3))]
    asyncio.run(bench.run(records))
    assert counts_of(bench, ["a", "b", "c", "d"]) == [1, 1, 1, 1]


def test_a_record_and_its_repeat_in_one_frame_count_once() -> None:
    """The mark moves while planning, not only after folding."""
    bench = Bench(counting.Users(), MemoryStore())
    asyncio.run(bench.run([by_user(i, [("a", "n", NOW)], ("s", 0, 1)) for i in range(3)]))
    assert counts_of(bench, ["a"]) == [1]


def test_a_checkpoint_inside_a_record_resumes_inside_it() -> None:
    """A piece may end between two signals of one record; a new owner goes on at exactly the next."""

    async def go() -> Bench:
        store = MemoryStore()
        record = by_user(0, [(f"u{i}", "n", NOW) for i in range(10)], ("s", 0, 10))
        first = Bench(counting.Users(), store, fold.Limits(steps=4))
        await first.begin()
        first.part.feed([record])
        await fold.step(first.part, store)
        await fold.commit(first.part, store, first.send)
        assert first.part.position == (0, 4, 0)
        second = Bench(counting.Users(), store)
        await second.run([record])
        return second

    bench = asyncio.run(go())
    assert counts_of(bench, [f"u{i}" for i in range(10)]) == [1] * 10


def test_a_store_that_moved_on_is_a_conflict_and_nothing_is_written() -> None:
    """Two owners: the one whose checkpoint no longer stands may not write."""

    async def go() -> None:
        store = MemoryStore()
        old, new = Bench(counting.Users(), store), Bench(counting.Users(), store)
        await old.begin()
        record = by_user(0, [("a", "n", NOW)])
        old.part.feed([record])
        await fold.step(old.part, store)
        await new.run([record])
        with pytest.raises(fold.Conflict):
            await fold.commit(old.part, store, old.send)

    asyncio.run(go())


@pytest.mark.parametrize("emptied", [False, True])
def test_a_store_that_was_put_back_is_noticed_before_anything_is_told(emptied: bool) -> None:
    """Values older than the checkpoint in memory must not be folded: what they make would be sent, and the readers would believe it."""

    async def go() -> None:
        bench = Bench(counting.Users(), MemoryStore(), fold.Limits(cache_bytes=0))
        await bench.run([by_user(0, [("a", "n1", NOW)])])
        before = {} if emptied else dict(bench.store.values)
        bench.part.feed([by_user(1, [("a", "n1", NOW)])])
        await fold.step(bench.part, bench.store)
        await fold.commit(bench.part, bench.store, bench.send)
        sent = len(bench.sent)
        bench.store.values = before
        bench.part.feed([by_user(2, [("a", "n1", NOW)])])
        with pytest.raises(fold.Conflict):
            await fold.step(bench.part, bench.store)
        assert len(bench.sent) == sent

    asyncio.run(go())


def test_poison_is_passed_dead_lettered_and_remembered() -> None:
    """A condemned step is skipped, its record goes to dead, and the position stays in the state for every later fold."""

    async def go() -> tuple[Bench, Any]:
        bench = Bench(counting.Users(), MemoryStore())
        await bench.begin()
        records = [by_user(0, [("a", "n", NOW), ("poison", "n", NOW), ("b", "n", NOW)])]
        bench.part.feed(records)
        with pytest.raises(fold.FoldError) as error:
            await fold.step(bench.part, bench.store)
        assert error.value.position == (0, 1, 0)
        bench.part.condemned[error.value.position] = "RuntimeError: poison"
        await bench.run(records)
        return bench, decode_partition((await bench.store.read([bench.part.slot.ledger]))[0])

    bench, state = asyncio.run(go())
    assert counts_of(bench, ["a", "b"]) == [1, 1]
    assert [tuple(p) for p in state.skips] == [(0, 1, 0)]
    dead = [out for out in bench.sent if out.topic == "dead"]
    assert [dict(out.headers)["reason"] for out in dead] == [b"fold_error"]
    assert dict(dead[0].headers)["index"] == b"1"


def test_an_unreadable_public_record_is_dead_lettered_whole_and_the_next_counts() -> None:
    """Garbage in a public topic: a dead letter with the original bytes, and processing goes on."""
    bench = Bench(counting.Intake(), MemoryStore(), topic="events")
    good = orjson.dumps({"user": "u", "note": "n", "t": NOW})
    asyncio.run(bench.run([Record("events", 0, 0, NOW, b"k", b"\xff\x00"), Record("events", 0, 1, NOW, None, good)]))
    dead = [out for out in bench.sent if out.topic == "dead"]
    assert [(out.key, out.value, dict(out.headers)["offset"]) for out in dead] == [(b"k", b"\xff\x00", b"0")]
    assert Counter(out.topic for out in bench.sent) == {"dead": 1, "by-user": 1}


def test_packed_records_are_split_between_steps_at_a_thousand_signals() -> None:
    """Ranges of the records of one piece follow each other without a gap, and none cuts a step."""
    bench = Bench(counting.Users(), MemoryStore())
    records = [by_user(0, [(f"u{i}", "same", NOW) for i in range(2 * MAX_SIGNALS + 10)])]
    asyncio.run(bench.run(records))
    packed: list[NoteRecord] = [decode_note(out.value) for out in bench.sent]
    assert [len(p.signals) for p in packed] == [MAX_SIGNALS, MAX_SIGNALS, 10]
    assert all(a.end == b.first for a, b in itertools.pairwise(packed))
    assert tuple(packed[0].first) == (0, 0, 0)
    assert tuple(packed[-1].end) == (1, 0, 0)


def test_more_timers_than_memory_holds_all_fire_once() -> None:
    """Timers beyond the head in memory are read from the store when the clock comes near."""
    users = [f"u{i}" for i in range(fold.TIMER_HEAD + 900)]
    records = [by_user(i, [(user, "n", NOW + i)]) for i, user in enumerate(users)]
    bench = Bench(counting.Users(), MemoryStore())

    async def go() -> None:
        await bench.run(records[: len(users) // 2])
        again = Bench(counting.Users(), bench.store)
        await again.run([*records, by_user(len(records), [("z", "end", NOW + 10_000_000)])])

    asyncio.run(go())

    async def quiet() -> int:
        values = await bench.store.read([bench.part.slot.key("n", user) for user in users])
        return sum(counting.CountFamily().load(b"", [value]).quiet for value in values)

    assert asyncio.run(quiet()) == len(users)


def test_a_clock_that_leaps_beyond_the_timers_in_memory_reads_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head may be used up before the clock is where it ended; then the next record finds nothing done that could be cut."""
    monkeypatch.setattr(fold, "TIMER_HEAD", 3)

    async def go() -> tuple[Bench, int | None]:
        store = MemoryStore()
        first = Bench(counting.Users(), store)
        await first.run([by_user(0, [(f"u{i}", "n", NOW + i) for i in range(6)])])
        bench = Bench(counting.Users(), store)
        await bench.run([by_user(1, [(f"u{i}", "n", NOW + 10) for i in range(3)])])  # all three in memory move beyond the head
        deadline = bench.part.next_deadline
        bench.part.feed([by_user(2, [("z", "end", NOW + 1_000_000)])])
        while bench.part.waiting:
            await fold.step(bench.part, store)
            if bench.part.full:
                await fold.commit(bench.part, store, bench.send)
        await fold.commit(bench.part, store, bench.send)
        return bench, deadline

    bench, deadline = asyncio.run(go())
    assert deadline == NOW + 2 + counting.QUIET_MS  # where the head ended: earlier than the first that is left, so that a tick comes
    assert sum(note == "quiet" for _, note in bench.signals()) == 6


def test_a_piece_of_nothing_but_repeats_moves_the_checkpoint() -> None:
    """After a failure pieces hold one step: one that the marks drop is passed like any other."""

    async def go() -> Bench:
        bench = Bench(counting.Users(), MemoryStore())
        acts = [(user, "n", NOW) for user in "abcd"]
        await bench.run([by_user(0, acts, ("s", 0, 4))])
        bench.part.max_steps = 1
        bench.part.feed([by_user(1, acts, ("s", 0, 4)), by_user(2, [("a", "n", NOW)], ("s", 4, 5), base=4)])
        while bench.part.waiting:
            await fold.step(bench.part, bench.store)
            if bench.part.full:
                await fold.commit(bench.part, bench.store, bench.send)
        return bench

    bench = asyncio.run(go())
    assert bench.part.position == (3, 0, 0)
    assert counts_of(bench, list("abcd")) == [2, 1, 1, 1]


def test_a_large_table_is_split_with_its_signals() -> None:
    """A thousand notes with many tags: each record is within its bound, and their sum is what there was to say."""
    bench = Bench(counting.Users(), MemoryStore())
    notes = [f"{i:04d}".ljust(1_000, "x") for i in range(MAX_SIGNALS * 2)]
    asyncio.run(bench.run([by_user(0, [("u", note, NOW) for note in notes])]))
    sizes = [len(out.value or b"") for out in bench.sent]
    assert max(sizes) < 1.1 * MAX_BYTES
    assert sum(sizes) < 1.2 * sum(map(len, notes))
    assert [note for _, note in sorted(bench.signals())] == notes
    packed = sorted((decode_note(out.value) for out in bench.sent if out.partition == 0), key=lambda p: p.first)
    assert all(a.end == b.first for a, b in itertools.pairwise(packed))


def test_signals_of_one_key_keep_their_partition() -> None:
    """A target's partition is its hash modulo the count: the API finds it the same way."""
    bench = Bench(counting.Users(), MemoryStore())
    asyncio.run(bench.run([by_user(0, [("a", f"n{i}", NOW) for i in range(50)])]))
    for out in bench.sent:
        assert {hash64(note) % 4 for note in decode_note(out.value).notes} == {out.partition}
