"""The loops of the features: what records say, sums over neighbours, products of tags, and rounding to what is logged."""

from __future__ import annotations

from math import copysign

import numpy as np
import numpy.typing as npt

from models.kernel import kernel
from models.neighbours import SUMS, VERSION
from models.sorting import sort

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
RADIAN = np.pi / 180.0
BELOW_HALF = np.float32(0.75)
"""Where float32 has steps of 2^-24."""

PRIOR = 8.0
"""Engagements that a note's own rates are shrunk by, towards the candidates' mean."""
COLD = -100.0
"""Exponent of 2 below which nothing is left in float16. What is nearly zero is slow: processors do such numbers by a program."""

Counts = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.intp]


@kernel("int64(uint64[::1], uint64)")
def find(keys: Hashes, key: int) -> int:
    """Where `keys`, which ascend, have it; -1 where they do not."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@kernel("uint64(uint32[::1], int64)")
def long(words: Counts, at: int) -> np.uint64:
    """Two words as one number."""
    return np.uint64(words[at]) | (np.uint64(words[at + 1]) << np.uint64(32))


WORD = 4
"""Bytes; a stored head is a row of them."""
FRONT, ROW = 6, 3 + len(SUMS)
"""Words in front of a head and of each neighbour: what `models.neighbours.read` reads."""


@kernel(
    "UniTuple(int64, 2)(uint32[::1], int64[::1], uint64[::1], int64[::1], int64[::1], float32[:, ::1], uint32[::1], float32[::1], float64[::1],"
    " float64[::1])"
)
def collect(
    words: Counts, sizes: Places, hashes: Hashes, place: Places, owner: Places, sums: Floats, counts: Counts, engaged: Floats,
    landmark: Doubles, half_life_ms: Doubles,
) -> tuple[int, int]:  # fmt: skip
    """Stored heads as `models.asker.Joined` has them; one that is none has no rows.

    Parameters
    ----------
    words, sizes
        The heads, one behind the other, and how many words each has.
    hashes, place, owner, sums, counts, engaged, landmark, half_life_ms
        Filled, the first five as far as there are rows: there is room for as many as there can be.

    Returns
    -------
    How many rows there are, and how many neighbours.
    """
    most = len(hashes)
    found, of, at_words, stride = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    rows = at = 0
    for head in range(len(sizes)):
        size = sizes[head]
        n = np.int64(words[at] >> np.uint32(16)) if size >= FRONT else np.int64(0)
        if size < FRONT or words[at] & np.uint32(0xFF) != VERSION or size != FRONT + n * ROW:
            n, engaged[head], landmark[head], half_life_ms[head] = np.int64(0), ONE, 0.0, 1.0
        else:
            engaged[head] = max(np.float32(words[at + 1]), ONE)
            landmark[head] = np.float64(np.int64(long(words, at + 2)))
            half_life_ms[head] = np.array([long(words, at + 4)]).view(np.float64)[0]
        for i in range(n):
            found[rows], of[rows] = long(words, at + FRONT + 2 * i), head
            at_words[rows], stride[rows] = at + FRONT + 2 * n + i, n
            rows += 1
        at += size
    order = np.empty(rows, np.int64)
    sort(found[:rows], order)
    numbers, distinct = words.view(np.float32), 0
    for i in range(rows):
        row = order[i]
        if not i or found[row] != hashes[distinct - 1]:
            hashes[distinct] = found[row]
            distinct += 1
        place[i], owner[i] = distinct - 1, of[row]
        for j in range(len(SUMS)):
            sums[i, j] = numbers[at_words[row] + j * stride[row]]
        counts[i] = words[at_words[row] + len(SUMS) * stride[row]]
    return rows, distinct


@kernel("void(int64[::1], int64[::1], float32[:, ::1], uint32[::1], float32[::1], float64, float64, float32[::1])")
def score(place: Places, owner: Places, sums: Floats, counts: Counts, engaged: Floats, keep: float, shrink: float, scores: Floats) -> None:
    """Fills `scores`: of each neighbour Σ over the heads that have it of keep^head · together / (√ engagements of both + shrink). Rows as in
    `models.asker.Joined`; shape [neighbours]."""
    total, says = np.zeros(len(scores)), np.empty(len(engaged))
    for head in range(len(engaged)):
        says[head] = keep ** np.float64(head)
    for row in range(len(place)):
        head = owner[row]
        norm = np.sqrt(np.float64(engaged[head]) * np.float64(max(counts[row], np.uint32(1)))) + shrink
        total[place[row]] += says[head] * (sums[row, TOGETHER] / norm)
    for i in range(len(scores)):
        scores[i] = total[i]


@kernel(
    "void(uint64[::1], uint64[::1], int64[::1], int64[::1], float32[:, ::1], float32[::1], float32[::1], float32[::1], float32[:, ::1],"
    " int64[::1], float32[:, ::1], float32[::1])"
)
def gather(
    candidates: Hashes, neighbours: Hashes, place: Places, owner: Places, sums: Floats, key: Floats, lately: Floats, reach: Floats,
    weights: Floats, of: Places, total: Floats, closest: Floats,
) -> None:  # fmt: skip
    """Adds to `total` Σ weight · similarity, and raises `closest` to the highest `together`, by candidates.

    Parameters
    ----------
    candidates
        Each once: shape [n].
    neighbours, place, owner, sums
        As in `models.asker.Joined`: shapes [neighbours], [rows], [rows], [rows, SUMS].
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
    candidate = np.full(len(neighbours), -1)
    for i in range(len(candidates)):
        at = find(neighbours, candidates[i])
        if at >= 0:
            candidate[at] = i
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


@kernel("void(uint64[::1], uint64[::1], float32[::1], float32[::1])")
def look(values: Hashes, keys: Hashes, weights: Floats, result: Floats) -> None:
    """The weight of each value by the keys, which ascend; 0 where it has none. Shapes: [n], [keys], [keys], [n]."""
    for i in range(len(values)):
        at = find(keys, values[i])
        result[i] = weights[at] if at >= 0 else ZERO


@kernel("float64(uint32[:, ::1], int64, int64[::1], float64, float64, float64)")
def rate(counts: Counts, row: int, engaged: Places, like: float, mean: float, without: float) -> float:
    """Likes per engagement of a note, shrunk towards `mean`; `without` so many engagements, and `like` likes."""
    most = np.uint32(0)
    for action in engaged:
        most = max(most, counts[row, action])
    taken = max(np.float64(most) - without, 0.0)
    return (min(max(like, 0.0), taken) + PRIOR * mean) / (taken + PRIOR)


@kernel(
    "void(uint32[:, ::1], int64[::1], int64[::1], boolean[::1], int64[::1], int64, int64, float64, int64[::1], float64[::1], float64[::1],"
    " float64[::1])"
)
def recall(
    counts: Counts, times: Times, actions: Places, praise: Mask, engaged: Places, like: int, apart: int, mean: float, step: Places,
    praised: Doubles, surplus: Doubles, taken: Doubles,
) -> None:  # fmt: skip
    """The recent notes, newest first, as `models.features.Past` has them.

    Parameters
    ----------
    counts, times, actions
        Of their records; when, and by what, they were engaged with: shapes [recent, actions], [recent], [recent].
    praise, engaged, like
        Which actions say that a note was good, which are engagements, and which is a like.
    apart, mean
        Steps are so many ms apart at least; likes per engagement of a note that nothing is known of.
    step, praised, surplus, taken
        Filled: steps back, 1 where the action praises, by how much that is more than others did, engagements of all. Shape [recent].
    """
    at = 0
    for i in range(len(times)):
        if i and times[i - 1] - times[i] >= apart:
            at += 1
        step[i], praised[i] = at, 1.0 if praise[actions[i]] else 0.0
        surplus[i] = praised[i] - rate(counts, i, engaged, np.float64(counts[i, like]) - praised[i], mean, 1.0)
        taken[i] = 0.0
        for action in engaged:
            taken[i] += counts[i, action]


@kernel("void(uint32[:, ::1], int64[::1], int64, float64, float64[::1])")
def odds(counts: Counts, engaged: Places, like: int, mean: float, result: Doubles) -> None:
    """Of a like given an engagement. Shapes: [n, actions], [engagements], [n]."""
    for i in range(len(counts)):
        p = rate(counts, i, engaged, np.float64(counts[i, like]), mean, 0.0)
        result[i] = p / (1.0 - p)


@kernel("void(float32[:, ::1], float64[::1], int64[::1], int64[::1], int64, float64, float64[:, ::1], float64[:, ::1], float64[:, ::1])")
def reckon(
    heat: Floats, passed: Doubles, published: Times, engaged_at: Times, now: int, unit: float, left: Doubles, warm: Doubles, ages: Doubles
) -> None:
    """Heat as exponents of 2 below the hottest at each half-life, and ages.

    Parameters
    ----------
    heat, passed
        log2 of engagement points, -inf without any, and the halvings until now: shapes [n, half-lives], [half-lives].
    published, engaged_at, now, unit
        In ms; shape [n].
    left, warm
        Filled: the exponents, at least `COLD`, and 0 where they are below it, else 1. Shape [half-lives, n].
    ages
        Filled: how long ago it was published, and engaged with if it was since, in `unit`s, not below 0. Shape [2, n].
    """
    n = len(heat)
    for life in range(len(passed)):
        hottest = -np.inf
        for i in range(n):
            left[life, i] = np.float64(heat[i, life]) - passed[life]
            hottest = max(hottest, left[life, i])
        if not np.isfinite(hottest):
            hottest = 0.0
        for i in range(n):
            exponent = left[life, i] - hottest
            warm[life, i] = 0.0 if exponent < COLD else 1.0
            left[life, i] = max(exponent, COLD)
    for i in range(n):
        ages[0, i] = max(now - published[i], 0) / unit
        ages[1, i] = max(now - max(engaged_at[i], published[i]), 0) / unit


@kernel("void(float64, float64, float64[::1], float64[::1], float64[::1])")
def half(lat: float, lon: float, lats: Doubles, lons: Doubles, sine: Doubles) -> None:
    """Fills `sine`: of half the angle between a place and others, right at the poles and across the date line; NaN where a place is. In degrees."""
    a = lat * RADIAN
    for i in range(len(lats)):
        b = lats[i] * RADIAN
        north, east = np.sin((b - a) / 2.0), np.sin((lons[i] - lon) * RADIAN / 2.0)
        sine[i] = np.sqrt(min(max(north * north + np.cos(a) * np.cos(b) * (east * east), 0.0), 1.0))


@kernel("int64(uint64[:, ::1], uint64[::1], float32[::1], float64[:, ::1], uint64[::1], float64[:, ::1])")
def tell(tags: Hashes, chosen: Hashes, weights: Floats, by_note: Doubles, names: Hashes, table: Doubles) -> int:
    """What a tag adds, for `say`: column 0 the user's weight on it, then Σ over the notes that have it of what each adds, shared by its tags.

    Parameters
    ----------
    tags, by_note
        Of the recent notes, 0 where there is none, and what each adds: shapes [recent, tags], [sums, recent].
    chosen, weights
        The user's weights on tags, ascending by tag: shape [chosen].
    names, table
        Filled, as far as there are tags: the tags, ascending, and what each adds. Shapes [most], [most, 1 + sums], of zeros.

    Returns
    -------
    How many tags there are.
    """
    m = 0
    for i in range(len(chosen)):
        if chosen[i] and (not m or names[m - 1] != chosen[i]):
            names[m] = chosen[i]
            m += 1
    for row in range(len(tags)):
        for slot in range(tags.shape[1]):
            tag = tags[row, slot]
            if tag and find(names[:m], tag) < 0:
                at = m
                while at and names[at - 1] > tag:
                    names[at] = names[at - 1]
                    at -= 1
                names[at] = tag
                m += 1
    for i in range(len(chosen)):
        at = find(names[:m], chosen[i])
        if at >= 0:
            table[at, 0] = weights[i]
    for row in range(len(tags)):
        said = 0
        for slot in range(tags.shape[1]):
            said += tags[row, slot] != 0
        share = np.sqrt(np.float64(max(said, 1)))
        for slot in range(tags.shape[1]):
            tag = tags[row, slot]
            again = False
            for earlier in range(slot):
                again = again or tags[row, earlier] == tag
            if tag and not again:
                at = find(names[:m], tag)
                for i in range(len(by_note)):
                    table[at, 1 + i] += by_note[i, row] / share
    return m


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
            at = find(names, tag)
            if at >= 0:
                for i in range(result.shape[1]):
                    result[row, i] += table[at, i]
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
