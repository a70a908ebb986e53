"""The system that is asked: stages and feed in this process, as production runs them, on lists and a memory store."""

from __future__ import annotations

from typing import Any

import numpy as np

from config.events import PREDICTED
from config.keys import hash64
from config.settings import Settings
from serving.build import build
from serving.clock import StreamClock
from serving.feed import Feed, Pipeline
from serving.model import Models
from serving.slate import logged, shadow_of
from serving.snapshot import Snapshot
from serving.stages import Page, Query
from store.layout import notes_from
from streams.local import Local
from tools.evaluation.log import Line
from tools.mistake import Mistake

HITS = 10
"""Notes of a page; a note that stands among the first so many is a hit."""
LIKE = PREDICTED.index("like")
SHADOW = 200
"""Candidates of a slate that nobody saw."""
LATE = {"neighbours": 8, "learner": 8}
"""Records that the slow stages wait for, as in production they wait for their second to pass."""


class System:
    """The whole system in this process: stages on lists and a memory store, and the feed's pipelines."""

    def __init__(self, settings: Settings, surface: str, pipelines: Any = None) -> None:
        self.settings, self.surface = settings, surface
        self.local = Local(settings, late=LATE, keep=False)
        self.clock = StreamClock(lambda: self.local.now / 1000.0, settings.engine.tick_lag_s)
        self.snapshot = Snapshot(self.local.store, settings, self.clock)
        self.pipelines = pipelines or build
        self.pipeline: Pipeline = self.pipelines(settings, None, "")[surface]
        self.models = Models(settings)
        self.feed = Feed(self.local.store, self.snapshot, self.clock, settings)
        self.asked = 0

    async def begin(self) -> None:
        await self.local.pump()
        await self.snapshot.refresh()

    def append(self, one: Line) -> None:
        self.local.now = max(self.local.now, one.at)
        self.local.append("notes" if one.note else "events", one.body)

    async def pump(self) -> None:
        await self.local.pump()
        if await self.models.refresh(self.local.store, self.local.manifest.at("learner", 0)):
            self.pipeline = self.pipelines(self.settings, self.models.model, self.models.version)[self.surface]

    def shadow(self, page: Page) -> None:
        """What was asked for and shown to nobody, to be learned from in the same way as what is shown."""
        if page.scored is not None:
            now = self.local.now
            self.local.append("by-user", logged(page, shadow_of(page, SHADOW), now, now), page.query.user_id.encode())

    async def ask(self, user: str, at: int) -> Page:
        """The first page of a feed, and everything it was chosen from. Seeded by how many were asked: every run is the same.

        `at` is when he asks, epoch ms: a stream that is live ticks, so that its clock shows that time, however few users there are.
        """
        self.asked += 1
        self.local.now = max(self.local.now, at)
        self.clock.saw(self.local.now, self.local.now)
        request = f"eval-{self.asked}"
        query = Query(user, hash64(user), self.surface, HITS, request, hash64(request))
        answer = await self.feed.answer(query, self.pipeline)
        if answer.page.degraded:
            raise Mistake(f"the feed is degraded: {answer.page.degraded}")
        return answer.page

    async def expected(self, page: Page, note: int, row: int) -> float:
        """Likes per exposure expected of the note, be it a candidate or not; NaN for a note that is not known."""
        if row >= 0 and page.scored is not None:
            return float(page.scored.predictions[row, LIKE])
        keys = self.snapshot.keys
        assert keys is not None
        notes, _ = notes_from(await self.local.store.read(keys.note("note", [note])))
        if not notes.size:
            return float("nan")
        # Among the candidates: what features tell of a note, they tell in comparison with those beside it.
        at = int(np.searchsorted(page.candidates.hashes, np.uint64(note)))
        beside = page.candidates._replace(
            hashes=np.insert(page.candidates.hashes, at, np.uint64(note)),
            sources=np.insert(page.candidates.sources, at, 0),
            rank=np.insert(page.candidates.rank, at, 0),
            inside=np.insert(page.candidates.inside, at, False),
        )
        records = np.concatenate([page.notes[:at], notes, page.notes[at:]])
        return float(self.pipeline.scorer.score(page.query, page.viewer, beside, records).predictions[at, LIKE])

    def freeze(self) -> None:
        """From here on what is global stays as it is; what is a user's own moves: his record, and his vector in the model."""
        for i, (_, part) in enumerate(self.local.parts):
            if part.stage.name == "learner" and part.shared is not None:
                part.shared.model.settle()
            elif part.stage.name not in ("intake", "users"):
                self.local.read[i] = 2**62


def standing(page: Page, note: int) -> tuple[int, float]:
    """Row of the note among the candidates (-1: none) and its place in their ranked order, ties at mid-rank."""
    if page.scored is None:
        return -1, float("inf")
    at = int(np.searchsorted(page.candidates.hashes, np.uint64(note)))
    if at >= page.candidates.hashes.size or int(page.candidates.hashes[at]) != note:
        return -1, float("inf")
    score = page.scored.score
    own = score[at]
    return at, float(np.count_nonzero(score > own)) + 0.5 * (float(np.count_nonzero(score == own)) - 1.0)
