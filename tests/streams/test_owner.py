"""One partition at work: how it begins, what it refuses, when it reads again. Run on the counting stage, the memory store and a reader of lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.keys import Slot
from config.records import START, Source
from store.base import StoreError
from store.layout import checkpoint_bytes
from store.memory import MemoryStore
from streams import fold, owner, packing
from streams.learner import Learner
from streams.owner import Owner, Stop
from streams.stage import Record
from streams.transport import Frame, LogBounds
from tests.streams import counting
from tests.streams.loop import DEFAULTS
from tests.streams.test_fold import COUNTS, NOW, by_user

SLOT = Slot("t", 0, "users", 0)


class Store(MemoryStore):
    """One that can be away."""

    away = False

    async def read(self, keys: Any) -> Any:
        if self.away:
            raise StoreError("away")
        return await super().read(keys)


class Log:
    """A log of one partition, and the consumer that reads it: what is appended comes as frames from where the last seek went."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.start, self.name = 0, "L"
        self.assigned, self.silent = True, False
        self.epoch, self.at, self.seeks = 0, 0, 0
        self.hidden: set[int] = set()
        """offsets that the broker does not show"""

    async def seek(self, offset: int) -> int | None:
        self.seeks += 1
        if not self.assigned:
            return None
        self.epoch, self.at = self.epoch + 1, offset
        return self.epoch

    async def bounds(self) -> LogBounds:
        return LogBounds(self.start, len(self.records))

    async def identity(self) -> str:
        return self.name

    async def holds(self, offset: int) -> bool:
        return offset < len(self.records)

    def append(self, *users: str) -> None:
        for user in users:
            self.records.append(by_user(len(self.records), [(user, "note", NOW)]))

    def frame(self, size: int = 100) -> Frame | None:
        """What the consumer would hand over next."""
        records = self.records[self.at : self.at + size]
        if self.silent or not self.epoch or not records:
            return None
        end = self.at + len(records)
        frame = Frame(self.at, end, self.epoch, [r for r in records if r.offset not in self.hidden], len(self.records))
        self.at = end
        return frame


@dataclass
class Scene:
    store: Store
    log: Log
    owner: Owner
    task: asyncio.Task[None]

    async def until(self, true: Callable[[], bool], patience_s: float = 5.0) -> None:
        """Frames are handed over until `true`."""
        async with asyncio.timeout(patience_s):
            while not true():
                if (frame := self.log.frame()) is not None:
                    self.owner.arrived(frame)
                await asyncio.sleep(0.001)

    async def counted(self, user: str) -> int:
        (value,) = await MemoryStore.read(self.store, [SLOT.key("n", user.encode())])
        return counting.CountFamily().load(b"", [value]).n


def play(scene: Callable[[Scene], Coroutine[Any, Any, None]], *, at_once: Callable[[Store, Log], None] = lambda store, log: None) -> None:
    """Runs a scene with an owner at work; `at_once` arranges store and log before it begins."""

    async def main() -> None:
        store, log = Store(), Log()
        await store.commit(SLOT, None, checkpoint_bytes("L", START), {}, {})
        at_once(store, log)

        async def send(records: list[packing.Outgoing]) -> None: ...

        part = fold.Partition(counting.Users(), SLOT, Source("L", "t.by-user", 0), COUNTS, fold.Limits())
        one = Owner(part, store, log, send, None, full_topic="t.by-user")
        task = asyncio.create_task(one.run())
        try:
            await scene(Scene(store, log, one, task))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_frame_is_applied_and_the_checkpoint_is_its_end() -> None:
    async def scene(s: Scene) -> None:
        s.log.append("ann", "bob", "ann")
        await s.until(lambda: s.owner.applied == 3)
        assert (await s.counted("ann"), await s.counted("bob")) == (2, 1)

    play(scene)


def test_an_owner_begins_when_the_store_comes_back() -> None:
    """No rebalance waits for it: the owner itself does."""

    def away(store: Store, log: Log) -> None:
        store.away = True
        log.append("ann")

    async def scene(s: Scene) -> None:
        await asyncio.sleep(0.1)
        assert (s.log.seeks, s.owner.applied) == (0, None)
        s.store.away = False
        await s.until(lambda: s.owner.applied == 1)

    play(scene, at_once=away)


def test_an_owner_whose_partition_is_not_assigned_yet_seeks_until_it_is() -> None:
    """In the middle of a rebalance a seek finds nothing assigned: the owner must not end of it."""

    def elsewhere(store: Store, log: Log) -> None:
        log.assigned = False
        log.append("ann")

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.log.seeks >= 3)
        s.log.assigned = True
        await s.until(lambda: s.owner.applied == 1)

    play(scene, at_once=elsewhere)


def test_an_owner_to_whom_nothing_comes_though_its_log_goes_on_seeks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "STILL_S", 0.05)

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.log.seeks == 1)
        s.log.silent = True
        s.log.append("ann")
        for _ in range(200):
            s.owner.ends_at(1)
            if s.log.seeks > 1:
                break
            await asyncio.sleep(0.01)
        assert s.log.seeks == 2
        s.log.silent = False
        await s.until(lambda: s.owner.applied == 1)

    play(scene)


def test_frames_that_are_none_of_its_own_do_not_count_as_something_that_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a seek that another owner made: they are ignored, however many there are."""
    monkeypatch.setattr(owner, "STILL_S", 0.05)

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.log.seeks == 1)
        s.log.append("ann")
        s.log.epoch += 1  # another's
        for _ in range(200):
            s.owner.arrived(Frame(0, 1, s.log.epoch, s.log.records, 1))
            s.owner.ends_at(1)
            if s.log.seeks > 1:
                break
            await asyncio.sleep(0.01)
        await s.until(lambda: s.owner.applied == 1)

    play(scene)


def test_an_owner_that_read_everything_does_not_seek_however_long_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "STILL_S", 0.01)

    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        await asyncio.sleep(0.05)
        s.owner.ends_at(1)
        await asyncio.sleep(0.05)
        assert s.log.seeks == 1

    play(scene)


def test_the_first_record_after_a_long_silence_is_waited_for_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is how long the log goes on without it, not how long nobody had anything to say."""
    monkeypatch.setattr(owner, "STILL_S", 0.1)

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.log.seeks == 1)
        await asyncio.sleep(0.2)
        s.log.append("ann")
        s.owner.ends_at(1)
        await asyncio.sleep(0.02)
        assert (s.log.seeks, s.owner.still) == (1, False)
        await s.until(lambda: s.owner.applied == 1)

    play(scene)


def test_a_frame_fetched_before_a_seek_is_ignored() -> None:
    async def scene(s: Scene) -> None:
        s.log.append("ann", "bob")
        await s.until(lambda: s.log.epoch == 1)
        s.owner.queue.put_nowait(Frame(0, 2, 0, s.log.records, 2))
        await asyncio.sleep(0.05)
        assert await s.counted("ann") == 0
        await s.until(lambda: s.owner.applied == 2)
        assert await s.counted("ann") == 1

    play(scene)


def test_a_hole_is_read_again_from_the_checkpoint() -> None:
    """Frames that were lost on the way leave no gap in the state."""

    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        s.log.append("bob", "cid")
        s.log.at = 2  # the frame with bob never arrives
        await s.until(lambda: s.owner.applied == 3)
        assert (await s.counted("bob"), await s.counted("cid")) == (1, 1)

    play(scene)


def test_a_frame_of_an_internal_log_that_leaves_out_a_record_is_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody compacts these logs: what a frame leaves out was not shown yet, until it has been out for long."""
    monkeypatch.setattr(owner, "GONE_S", 0.2)

    async def scene(s: Scene) -> None:
        s.log.append("ann", "bob", "cid")
        s.log.hidden = {1}
        await s.until(lambda: s.log.seeks > 3)
        assert s.owner.applied == 0
        s.log.hidden = set()
        await s.until(lambda: s.owner.applied == 3)
        assert (await s.counted("bob"), await s.counted("cid")) == (1, 1)
        s.log.append("ann", "bob")
        s.log.hidden = {3}
        await s.until(lambda: s.owner.applied == 5)
        assert (await s.counted("ann"), await s.counted("bob")) == (1, 2)

    play(scene)


def test_frames_that_overlap_count_once() -> None:
    async def scene(s: Scene) -> None:
        s.log.append("ann", "bob")
        await s.until(lambda: s.owner.applied == 2)
        s.log.append("cid")
        s.owner.queue.put_nowait(Frame(0, 3, s.log.epoch, s.log.records[:3], 3))
        await s.until(lambda: s.owner.applied == 3)
        assert [await s.counted(u) for u in ("ann", "bob", "cid")] == [1, 1, 1]

    play(scene)


def test_a_store_that_fails_in_the_middle_counts_nothing_twice() -> None:
    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        s.store.away = True
        s.log.append("ann", "bob")
        s.owner.queue.put_nowait(s.log.frame() or pytest.fail("no frame"))
        await asyncio.sleep(0.1)
        s.store.away = False
        await s.until(lambda: s.owner.applied == 3)
        assert (await s.counted("ann"), await s.counted("bob")) == (2, 1)

    play(scene)


def test_a_store_put_back_is_caught_up_with_and_nothing_counts_twice() -> None:
    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        copy = deepcopy(s.store.__dict__)
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 2)
        s.store.__dict__.update(copy)
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 3)
        assert await s.counted("ann") == 3

    play(scene)


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (lambda store, log: setattr(log, "name", "M"), "belongs to log L, the broker has log M"),
        (lambda store, log: setattr(log, "start", 1), "records were deleted before they were applied"),
    ],
)
def test_a_log_that_is_not_the_checkpoints_stops_the_worker_and_says_why(arrange: Callable[[Store, Log], None], says: str) -> None:
    async def scene(s: Scene) -> None:
        with pytest.raises(Stop, match=says):
            await s.task

    play(scene, at_once=arrange)


def test_a_lost_state_stops_the_worker_and_names_the_command_that_brings_it_back() -> None:
    async def scene(s: Scene) -> None:
        with pytest.raises(Stop, match="upwell rebuild users"):
            await s.task

    def lost(store: Store, log: Log) -> None:
        store.__dict__.update(Store().__dict__)

    play(scene, at_once=lost)


def test_an_owner_whose_timers_in_memory_are_used_up_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing done there is nothing to commit: the next timers are read first."""
    monkeypatch.setattr(fold, "TIMER_HEAD", 3)

    async def scene(s: Scene) -> None:
        s.log.append(*"abcdef")
        await s.until(lambda: s.owner.applied == 6)
        await s.owner.rewind("so that the head is read")
        s.log.records += [by_user(6 + i, [(user, "n", NOW + 10)]) for i, user in enumerate("abc")]
        await s.until(lambda: s.owner.applied == 9)
        s.log.records.append(by_user(9, [("z", "n", NOW + 1_000_000)]))
        await s.until(lambda: s.owner.applied == 10)
        assert not s.task.done()

    play(scene)


def test_lag_is_the_records_not_applied_and_the_age_of_the_oldest() -> None:
    async def scene(s: Scene) -> None:
        s.owner.wall = lambda: NOW / 1000 + 7
        s.log.append("ann", "bob")
        await s.until(lambda: s.owner.applied == 2)
        assert s.owner.lag() == (0, 0.0)
        s.log.append("cid")
        s.log.silent = True
        s.owner.ends_at(3)
        records, _ = s.owner.lag()
        assert records == 1

    play(scene)


def test_offsets_that_nobody_is_handed_are_no_lag() -> None:
    """A transaction's marker at the log's end: the broker counts it, no frame has it, and the reader says where the last record ends."""

    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        s.owner.ends_at(2)
        assert (s.owner.lag()[0], s.owner.behind) == (1, True)
        s.owner.ends_at(1)
        assert (s.owner.lag()[0], s.owner.behind) == (0, False)

    play(scene)


def test_an_owner_on_its_way_to_another_generation_says_nothing_of_where_it_stands() -> None:
    """The new generation's partition is asked for lag and offsets before its checkpoint was read."""

    async def scene(s: Scene) -> None:
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 1)
        other = Slot("t", 1, "users", 0)
        await s.store.commit(other, None, checkpoint_bytes("L", START), {}, {})

        async def renewed(part: fold.Partition) -> fold.Partition | None:
            return None if part.slot == other else fold.Partition(part.stage, other, part.source, part.counts, part.limits)

        s.owner.renewed = renewed
        assert await s.owner.renew()
        assert (s.owner.applied, s.owner.lag(), s.owner.behind, s.owner.tick_due) == (None, (0, 0.0), False, False)
        s.owner.outdate()
        await s.until(lambda: s.owner.applied == 1)

    play(scene)


def test_a_state_that_cannot_be_used_is_waited_for_by_its_own_partition_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of another release, or a cut one: the learner stands, the worker and its other stages do not end, and a rebuild brings it on."""
    monkeypatch.setattr(owner, "UNUSABLE_S", 0.01)
    broken, rebuilt = Slot("t", 0, "learner", 0), Slot("t", 1, "learner", 0)

    async def main() -> None:
        store, log, named = Store(), Log(), broken
        for slot, values in ((broken, {broken.key("head"): b"cut"}), (rebuilt, {})):
            await store.commit(slot, None, checkpoint_bytes("L", START), values, {})

        def part(slot: Slot) -> fold.Partition:
            return fold.Partition(Learner(DEFAULTS), slot, Source("L", "t.examples", 0), COUNTS, fold.Limits())

        async def renewed(now: fold.Partition) -> fold.Partition | None:
            return None if now.slot == named else part(named)

        async def send(records: list[packing.Outgoing]) -> None: ...

        one = Owner(part(broken), store, log, send, None, full_topic="t.examples", renewed=renewed)
        task = asyncio.create_task(one.run())
        try:
            scene = Scene(store, log, one, task)
            await scene.until(lambda: one.unanswered == 3)
            assert not task.done()
            assert not one.stands
            named = rebuilt
            await scene.until(lambda: one.stands)
            assert (one.part.slot, one.applied) == (rebuilt, 0)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_what_the_worker_wrote_itself_is_applied_before_any_fetch_brings_it_and_only_once() -> None:
    async def scene(s: Scene) -> None:
        await s.until(lambda: s.owner.stands)
        s.log.append("ann", "bob", "ann")
        assert all(s.owner.wrote(record) for record in s.log.records)
        s.log.silent = True
        await s.until(lambda: s.owner.applied == 3)
        s.log.silent = False
        s.log.append("ann")
        await s.until(lambda: s.owner.applied == 4)
        assert (await s.counted("ann"), await s.counted("bob"), s.log.seeks) == (3, 1, 1)

    play(scene)


def test_a_written_record_waits_for_what_others_put_before_it() -> None:
    """Acknowledgements come in any order, and other workers and the API write to the same log: only a fetch brings theirs."""

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.owner.stands)
        s.log.append("ann", "bob", "eve")
        s.log.silent = True
        assert not s.owner.wrote(s.log.records[2])
        assert s.owner.wrote(s.log.records[0])
        await s.until(lambda: s.owner.applied == 1)
        assert s.owner.ahead.keys() == {2}
        s.log.silent = False
        await s.until(lambda: s.owner.applied == 3)
        assert (await s.counted("bob"), await s.counted("eve"), s.owner.ahead, s.log.seeks) == (1, 1, {}, 1)

    play(scene)


@given(st.data())
@settings(max_examples=60)
def test_in_whatever_order_fetches_and_own_records_come_nothing_is_lost_or_doubled(data: st.DataObject) -> None:
    """With seeks in between, after which both begin anew."""

    async def scene(s: Scene) -> None:
        await s.until(lambda: s.owner.stands)
        names = data.draw(st.lists(st.sampled_from(["ann", "bob", "eve"]), min_size=1, max_size=30))
        s.log.append(*names)
        own = data.draw(st.permutations(data.draw(st.lists(st.sampled_from(s.log.records), unique_by=lambda r: r.offset))))
        for record in own:
            s.owner.wrote(record)
            match data.draw(st.sampled_from(["wrote", "fetch", "turn", "rewind"])):
                case "fetch":
                    if (frame := s.log.frame(data.draw(st.integers(1, 8)))) is not None:
                        s.owner.arrived(frame)
                case "turn":
                    await asyncio.sleep(0)
                case "rewind":
                    s.owner.still = True
                    s.owner.wake()
                    await s.until(lambda: not s.owner.still)
        await s.until(lambda: s.owner.applied == len(names))
        assert [await s.counted(name) for name in ("ann", "bob", "eve")] == [names.count(name) for name in ("ann", "bob", "eve")]
        assert not s.owner.ahead

    play(scene)
