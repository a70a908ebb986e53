"""The production policy with the feed's own draws: each hour's places are given page by page, as `serving.allotment` gives them.

`upwell.py` shares an hour out with full knowledge, which no feed has. Here each page draws by need, value and chance; what is not shown is
the delay of the state and users' taste, which `--live` has.
"""

from __future__ import annotations

import numpy as np

from config.settings import Feed
from models.pool import OPEN, Rules
from serving.allotment import Ladder as Places
from store.layout import NOTE, POOL_STATES
from tools.worlds.upwell import Ladder
from tools.worlds.world import Array, World

PAGE = 20
"""places of a page; an hour of a world has nothing but the `feed.pool_share` of them that is the pools'"""


class Drawn(Ladder):
    """See the module's docstring."""

    def __init__(self, world: World, made: Rules, feed: Feed, seed: int) -> None:
        super().__init__(world, made)
        self.places, self.heat = Places(made, 1.0), feed.pool_temperature
        self.page = max(1, round(PAGE * feed.pool_share))
        self.draws = np.random.default_rng([seed, 3])

    def allocate(self) -> Array:
        shown, notes = np.zeros(self.world.spec.notes), [note for note, pool in self.pools.items() if pool.state == OPEN]
        records, given = self.records(notes), np.zeros(len(notes), np.int64)
        score, none = records["score"].astype(np.float64), np.zeros(len(notes), np.int64)
        left = self.world.spec.exposures_per_round
        while left > 0:
            wants = self.places.wants(records, given, self.now)
            rows = np.flatnonzero(self.places.open(records, given, none, wants))
            if not rows.size:
                break
            due = (wants.due / wants.base)[rows]
            drawn = self.places.draw(due, score[rows], np.zeros(rows.size), min(self.page, left), self.heat, self.draws)
            given[rows[[at for at, _ in drawn]]] += 1
            left -= len(drawn)
        shown[notes] = given
        return shown

    def records(self, notes: list[int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The notes as the feed reads them."""
        records = np.zeros(len(notes), NOTE)
        for record, note in zip(records, notes, strict=True):
            pool, exposures = self.pools[note], self.evidence[note].exposures
            end = pool.base if pool.tier == 0 else pool.start + self.rules.tiers[pool.tier].quota
            record["pool"], record["tier"] = POOL_STATES.index("running"), pool.tier
            record["organic"], record["quota"] = exposures, max(0.0, end - exposures)
            record["tier_entered_at"], record["score"] = pool.entered, self.scores[note]
        return records
