"""The order of a page's ranked places: by score, what differs from its neighbours before what repeats them, and here and there a chance.

best by score ─► sliding spectrum decomposition over tags, authors apart, a share for each tag ─► order
what score leaves out ─► drawn, the better the likelier, none impossible ─► a few places, each with its propensity
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config.settings import Feed, SettingsError
from models.diversity import NO_TAGS, Diversity, common, spare
from models.explore import Explore
from serving.stages import Scored

LOOK = 4
"""So many times the page's length of the best candidates is looked at."""
BEYOND = 200
"""Chances go to the best so many that the page does not show."""


class Mixed(NamedTuple):
    """Rows in the order in which they take ranked places; more than the page has."""

    rows: list[int]
    chances: dict[int, float]
    """row that was drawn -> its propensity"""


class Mix:
    """See the module's docstring. Raises `SettingsError`."""

    def __init__(self, rules: Feed) -> None:
        self.share = rules.explore_share
        try:
            self.diversity = Diversity(rules.spread, rules.spread_window, rules.tag_share)
            self.explore = Explore(rules.explore_temperature, rules.explore_even)
        except ValueError as error:
            raise SettingsError(f"settings [feed]: {error}") from None

    def order(
        self,
        order: npt.NDArray[np.intp],
        notes: npt.NDArray[np.void],
        scored: Scored,
        taken: set[int],
        n: int,
        rng: np.random.Generator,
        before: int = 0,
    ) -> Mixed:
        """`order` is all rows best first; `taken` stand elsewhere on the page; `n` its length; `before` the author above its first place."""
        used = np.zeros(len(order), np.bool_)
        used[list(taken)] = True
        free = order[: LOOK * n + BEYOND]
        free = free[~used[free]]
        head, beyond = free[: LOOK * n], free[n:]
        places = chance_places(min(n, len(head)), self.share, rng) if beyond.size else []
        # Where the best are of one kind, the best that are not are looked at, too.
        tags, limit = notes["tags"][head], self.diversity.limit(n, len(places))

        def below() -> npt.NDArray[np.intp]:
            return order[~used[order]][LOOK * n :]

        others = spare(tags, lambda: notes["tags"][below()], limit, n)
        if others.size:
            head = np.concatenate([head, below()[others]])
            tags = notes["tags"][head]
        met = notes["tags"][list(taken)] if taken else NO_TAGS
        first = self.diversity.order(scored.score[head], common(tags), notes["author"][head], tags, n, before, met, len(places))
        rows: list[int] = head[first].tolist()
        chances: dict[int, float] = {}
        if places:
            used[rows] = True
            among = beyond[~used[beyond]]
            drawn, propensities = self.explore.draw(scored.score[among].astype(np.float64), len(places), rng)
            for place, row, propensity in zip(places, among[drawn].tolist(), propensities.tolist(), strict=False):
                rows.insert(place, row)
                chances[row] = propensity
        used[rows] = True
        return Mixed(rows + head[~used[head]].tolist(), chances)


def chance_places(n: int, share: float, rng: np.random.Generator) -> list[int]:
    """Places for chances, ascending; as many as the share says on average, never the first."""
    count = min(n - 1, int(n * share + rng.random())) if n > 1 else 0
    places: list[int] = np.sort(1 + rng.choice(n - 1, count, replace=False)).tolist() if count > 0 else []
    return places
