"""From scores to places: reserved places for pool notes, no two notes of one author next to each other.

Which pool note gets a reserved place is drawn (`allotment.py`); `mix.py` orders the others. The generator's seed is the hash of the unguessable request id, so that
whoever has the slate can draw again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from config.records import SLOTS
from config.settings import Feed
from models.sorting import descending
from serving.allotment import Allotment
from serving.mix import LOOK, Mix
from serving.stages import Candidates, Placed, Query, Scored, Viewer

RANKED, POOL = SLOTS.index("ranked"), SLOTS.index("pool")
NO_CHANCES: Mapping[int, float] = {}
NOBODY = -1
"""No hash of an author."""


def place(
    query: Query,
    viewer: Viewer,
    candidates: Candidates,
    notes: npt.NDArray[np.void],
    scored: Scored,
    rules: Feed,
    rng: np.random.Generator,
    pools: Allotment | None,
    mix: Mix | None = None,
) -> tuple[list[Placed], npt.NDArray[Any]]:
    """Rows at their places in order, and all rows best first.

    Parameters
    ----------
    pools
        who gives the places reserved for pool notes; None: this surface reserves none
    mix
        how the ranked places are mixed; None: by score alone
    """
    order = descending(scored.score)  # candidates ascend by hash: ties break by id
    reserved = reserved_places(query.n, rules.pool_share, rng) if pools is not None else []
    drawn = pools.draw(query, viewer, candidates, notes, scored, len(reserved), rng) if pools is not None and reserved else []
    taken = {row for row, _ in drawn}
    authors: list[int] = notes["author"].tolist()
    if mix is not None:
        ranked, chances = mix.order(order, notes, scored, taken, query.n, rng, query.before)
    else:
        head: list[int] = order[: LOOK * query.n + len(taken)].tolist()
        ranked, chances = [row for row in head if row not in taken] if taken else head, {}
    return merge(ranked, drawn, set(reserved), query.n, authors, chances, query.before or NOBODY), order


def reserved_places(n: int, share: float, rng: np.random.Generator) -> list[int]:
    """Places spread over the page, one in each equal part of it; as many as the share says on average."""
    count = min(n, int(n * share + rng.random()))
    if count == 0:
        return []
    bounds = [part * n // count for part in range(count + 1)]
    return [a + int(offset * (b - a)) for a, b, offset in zip(bounds, bounds[1:], rng.random(count).tolist(), strict=False)]


def merge(
    ranked: list[int],
    drawn: list[tuple[int, float]],
    reserved: set[int],
    n: int,
    authors: Sequence[int],
    chances: Mapping[int, float] = NO_CHANCES,
    before: int = NOBODY,
) -> list[Placed]:
    """One row of places; a queue that is empty leaves its places to the other. Nobody follows himself while anybody else is left, nor
    the author `before`, who stands above the first place."""
    propensities = dict(drawn)
    pool = [row for row, _ in drawn]
    placed: list[Placed] = []
    while len(placed) < n and (ranked or pool):
        queue, other = (pool, ranked) if pool and (len(placed) in reserved or not ranked) else (ranked, pool)
        at = another(queue, before, authors)
        if at < 0 and (elsewhere := another(other, before, authors)) >= 0:
            queue, at = other, elsewhere
        row = queue.pop(max(at, 0))
        placed.append(Placed(row, POOL, propensities[row]) if queue is pool else Placed(row, RANKED, chances.get(row, 1.0)))
        before = authors[row]
    return placed


def another(queue: Sequence[int], before: int, authors: Sequence[int]) -> int:
    """The first place of `queue` whose note is not by the author `before`; -1 when there is none."""
    for at, row in enumerate(queue):
        if authors[row] != before:
            return at
    return -1


def passed_over(
    order: npt.NDArray[Any], placed: Sequence[Placed], count: int, among: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """A sample of the best `among` rows that were not placed, each with its weight: how many it stands for."""
    shown = np.zeros(len(order), np.bool_)
    shown[[p.row for p in placed]] = True
    rest = order[:among]
    rest = rest[~shown[rest]]
    if len(rest) <= count:
        return [(row, 1.0) for row in rest.tolist()]
    picked = np.sort(rng.random(len(rest)).argpartition(count)[:count])
    weight = len(rest) / count
    return [(row, weight) for row in rest[picked].tolist()]
