"""An order in which what stands near each other differs: sliding spectrum decomposition, under rules for authors and tags."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

TINY = 1e-9
GONE = -np.inf
"""What a row is worth that has its place."""


class Diversity:
    """Greedy choice of score + spread · (what is new against the last few): N · window operations a place, after one product of the vectors.

    Shines on feeds that are read from the top, where what was shown long ago may come again. It knows only the vectors it is given:
    two notes with equal tags are the same to it. Where the rules leave nothing to choose from, they give way, tags first: a short page
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
    >>> vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    >>> authors, tags = np.array([1, 2, 3], np.uint64), np.array([[7], [7], [8]], np.uint64)
    >>> Diversity(spread=3.0).order(scores, vectors, authors, tags, 3).tolist()
    [0, 2, 1]

    References
    ----------
    Y. Huang, W. Wang, L. Zhang, R. Xu: Sliding Spectrum Decomposition for Diversified Recommendation (KDD 2021).
    """

    def __init__(self, spread: float = 0.3, window: int = 8, tag_share: float = 0.5) -> None:
        if spread < 0.0 or window < 1 or not 0.0 < tag_share <= 1.0:
            raise ValueError("diversity wants spread >= 0, window >= 1 and a tag share in (0, 1]")
        self.spread, self.window, self.tag_share = spread, window, tag_share

    def order(self, scores: Floats, vectors: Floats, authors: Hashes, tags: Hashes, n: int, before: int = 0) -> npt.NDArray[np.intp]:
        """Rows for the first `n` places, best first.

        Shapes: scores [m], vectors [m, d] (of unit length or 0), authors [m] (0: unknown, equal to none), tags [m, t] (0: none).
        `before` is the author of the place above the first one. Of equals the earlier row comes first.
        """
        m, n = len(scores), min(n, len(scores))
        if not n:
            return np.empty(0, np.intp)
        # The many small steps of this loop are a tenth of a feed: they write where they read, and methods are called that need no wrapper.
        value = scores - np.add.reduce(scores) / scores.dtype.type(m)
        deviation = float(np.sqrt(np.add.reduce(value * value) / scores.dtype.type(m)))
        value = value / deviation if deviation > 0.0 else np.zeros(m)
        limit = max(1, int(self.tag_share * n))
        used: dict[int, int] = {}
        """places by tag"""
        full = np.zeros(m, np.bool_)
        """rows with a tag that has its share"""
        doubles = vectors.astype(np.float64)
        common = doubles @ doubles.T
        new = common.diagonal().copy()
        """by row, the square of what is new in it against what stands in the window"""
        told = np.zeros((self.window, m))
        """by place of the window and row, how much of the row lies along what that place brought: those directions are at right angles"""
        known = np.zeros((self.window, m))
        """their squares"""
        told_by, known_by = list(told), list(known)
        by, tags_of = authors.tolist(), tags.tolist()
        chosen: list[int] = []
        worth = value.astype(np.float64)
        for place in range(n):
            if place:
                np.sqrt(new, out=worth)
                worth *= self.spread
                worth += value
            row = int(worth.argmax())
            if full[row] or (before and by[row] == before):
                row = allowed(worth, value != GONE, full, authors, before)
            chosen.append(row)
            value[row], before = GONE, by[row]
            for tag in set(tags_of[row]):
                used[tag] = used.get(tag, 0) + 1
                if used[tag] == limit and tag:
                    full |= (tags == tag).any(1)
            if place == n - 1:
                break
            length = float(new[row])
            along = told[:, row] @ told
            np.subtract(common[row], along, out=along)
            at = place % self.window
            if place >= self.window:
                new += known_by[at]
            if length > TINY:
                np.divide(along, sqrt(length), out=told_by[at])
            else:
                told_by[at].fill(0.0)
            np.multiply(told_by[at], told_by[at], out=known_by[at])
            new -= known_by[at]
            np.maximum(new, 0.0, out=new)
        return np.array(chosen, np.intp)


def allowed(worth: npt.NDArray[np.float64], free: Mask, full: Mask, authors: Hashes, before: int) -> int:
    """The best row under the rules, or under those that leave one."""
    apart = free & (authors != before) if before else free
    row = best(worth, apart & ~full)
    if row < 0:
        row = best(worth, apart)
    return row if row >= 0 else best(worth, free)


def best(worth: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_]) -> int:
    """The first of the rows that are worth most among those allowed; -1 when none is."""
    row = int(np.where(allowed, worth, -np.inf).argmax())
    return row if allowed[row] else -1
