"""How far a stage stands behind its log, from checkpoints in the store and what is known of the log. Pure; whoever measures hands things in.

Lag in seconds is the age of the oldest record that is not applied. A log tells where it ends, not when: so its end is looked at once a second
and a `Trail` remembers when it was first seen at which offset. What lies further back than the trail has to be read from the log, once.
"""

from __future__ import annotations

import importlib.util
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from config.keys import Slot
from config.topics import STAGES, full, group
from store.layout import checkpoint_from, decode_partition
from store.manifest import Manifest

POINTS = 512
"""Of one trail; beyond that every second one leaves: an old backlog is dated more coarsely."""


def stages() -> list[str]:
    """Stages that this version has. Found without `streams.engine`, which would bring all of Faust along."""
    return [name for name in STAGES if importlib.util.find_spec(f"streams.{name}") is not None]


def slot_stage(stage: str, topic: str) -> str:
    """Intake has two input topics, so two checkpoints per partition: its slots name the topic too."""
    return f"{stage}.{topic}" if len(STAGES[stage]) > 1 else stage


class Input(NamedTuple):
    """One partition of one input topic of a stage."""

    stage: str
    topic: str
    """short name"""
    partition: int
    slot: Slot

    @property
    def labels(self) -> tuple[str, str, str]:
        """Of the metrics: group, topic, partition."""
        prefix = self.slot.prefix
        return group(prefix, self.stage), full(prefix, self.topic), str(self.partition)


def inputs(manifest: Manifest) -> Iterator[Input]:
    """Everything that stages of this version read, in their order."""
    for stage in stages():
        for topic in STAGES[stage]:
            for partition in range(manifest.partitions[topic]):
                yield Input(stage, topic, partition, manifest.at(slot_stage(stage, topic), partition))


class Standing(NamedTuple):
    """What the store says of one input."""

    offset: int | None
    """of the checkpoint; None without one"""
    clock: int = 0
    """epoch ms; 0 for a stage that keeps none"""
    probed: int = 0
    """sending time of the newest probe applied, epoch ms"""


def standing(checkpoint: bytes | None, ledger: bytes | None) -> Standing:
    """From the values of a slot's two keys."""
    if checkpoint is None:
        return Standing(None)
    offset = checkpoint_from(checkpoint)[1][0]
    if ledger is None:
        return Standing(offset)
    state = decode_partition(ledger)
    return Standing(offset, state.clock, state.probed)


class Trail:
    """When the log of one partition was seen to end where.

    A record's age counts from when it was first seen: up to one look too young, never too old. What was read from the log itself (`knows`) is exact.
    """

    def __init__(self) -> None:
        self.end = -1
        """-1 before the first look"""
        self.offsets: list[int] = []
        self.times: list[float] = []
        """epoch seconds; records from `offsets[i]` on, up to the next one, were first seen then"""
        self.read: tuple[int, float] | None = None
        """offset and append time of one record that was read from the log"""

    def saw(self, end: int, now: float) -> None:
        """The log ends at `end`, `now`. A smaller end than before says nothing: some brokers tell it short."""
        if self.end < 0:
            self.end = end
        elif end > self.end:
            self.offsets.append(self.end)
            self.times.append(now)
            self.end = end
            if len(self.offsets) > POINTS:
                del self.offsets[1:-1:2], self.times[1:-1:2]

    def knows(self, offset: int, appended: float) -> None:
        """The record at `offset` was read: it was appended then."""
        self.read = (offset, appended)

    def applied(self, offset: int) -> None:
        """Nobody will ask for what lies below `offset`."""
        gone = bisect_right(self.offsets, offset) - 1
        if gone > 0:
            del self.offsets[:gone], self.times[:gone]

    def age(self, offset: int, now: float) -> float | None:
        """Age in seconds of the record at `offset`; 0 at the end, None when it has to be read from the log."""
        if offset >= self.end:
            return 0.0
        if self.read is not None and self.read[0] == offset:
            return max(0.0, now - self.read[1])
        place = bisect_right(self.offsets, offset) - 1
        return None if place < 0 else max(0.0, now - self.times[place])

    def oldest(self, offset: int, now: float) -> float:
        """As `age`; what is not known is at least as young as what was read before it, and at least as old as what was seen after it."""
        age = self.age(offset, now)
        if age is not None:
            return age
        if self.read is not None and self.read[0] <= offset:
            return max(0.0, now - self.read[1])
        return max(0.0, now - self.times[0]) if self.times else 0.0
