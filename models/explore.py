"""Chances for notes that nothing is known of, with the probability of each logged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


class Explore:
    """Draws without replacement, the better the likelier: one Gumbel key a note, sorted once.

    Its propensities are exact: each is the probability of that draw given those before it (Plackett-Luce), so that what is learned
    of a note can be freed of how often it was chosen. A probability is as small as the scores make it: bound their spread by `even`,
    or a note of a bad start is never seen.

    Parameters
    ----------
    temperature
        Above 0; scores are divided by it. Small: nearly always the best; large: nearly even.
    even
        Share of each draw that is even over what is left, in [0, 1]: no note's chance is below even / candidates.

    Examples
    --------
    >>> drawn, propensities = Explore(even=0.0).draw(np.array([0.0, 0.0]), 2, np.random.default_rng(1))
    >>> sorted(drawn.tolist()), propensities.tolist()
    ([0, 1], [0.5, 1.0])

    References
    ----------
    W. Kool, H. van Hoof, M. Welling: Stochastic beams and where to find them (ICML 2019), for Gumbel top-k.
    """

    def __init__(self, temperature: float = 1.0, even: float = 0.1) -> None:
        if not temperature > 0.0 or not 0.0 <= even <= 1.0:
            raise ValueError("exploration wants a temperature above 0 and an even share in [0, 1]")
        self.temperature, self.even = temperature, even

    def draw(self, scores: Doubles, n: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], Doubles]:
        """Rows in the order drawn, and the propensity of each; `scores` are finite, shape [m]."""
        n = min(n, len(scores))
        utility = scores.astype(np.float64) / self.temperature
        mass = np.exp(utility - utility.max(initial=-np.inf)) if n else np.empty(0)
        if self.even == 0.0:
            rows = np.argsort(-(utility - np.log(rng.standard_exponential(len(scores)))), kind="stable")[:n]
            left = mass.sum() - np.concatenate([[0.0], np.cumsum(mass[rows])])[:n]
            return rows, np.minimum(mass[rows] / np.maximum(left, mass[rows]), 1.0)
        rows, propensities = np.empty(n, np.intp), np.empty(n)
        free = np.arange(len(scores))
        for place in range(n):
            chance = self.chances(mass[free])
            at = min(int(np.searchsorted(np.cumsum(chance), rng.random(), "right")), len(free) - 1)
            rows[place], propensities[place] = free[at], chance[at]
            if place < n - 1:
                free = np.delete(free, at)
        return rows, propensities

    def chances(self, mass: Doubles) -> Doubles:
        """Probability of each to be drawn next."""
        total = mass.sum()
        by_score = mass / total if total > 0.0 else np.full(len(mass), 1.0 / len(mass))
        chances: Doubles = (1.0 - self.even) * by_score + self.even / len(mass)
        return chances
