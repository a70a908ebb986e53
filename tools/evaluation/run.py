"""One pass over a log: test, then learn, one event after the other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from config.keys import hash64
from tools.evaluation.log import Line, engagements
from tools.evaluation.system import HITS, System, standing

PROGRESS_S = 0.5


class Test(NamedTuple):
    """One tested engagement."""

    at: int
    history: int
    """earlier engagements of the user"""
    gap: int
    """ms since the user's last event, -1 without one"""
    rank: float
    """of the note among all candidates, from 0; inf where it was none of them, or nobody had engaged with it"""
    served: bool
    """among the ten that the feed would show"""
    known: bool
    """somebody had engaged with the note"""
    like: float
    """expected likes per exposure"""
    liked: bool
    ms: float


Progress = Callable[[int, int, "list[Test]"], None]


class Run:
    """One pass over a log."""

    def __init__(self, system: System, warmup: int, progress: Progress | None = None) -> None:
        self.system, self.warmup, self.progress = system, warmup, progress
        self.tests: list[Test] = []
        self.known: set[str] = set()
        self.shown: set[int] = set()
        self.taken: set[str] = set()
        """notes that somebody engaged with"""
        self.history: defaultdict[str, int] = defaultdict(int)
        self.last: dict[str, int] = {}
        self.events = 0
        self.seconds = 0.0

    async def over(self, log: Sequence[Line]) -> None:
        """Tests, then learns, every event; the first `warmup` engagements are only learned from."""
        begun, shown_at = time.perf_counter(), 0.0
        system, (due, engaged) = self.system, engagements(log)
        counted = {i: pair for pair, i in engaged.items()}
        await system.begin()
        done = 0
        for i, one in enumerate(log):
            liked = due.get(i)
            if liked is not None:
                await system.pump()
                tested = await self.test(one, liked, done >= self.warmup)
                if done >= self.warmup:
                    self.tests.append(tested)
            system.append(one)
            if one.note:
                self.known.add(one.note_id)
                await system.pump()
                continue
            self.events += 1
            self.last[one.user] = one.at
            if i in counted:
                self.taken.add(one.note_id)
                self.history[one.user] += 1
                done += 1
            if self.progress is not None and time.perf_counter() - shown_at > PROGRESS_S:
                shown_at = time.perf_counter()
                self.progress(i, len(log), self.tests)
        await system.pump()
        self.seconds = time.perf_counter() - begun

    async def test(self, one: Line, liked: bool, testing: bool) -> Test:
        system, note = self.system, hash64(one.note_id)
        begun = time.perf_counter()
        page = await system.ask(one.user, one.at)
        ms = (time.perf_counter() - begun) * 1000.0
        row, rank = standing(page, note)
        # A log knows a note from its first event on. One published for that event would be told by its age: it is a miss, and teaches nothing.
        known = one.note_id in self.taken
        if known:
            system.shadow(page)
        else:
            rank = float("inf")
        if page.scored is not None and testing:
            best = np.argsort(-page.scored.score, kind="stable")[:HITS]
            self.shown.update(page.candidates.hashes[best].tolist())
        served = known and any(int(page.candidates.hashes[placed.row]) == note for placed in page.placed)
        like = await system.expected(page, note, row)
        gap = one.at - self.last[one.user] if one.user in self.last else -1
        return Test(one.at, self.history[one.user], gap, rank, served, known, like, liked, ms)
