"""From scores to places: reserved places for pool notes, no two notes of one author next to each other.

Which pool note gets a reserved place is drawn, the better match the more likely, without replacement (Gumbel top-k: one key a note,
sorted once). The logged propensity is the probability of that draw given those before it. The generator's seed is the hash of the
unguessable request id, so that whoever has the slate can draw again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from config.records import SLOTS, SOURCES
from config.settings import Feed
from serving.stages import Candidates, Placed, Query, Scored
from store.layout import POOL_STATES

RANKED, POOL = SLOTS.index("ranked"), SLOTS.index("pool")
RUNNING = POOL_STATES.index("running")
FROM_POOL = np.uint8(1 << SOURCES.index("pool"))
LOOK = 4
"""So many times the page's length of the best candidates is looked at to keep authors apart."""


def place(
    query: Query, candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, rules: Feed, rng: np.random.Generator, pools: bool
) -> tuple[list[Placed], npt.NDArray[Any]]:
    """Rows at their places in order, and all rows best first.

    Parameters
    ----------
    pools
        whether places are reserved for pool notes on this surface
    """
    order = np.argsort(-scored.score, kind="stable")  # candidates ascend by hash: ties break by id
    wanted = query.n
    reserved = reserved_places(wanted, rules.pool_share, rng) if pools else []
    drawn: list[Placed] = []
    if reserved:
        drawn = draw(candidates, notes, scored, len(reserved), rules.pool_temperature, rng)
    taken = {placed.row for placed in drawn}
    head = order[: LOOK * wanted + len(taken)].tolist()
    ranked = [Placed(row, RANKED, 1.0) for row in head if row not in taken]
    authors: npt.NDArray[Any] = notes["author"]
    return merge(ranked, drawn, set(reserved), wanted, authors), order


def reserved_places(n: int, share: float, rng: np.random.Generator) -> list[int]:
    """Places spread over the page, one in each equal part of it; as many as the share says on average."""
    count = min(n, int(n * share + rng.random()))
    if count == 0:
        return []
    return [int((part + offset) * n / count) for part, offset in enumerate(rng.random(count).tolist())]


def draw(
    candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, count: int, temperature: float, rng: np.random.Generator
) -> list[Placed]:
    """Up to `count` notes that run in a pool and want exposures beyond those under way."""
    needs = notes["quota"].astype(np.int64) - notes["served"]
    rows = np.flatnonzero(((candidates.sources & FROM_POOL) != 0) & (notes["pool"] == RUNNING) & (needs > 0))
    if not rows.size:
        return []
    placement = notes["score"][rows].astype(np.float64)
    spread = placement.std()
    utility = scored.own[rows] + (placement - placement.mean()) / (spread if spread > 0.0 else 1.0)
    utility = np.clip(utility / max(temperature, 1e-3), -30.0, 30.0)
    keys = utility - np.log(-np.log(np.maximum(rng.random(rows.size), 1e-300)))
    picked = np.argsort(-keys, kind="stable")[:count]
    mass = np.exp(utility - utility.max())
    left = mass.sum()
    drawn = []
    for i in picked.tolist():
        drawn.append(Placed(int(rows[i]), POOL, min(1.0, float(mass[i] / left)) if left > 0.0 else 1.0))
        left -= mass[i]
    return drawn


def merge(ranked: Sequence[Placed], drawn: Sequence[Placed], reserved: set[int], n: int, authors: npt.NDArray[Any]) -> list[Placed]:
    """One row of places; a queue that is empty leaves its places to the other."""
    best, pool = list(ranked), list(drawn)
    placed: list[Placed] = []
    before = None
    while len(placed) < n and (best or pool):
        queue = pool if pool and (len(placed) in reserved or not best) else best
        at = next((i for i, p in enumerate(queue) if authors[p.row] != before), None)
        if at is None:  # all that is left here is of the author before: the other queue may know another
            other = best if queue is pool else pool
            at = next((i for i, p in enumerate(other) if authors[p.row] != before), None)
            queue, at = (other, at) if at is not None else (queue, 0)
        chosen = queue.pop(at)
        placed.append(chosen)
        before = authors[chosen.row]
    return placed


def passed_over(
    order: npt.NDArray[Any], placed: Sequence[Placed], count: int, among: int, rng: np.random.Generator
) -> list[tuple[int, float]]:
    """A sample of the best `among` rows that were not placed, each with its weight: how many it stands for."""
    shown = {p.row for p in placed}
    rest = [row for row in order[:among].tolist() if row not in shown]
    if len(rest) <= count:
        return [(row, 1.0) for row in rest]
    picked = rng.choice(len(rest), count, replace=False, shuffle=False).tolist()
    weight = len(rest) / count
    return [(rest[i], weight) for i in sorted(picked)]
