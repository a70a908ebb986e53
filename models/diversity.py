"""An order in which what stands near each other differs: sliding spectrum decomposition, under rules for authors and tags."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]

TINY = 1e-9


class Diversity:
    """Greedy choice of score + spread · (what is new against the last few): N · d operations a place.

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
        n = min(n, len(scores))
        deviation = float(scores.std()) if len(scores) else 0.0
        value = (scores - scores.mean()) / deviation if deviation > 0.0 else np.zeros(len(scores))
        limit = max(1, int(self.tag_share * n))
        names, columns = np.unique(tags, return_inverse=True)
        columns = columns.reshape(tags.shape)
        used = np.zeros(max(len(names), 1), np.intp)
        empty = names == 0
        rest = vectors.astype(np.float64)
        bases: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
        free = np.ones(len(scores), np.bool_)
        chosen = np.empty(n, np.intp)
        for place in range(n):
            worth = value + self.spread * np.sqrt(np.einsum("ij,ij->i", rest, rest)) if place else value
            apart = free & ((authors != before) | (authors == 0))
            full = (used >= limit) & ~empty if len(names) else used > 0
            within = apart & ~full[columns].any(1) if tags.size else apart
            allowed = within if within.any() else apart if apart.any() else free
            row = int(np.argmax(np.where(allowed, worth, -np.inf)))
            chosen[place], free[row], before = row, False, int(authors[row])
            if tags.size:
                used[np.unique(columns[row])] += 1
            base = rest[row].copy()
            if len(bases) == self.window:
                gone, share = bases.pop(0)
                rest += share[:, None] * gone
            length = float(base @ base)
            share = rest @ base / length if length > TINY else np.zeros(len(scores))
            rest -= share[:, None] * base
            bases.append((base, share))
        return chosen
