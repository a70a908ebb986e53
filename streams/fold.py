"""The runner of a fold, without input or output: records in, pieces out. `engine.py` feeds it from Kafka, tests and `eval` from lists.

    feed(records) ─► plan() ─► Need(keys) ─► supply(values) ─► fold() ─► cut() ─► Piece ─► applied()

A `Partition` is everything one worker believes about one partition of one stage: position, clock, marks, timers, decoded objects. It is dropped
whole whenever it may be wrong, and begun again from the store. Folding moves it ahead of the store; `cut` says what must be
sent and written so that the store catches up. Nothing in here waits, and nothing depends on where a frame or a piece was cut.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from config.decode import AHEAD_MS
from config.keys import Slot, partition_of
from config.records import (
    READABLE,
    Position,
    Source,
)
from store.base import Store
from store.layout import PartitionState, checkpoint_bytes, decode_partition, encode_partition
from streams.packing import PACKED, Collector, Outgoing
from streams.stage import Batch, Record, Reject, Stage, StateKey

TIMER_HEAD = 4_096
"""Timers held in memory per partition; later ones are read from the store when the clock comes near."""
NEVER = 2**63
"""Later than any deadline, epoch ms."""

ENTRY = 300
"""Bytes that an object's places in the tables of a partition take, its key included."""
WRITTEN_PARTS = 4
"""Parts of an object that a piece is taken to write, until the last one shows."""


class FoldError(Exception):
    """A stage raised at `position`; the partition must be begun again."""

    def __init__(self, position: Position, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__} at {tuple(position)}: {cause}")
        self.position, self.cause = position, cause


class Conflict(Exception):
    """The store's checkpoint is another one: drop everything, believe the store."""


class Unreadable(Exception):
    """An internal record of a version that this program does not know: stop, never skip."""


class Limits(NamedTuple):
    """How much one piece may hold."""

    keys: int = 2_000
    bytes: int = 2_000_000
    steps: int = 20_000
    cache_bytes: int = 40_000_000
    """of objects in memory, as their families say"""


DEFAULT_LIMITS = Limits()


class Need(NamedTuple):
    """What must be read before the next fold."""

    objects: list[StateKey]
    keys: list[bytes]
    lookups: list[int]


class Piece(NamedTuple):
    """What makes the store true up to `end`: first everything in `records` is acknowledged, then the write happens."""

    end: Position
    records: list[Outgoing]
    expected: bytes | None
    checkpoint: bytes
    values: dict[bytes, bytes | None]
    timers: dict[bytes, int | None]
    appended: list[int]
    """append times of the public records in it, one per record"""
    steps: int


SEGMENT, END, REJECT, ROUTE = 0, 1, 2, 3


class Segment:
    """Signals of one record that are planned: from place `at` up to `stop`, with what each reads."""

    __slots__ = ("at", "batch", "first", "record", "stop", "wants")

    def __init__(self, record: Record, batch: Batch, first: int) -> None:
        self.record, self.batch, self.first, self.at, self.stop = record, batch, first, first, first
        self.wants: list[tuple[StateKey, ...]] = []
        """of places `first` up to `stop`"""


class Partition:
    """One partition of one stage, ahead of the store by what is not yet cut. See the module's docstring."""

    def __init__(self, stage: Stage, slot: Slot, source: Source, counts: Mapping[str, int], limits: Limits = DEFAULT_LIMITS) -> None:
        self.stage, self.slot, self.source, self.counts, self.limits = (stage, slot, source, counts, limits)
        self.partition = slot.partition
        self.timed = stage.timed
        self.out = Collector(self)
        self.facts: Mapping[int, Any] = {}
        self.max_steps = limits.steps
        self.condemned: dict[Position, str] = {}
        self.most = max(1, limits.keys // max([min(len(f.parts), WRITTEN_PARTS) for f in stage.families.values()], default=1))
        """objects of one piece: of their parts few change, and what is written, not what is read, must be small"""
        self.quiet_until = NEVER
        self.prefixes = {name: tuple(slot.key(part) for part in family.parts) for name, family in stage.families.items()}
        self.held = {name: family.held for name, family in stage.families.items()}
        self.family_parts = {name: dict(zip(family.parts, self.prefixes[name], strict=True)) for name, family in stage.families.items()}

    # ------------------------------------------------------------------------------------------------------- beginning

    def start_keys(self) -> list[bytes]:
        """What `begin` needs from the store, in its order."""
        shared = self.prefixes[self.stage.shared] if self.stage.shared else ()
        return [self.slot.checkpoint, self.slot.ledger, *shared]

    def begin(self, at: Position, checkpoint: bytes | None, values: Sequence[bytes | None], timers: list[tuple[int, bytes]]) -> None:
        """Forget everything and stand where the store stands.

        `checkpoint` is the store's value (None: no checkpoint yet), `values` what it holds for ``start_keys()[1:]``.
        """
        self.checkpoint = checkpoint
        self.state = decode_partition(values[0]) if values[0] is not None else PartitionState()
        self.skips = {Position(*p) for p in self.state.skips}
        self.objects: OrderedDict[StateKey, Any] = OrderedDict()
        self.weights: dict[StateKey, int] = {}
        """bytes of an object's parts and its entry"""
        self.weight = 0
        """bytes of all objects in memory"""
        self.touched: dict[StateKey, Any] = {}
        self.pending: deque[Record] = deque()
        self.current: tuple[Record, Batch, int] | None = None
        self.steps: list[tuple[int, Any]] = []
        # Ahead of `state.marks` by what is planned: a record and its repeat may be planned together.
        self.planned_marks = {name: Position(*mark) for name, mark in self.state.marks.items()}
        self.offset, self.index, self.step = at
        self.base = at.offset
        self.piece_first = at
        self.now = self.state.clock
        self.appended = 0
        self.record: Record | None = None
        self.folded: list[int] = []
        self.done_steps = 0
        self.out.clear()
        self.reload_timers(timers)
        self.shared = None
        if self.stage.shared:
            self.shared = self.stage.families[self.stage.shared].load(b"", values[1:])

    @property
    def position(self) -> Position:
        return Position(self.offset, self.index, self.step)

    # ---------------------------------------------------------------------------------------------------------- timers

    def reload_timers(self, timers: list[tuple[int, bytes]]) -> None:
        """The head of the store's timers; only when nothing is uncut."""
        self.deadlines = {member: deadline for deadline, member in timers}
        self.heap = list(timers)
        self.horizon = timers[-1] if len(timers) >= TIMER_HEAD else None
        self.timers_short = False
        self.look_again()

    def set_timer(self, member: bytes, deadline: int | None) -> None:
        self.out.timers[member] = deadline
        if deadline is None or (self.horizon is not None and (deadline, member) > self.horizon):
            self.deadlines.pop(member, None)
        elif self.deadlines.get(member) != deadline:
            self.deadlines[member] = deadline
            heapq.heappush(self.heap, (deadline, member))
            if deadline < self.quiet_until:
                self.quiet_until = deadline

    def look_again(self) -> None:
        """Up to when the clock may move without a look at the timers: most signals move it, and few of them reach a deadline."""
        first = self.next_deadline
        self.quiet_until = NEVER if first is None else first

    def next_timer(self) -> tuple[int, bytes] | None:
        heap, deadlines = self.heap, self.deadlines
        while heap:
            deadline, member = heap[0]
            if deadlines.get(member) == deadline:
                return heap[0]
            heapq.heappop(heap)
        return None

    @property
    def next_deadline(self) -> int | None:
        """No timer fires before it; None when there is none. What lies beyond the head in memory is known by the head's end."""
        top = self.next_timer()
        return top[0] if top is not None else self.horizon[0] if self.horizon is not None else None

    def due_members(self, clock: int, limit: int) -> list[bytes]:
        """Members whose timers fire up to `clock`, the first `limit` of them, in order."""
        first = self.next_timer()
        if first is None or first[0] > clock:
            return []
        popped: list[tuple[int, bytes]] = []
        due: list[bytes] = []
        while self.heap and len(due) < limit:
            top = self.next_timer()
            if top is None or top[0] > clock:
                break
            popped.append(heapq.heappop(self.heap))
            due.append(top[1])
        for item in popped:
            heapq.heappush(self.heap, item)
        return due

    def probed(self, at: int) -> None:
        """A probe came through; late or repeated ones change nothing."""
        self.state.probed = max(self.state.probed, at)

    # -------------------------------------------------------------------------------------------------------- planning

    def feed(self, records: Iterable[Record]) -> None:
        """Records that follow what was fed before; those below the position are dropped."""
        here = self.offset
        self.pending.extend(record for record in records if record.offset >= here)

    @property
    def waiting(self) -> bool:
        """There is work in memory."""
        return bool(self.pending or self.current or self.steps)

    def plan(self) -> Need:
        """Choose the next piece; returns what must be read for it."""
        if not self.stage.families:
            return self.plan_routes()
        stage, limits, objects, touched, weights = self.stage, self.limits, self.objects, self.touched, self.weights
        steps, most = self.steps, self.most
        wanted: dict[StateKey, None] = {}
        planned: dict[StateKey, None] = {}
        count = len(touched)
        size = 0
        clock = self.state.clock
        timed = self.timed
        room = self.max_steps - self.done_steps
        for kind, item in steps:  # a fold that stopped early: what it still needs
            if kind == SEGMENT:
                room -= item.stop - item.at
                for wants in item.wants[item.at - item.first :]:
                    planned.update(dict.fromkeys(wants))
                if timed:
                    clock = max(clock, max((s.t for s in item.batch.signals[item.at : item.stop] if s is not None), default=0))
        while room > 0 and count < most and size < limits.bytes and (self.current or self.pending):
            if self.current is None:
                record = self.pending.popleft()
                try:
                    batch = self.decoded(record)
                except Reject as reject:
                    steps.append((REJECT, (record, reject.reason, reject.message, reject.index or 0)))
                    steps.append((END, (record, None, None, record.timestamp)))
                    continue
                start = self.index if record.offset == self.offset else 0
                self.current = (record, batch, start)
            record, batch, i = self.current
            signals, table, reads = batch.signals, batch.table, stage.reads
            segment = Segment(record, batch, i)
            n, add = min(len(signals), i + room), segment.wants.append
            top = clock
            while i < n and count < most and size < limits.bytes:
                signal = signals[i]
                i += 1
                if signal is None:
                    add(())
                    continue
                wants = reads(signal, table)
                add(wants)
                for key in wants:
                    if key not in planned:
                        planned[key] = None
                        if key not in touched:
                            count += 1
                            size += weights.get(key, 600)
                if timed and signal.t > top:
                    top = signal.t
            clock = top
            room -= i - segment.first
            segment.stop = i
            if i > segment.first:
                steps.append((SEGMENT, segment))
            if i >= len(signals):
                steps.append((END, (record, batch.source, batch.end, batch.appended)))
                self.current = None
            else:
                self.current = (record, batch, i)
        for member in self.due_members(clock, limits.keys):
            name, _, rest = member.partition(b":")
            planned[name.decode(), rest] = None
        for key in planned:
            if key in objects:
                objects.move_to_end(key)
            else:
                wanted[key] = None
        prefixes = self.prefixes
        return Need(list(wanted), [prefix + key for family, key in wanted for prefix in prefixes[family]], [])

    def plan_routes(self) -> Need:
        """`plan` for a stage that keeps nothing: no objects to read, whole records, one step each or many."""
        stage, steps, pending = self.stage, self.steps, self.pending
        lookups: dict[int, None] = {}
        room = self.max_steps - self.done_steps - len(steps)
        while room > 0 and pending:
            record = pending.popleft()
            try:
                batch = self.decoded(record)
            except Reject as reject:
                steps.append((REJECT, (record, reject.reason, reject.message, reject.index or 0)))
                steps.append((END, (record, None, None, record.timestamp)))
                continue
            for digest in stage.lookups(batch):
                lookups[digest] = None
            steps.append((ROUTE, (record, batch.signals, batch.appended)))
            room -= len(batch.signals) or 1
        return Need([], [], list(lookups))

    def decoded(self, record: Record) -> Batch:
        """The record's batch, without what the marks drop. Raises `Reject`, and `Unreadable` for a version of the future."""
        try:
            batch = self.stage.decode(record)
        except Reject:
            raise
        except Exception as error:
            if record.topic in PACKED and (version := version_of(record.value)) not in READABLE:
                raise Unreadable(
                    f"{record.topic}/{record.partition} holds records of version {version} from offset {record.offset} on, this program "
                    f"reads {READABLE}: readers change before writers; run the newer release here"
                ) from None
            raise Reject("fold_error", f"cannot decode: {error}") from error
        if batch.source is not None:
            return self.below_marks_dropped(batch)
        if self.timed:  # written by an API or a worker, whose clocks may be anything
            latest = record.timestamp + AHEAD_MS
            for signal in batch.signals:
                if signal.t > latest:
                    signal.t = latest
        return batch

    def below_marks_dropped(self, batch: Batch) -> Batch:
        """The batch without the signals whose source positions were applied already (None in their place keeps the index)."""
        assert batch.source is not None
        assert batch.first is not None
        assert batch.end is not None
        name, mark = batch.source.name, self.planned_marks.get(batch.source.name)
        if mark is None or batch.end > mark:
            self.planned_marks[name] = batch.end
        if mark is None or batch.first >= mark:
            return batch
        base = batch.base
        kept = [s if (base + s.o, s.i, s.s) >= mark else None for s in batch.signals]
        return batch._replace(signals=kept)

    def supply(self, need: Need, values: Sequence[bytes | None]) -> None:
        """The bytes of `need.keys`, in order."""
        families, i = self.stage.families, 0
        for family, key in need.objects:
            n = len(families[family].parts)
            part = values[i : i + n]
            i += n
            self.objects[family, key] = families[family].load(key, part)
            self.weights[family, key] = weight = ENTRY + sum(len(v) for v in part if v is not None)
            alone, times = self.held[family]
            self.weight += alone + times * weight

    # --------------------------------------------------------------------------------------------------------- folding

    def fold(self) -> None:
        """Fold what was planned; stops early where a timer's object is not in memory. Raises `FoldError`."""
        steps, state = self.steps, self.state
        done = 0
        try:
            for kind, item in steps:
                if kind == SEGMENT:
                    if not self.fold_segment(item):
                        break
                elif kind == ROUTE:
                    self.fold_route(*item)
                elif kind == END:
                    record, source, end, appended = item
                    if source is not None:
                        mark = state.marks.get(source.name)
                        if mark is None or end > mark:
                            state.marks[source.name] = (end.offset, end.index, end.step)
                    if appended:
                        if self.timed and appended > state.appended:
                            state.appended = appended
                        self.folded.append(appended)
                    self.offset, self.index, self.step = record.offset + 1, 0, 0
                    self.done_steps += 1
                else:
                    self.record, reason, message, self.index = item
                    self.offset = self.record.offset
                    self.out.dead(reason, message)
                done += 1
        except FoldError:
            raise
        except Exception as error:
            raise FoldError(Position(self.offset, self.index, self.step), error) from error
        finally:
            del steps[:done]

    def fold_route(self, record: Record, signals: Sequence[Any], appended: int) -> None:
        """Fold a whole public record of a stage that keeps nothing."""
        out, fold, offset = self.out, self.stage.fold, record.offset
        if offset != self.offset:
            self.offset, self.index, self.step = offset, 0, 0
        self.record, self.appended, out.o = record, appended, offset - self.base
        if self.skips or self.condemned:
            for index in range(self.index, len(signals)):
                self.index = index
                if not self.passed_over(Position(offset, index, 0)):
                    fold(self, out, signals[index], None)
        elif len(signals) == 1 and not self.index:
            fold(self, out, signals[0], None)
        else:
            for index in range(self.index, len(signals)):
                self.index = index
                fold(self, out, signals[index], None)
        if appended:
            self.folded.append(appended)
        self.done_steps += len(signals) or 1
        self.offset, self.index = offset + 1, 0

    def fold_segment(self, segment: Segment) -> bool:
        """Fold a run of signals; False when it stopped before its end, with `segment.at` at the first that is not folded."""
        out, objects, touched, state, timed, fold = self.out, self.objects, self.touched, self.state, self.timed, self.stage.fold
        record, batch, at = segment.record, segment.batch, segment.at
        signals, table, wanted, shift = batch.signals, batch.table, segment.wants, segment.first
        offset = record.offset
        if offset != self.offset:
            self.offset, self.index, self.step = offset, at, 0
        self.record, self.appended, out.o = record, batch.appended, offset - self.base
        self.now = clock = state.clock
        watched = bool(self.skips or self.condemned)
        try:
            for at in range(segment.at, segment.stop):
                signal = signals[at]
                if signal is None:  # passed all the same: a piece of nothing but these must move the checkpoint too
                    self.index, self.step = at + 1, 0
                    continue
                if at != self.index:
                    self.index, self.step = at, 0
                if timed and (t := signal.t) > clock:
                    if t >= self.quiet_until and not self.fire_until(t):
                        return False
                    self.now = state.clock = clock = t
                if watched and self.passed_over(Position(offset, at, self.step)):
                    self.step = 0
                    self.index = at + 1
                    continue
                wants = wanted[at - shift]
                if len(wants) == 1:
                    key = wants[0]
                    loaded = touched[key] = objects[key]
                    fold(self, out, signal, table, loaded)
                else:
                    for key in wants:
                        touched[key] = objects[key]
                    fold(self, out, signal, table, *[objects[key] for key in wants])
                self.step = 0
                self.index = at + 1
        finally:
            self.done_steps += at - segment.at
            segment.at = at
        self.done_steps += 1
        segment.at = segment.stop
        return True

    def fire_until(self, clock: int) -> bool:
        """Fire what is due, in (deadline, key) order; False when an object must be read first."""
        while True:
            top = self.next_timer()
            if top is None or top[0] > clock:
                if self.horizon is not None and clock >= self.horizon[0]:
                    self.timers_short = True
                    return False
                self.look_again()
                return True
            deadline, member = top
            name, _, key = member.partition(b":")
            family = name.decode()
            loaded = self.objects.get((family, key))
            if loaded is None:
                return False
            if self.done_steps >= self.max_steps or len(self.touched) >= self.most:
                return False
            heapq.heappop(self.heap)
            del self.deadlines[member]
            self.out.timers[member] = None
            self.now = max(deadline, self.state.clock)
            self.state.clock = self.now
            position = Position(self.offset, self.index, self.step)
            if not ((self.skips or self.condemned) and self.passed_over(position)):
                self.touched[family, key] = loaded
                try:
                    self.stage.fire(self, self.out, deadline, family, key, loaded)
                except Exception as error:
                    raise FoldError(position, error) from error
            self.done_steps += 1
            self.step += 1

    def passed_over(self, position: Position) -> bool:
        """Whether the step is one that is never folded: known from the state, or condemned just now (then dead-lettered)."""
        if position in self.skips:
            return True
        message = self.condemned.pop(position, None)
        if message is None:
            return False
        self.skips.add(position)
        self.state.skips.append((position.offset, position.index, position.step))
        self.out.dead("fold_error", message, step=position.step)
        return True

    # --------------------------------------------------------------------------------------------------------- cutting

    @property
    def uncut(self) -> int:
        """Steps folded since the last cut."""
        return self.done_steps

    @property
    def full(self) -> bool:
        """The piece should be cut now, whatever the commit interval. One in which nothing was done never is: it would not move the checkpoint."""
        return self.done_steps > 0 and (self.timers_short or self.done_steps >= self.max_steps or len(self.touched) >= self.most)

    def cut(self) -> Piece:
        """Everything since the last cut, as one piece. Raises `FoldError` when an object cannot be encoded."""
        end = self.position
        families, values = self.stage.families, {}
        weights = self.weights
        try:
            for (name, key), loaded in self.touched.items():
                total = 0
                parts = self.family_parts[name]
                for part, value in families[name].dump(key, loaded).items():
                    values[parts[part] + key] = value
                    total += len(value) if value is not None else 0
                before = weights[name, key]
                if total + ENTRY > before:
                    weights[name, key] = total + ENTRY
                    self.weight += self.held[name].times * (total + ENTRY - before)
            if len(values) > len(self.touched):
                self.most = max(1, self.limits.keys * len(self.touched) // len(values))
            if self.stage.shared:
                parts = self.family_parts[self.stage.shared]
                for part, value in families[self.stage.shared].dump(b"", self.shared).items():
                    values[parts[part]] = value
            appended = min(self.folded, default=0)
            if self.stage.followed is not None:
                told, known = self.state.told, len(self.state.told)
                told |= self.out.last_told(self.stage.followed, self.base)
                if len(told) > known:  # by partition, so that the bytes do not say in which order they came
                    self.state.told = dict(sorted(told.items()))
            records = self.out.packed(self.source, self.base, end, appended)
        except Exception as error:
            raise FoldError(self.piece_first, error) from error
        self.state.settings = self.stage.settings_hash
        values[self.slot.ledger] = encode_partition(self.state)
        return Piece(
            end, records, self.checkpoint, checkpoint_bytes(self.source.log, end), values, self.out.timers, self.folded, self.done_steps
        )  # fmt: skip

    def applied(self, piece: Piece) -> None:
        """The store holds the piece."""
        self.checkpoint = piece.checkpoint
        self.piece_first = piece.end
        self.base = piece.end.offset
        self.done_steps = 0
        self.folded = []
        self.touched = {}
        self.max_steps = min(self.max_steps * 2, self.limits.steps)
        self.out.clear()
        objects, weights = self.objects, self.weights
        while self.weight > self.limits.cache_bytes and objects:
            key, _ = objects.popitem(last=False)
            alone, times = self.held[key[0]]
            self.weight -= alone + times * weights.pop(key)


def version_of(value: bytes | None) -> Any:
    """The version an internal record begins with; None when it is no record at all."""
    try:
        decoded = msgspec.msgpack.decode(value or b"")
    except msgspec.DecodeError:
        return READABLE[0]
    return decoded[0] if isinstance(decoded, list) and decoded else READABLE[0]


Send = Callable[[list[Outgoing]], Awaitable[None]]
Resolve = Callable[[Sequence[int]], Awaitable[Mapping[int, Any]]]


async def begin(part: Partition, store: Store, first: int = 0) -> bytes | None:
    """Stand where the store stands; without a checkpoint, at offset `first`. Returns the store's checkpoint."""
    while True:
        values = await store.read(part.start_keys())
        timers = await store.due(part.slot, TIMER_HEAD)
        if (await store.read([part.slot.checkpoint]))[0] == values[0]:
            break  # else the store changed in between
    at = Position(first)
    if values[0] is not None:
        from store.layout import checkpoint_from

        at = Position(*checkpoint_from(values[0])[1])
    part.begin(at, values[0], values[1:], timers)
    return values[0]


async def read(part: Partition, store: Store, keys: Sequence[bytes]) -> list[bytes | None]:
    """Values as of the partition's own checkpoint: both are read at one instant, since they share a slot.

    Raises `Conflict` when the store was put back, emptied, or written by another: what would be folded on such values would be *sent* before
    the write is refused, and the readers' marks would then drop what is right.
    """
    checkpoint, *values = await store.read([part.slot.checkpoint, *keys])
    if checkpoint != part.checkpoint:
        raise Conflict(part.slot.checkpoint.decode())
    return values


async def step(part: Partition, store: Store, resolve: Resolve | None = None) -> None:
    """Plan, read, fold: the partition moves ahead of the store. Raises `Conflict`, `FoldError`, `StoreError`."""
    if part.timers_short and not part.uncut:
        timers = await store.due(part.slot, TIMER_HEAD)
        await read(part, store, [])
        part.reload_timers(timers)
    need = part.plan()
    if need.keys:
        most = part.limits.keys  # of one read, too: a reader of the API waits behind it
        values = await read(part, store, need.keys[:most])
        for at in range(most, len(need.keys), most):
            values += await read(part, store, need.keys[at : at + most])
        part.supply(need, values)
    if need.lookups and resolve is not None:
        part.facts = await resolve(need.lookups)
    part.fold()


async def commit(part: Partition, store: Store, send: Send) -> Piece:
    """Cut, send, write: the store catches up. Raises `Conflict`, `StoreError`, whatever `send` raises."""
    piece = part.cut()
    if piece.records:
        await send(piece.records)
    if not await store.commit(part.slot, piece.expected, piece.checkpoint, piece.values, piece.timers):
        raise Conflict(part.slot.checkpoint.decode())
    part.applied(piece)
    return piece


__all__ = [
    "Conflict",
    "FoldError",
    "Limits",
    "Need",
    "Outgoing",
    "Partition",
    "Piece",
    "Unreadable",
    "begin",
    "commit",
    "partition_of",
    "step",
]
