"""Which note of a slate is engaged with: one softmax over the whole slate, learned as the slates come.

    score(note) = (w + w_history + w_gap + w_rank) · x  +  b + b_stage  +  q · (v_history + v_gap + Σ keep^age v_recent)

The dense part (w by context, v of contexts) is small. The item part holds, for each note that was in a slate lately, two biases (for
all users, and for users at that stage of their history: what newcomers begin with is not what others go on to) and two vectors:
q, what it answers to, and v, what it says about the taste of somebody who took it. Nothing is kept per user: a user is the notes in
his record, so that a shift of interest moves the ranking with the next request, and no user is forgotten or has to be learned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import log1p
from struct import Struct
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models.rows import BLOCK, SQUARES, Buffer, Floats, Hashes, Rows, adagrad, fill, start

VERSION = 1

HISTORY = (1, 3, 6, 12, 25, 60, 150)
"""Notes engaged with, ever: from each of these on another row of weights is added."""
GAPS = (1, 60_000, 3_600_000)
"""The same for ms since the last engagement."""
RANKS = (1.0, 2.0, 3.0, 4.0, 5.0)
"""The same for the running mean of log(1 + rank) of what the user took."""
STAGES = (0, 1, 2, 2, 3, 3, 3, 3)
"""Bin of the history -> which of the biases by stage."""

_CONTEXT = Struct("<BxHIfq")


class Context(NamedTuple):
    """What is known of a request besides the features of its notes; logged with the slate, in bytes."""

    history: int = 0
    """notes engaged with, ever"""
    gap: int = -1
    """ms since the last engagement, -1 without one"""
    rank: float = 2.0
    """running mean of log(1 + rank of what the user took)"""
    recent: tuple[int, ...] = ()
    """hashes of notes engaged with, newest first"""

    def encode(self) -> bytes:
        n = len(self.recent)
        return _CONTEXT.pack(VERSION, n, min(self.history, 2**32 - 1), self.rank, self.gap) + np.array(self.recent, "<u8").tobytes()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises `ValueError` on anything `encode` did not write."""
        if len(value) < _CONTEXT.size or value[0] != VERSION:
            raise ValueError("not a context in this version")
        _, n, history, rank, gap = _CONTEXT.unpack_from(value)
        if len(value) != _CONTEXT.size + 8 * n or not np.isfinite(rank):
            raise ValueError("a context that is cut or no number")
        return cls(history, gap, rank, tuple(np.frombuffer(value, "<u8", n, _CONTEXT.size).tolist()))


def moved_rank(rank: float, place: int) -> float:
    """The running mean after the user took what stood at `place` (from 0) of the ranked candidates.

    >>> round(moved_rank(2.0, 0), 2)
    1.6
    """
    return 0.8 * rank + 0.2 * log1p(place)


class Parts(NamedTuple):
    """A score by its parts; they add up to it."""

    features: Floats
    """[notes, features]"""
    bias: Floats
    """[notes]"""
    factors: Floats
    """[notes]"""

    @property
    def score(self) -> Floats:
        total: Floats = self.features.sum(1) + self.bias + self.factors
        return total


_HEADER = Struct("<BBHHHIQ")  # version, accumulators too, features, factors, rows of weights, items, steps


class Ranker:
    """Online slate model: softmax cross-entropy, AdaGrad, weights by context, biases and factors of notes.

    Shines where each example is a choice among things that were all there to choose from. It takes the features' word for what a note
    is: a note that was in no slate yet has nothing of its own, and is ranked by its features.

    Parameters
    ----------
    prior
        Weight of each feature before the first example: shape [features].
    factors
        Length of q and v.
    items
        Notes in the item part; when there are more, those leave that were longest in no slate, a sixteenth at once.
    keep
        What a step back in the user's recent notes leaves of a note's v.
    recent
        How many steps back.
    rate, bias_rate, factor_rate
        AdaGrad step sizes.
    shrink
        L2, per example, on what is added to the common weights: contexts, biases, factors.

    Examples
    --------
    >>> ranker = Ranker(np.array([1.0, 0.0], np.float32), factors=4)
    >>> slate, x = np.array([7, 8], np.uint64), np.array([[0, 1], [0, 0]], np.float32)
    >>> ranker.score(slate, x, Context()).tolist()
    [0.0, 0.0]
    >>> for _ in range(9):
    ...     ranker.learn(slate, x, Context(), took=0)
    >>> bool(np.diff(ranker.score(slate, x, Context()))[0] < 0)
    True

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer: Adaptive subgradient methods (JMLR 2011). Users as what they took: Y. Koren, Factorization meets
    the neighborhood (KDD 2008), section 4, "asymmetric SVD".
    """

    def __init__(
        self,
        prior: Floats,
        factors: int = 32,
        items: int = 100_000,
        keep: float = 0.9,
        recent: int = 40,
        rate: float = 0.05,
        bias_rate: float = 0.1,
        factor_rate: float = 0.05,
        shrink: float = 0.02,
    ) -> None:
        self.recent = recent
        self.rate, self.bias_rate, self.factor_rate = np.float32(rate), np.float32(bias_rate), np.float32(factor_rate)
        self.shrink = np.float32(shrink)
        self.ages = (keep ** np.arange(recent)).astype(np.float32)
        rows = 1 + len(HISTORY) + 1 + len(GAPS) + 2 + len(RANKS) + 1
        self.weights = np.zeros((rows, len(prior)), np.float32)
        self.weights[0] = prior
        self.contexts = np.zeros((rows, factors), np.float32)
        self.squares = {"weights": np.ones_like(self.weights), "contexts": np.full_like(self.contexts, SQUARES)}
        self.items = Rows(items, {"bias": (), "stage": (STAGES[-1] + 1,), "answers": (factors,), "says": (factors,)})

    @property
    def steps(self) -> int:
        """Slates learned from."""
        return self.items.steps

    # ------------------------------------------------------------------------------------------------------------ verbs

    def bins(self, context: Context) -> tuple[list[int], int]:
        """Rows of the dense part that speak for a context, and the stage of its history."""
        history = bisect_right(HISTORY, context.history)
        at = 1 + history, 2 + len(HISTORY) + (0 if context.gap < 0 else 1 + bisect_right(GAPS, context.gap))
        return [0, *at, 4 + len(HISTORY) + len(GAPS) + bisect_right(RANKS, context.rank)], STAGES[history]

    def user(self, context: Context) -> Floats:
        """The user's side of the factors: shape [factors]."""
        bins, _ = self.bins(context)
        rows = self.items.known(context.recent[: self.recent])
        known = rows >= 0
        sum_of: Floats = self.contexts[bins[1:3]].sum(0) + self.ages[: len(rows)][known] @ self.items["says"][rows[known]]
        return sum_of

    def explain(self, hashes: Hashes, x: Floats, context: Context) -> Parts:
        """Scores by their parts: `score` is their sum, up to rounding."""
        items, (bins, stage) = self.items, self.bins(context)
        rows = items.found(hashes)
        known = (rows >= 0).astype(np.float32)
        bias = (items["bias"][rows] + items["stage"][rows, stage]) * known
        return Parts(x * self.weights[bins].sum(0), bias, (items["answers"][rows] @ self.user(context)) * known)

    def score(self, hashes: Hashes, x: Floats, context: Context) -> Floats:
        """Log-odds between the notes of a slate: shape [notes]; `x` has shape [notes, features]."""
        items, (bins, stage) = self.items, self.bins(context)
        rows = items.found(hashes)
        own = items["bias"].take(rows) + items["stage"][rows, stage] + items["answers"].take(rows, 0) @ self.user(context)
        scores: Floats = x @ self.weights[bins].sum(0) + np.where(rows >= 0, own, np.float32(0.0))
        return scores

    def learn(self, hashes: Hashes, x: Floats, context: Context, took: int, sampled: Floats | None = None) -> None:
        """One step: of this slate, row `took` was engaged with.

        `sampled` are the rows' sampling weights: a row that stands for w candidates weighs as w in the softmax. Raises `ValueError`,
        having learned nothing, on an example that cannot be one.
        """
        check(hashes, x, took, self.weights.shape[1], sampled)
        rows, before = self._places(hashes.tolist(), list(dict.fromkeys(context.recent[: self.recent])))
        items, (bins, stage) = self.items, self.bins(context)
        ages = self.ages[: len(before)]
        user = self.contexts[bins[1:3]].sum(0) + ages @ items["says"][before]
        answers = items["answers"][rows]
        scores = x @ self.weights[bins].sum(0) + items["bias"][rows] + items["stage"][rows, stage] + answers @ user
        if sampled is not None:
            scores = scores + np.log(sampled)
        odds = np.exp(scores - scores.max())
        p = odds / odds.sum()
        error = p.copy()
        error[took] -= np.float32(1.0)

        toward = error @ answers
        weights = np.broadcast_to(error @ x, (4, x.shape[1])).copy()
        weights[1:] += self.shrink * self.weights[bins[1:]]
        adagrad(self.weights, self.squares["weights"], np.array(bins), weights, self.rate)
        items.step("bias", rows, error + self.shrink * p * items["bias"][rows], self.bias_rate)
        items.step("stage", (rows, np.full(len(rows), stage)), error + self.shrink * p * items["stage"][rows, stage], self.bias_rate)
        items.step("answers", rows, error[:, None] * user + self.shrink * np.abs(error)[:, None] * answers, self.factor_rate)
        adagrad(self.contexts, self.squares["contexts"], np.array(bins[1:3]), np.broadcast_to(toward, (2, len(toward))), self.factor_rate)
        says = ages[:, None] * (toward + np.float32(0.1) * self.shrink * items["says"][before])
        items.step("says", before, says, self.factor_rate)

    def _places(self, slate: list[int], recent: list[int]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows of the notes of a step, which it may not push out; new ones come in."""
        if 2 * (len(slate) + len(recent)) > self.items.most:
            raise ValueError(f"an item part of {self.items.most} notes cannot learn from {len(slate) + len(recent)} at once")
        says = self.items["says"].shape[1]
        for h in self.items.touch(list(dict.fromkeys([*slate, *recent]))):
            self.items["says"][self.items.places[h]] = start(h, says)
        return self.items.known(slate), self.items.known(recent)

    # ------------------------------------------------------------------------------------------------------------ bytes

    def dense(self, learning: bool = True) -> bytes:
        """Header and dense part."""
        shape = self.weights.shape[1], self.contexts.shape[1], len(self.weights)
        arrays = [self.weights, self.contexts, *(self.squares.values() if learning else ())]
        return b"".join([_HEADER.pack(VERSION, learning, *shape, len(self.items), self.steps), *(array.tobytes() for array in arrays)])

    def encode(self, learning: bool = True) -> bytes:
        """Everything, byte for byte: dense part, blocks, memories; without `learning`, what scoring needs, half of it."""
        items, count = self.items, range(self.items.blocks)
        return b"".join([self.dense(learning), *map(items.block, count), *(map(items.memory, count) if learning else ())])

    def decode(self, value: bytes) -> Self:
        """Take over what `encode` wrote; raises `ValueError`, and stays as it was, on another version, another shape or a cut value."""
        learning, n, _ = self._header(value)
        at = self._dense(learning)
        sizes = [min(BLOCK, n - i) * self.items.width for i in range(0, n, BLOCK)]
        if len(value) != at + (1 + learning) * sum(sizes):
            raise ValueError("a ranker that is cut")
        view, parts = memoryview(value), list[memoryview]()
        for size in sizes * (1 + learning):
            parts.append(view[at : at + size])
            at += size
        return self.take(value[: self._dense(learning)], parts[: len(sizes)], parts[len(sizes) :] if learning else None)

    def take(self, dense: bytes, blocks: Sequence[Buffer], memories: Sequence[Buffer] | None = None) -> Self:
        """The same from its parts; `dense` may hold what learning needs, whether that is wanted (`memories`) or not."""
        learning, n, steps = self._header(dense)
        if len(dense) != self._dense(learning) or (memories is not None and not learning):
            raise ValueError("a ranker that is cut")
        self.items.take(n, steps, blocks, memories)
        at = _HEADER.size
        for array in (self.weights, self.contexts, *(self.squares.values() if memories is not None else ())):
            at = fill(array, dense, at)
        return self

    def _dense(self, learning: bool) -> int:
        """Bytes of the dense part with its header."""
        return _HEADER.size + (1 + learning) * (self.weights.nbytes + self.contexts.nbytes)

    def _header(self, value: bytes) -> tuple[bool, int, int]:
        """Whether what learning needs is there, rows of the item part, steps; raises `ValueError` on another version or shape."""
        if len(value) < _HEADER.size or value[0] != VERSION:
            raise ValueError("not a ranker in this version")
        _, learning, features, factors, rows, n, steps = _HEADER.unpack_from(value)
        if (rows, features) != self.weights.shape or factors != self.contexts.shape[1]:
            raise ValueError(
                f"a ranker of {features} features and {factors} factors: wanted {self.weights.shape[1]}, {self.contexts.shape[1]}"
            )
        return bool(learning), n, steps


def check(hashes: Hashes, x: Floats, took: int, features: int, sampled: Floats | None) -> None:
    """Raises `ValueError` unless these can be one example."""
    n = len(hashes)
    if x.shape != (n, features) or not 0 <= took < n:
        raise ValueError(f"features {x.shape} and row {took} of {n} notes: wanted {features} features")
    if not np.isfinite(x).all():
        raise ValueError("a feature is no number")
    if len(set(hashes.tolist())) != n:
        raise ValueError("a note stands twice in a slate")
    if sampled is not None and not (sampled.shape == (n,) and np.isfinite(sampled).all() and (sampled > 0).all()):
        raise ValueError("sampling weights are numbers above 0")
