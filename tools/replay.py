"""Files of events and notes, as JSON lines, into a running system: `upwell replay FILE…`.

    files ─► entries, merged by time ─► chunks (notes ahead of the events that need them) ─► shift, ids ─► Kafka

Everything above the last arrow is pure. Replaying is idempotent: an event keeps its identity from file to file, and a replay that
moves times gives each line an `event_id` made of what it was before.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from config.keys import hash64, note_key, partition_of
from config.settings import Settings
from config.topics import full
from store import manifest as manifests
from store.base import Store, StoreError
from store.layout import decode_partition
from store.manifest import Manifest
from store.open import open_store
from tools import broker
from tools.mistake import Mistake

MAX_ARRAY = 500
MAX_RECORD = 256 * 1024
CHUNK_EVENTS = 5_000
CHUNK_MS = 600_000
"""Notes go ahead of events by so much of the stream's time at most: they move the clock that traffic pools live by."""
FAR_MS = 86_400_000
"""A file this far from the stream's clock is worth a warning."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder says of bytes that are no JSON; brackets nested too deeply are the last."""


class Item(msgspec.Struct):
    note_id: str = ""


class Head(msgspec.Struct):
    """What a replay must know of a line; everything else passes through as it stands."""

    type: str | None = None
    user_id: str = ""
    anonymous_id: str = ""
    note_id: str = ""
    event_id: str | None = None
    timestamp: int | datetime | None = None
    items: list[Item] = []
    author_id: str | None = None


class Entry(NamedTuple):
    """One event or note of a file."""

    time: int
    """merge key, epoch ms: the line's own time, or that of the line before when it has none or an earlier one"""
    place: tuple[int, int, int]
    """file, line, place in the line's array"""
    note: bool
    own: int | None
    """the line's own time"""
    key: str
    """the user (or the note), whose partition keeps its order"""
    needs: tuple[str, ...]
    """ids of notes that an event refers to; of a note, its own id"""
    body: bytes


class Chunk(NamedTuple):
    """`notes` must be known before `events` go."""

    notes: list[Entry]
    events: list[Entry]


_head = msgspec.json.Decoder(Head).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def entry(body: bytes, place: tuple[int, int, int], before: int) -> Entry:
    """What a line is. One that cannot be read is an event: intake dead-letters it with the reason."""
    try:
        head = _head(body)
    except UNREADABLE:
        return Entry(before, place, False, None, "", (), body)
    own = milliseconds(head.timestamp)
    moment = before if own is None else max(before, own)
    if head.type is None and head.note_id:
        return Entry(moment, place, True, own, head.note_id, (head.note_id,), body)
    needs: tuple[str, ...] = (head.note_id,) if head.note_id else ()
    needs += tuple(item.note_id for item in head.items)
    return Entry(moment, place, False, own, head.user_id or f"anon:{head.anonymous_id}", needs, body)


def milliseconds(moment: int | datetime | None) -> int | None:
    if isinstance(moment, datetime):
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return moment


def entries(lines: Iterable[bytes], file: int = 0) -> Iterator[Entry]:
    """All of one file, in its own order; a line that is an array is many."""
    before = -(2**62)
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            continue
        bodies: Sequence[bytes] = (line,)
        if line[:1] == b"[":
            try:
                bodies = [bytes(raw) for raw in _array(line)]
            except UNREADABLE:
                bodies = (line,)
        for index, body in enumerate(bodies):
            one = entry(body, (file, number, index), before)
            before = one.time
            yield one


def merged(files: Sequence[Iterable[bytes]]) -> Iterator[Entry]:
    """All files by time; at the same time notes first, then as the files were named. Within a file its order stays."""
    return heapq.merge(*(entries(lines, n) for n, lines in enumerate(files)), key=lambda e: (e.time, not e.note))


def chunks(ordered: Iterable[Entry], catalogue: dict[str, Entry]) -> Iterator[Chunk]:
    """Cut so that a note's first record stands in its chunk's `notes`, or an earlier chunk's, when an event needs it.

    `catalogue` holds the first record of every note in the files; one that an event needs before its time comes is sent ahead.
    """
    sent: set[str] = set()
    ahead: set[tuple[int, int, int]] = set()
    chunk, began = Chunk([], []), 0
    for one in ordered:
        if chunk.events and (len(chunk.events) >= CHUNK_EVENTS or one.time - began > CHUNK_MS):
            yield chunk
            chunk = Chunk([], [])
        if not chunk.events:
            began = one.time
        if one.note:
            if one.place not in ahead:
                sent.update(one.needs)
                chunk.notes.append(one)
            continue
        for note_id in one.needs:
            first = catalogue.get(note_id)
            if note_id not in sent and first is not None:
                sent.add(note_id)
                ahead.add(first.place)
                chunk.notes.append(first)
        chunk.events.append(one)
    if chunk.notes or chunk.events:
        yield chunk


class Survey(NamedTuple):
    """What a first reading of the files finds."""

    events: int
    notes: int
    first: int | None
    last: int | None
    catalogue: dict[str, Entry]


def survey(ordered: Iterable[Entry]) -> Survey:
    events = notes = 0
    first: int | None = None
    last: int | None = None
    catalogue: dict[str, Entry] = {}
    for one in ordered:
        if one.note:
            notes += 1
            catalogue.setdefault(one.key, one)
        else:
            events += 1
        if one.own is not None:
            first = one.own if first is None else min(first, one.own)
            last = one.own if last is None else max(last, one.own)
    return Survey(events, notes, first, last, catalogue)


def body_of(one: Entry, shift_ms: int) -> bytes:
    """The bytes to send. As they stand when nothing moves; else with times moved and an id that a repeat gives again."""
    stamped = one.own is not None
    if stamped and not shift_ms:
        return one.body
    try:
        values: dict[str, Any] = msgspec.json.decode(one.body)
    except UNREADABLE:
        return one.body
    if not isinstance(values, dict) or not one.key:
        return one.body
    if not values.get("event_id"):
        what = one.body if stamped else b"%d:%d:" % one.place[1:] + one.body
        values["event_id"] = f"replay-{hash64(what):016x}"
    for name in ("timestamp", "sent_at"):
        if shift_ms and values.get(name) is not None:
            moment = milliseconds(msgspec.convert(values[name], int | datetime))
            assert moment is not None
            values[name] = moment + shift_ms
    return msgspec.json.encode(values)


def arrays(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """Bodies as records of up to 500; what is no JSON object goes alone, so that it spoils no other."""
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if not whole(body):
            if batch:
                yield packed(batch)
                batch, size = [], 0
            yield body
            continue
        if batch and (len(batch) == MAX_ARRAY or size + len(body) > MAX_RECORD):
            yield packed(batch)
            batch, size = [], 0
        batch.append(body)
        size += len(body) + 1
    if batch:
        yield packed(batch)


def packed(batch: list[bytes]) -> bytes:
    return batch[0] if len(batch) == 1 else b"[" + b",".join(batch) + b"]"


def whole(body: bytes) -> bool:
    """Whether it is one JSON object."""
    try:
        _head(body)
    except msgspec.ValidationError:
        return body[:1] == b"{"
    except UNREADABLE:
        return False
    return True


def spread(bodies: Iterable[tuple[str, bytes]], partitions: int) -> Iterator[tuple[int, bytes]]:
    """(partition, record): everything of one key goes to one partition, in order."""
    lanes: dict[int, list[bytes]] = {}
    for key, body in bodies:
        lanes.setdefault(partition_of(hash64(key), partitions), []).append(body)
    for partition, lane in lanes.items():
        for record in arrays(lane):
            yield partition, record


# ------------------------------------------------------------------------------------------------------------- the shell


class Pace(NamedTuple):
    """How fast: `speed` None is as fast as it goes; 1 is as it happened."""

    speed: float | None
    began: float
    first: int

    def wait_for(self, moment: int) -> float:
        """Seconds until `moment` is due."""
        if self.speed is None:
            return 0.0
        return self.began + (moment - self.first) / 1000 / self.speed - time.time()


class Replay:
    """One run over the files.

    Parameters
    ----------
    files
        paths of JSON lines
    speed
        None: as fast as it goes
    to_now
        move all times by one step: at full speed so that the last is now, with a speed so that the first is now
    """

    def __init__(self, settings: Settings, files: Sequence[Path], speed: float | None = None, to_now: bool = False) -> None:
        self.settings, self.files, self.speed, self.to_now = settings, files, speed, to_now
        self.found = survey(merged([read(path) for path in files]))
        self.waits = True
        now = int(time.time() * 1000)
        reference = self.found.last if speed is None else self.found.first
        self.shift_ms = now - reference if to_now and reference is not None else 0

    async def clock_warning(self) -> str | None:
        """A sentence when the file is far from the stream's clock."""
        if self.found.first is None or self.found.last is None:
            return None
        store = open_store(self.settings)
        try:
            clock = await stream_clock(store, self.settings.kafka.prefix)
        finally:
            await store.close()
        return warning(self.found.first + self.shift_ms, self.found.last + self.shift_ms, clock, int(time.time() * 1000))

    async def run(self, told: Callable[[int], None], say: Callable[[str], None]) -> tuple[int, int]:
        """Sends everything; `told` hears of progress in lines, `say` of trouble. Returns (events, notes) sent."""
        store = open_store(self.settings)
        kafka = self.settings.kafka
        events = notes = 0
        try:
            manifest = await known(store, kafka.prefix)
            counts = broker.counts(kafka, ["events", "notes"])
            with broker.producer(kafka) as producer:

                def send(name: str, batch: Sequence[Entry]) -> None:
                    bodies = ((one.key, body_of(one, self.shift_ms)) for one in batch)
                    futures = [
                        producer.send(full(kafka.prefix, name), value=record, partition=partition)
                        for partition, record in spread(bodies, counts[name])
                    ]
                    producer.flush(timeout=60)
                    for future in futures:
                        future.get(timeout=60)

                pace = Pace(self.speed, time.time(), self.found.first or 0)
                for chunk in chunks(merged([read(path) for path in self.files]), self.found.catalogue):
                    if chunk.notes:
                        send("notes", chunk.notes)
                        notes += len(chunk.notes)
                        told(len(chunk.notes))
                        if chunk.events and self.waits:
                            await self.until_known(store, manifest, chunk, say)
                    for due in paced(chunk.events, pace):
                        wait = pace.wait_for(due[0].time)
                        if wait > 0:
                            await asyncio.sleep(wait)
                        send("events", due)
                        events += len(due)
                        told(len(due))
        finally:
            await store.close()
        return events, notes

    async def until_known(self, store: Store, manifest: Manifest | None, chunk: Chunk, say: Callable[[str], None]) -> None:
        """Waits until the facts of the chunk's notes are in the store, so that its events find them."""
        if manifest is None:
            self.waits = False
            say("the store knows no such system yet (is `upwell worker` running?): events do not wait for their notes")
            return
        keys = [facts_key(manifest, one.key) for one in chunk.notes if self.found.catalogue.get(one.key) is one]
        deadline = time.monotonic() + 15
        while keys:
            try:
                values = await store.read(keys)
            except StoreError as error:
                self.waits = False
                say(f"the store does not answer ({error}): events do not wait for their notes")
                return
            keys = [key for key, value in zip(keys, values, strict=True) if value is None]
            if keys and time.monotonic() > deadline:
                self.waits = False
                say(
                    f"{len(keys)} notes are not known after 15 s (is `upwell worker` running? see `upwell dead list`): not waiting any more"
                )
                return
            if keys:
                await asyncio.sleep(0.003)


def paced(events: Sequence[Entry], pace: Pace) -> Iterator[list[Entry]]:
    """All at once at full speed; else what falls due within 20 ms together."""
    if pace.speed is None:
        if events:
            yield list(events)
        return
    step = 20 * pace.speed
    batch: list[Entry] = []
    for one in events:
        if batch and one.time - batch[0].time > step:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


def facts_key(manifest: Manifest, note_id: str) -> bytes:
    digest = hash64(note_id)
    return manifest.slot("notes", digest).key("facts", note_key(digest))


async def known(store: Store, prefix: str) -> Manifest | None:
    try:
        return await manifests.load(store, prefix)
    except StoreError:
        return None


async def stream_clock(store: Store, prefix: str) -> int | None:
    """The highest clock of the users stage's partitions; None for a system without events (or a store that is away)."""
    try:
        manifest = await manifests.load(store, prefix)
        if manifest is None:
            return None
        values = await store.read([manifest.at("users", p).ledger for p in range(manifest.count("users"))])
    except StoreError:
        return None
    return max((decode_partition(value).clock for value in values if value is not None), default=0) or None


def warning(first: int, last: int, clock: int | None, now: int) -> str | None:
    """Pure: what is odd about a file from `first` to `last`, seen by a stream whose clock is `clock`."""
    if last > now + FAR_MS:
        return f"the file ends at {shown(last)}, more than a day ahead of now: what lies further ahead is refused (future_timestamp)"
    if clock is None:
        return None
    if last < clock - FAR_MS:
        return (
            f"the file ends at {shown(last)}, the stream's clock stands at {shown(clock)}: its events count, but windows have passed and "
            "interests have faded; --shift-to now moves it to the present"
        )
    if first > clock + FAR_MS:
        return f"the file begins at {shown(first)}, the stream's clock stands at {shown(clock)}: it will jump, and every open window ends"
    return None


def shown(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def read(path: Path) -> Iterator[bytes]:
    """The lines of a file; ``-`` would have to be read twice, so it is none."""
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise Mistake(f"cannot read {path}: {error.strerror}") from None
