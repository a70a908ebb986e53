"""Which pool notes get the reserved places of a page: the promise first, then the best, and each to whom it fits.

    need      as `models.pool.need`, from the records as arrays: due to the promise, of use to the tier; what is under way counts as shown
    open      wants exposures, has quota left, and this process holds no more of it unseen than its share
    draw      a place is the promise's with probability `base_share` (while anybody is due), else it goes by score:
                  promise   weight = (due / base) x pull                         whoever is behind, in equal parts
                  score     weight = (value x boost x fade)^(1 / T) x pull       the best, up to what each wants

`pull` = e^(feed.pool_match x match), where `match.py` says how well the note fits the user. Weights are never zero, so a note also meets
strangers.
The logged propensity is the probability of the draw, over both kinds of place, given those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config.records import SLOTS, SOURCES
from config.settings import Feed, Pool
from models.draws import draw, want
from serving.match import match
from serving.stages import Candidates, Mask, Placed, Query, Scored, Viewer, member
from serving.underway import Underway
from store.layout import POOL_STATES, taken

POOL = SLOTS.index("pool")
RUNNING = POOL_STATES.index("running")
FROM_POOL = np.uint8(1 << SOURCES.index("pool"))
LOWER = np.uint64(0xFFFFFFFF)
"""The half of a hash that pages remember."""
Column = npt.NDArray[np.float64]


class Wants(NamedTuple):
    """By candidate note; see `models.pool.Need`."""

    due: Column
    want: Column
    base: Column
    """exposures promised, 1 outside of the base tier"""


class Ladder:
    """The settings' tiers as columns."""

    def __init__(self, pool: Pool, ahead: float) -> None:
        self.quota = np.array([tier.quota for tier in pool.tiers], np.float64)
        self.pace = np.array([tier.pace for tier in pool.tiers], np.float64)
        self.deliver, self.base_share = pool.deliver_hours, pool.base_share
        self.ahead = np.maximum(1.0, np.floor(ahead * self.quota))
        """servings of a note that one process may hold before the state shows them, by tier"""

    def tier(self, notes: npt.NDArray[np.void]) -> npt.NDArray[np.int8]:
        """A place on the ladder, also for what stands beside it."""
        return np.minimum(np.maximum(notes["tier"], 0), self.quota.size - 1)

    def wants(self, notes: npt.NDArray[np.void], own: npt.NDArray[np.int64], now: int) -> Wants:
        """`models.pool.need` of notes that run in a tier. `own`: servings of this process that the records do not show."""
        tier, entered = self.tier(notes).astype(np.intp), notes["tier_entered_at"].astype(np.int64)
        left, organic = notes["quota"].astype(np.float64), notes["organic"].astype(np.float64)
        found = Wants(*np.empty((3, notes.size)))
        want(tier, left, organic, notes["served"].astype(np.float64) + own, entered, now, self.quota, self.pace, self.deliver, *found)
        return found

    def open(self, notes: npt.NDArray[np.void], own: npt.NDArray[np.int64], given: npt.NDArray[np.int64], wants: Wants) -> Mask:
        """Notes that may be given a place of the pools' now. `given`: those of `own` in such places."""
        tier = self.tier(notes)
        left = notes["quota"].astype(np.int64) - notes["served"].astype(np.int64) - own
        may: Mask = (wants.want > 0.0) & (left > 0) & (given < self.ahead[tier])
        return may

    def draw(
        self, due: Column, score: Column, pull: Column, count: int, temperature: float, rng: np.random.Generator
    ) -> list[tuple[int, float]]:
        """Up to `count` of the notes, without replacement, each with its propensity.

        Parameters
        ----------
        due
            share of the base that is due, 0 for notes that are owed nothing now
        score, pull
            logs: `models.pool.score`, and how hard it pulls that a note fits the user
        """
        promised = due * np.exp(np.minimum(np.maximum(pull - pull.max(), -30.0), 0.0))
        utility = score / max(temperature, 1e-3) + pull
        best = np.exp(np.minimum(np.maximum(utility - utility.max(), -30.0), 0.0))
        lucks = rng.random(min(count, score.size))
        rows, propensities = np.empty(lucks.size, np.intp), np.empty(lucks.size)
        draw(promised, best, self.base_share, lucks, rows, propensities)
        return list(zip(rows.tolist(), propensities.tolist(), strict=True))


class Allotment:
    """The ladder, and what this process knows of its own servings."""

    def __init__(self, pool: Pool, feed: Feed, underway: Underway) -> None:
        self.ladder, self.underway, self.rules = Ladder(pool, feed.pool_ahead), underway, feed

    def draw(
        self,
        query: Query,
        viewer: Viewer,
        candidates: Candidates,
        notes: npt.NDArray[np.void],
        scored: Scored,
        count: int,
        rng: np.random.Generator,
    ) -> list[tuple[int, float]]:
        """Up to `count` rows of the candidates for reserved places, each with its propensity."""
        self.underway.release(query.seed)  # whoever decides it again decides the same
        rows = np.flatnonzero(((candidates.sources & FROM_POOL) != 0) & (notes["pool"] == RUNNING))
        if met := b"".join([standing.pooled for standing in viewer.hot.slates]):  # given on pages that he may not have seen yet
            rows = rows[~member(candidates.hashes[rows] & LOWER, np.sort(np.frombuffer(met, "<u4").astype(np.uint64)))]
        if not rows.size:
            return []
        hashes, running = candidates.hashes[rows], taken(notes, rows)
        own, given = self.underway.own(hashes)
        wants = self.ladder.wants(running, own, viewer.now)
        may = self.ladder.open(running, own, given, wants) & self.underway.stands(hashes)
        rows, running = rows[may], taken(running, may)
        if not rows.size:
            return []
        score = running["score"].astype(np.float64)
        km = None if scored.km is None else scored.km[rows]
        pull = self.rules.pool_match * match(viewer, running, scored.own[rows], self.rules, km)
        drawn = self.ladder.draw((wants.due / wants.base)[may], score, pull, count, self.rules.pool_temperature, rng)
        return [(int(rows[at]), propensity) for at, propensity in drawn]

    def hold(self, seed: int, candidates: Candidates, notes: npt.NDArray[np.void], placed: Sequence[Placed], now: float) -> None:
        """A page was decided: whatever on it runs in a tier is under way, in whichever place it stands. `now`: the wall's clock, s."""
        rows = [p.row for p in placed]
        told = zip(placed, candidates.hashes[rows].tolist(), (notes["pool"][rows] == RUNNING).tolist(), strict=True)
        self.underway.hold(seed, [(h, p.slot == POOL) for p, h, running in told if running], now)
