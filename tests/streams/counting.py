"""Three tiny stages with the real ones' names and topics, to try the runner on: they count, tell on, and set timers.

`python -m tests.streams.counting` runs them as a worker process.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import orjson

from config.keys import hash64
from config.records import Act, Facts, NoteAct, decode_note, decode_user
from streams.stage import Batch, Held, Record, Reject, packed_batch

QUIET_MS = 1_000


class Count(msgspec.Struct, array_like=True):
    n: int = 0
    quiet: int = 0
    last: int = 0


class CountFamily:
    """One counter per key."""

    name = "count"
    parts = ("n",)
    held = Held()

    def load(self, key: bytes, values: Any) -> Count:
        return Count() if values[0] is None else msgspec.msgpack.decode(values[0], type=Count)

    def dump(self, key: bytes, state: Count) -> dict[str, bytes | None]:
        return {"n": msgspec.msgpack.encode(state)}


class Base:
    families: ClassVar[dict[str, Any]] = {"count": CountFamily()}
    shared = None
    timed = True
    followed = None
    settings_hash = "test"

    def __init__(self, settings: Any = None) -> None: ...

    def lookups(self, batch: Batch) -> list[int]:
        return []

    def reads(self, signal: Any, table: Any) -> tuple[tuple[str, bytes], ...]:
        return ()

    def fire(self, part: Any, out: Any, deadline: int, family: str, key: bytes, state: Count) -> None: ...


class Intake(Base):
    name = "intake"
    topics = ("events", "notes")
    timed = False

    def decode(self, record: Record) -> Batch:
        try:
            events = orjson.loads(record.value or b"")
            acts = [Act(u=e["user"], t=e["t"], id=e.get("id", 0), r=e["note"]) for e in (events if isinstance(events, list) else [events])]
        except (ValueError, KeyError, TypeError) as error:
            raise Reject("not_json", str(error)) from None
        return Batch(acts, appended=record.timestamp)

    def fold(self, part: Any, out: Any, signal: Act, table: Any) -> None:
        out.tell("by-user", hash64(signal.u), signal, Facts(signal.r))


class Users(Base):
    name = "users"
    followed = "by-note"
    topics = ("by-user",)

    def decode(self, record: Record) -> Batch:
        packed = decode_user(record.value)
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[tuple[str, bytes], ...]:
        return (("count", signal.u.encode()),) if isinstance(signal, Act) else ()

    def fold(self, part: Any, out: Any, signal: Any, table: Any, *states: Any) -> None:
        if not states:
            return
        if signal.u == "poison":
            raise RuntimeError("poison")
        (state,) = states
        state.n += 1
        state.last = part.now
        note = table[signal.n].id
        out.tell("by-note", hash64(note), NoteAct(t=part.now), note)
        out.timer("count", signal.u.encode(), part.now + QUIET_MS)
        out.count("act", "applied")

    def fire(self, part: Any, out: Any, deadline: int, family: str, key: bytes, state: Count) -> None:
        state.quiet += 1
        out.tell("by-note", hash64("quiet"), NoteAct(t=deadline), "quiet")


class Notes(Base):
    name = "notes"
    topics = ("by-note",)

    def decode(self, record: Record) -> Batch:
        packed = decode_note(record.value)
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[tuple[str, bytes], ...]:
        return (("count", table[signal.n].encode()),) if isinstance(signal, NoteAct) else ()

    def fold(self, part: Any, out: Any, signal: Any, table: Any, *states: Any) -> None:
        for state in states:
            state.n += 1


CLASSES = {"intake": Intake, "users": Users, "notes": Notes}

if __name__ == "__main__":
    from config.settings import load
    from streams import engine

    engine.CLASSES = {name: f"tests.streams.counting:{cls.__name__}" for name, cls in CLASSES.items()}
    engine.run(load(), list(CLASSES))
