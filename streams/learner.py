"""The learner stage: one fold over examples keeps the model that feeds are ranked by.

    Shown ────► a negative of click and hide ─────────────────┐
    Engaged ──► with its slate: one step of the ranker        ├─► the model ─► head, classifiers, dense part, blocks ─► API
                its action: a positive, after its negative  ──┤
    Left ─────► nothing of that user alone stays ─────────────┘

What is learned, and how it is corrected for actions that come late, stands in `models/model.py`. The model is one object of the
partition and much of it changes, so that this stage commits every second or so. A commit writes the parts that changed, and the head
that names them all by their hashes, in one atomic step with the checkpoint: the positions that the model is true for. An example whose
features are missing, no numbers, or those of another list is dead-lettered, never learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from config import metrics
from config.events import ACTIONS, PREDICTED
from config.records import Engaged, Left, Shown, decode_example
from config.settings import Settings, digest
from models.context import Context
from models.features import FEATURE_SET
from models.model import TABLES, Head, Model, Refused, encode_head, finite, head_from, part_names
from streams.stage import Batch, Family, Held, Out, Part, Record, StateKey, Unusable, packed_batch

FAMILY = "model"
HEAD = "head"


class Learned:
    """A model in memory, and what the store holds of it."""

    __slots__ = ("dirty", "head", "model")

    def __init__(self, model: Model, head: Head | None) -> None:
        self.model, self.head = model, head
        self.dirty = False


class ModelFamily:
    """The model, one object a partition, in as many parts as the settings' items can fill."""

    name = FAMILY
    held = Held()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.parts: tuple[str, ...] = (HEAD, *part_names(settings))

    def load(self, key: bytes, values: Sequence[bytes | None]) -> Learned:
        """Raises `Unusable` when what is stored is not a model that this program can go on learning."""
        model, value = Model(self.settings), values[0]
        if value is None:
            return Learned(model, None)
        try:
            head = head_from(value)
            return Learned(model.take(head, dict(zip(self.parts, values, strict=True)), learning=True), head)
        except Refused as error:
            metrics.MODEL_REFUSED.inc()
            raise Unusable(str(error)) from None

    def dump(self, key: bytes, state: Learned) -> Mapping[str, bytes | None]:
        if not state.dirty:
            return {}
        state.dirty = False
        model, before = state.model, state.head
        head, parts = model.parts(before)
        values: dict[str, bytes | None] = {HEAD: encode_head(head), **parts}
        if before is not None:
            for names, now, then in zip(TABLES, head.tables, before.tables, strict=True):
                for i in range(len(now.blocks), len(then.blocks)):
                    values |= dict.fromkeys([f"{name}{i}" for name in names])
        state.head = head
        report(head)
        return values


class Learner:
    """The stage. Stateless but for settings."""

    name: ClassVar[str] = "learner"
    topics: ClassVar[tuple[str, ...]] = ("examples",)
    shared: ClassVar[str | None] = FAMILY
    followed: ClassVar[str | None] = None
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        Model(settings)  # a classifier that does not exist stops the start, not the first example
        self.families: Mapping[str, Family] = {FAMILY: ModelFamily(settings)}
        self.settings_hash = digest(settings.learner)

    def decode(self, record: Record) -> Batch:
        packed = decode_example(record.value or b"")
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        return ()

    def lookups(self, batch: Batch) -> Sequence[int]:
        return ()

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        kind = type(signal)
        if kind is Shown:
            wrong = self.shown(part.shared.model, signal)
        elif kind is Engaged:
            wrong = self.engaged(part.shared.model, signal)
        elif kind is Left:
            part.shared.model.left(signal.u)
            wrong = ""
        else:
            return  # a tick
        name = kind.__name__.lower()
        if wrong:
            out.dead("bad_example", wrong)
            out.count(name, "dead")
            return
        part.shared.dirty = True
        metrics.MODEL_EXAMPLES.inc()
        out.count(name, "applied")

    @staticmethod
    def shown(model: Model, signal: Shown) -> str:
        """What is wrong with the example, if anything: then nothing was learned."""
        x = finite(signal.x, 1) if signal.set == FEATURE_SET else None
        if x is None:
            return strange(signal)
        model.shown(signal.u, signal.h, x[0], signal.t)
        return ""

    @staticmethod
    def engaged(model: Model, signal: Engaged) -> str:
        x = finite(signal.x, 1) if signal.set == FEATURE_SET else None
        if x is None or not 0 <= signal.a < len(ACTIONS):
            return strange(signal)
        if signal.d <= 0:
            return ""  # what is taken back was meant when it was done
        first = signal.at >= 0
        if first:
            xs = finite(signal.xs, len(signal.hs))
            if xs is None or len(signal.w) != len(signal.hs):
                return strange(signal)
            try:
                context = Context.decode(signal.c)
                model.chose(signal.u, np.array(signal.hs, np.uint64), xs, context, signal.at, np.array(signal.w, np.float32))
            except ValueError as error:
                return f"a slate that cannot be learned from: {error}"
        model.engaged(ACTIONS[signal.a], signal.u, signal.h, x[0], signal.t, first)
        return ""

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        """Nothing here waits for a time."""


def strange(signal: Shown | Engaged) -> str:
    if signal.set != FEATURE_SET:
        return f"features {signal.set}, this program learns {FEATURE_SET}"
    return "features are missing or no numbers"


def report(head: Head) -> None:
    """How well the model does, for operators."""
    for action, tally in zip(PREDICTED, head.tallies, strict=True):
        if tally.n:
            metrics.MODEL_LOGLOSS.labels(action).set(tally.logloss)
            metrics.MODEL_CALIBRATION.labels(action).set(tally.calibration)


__all__ = ["Learner"]
