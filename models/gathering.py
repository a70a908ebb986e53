"""The loops of the features: sums over neighbours, products of tags, and rounding to what is logged."""

from __future__ import annotations

from math import copysign

import numpy as np
import numpy.typing as npt

from models.kernel import kernel
from models.neighbours import SUMS

SIMILARITIES = (*SUMS, "logs", "square", "named")
"""Of a recent note and a candidate, by the recent note's neighbours: the sums of `models/neighbours.py`, shrunk; log(1 + 1000 · together);
together²; 1 where it names the candidate. 0 where it does not."""
TOGETHER, AFTER, NEAR, LATELY, LOGS, SQUARE, NAMED = range(len(SIMILARITIES))

LIMIT = np.float32(60_000.0)
"""Inside of what float16 holds."""
SMALL = np.float32(2.0**-14)
"""From here on float16 has all its digits."""
SHRINK = np.float32(10.0)
"""Of similarities: as in `models.neighbours.Neighbours`."""
THOUSAND, ZERO, ONE = np.float32(1e3), np.float32(0.0), np.float32(1.0)
BELOW_HALF = np.float32(0.75)
"""Where float32 has steps of 2^-24."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]


@kernel(
    "void(int64[::1], int64[::1], int64[::1], float32[:, ::1], float32[::1], float32[::1], float32[::1], float32[:, ::1], int64[::1],"
    " float32[:, ::1], float32[::1])"
)
def gather(
    candidate: Places, place: Places, owner: Places, sums: Floats, key: Floats, lately: Floats, reach: Floats, weights: Floats, of: Places,
    total: Floats, closest: Floats,
) -> None:  # fmt: skip
    """Adds to `total` Σ weight · similarity, and raises `closest` to the highest `together`, by candidates.

    Parameters
    ----------
    candidate
        Of each neighbour the row of the candidate that it is, or -1: shape [neighbours].
    place, owner, sums
        As in `models.asker.Joined`, `sums` by rows: shapes [rows], [rows], [rows, SUMS].
    key, lately
        Of each head: √ engagements of its note, and what is left of its sums that fade.
    reach
        √ engagements of each candidate.
    weights, of
        Of each recent note, and which similarity they are weights of: shapes [recent, sums], [sums].
    total, closest
        Shapes [n, sums], [n].
    """
    similar = np.empty(len(SIMILARITIES), np.float32)
    for row in range(len(place)):
        to = candidate[place[row]]
        if to < 0:
            continue
        head = owner[row]
        norm = key[head] * reach[to] + SHRINK
        for i in range(len(SUMS)):
            similar[i] = sums[row, i] / norm
        together = similar[TOGETHER]
        similar[LATELY] *= lately[head]
        similar[LOGS] = np.log1p(THOUSAND * together)
        similar[SQUARE] = together * together
        similar[NAMED] = ONE if together > ZERO else ZERO
        for i in range(len(of)):
            total[to, i] += similar[of[i]] * weights[head, i]
        closest[to] = max(closest[to], together)


@kernel("void(uint64[:, ::1], uint64[::1], float64[:, ::1], float64[:, ::1])")
def say(tags: Hashes, names: Hashes, table: Doubles, result: Doubles) -> None:
    """Adds to each row of `result` what its tags add by `table`, and divides it by the length of the row's bag. Tags are 0 where there is none;
    `names` ascend. Shapes: [n, tags], [names], [names + 1, …], [n, …]."""
    for row in range(len(tags)):
        said = 0
        for slot in range(tags.shape[1]):
            tag = tags[row, slot]
            if tag == 0:
                continue
            said += 1
            low, high = 0, len(names)
            while low < high:
                middle = (low + high) // 2
                if names[middle] < tag:
                    low = middle + 1
                else:
                    high = middle
            if low < len(names) and names[low] == tag:
                for i in range(result.shape[1]):
                    result[row, i] += table[low, i]
        length = np.sqrt(np.float64(max(said, 1)))
        for i in range(result.shape[1]):
            result[row, i] /= length


@kernel("void(float32[::1], float32[::1])")
def halve(x: Floats, result: Floats) -> None:
    """Each value as float16 holds it, those beyond `LIMIT` as `LIMIT`. Shapes: [n], [n]."""
    bits, rounded = x.view(np.uint32), result.view(np.uint32)
    for i in range(len(x)):
        value, size = x[i], abs(x[i])
        if size > LIMIT:
            result[i] = np.float32(copysign(LIMIT, value))
        elif size < SMALL:  # below it float16 has steps of 2^-24
            result[i] = np.float32(copysign((size + BELOW_HALF) - BELOW_HALF, value))
        else:  # to eleven digits, of equals to the even
            cut = bits[i]
            cut += np.uint32(0xFFF) + ((cut >> np.uint32(13)) & np.uint32(1))
            rounded[i] = cut & np.uint32(0xFFFFE000)
