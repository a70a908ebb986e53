"""An order in which what stands near each other differs: sliding spectrum decomposition, under rules for authors and tags."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

TINY = 1e-9
NO_TAGS: Hashes = np.empty((0, 1), np.uint64)


class Diversity:
    """Greedy choice of score + spread · (what is new against the last few): N · window operations a place.

    Shines on feeds that are read from the top, where what was shown long ago may come again. It knows only what it is told that notes have in
    common: two with equal tags are the same to it. Where the rules leave nothing to choose from, they give way, tags first: a short page
    is worse than one with two notes of a kind.

    Parameters
    ----------
    spread
        What a wholly new note is worth, in standard deviations of the candidates' scores; 0 leaves the order by score, but for the rules.
    window
        Places back that are looked at.
    tag_share
        Share of the places, in (0, 1], that notes with any one tag may have; at least one place.

    Examples
    --------
    >>> scores = np.array([3.0, 2.9, 1.0], np.float32)
    >>> authors, tags = np.array([1, 2, 3], np.uint64), np.array([[7], [7], [8]], np.uint64)
    >>> Diversity(spread=3.0).order(scores, common(tags), authors, tags, 3).tolist()
    [0, 2, 1]

    References
    ----------
    Y. Huang, W. Wang, L. Zhang, R. Xu: Sliding Spectrum Decomposition for Diversified Recommendation (KDD 2021).
    """

    def __init__(self, spread: float = 0.3, window: int = 8, tag_share: float = 0.5) -> None:
        if spread < 0.0 or window < 1 or not 0.0 < tag_share <= 1.0:
            raise ValueError("diversity wants spread >= 0, window >= 1 and a tag share in (0, 1]")
        self.spread, self.window, self.tag_share = spread, window, tag_share

    def order(
        self,
        scores: Floats,
        common: Doubles,
        authors: Hashes,
        tags: Hashes,
        n: int,
        before: int = 0,
        met: Hashes = NO_TAGS,
        chances: int = 0,
    ) -> npt.NDArray[np.intp]:
        """Rows for the first `n` places, best first.

        Shapes: scores [m], common [m, m] (products of vectors of unit length or 0), authors [m] (0: unknown, equal to none), tags [m, t] (0: none).
        `before` is the author of the place above the first one. `met` are the tags, [k, t], of notes that stand among these anyway, and `chances` so
        many more, of whatever tags: a tag's share is that of all. Of equals the earlier row comes first.
        """
        m, n = len(scores), min(n, len(scores))
        if not n:
            return np.empty(0, np.intp)
        value = scores - np.add.reduce(scores) / scores.dtype.type(m)
        deviation = float(np.sqrt(np.add.reduce(value * value) / scores.dtype.type(m)))
        value = (value / deviation if deviation > 0.0 else np.zeros(m)).astype(np.float64)
        chosen = np.empty(n, np.intp)
        slide(
            value,
            common,
            np.ascontiguousarray(authors),
            np.ascontiguousarray(tags),
            self.spread,
            self.window,
            self.limit(n, chances),
            before,
            np.ascontiguousarray(met),
            chosen,
        )
        return chosen

    def limit(self, n: int, chances: int = 0) -> int:
        """Places that a tag may have of `n`."""
        return max(1, int(self.tag_share * n) - chances)


def spare(tags: Hashes, others: Callable[[], Hashes], limit: int, wanted: int) -> npt.NDArray[np.intp]:
    """Of `others`, [k, t], so many first rows without the tags of which `tags`, [m, t], has more than `limit`, that there are `wanted` of both.

    >>> spare(np.array([[7], [7], [8]], np.uint64), lambda: np.array([[7], [9], [8]], np.uint64), 1, 2).tolist()
    [1]
    """
    tags = np.ascontiguousarray(tags)
    names, rows = np.empty(tags.size // (limit + 1), np.uint64), np.empty(wanted, np.intp)
    names = names[: crowded(tags, limit, names)]
    if not names.size:
        return rows[:0]
    missing = wanted - without(tags, names, rows)
    return rows[: without(np.ascontiguousarray(others()), names, rows[:missing])] if missing else rows[:0]


def common(tags: Hashes) -> Doubles:
    """What notes have in common: products of the bags of their tags, each of unit length, 0 without any. Shapes: [m, t] (0: none), [m, m].

    >>> common(np.array([[7, 8], [8, 0], [0, 0]], np.uint64)).round(3).tolist()
    [[1.0, 0.707, 0.0], [0.707, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    products = np.zeros((len(tags), len(tags)))
    share(np.array(tags, order="C"), products)
    return products


@kernel("boolean(uint64[:, ::1], int64, int64, uint64)")
def has(tags: Hashes, row: int, slots: int, tag: int) -> bool:
    """One of the first slots of a row holds the tag."""
    for slot in range(slots):  # noqa: SIM110 - kernels have no generators
        if tags[row, slot] == tag:
            return True
    return False


@kernel("int64(uint64[:, ::1], int64, uint64)")
def bearing(tags: Hashes, rows: int, tag: int) -> int:
    """So many of the first rows hold the tag."""
    count = 0
    for row in range(rows):
        count += has(tags, row, tags.shape[1], tag)
    return count


@kernel("int64(uint64[:, ::1], int64, uint64[::1])")
def crowded(tags: Hashes, limit: int, names: Hashes) -> int:
    """Fills `names` with the tags that more than `limit` rows have; returns how many these are."""
    m, t = tags.shape
    room, found = 1, 0
    while room < 2 * m * t:
        room *= 2
    keys, counts = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    for row in range(m):
        for slot in range(t):
            tag = tags[row, slot]
            if tag == 0 or has(tags, row, slot, tag):
                continue
            at = np.int64(tag & np.uint64(room - 1))
            while keys[at] != 0 and keys[at] != tag:
                at = (at + 1) & (room - 1)
            keys[at] = tag
            counts[at] += 1
            if counts[at] == limit + 1:
                names[found] = tag
                found += 1
    return found


@kernel("int64(uint64[:, ::1], uint64[::1], int64[::1])")
def without(tags: Hashes, names: Hashes, rows: npt.NDArray[np.intp]) -> int:
    """Fills `rows` with the first rows that have none of these tags; returns how many, at most as many as there is room for."""
    found = 0
    for row in range(len(tags)):
        if found == len(rows):
            break
        free = True
        for name in names:
            free = free and not has(tags, row, tags.shape[1], name)
        if free:
            rows[found] = row
            found += 1
    return found


@kernel("int64(float64[::1], boolean[::1], boolean[::1], uint64[::1], uint64, boolean, boolean)")
def best(worth: Doubles, free: Mask, full: Mask, authors: Hashes, before: int, apart: bool, open: bool) -> int:
    """The first of the free rows that are worth most, -1 when there is none: with `apart` none by the author `before`, with `open` none
    with a full tag."""
    row = -1
    for i in range(len(worth)):
        if free[i] and not (apart and authors[i] == before) and not (open and full[i]) and (row < 0 or worth[i] > worth[row]):
            row = i
    return row


@kernel("void(float64[::1], float64[:, ::1], uint64[::1], uint64[:, ::1], float64, int64, int64, uint64, uint64[:, ::1], int64[::1])")
def slide(
    value: Doubles,
    common: Doubles,
    authors: Hashes,
    tags: Hashes,
    spread: float,
    window: int,
    limit: int,
    before: int,
    met: Hashes,
    chosen: npt.NDArray[np.intp],
) -> None:
    """Rows for as many places as `chosen` has, greedily.

    Shapes: value [m], in standard deviations; common [m, m], products of the vectors; authors [m]; tags [m, t]. `limit`: places a tag may
    have; met [k, t]: tags of notes that have theirs already.
    """
    m, n = len(value), len(chosen)
    free, full, worth = np.ones(m, np.bool_), np.zeros(m, np.bool_), np.empty(m)
    new = np.empty(m)  # the square of what is new in a row against what stands in the window
    told = np.zeros((window, m))  # how much of a row lies along what each place brought: those directions are at right angles
    along = np.empty(m)
    for i in range(m):
        new[i] = common[i, i]
        for slot in range(tags.shape[1]):
            full[i] = full[i] or (tags[i, slot] != 0 and bearing(met, len(met), tags[i, slot]) >= limit)
    for place in range(n):
        for i in range(m):
            worth[i] = value[i] if not place else np.sqrt(new[i]) * spread + value[i]
        apart = before != 0
        row = best(worth, free, full, authors, before, apart, True)
        if row < 0:
            row = best(worth, free, full, authors, before, apart, False)
        if row < 0:
            row = best(worth, free, full, authors, before, False, False)
        chosen[place], free[row], before = row, False, authors[row]
        for slot in range(tags.shape[1]):
            tag = tags[row, slot]
            if not tag or has(tags, row, slot, tag):
                continue
            used = bearing(met, len(met), tag)
            for earlier in range(place + 1):
                used += has(tags, chosen[earlier], tags.shape[1], tag)
            if used == limit:
                for i in range(m):
                    full[i] = full[i] or has(tags, i, tags.shape[1], tag)
        if place == n - 1:
            return
        at, length = place % window, new[row]
        for i in range(m):
            along[i] = 0.0
        for back in range(window):
            mine = told[back, row]
            if mine != 0.0:
                for i in range(m):
                    along[i] += mine * told[back, i]
        for i in range(m):
            gone = told[at, i]
            told[at, i] = (common[row, i] - along[i]) / np.sqrt(length) if length > TINY else 0.0
            new[i] = max(new[i] + gone * gone - told[at, i] * told[at, i], 0.0)


@kernel("void(uint64[:, ::1], float64[:, ::1])")
def share(tags: Hashes, products: Doubles) -> None:
    """Adds to `products` for each tag of two rows the product of what it is of either: only pairs that share something are looked at.

    Rows of a tag are a chain from the newest on. Shapes: [m, t], [m, m].
    """
    m, t = tags.shape
    room = 1
    while room < 2 * m * t:
        room *= 2
    newest, before, parts = np.full(room, -1), np.full(m * t, -1), np.empty(m)
    for row in range(m):
        said = 0
        for slot in range(t):
            said += tags[row, slot] != 0 and not has(tags, row, slot, tags[row, slot])
        parts[row] = np.float32(1.0) / np.sqrt(np.float32(max(said, 1)))
        for slot in range(t):
            tag = tags[row, slot]
            if tag == 0 or has(tags, row, slot, tag):
                continue
            at = np.int64(tag & np.uint64(room - 1))
            while newest[at] >= 0 and tags[newest[at] // t, newest[at] % t] != tag:
                at = (at + 1) & (room - 1)
            place = row * t + slot
            before[place], newest[at] = newest[at], place
            while place >= 0:
                other = place // t
                products[row, other] += parts[row] * parts[other]
                if other != row:
                    products[other, row] += parts[row] * parts[other]
                place = before[place]
