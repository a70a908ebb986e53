"""What this process has served and the state does not show yet, so that quotas are not overshot while the state is behind.

A served note stands in its record (`served`) only after the slate has passed `by-user`, the users stage, `by-note` and the notes stage.
Until then each API process counts its own servings, note by note. A serving ends being counted when the partition of the note has applied
what the user's partition told from the slate's offset on: its marks say so exactly, at whatever speed the stages run, and whoever was killed.
A process knows nothing of the others' servings, so of places given to pools it may hold only a share of a quota (`feed.pool_ahead`): with P
processes

    overshoot <= (P - 1) x share x quota          whatever the delay, since a process stops at `left in the state - its own`.

What a note earns by its rank counts as its own serving too, but not towards that share: nobody gave it.

    decided ──► held ──► acknowledged at an offset ──► in the state ──► forgotten
                  │ no slate was handed over: never shown
                  └─► not acknowledged: shown perhaps; counted for the life of a slate
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config.settings import Settings
from config.topics import full
from serving.clock import partition_state
from serving.producer import Ack
from serving.stages import Hashes

Notes = Sequence[tuple[int, bool]]
"""Hashes of notes, and whether each stands in a place reserved for pools"""


class Serving(NamedTuple):
    """A slate's notes that run in pools and lie in one partition of the notes stage."""

    at: float
    """wall clock, s"""
    offset: int
    """of the slate in its partition of by-user; NOWHERE when it was not acknowledged"""
    notes: Notes


NOWHERE = -1


class Underway:
    """Own servings by note. `now` is the wall's clock in seconds everywhere.

    Parameters
    ----------
    settings
        `feed.pool_stale_s`: a partition that has not applied a serving after so long is stalled. `feed.timeout_s`: a feed that is being
        decided may have read records so long ago, so that what the state shows is counted for so long still. `users.slate_minutes`: by then
        the users stage has settled a slate.
    """

    def __init__(self, settings: Settings) -> None:
        self.stale_s, self.read_s = settings.feed.pool_stale_s, settings.feed.timeout_s
        self.life_s = settings.users.slate_minutes * 60.0
        self.unknown_s = 2.0 * (settings.feed.timeout_s + settings.api.produce_timeout_s)
        self.topic = f"/{full(settings.kafka.prefix, 'by-user')}"
        self.counts: Counter[int] = Counter()
        self.given: Counter[int] = Counter()
        """of them in places reserved for pools"""
        self.held: dict[int, tuple[float, Notes]] = {}
        """by the seed of the request: decided, not acknowledged yet"""
        self.waiting: dict[tuple[int, int], list[Serving]] = {}
        """by partitions of by-user and of the notes stage"""
        self.shown: list[tuple[float, Notes]] = []
        """in the state since"""
        self.partitions = 1
        self.stalled: frozenset[int] = frozenset()
        """partitions of the notes stage whose state is too old to give anything by it"""

    # ------------------------------------------------------------------------------------------------------------- serving

    def own(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Servings of each note that the state may not show: in all, and in places reserved for pools. [2, n]"""
        own = np.zeros((2, hashes.size), np.int64)
        if self.counts:
            listed, none = hashes.tolist(), repeat(0)
            own[0] = np.fromiter(map(self.counts.get, listed, none), np.int64, len(listed))
            own[1] = np.fromiter(map(self.given.get, listed, none), np.int64, len(listed))
        return own

    def stands(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Notes whose partition is not stalled."""
        if not self.stalled:
            return np.ones(hashes.size, np.bool_)
        return ~np.isin(hashes % np.uint64(self.partitions), np.array(sorted(self.stalled), np.uint64))

    def hold(self, seed: int, notes: Notes, now: float) -> None:
        """A feed was decided: from now on its notes count."""
        if notes:
            self.held[seed] = now, notes
            self.counts.update([h for h, _ in notes])
            self.given.update([h for h, pooled in notes if pooled])

    def release(self, seed: int) -> None:
        """The feed is not shown, or is decided again."""
        self.forget(self.held.pop(seed, (0.0, ()))[1])

    def handed(self, seed: int) -> Callable[[Ack | None], None]:
        """The slate leaves; what is returned is to be called with its acknowledgement, or None without one."""

        def acknowledged(ack: Ack | None) -> None:
            at, notes = self.held.pop(seed, (0.0, ()))
            if not notes:
                return
            offset, source = (NOWHERE, NOWHERE) if ack is None else (ack.offset, ack.partition)
            by_partition: dict[int, list[tuple[int, bool]]] = {}
            for note in notes:
                by_partition.setdefault(note[0] % self.partitions, []).append(note)
            for partition, theirs in by_partition.items():
                self.waiting.setdefault((source, partition), []).append(Serving(at, offset, theirs))

        return acknowledged

    # --------------------------------------------------------------------------------------------------------------- state

    def saw(self, ledgers: Sequence[bytes | None], now: float) -> None:
        """What the partitions of the notes stage have applied, in their order: what it contains is soon not counted any more."""
        known = [one for one in self.shown if now - one[0] >= self.read_s]
        self.shown = [one for one in self.shown if now - one[0] < self.read_s]
        for _, notes in known:
            self.forget(notes)
        self.partitions = max(1, len(ledgers))
        applied = [self.applied(value) for value in ledgers]
        stalled = set()
        for (source, partition), servings in self.waiting.items():
            reached = applied[partition].get(source, 0) if partition < len(applied) else 0
            left = []
            for serving in servings:
                if NOWHERE < serving.offset < reached:
                    self.shown.append((now, serving.notes))
                elif now - serving.at > self.life_s:
                    self.forget(serving.notes)
                else:
                    left.append(serving)
                    if serving.offset != NOWHERE and now - serving.at > self.stale_s:
                        stalled.add(partition)
            servings[:] = left
        self.stalled = frozenset(stalled)
        for seed in [seed for seed, (at, _) in self.held.items() if now - at > self.unknown_s]:
            self.release(seed)

    def applied(self, ledger: bytes | None) -> dict[int, int]:
        """The end of what a partition of the notes stage has applied, by partition of by-user; of two logs of that name the later one."""
        state, reached = partition_state(ledger), dict[int, int]()
        for name, mark in state.marks.items() if state is not None else ():
            log, _, source = name.rpartition("/")
            if log.endswith(self.topic):
                reached[int(source)] = max(mark[0], reached.get(int(source), 0))
        return reached

    def forget(self, notes: Notes) -> None:
        for h, pooled in notes:
            less(self.counts, h)
            if pooled:
                less(self.given, h)


def less(counts: Counter[int], h: int) -> None:
    """One less; what is zero is not there, so that counters stay as small as what is under way."""
    if counts[h] > 1:
        counts[h] -= 1
    else:
        del counts[h]
