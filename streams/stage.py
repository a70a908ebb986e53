"""What a stage is: a pure fold over one log. What it reads, writes and tells on are data; `fold.py` runs it, `engine.py` feeds it.

    record ──decode──► Batch(signals) ──reads──► (family, key) … ──fold──► states change, Out fills

A stage file knows no Redis, no Kafka, no clock: `part.now` is the partition's clock (epoch ms, the highest effective time seen).

A *family* is one kind of state object: which parts (store keys) it is made of, and how bytes become an object and back. The runner
loads the objects that `reads` names, hands them to `fold` in that order, and writes the parts that `dump` returns for every
object that was handed out. Invariants, tested for every stage: ``load(dump(state))`` equals ``state`` after every signal; nothing
depends on where a frame was cut; no iteration over sets; ties break by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec

from config.records import Packed, Position, Probe, Signal, Source

StateKey = tuple[str, bytes]
"""(family, key)"""


class Record(NamedTuple):
    """A record of a log, as the engine hands it on."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """append time, epoch ms: the broker's stamp, or the reading time where the broker does not stamp"""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Batch(NamedTuple):
    """A decoded record."""

    signals: Sequence[Any]
    """in order; the place of each is its index in the position. Each has `t` (effective time in ms; None moves no clock)"""
    source: Source | None = None
    first: Position | None = None
    end: Position | None = None
    base: int = 0
    appended: int = 0
    """append time of the public record, epoch ms; 0: of no matter"""
    table: Any = None
    """the record's table of notes, handed to `reads` and `fold`"""


class Held(NamedTuple):
    """Bytes of an object in memory, as far as the size of its parts tells."""

    alone: int = 0
    """beside its parts"""
    times: int = 1
    """for each byte of them"""


class Family(Protocol):
    """One kind of state object of a stage."""

    name: str
    parts: tuple[str, ...]
    """kinds of store keys: the object lives in ``{slot}:<part>:<key>`` for each"""
    held: Held
    """what an object takes in memory"""

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Any:
        """The object from its parts' bytes, in the order of `parts`; all None: a new one."""

    def dump(self, key: bytes, state: Any) -> Mapping[str, bytes | None]:
        """Changed parts only (None deletes the key), and marks the object clean."""


class Out(Protocol):
    """What a fold tells on. Every call is stamped with the current position and sent before the checkpoint moves."""

    def tell(self, topic: str, digest: int, signal: Signal, note: Any = None) -> None:
        """`signal` to the partition of `digest` in internal topic `topic` (short name: "by-note").

        `note` (an id, or `Facts` for by-user) is put into the packed record's table once, and the signal's `n` set to its index.
        """

    def spread(self, topic: str, digests: Sequence[int], signal: Any) -> None:
        """A copy of `signal` to each partition of `topic` that owns one of `digests`; bit i of its `m` is set where it owns number i."""

    def everywhere(self, topic: str, signal: Signal) -> None:
        """A copy of `signal` to every partition of `topic`."""

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        """A record of its own to a public topic ("transitions")."""

    def dead(self, reason: str, message: str, index: int | None = None) -> None:
        """The record (or the place in it) under work goes to `dead`, with its original bytes.

        `index` is the place in the record's array, where that is not the index of the position.
        """

    def timer(self, family: str, key: bytes, deadline: int | None) -> None:
        """Sets, moves or clears the one timer of (family, key); fires when the clock reaches `deadline` (ms)."""

    def count(self, type: str, outcome: str) -> None:
        """`upwell_events_total{stage, type, outcome}`; metrics never are part of the state."""


class Part(Protocol):
    """The partition that is folded."""

    now: int
    """the clock, epoch ms"""
    appended: int
    """append time of the record under work, epoch ms"""
    partition: int
    shared: Any
    """the object of the stage's `shared` family (for example the bars last seen); None without one"""
    facts: Mapping[int, Any]
    """note hash -> `Facts`, for stages whose `lookups` asked"""

    def probed(self, at: int) -> None:
        """A probe that was sent at `at` (epoch ms) came through."""


class Stage(Protocol):
    name: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    """short names of the input topics; one, but for intake"""
    families: Mapping[str, Family]
    shared: ClassVar[str | None]
    """the family of the one partition-wide object (key b""), loaded at assignment and handed to folds as `part.shared`"""
    timed: ClassVar[bool]
    """keeps a clock (all but intake, whose reading times no replay could repeat)"""
    followed: ClassVar[str | None]
    """the topic whose reader waits for what this stage has told it: the last step that told each of its partitions anything is kept"""
    settings_hash: str
    """of the settings that shape the fold"""

    def decode(self, record: Record) -> Batch:
        """Raises `Reject` when the record cannot be read at all."""

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        """The objects that `fold` needs, in its order."""

    def lookups(self, batch: Batch) -> Sequence[int]:
        """Note hashes whose facts the fold needs (intake only; otherwise empty)."""

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None: ...

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        """The timer of (family, key) passed; it is already cleared."""


class Reject(Exception):
    """A record (or the place `index` in it) that cannot be processed: dead-lettered with a reason code."""

    def __init__(self, reason: str, message: str, index: int | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message, self.index = reason, message, index


class Unusable(Exception):
    """A stage's own state that this program cannot go on with: its partition waits for a rebuild, which brings another generation, and nothing
    else waits with it."""


def packed_batch(packed: Packed, notes: Any, signals: Sequence[Signal]) -> Batch:
    """The batch of an internal record. One that holds nothing but probes has no append time: they must not make a quiet log look live."""
    probes = bool(signals) and type(signals[0]) is Probe and all(type(signal) is Probe for signal in signals)
    appended = 0 if probes else packed.appended
    return Batch(signals, packed.source, Position(*packed.first), Position(*packed.end), packed.base, appended, notes)


__all__ = ["Batch", "Family", "Held", "Out", "Part", "Record", "Reject", "Stage", "StateKey", "msgspec", "packed_batch"]
