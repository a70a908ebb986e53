"""Notes and lists stages in a loop without a broker: what one tells, the other folds; every signal is checked against the bytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np

from config import settings as configuration
from config.events import ACTIONS, PREDICTED
from config.keys import hash64, note_key
from config.records import NoteAct, NoteChange, NoteServed, Score, Signal, Tick
from store.layout import NOTE, head_from, notes_from
from streams.lists import Lists
from streams.notes import Notes

DEFAULTS = configuration.load(environ={})
START = 1_750_000_000_000
MINUTE, HOUR = 60_000, 3_600_000


class Side:
    """One stage with one partition: its objects, the bytes a store would hold of them, its timers, and what it told."""

    def __init__(self, stage: Any, check: bool = True) -> None:
        self.stage, self.check = stage, check
        self.objects: dict[tuple[str, bytes], Any] = {}
        self.store: dict[tuple[str, bytes], bytes] = {}
        self.timers: dict[tuple[str, bytes], int] = {}
        self.told: list[tuple[str, int, Signal]] = []
        self.public: list[tuple[str, bytes, bytes]] = []
        self.letters: list[tuple[str, str]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.now = self.appended = self.partition = 0
        self.facts: dict[int, Any] = {}
        self.shared = self.loaded(stage.shared, b"") if stage.shared else None

    # stage.Out
    def tell(self, topic: str, digest: int, signal: Signal, note: Any = None) -> None:
        self.told.append((topic, digest, signal))

    def everywhere(self, topic: str, signal: Signal) -> None:
        self.told.append((topic, -1, signal))

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self.public.append((topic, key, value))

    def dead(self, reason: str, message: str) -> None:
        self.letters.append((reason, message))

    def timer(self, family: str, key: bytes, deadline: int | None) -> None:
        self.timers.pop((family, key), None)
        if deadline is not None:
            self.timers[family, key] = deadline

    def count(self, type: str, outcome: str) -> None:
        self.counts[type, outcome] += 1

    # the runner's part
    def loaded(self, family: str, key: bytes) -> Any:
        values = [self.store.get((part, key)) for part in self.stage.families[family].parts]
        return self.stage.families[family].load(key, values)

    def fold(self, signal: Any, table: Any = ()) -> None:
        while due := sorted((deadline, key) for key, deadline in self.timers.items() if deadline <= max(self.now, signal.t)):
            deadline, (family, key) = due[0]
            del self.timers[family, key]
            self.now = max(self.now, deadline)
            self.stage.fire(self, self, deadline, family, key, self.get(family, key))
            self.written([(family, key)])
        self.now = max(self.now, signal.t)
        wants = self.stage.reads(signal, table)
        self.stage.fold(self, self, signal, table, *[self.get(*want) for want in wants])
        self.written(wants)

    def get(self, family: str, key: bytes) -> Any:
        if (family, key) not in self.objects:
            self.objects[family, key] = self.loaded(family, key)
        return self.objects[family, key]

    def written(self, wants: Any) -> None:
        """The changed parts go to the store; what the store then holds, loaded and written whole, is what is in memory."""
        for family, key in [*wants, *([(self.stage.shared, b"")] if self.stage.shared else [])]:
            state = self.shared if family == self.stage.shared else self.objects[family, key]
            self.put(key, self.stage.families[family].dump(key, state))
            if self.check:
                again = self.loaded(family, key)
                whole = whole_dump(self.stage.families[family], key, again)
                stored = {part: self.store[part, key] for part in self.stage.families[family].parts if (part, key) in self.store}
                assert {part: whole.get(part) for part in stored} == stored
                assert whole_dump(self.stage.families[family], key, state) == whole

    def put(self, key: bytes, values: Any) -> None:
        for part, value in values.items():
            if value is None:
                self.store.pop((part, key), None)
            else:
                self.store[part, key] = value


def whole_dump(family: Any, key: bytes, state: Any) -> dict[str, bytes | None]:
    """Every part, as if all had changed."""
    for flag in ("dirty", "facts_dirty", "moves_dirty", "bars_dirty", "tallies_dirty"):
        if hasattr(state, flag):
            setattr(state, flag, True)
    return {part: value for part, value in family.dump(key, state).items() if value is not None}


class Loop:
    """Both stages, one partition each."""

    def __init__(self, check: bool = True, **sections: dict[str, Any]) -> None:
        changed = {name: msgspec.structs.replace(getattr(DEFAULTS, name), **values) for name, values in sections.items()}
        self.settings = msgspec.structs.replace(DEFAULTS, **changed)
        self.notes, self.lists = Side(Notes(self.settings), check), Side(Lists(self.settings), check)
        self.scores: dict[str, dict[int, Score]] = {}
        """the truth: the last score told of each note in each list"""
        self.t = START
        self.changes = 0

    def say(self, signal: Any, id: str | None = "n1") -> None:
        """A signal of by-note, and all that follows from it."""
        self.notes.fold(signal, [id] if id is not None else [])
        self.settle()

    def settle(self) -> None:
        while self.notes.told or self.lists.told:
            for topic, digest, signal in self.notes.told:
                assert topic == "by-list"
                assert digest == hash64(signal.name)
                if isinstance(signal, Score):
                    held = self.scores.setdefault(signal.name, {})
                    held.pop(signal.h, None)
                    if signal.score is not None:
                        held[signal.h] = signal
                self.lists.fold(signal)
            self.notes.told = []
            for topic, digest, signal in self.lists.told:
                assert (topic, digest) == ("by-note", -1)
                self.notes.fold(signal)
            self.lists.told = []

    def change(self, id: str = "n1", deleted: bool = False, **patch: Any) -> None:
        self.changes += 1
        self.say(NoteChange(t=self.t, id=hash64(f"{id}{self.changes}"), patch=patch, deleted=deleted), id)

    def publish(self, id: str = "n1", author: str = "a1", **patch: Any) -> None:
        self.change(id, author_id=author, **patch)

    def act(self, action: str, id: str = "n1", d: int = 1, times: int = 1, rates: Any = None, step: int = 0, **fields: Any) -> None:
        e = np.array(rates, np.float16).tobytes() if rates is not None else b""
        for _ in range(times):
            self.t += step
            self.say(NoteAct(n=0, a=ACTIONS.index(action), t=self.t, d=d, e=e if action == "impression" else b"", **fields), id)

    def serve(self, id: str = "n1", d: int = 1, slot: int = 0) -> None:
        self.say(NoteServed(n=0, t=self.t, d=d, slot=slot), id)

    def pass_time(self, ms: int) -> None:
        self.t += ms
        self.say(Tick(t=self.t), None)
        self.lists.fold(Tick(t=self.t))
        self.settle()

    def record(self, id: str = "n1") -> Any:
        value = self.notes.store.get(("note", note_key(hash64(id))))
        assert value is not None
        return notes_from([value])[0][0]

    def state(self, id: str = "n1") -> Any:
        return self.notes.get("note", note_key(hash64(id))).note

    def head(self, name: str) -> list[int]:
        value = self.lists.store.get(("head", name.encode()))
        return [int(h) for h in head_from(value)["hash"]]

    def where(self, id: str = "n1") -> set[str]:
        """Lists that hold the note."""
        digest = hash64(id)
        return {key.decode() for (part, key) in self.lists.store if part == "head" and digest in self.head(key.decode())}

    def transitions(self, id: str = "n1") -> list[dict[str, Any]]:
        return [msgspec.json.decode(value) for topic, key, value in self.notes.public if topic == "transitions" and key == id.encode()]


RATES = dict.fromkeys(PREDICTED, 0.01)
AVERAGE = [0.16, 0.05, 0.006, 0.0035, 0.001, 0.0008, 0.0005, 0.0]
"""By PREDICTED: the settings' own prior rates."""
assert NOTE.itemsize == 252
