"""Places of the pools for arrays of notes: what each note wants, and draws without replacement from two queues at once, where each place is the
first queue's with a fixed probability, else the second's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
HOUR = 3_600_000.0


@kernel(
    "void(int64[::1], float64[::1], float64[::1], float64[::1], int64[::1], int64, float64[::1], float64[::1], float64, float64[::1],"
    " float64[::1], float64[::1])"
)
def want(
    tiers: Places, left: Doubles, organic: Doubles, flying: Doubles, entered: Places, now: int, quotas: Doubles, paces: Doubles, deliver: float,
    due: Doubles, wanted: Doubles, base: Doubles,
) -> None:  # fmt: skip
    """`models.pool.need` of notes that run in a tier.

    Parameters
    ----------
    tiers, left, organic, flying, entered
        Of each note: place on the ladder, exposures it still wants there, exposures that are evidence, what is under way, and since when it is
        there (epoch ms): shape [n].
    now, quotas, paces, deliver
        Epoch ms; of each tier; hours in which a promise is kept.
    due, wanted, base
        Filled: what is due to the promise, what is wanted at all, and the exposures promised, 1 outside of the base tier. Shape [n].
    """
    for i in range(len(tiers)):
        hours = np.float64(max(now - entered[i], 0)) / HOUR + 1.0
        if tiers[i] == 0:
            size = organic[i] + left[i]
            shown = organic[i] + flying[i]
            due[i], base[i] = max(0.0, size * min(1.0, hours / deliver) - shown), max(size, 1.0)
        else:
            size = quotas[tiers[i]]
            shown = size - left[i] + flying[i]
            due[i], base[i] = 0.0, 1.0
        wanted[i] = max(due[i], min(size, paces[tiers[i]] * hours) - shown)


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
