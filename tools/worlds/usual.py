"""The usual rules, to compare with: show a tier's quota, then promote by a score against a fixed bar, or stop for good.

Their bars and priors are true quantiles and moments of the world: they know more than any platform does, which flatters them.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from tools.worlds.world import WEIGHTS, Array, Spec, World, sigmoid

PACE = np.array([50.0, 150, 500, 2000, 8000])
"""exposures a round at most, by tier"""
ENDS = np.array([500.0, 2000, 10_000, 50_000])
"""exposures in all at which a tier after the base is over"""
QUANTILES = [0.8, 0.96, 0.992, 0.9984]
HISTORIES = 1_000_000
"""seeds of histories, apart from those of runs"""
SHRUNK = 0.93
"""bars for shrunk scores, which never reach as high as raw ones"""

Score = Callable[[World], Array]


class Known(msgspec.Struct, frozen=True):
    """Moments and quantiles of a long history of the same world."""

    alpha: Array
    beta: Array
    bars: Array


def history(spec: Spec, seed: int) -> Known:
    """Each run has a history of its own: what 20,000 notes teach is a sample too, and bars lie between counts that are small and whole."""
    world = World(msgspec.structs.replace(spec, notes=20_000), HISTORIES + seed)
    rates = world.click[:, None] * sigmoid(world.odds)
    mean, variance = rates.mean(0), rates.var(0)
    strength = mean * (1 - mean) / variance - 1
    return Known(mean * strength, (1 - mean) * strength, np.append(np.quantile(world.value, QUANTILES), np.inf))


def raw(world: World) -> Array:
    return np.asarray((world.actions @ WEIGHTS) / np.maximum(world.exposures, 1))


def bayes(known: Known) -> Score:
    """Beta-binomial shrinkage of each rate."""
    return lambda world: ((world.actions + known.alpha) / (world.exposures[:, None] + known.alpha + known.beta)) @ WEIGHTS


def corrected(known: Known) -> Score:
    """Gamma-Poisson shrinkage of observed over expected: the audience is taken out."""
    mean = known.alpha / (known.alpha + known.beta)
    return lambda world: (mean * (world.actions + known.alpha) / (world.expected + known.alpha)) @ WEIGHTS


def ladder(world: World, score: Score, bars: Array, base: int, best_first: bool) -> dict[str, float]:
    """One run of a rule; its report."""
    tier, stopped, ends = np.zeros(world.spec.notes, int), np.zeros(world.spec.notes, bool), np.array([base, *ENDS])
    while world.round < world.spec.rounds:
        left = float(world.spec.exposures_per_round)
        live = np.flatnonzero(world.published & ~stopped & (world.exposures < ends[-1]))
        shown = np.zeros(world.spec.notes)
        young = live[world.exposures[live] < base]
        shown[young] = np.minimum(PACE[0], base - world.exposures[young])
        shown *= min(1.0, left / max(shown.sum(), 1.0))
        left -= shown.sum()
        rest = live[(world.exposures[live] >= base) & (tier[live] > 0)]
        rest = rest[np.argsort(-score(world)[rest] if best_first else world.arrival[rest], kind="stable")]
        want = np.minimum(PACE[tier[rest]], ends[tier[rest]] - world.exposures[rest])
        shown[rest] += np.clip(left - (np.cumsum(want) - want), 0, want)
        world.step(shown, base)
        ended = np.flatnonzero(~stopped & (world.exposures >= ends[tier] - 1) & (tier < len(ends) - 1))
        good = score(world)[ended] >= bars[tier[ended]]
        tier[ended[good]] += 1
        stopped[ended[~good]] = True
    return world.report(base)


RULES: dict[str, Callable[[World, Known], dict[str, float]]] = {
    "raw CES, fixed bars, first come first served, base 200": lambda w, k: ladder(w, raw, k.bars, 200, False),
    "raw CES, best first, base 100": lambda w, k: ladder(w, raw, k.bars, 100, True),
    "empirical Bayes, best first, base 100": lambda w, k: ladder(w, bayes(k), SHRUNK * k.bars, 100, True),
    "the same, audience-corrected": lambda w, k: ladder(w, corrected(k), SHRUNK * k.bars, 100, True),
}
