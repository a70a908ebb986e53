"""Draws without replacement from two queues at once: each place is the first queue's with a fixed probability, else the second's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]


@kernel("void(float64[::1], float64[::1], float64, float64[::1], int64[::1], float64[::1])")
def draw(first: Doubles, second: Doubles, share: float, lucks: Doubles, rows: Places, propensities: Doubles) -> None:
    """A row a luck, and the probability that it had over both queues, given those before it.

    Parameters
    ----------
    first, second
        Weights, at least 0, those of `second` above 0: shape [n]. What is drawn is set to 0.
    share
        Probability of a place to be the first queue's, as long as anything in it has a weight.
    lucks
        Numbers in [0, 1), at most n.
    rows, propensities
        Filled: shape [lucks].
    """
    n = len(first)
    chances = np.empty(n)
    for place in range(len(lucks)):
        owed = 0.0
        rest = 0.0
        for i in range(n):
            owed += first[i]
            rest += second[i]
        of_first = share / owed if owed > 0.0 else 0.0
        of_second = (1.0 - share if owed > 0.0 else 1.0) / rest
        total = 0.0
        for i in range(n):
            chances[i] = first[i] * of_first + second[i] * of_second
            total += chances[i]
        goal, sum_of, at = lucks[place] * total, 0.0, -1
        for i in range(n):
            sum_of += chances[i]
            if chances[i] > 0.0:  # never what was taken before, wherever rounding leads
                at = i
                if sum_of > goal:
                    break
        rows[place], propensities[place] = at, min(1.0, chances[at] / total)
        first[at] = second[at] = 0.0
