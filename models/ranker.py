"""Which note of a slate is engaged with: one softmax over the whole slate, learned as the slates come.

    score(note) = (w + w_history + w_gap + w_rank) · x  +  b + b_stage  +  q · (v_history + v_gap + Σ keep^age v_recent)

The dense part (w by context, v of contexts) is small. The item part holds, for each note that was in a slate lately, two biases (for
all users, and for users at that stage of their history: what newcomers begin with is not what others go on to) and two vectors:
q, what it answers to, and v, what it says about the taste of somebody who took it. Nothing is kept per user: a user is the notes in
his record, so that a shift of interest moves the ranking with the next request, and no user is forgotten or has to be learned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import log1p
from struct import Struct
from typing import NamedTuple, Self

import numpy as np

from models.kernel import kernel
from models.rows import BLOCK, SQUARES, Buffer, Floats, Hashes, Places, Rows, adagrad, begin, dot, fill, room, slot_of

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

    def explain(self, hashes: Hashes, x: Floats, context: Context) -> Parts:
        """Scores by their parts: `score` is their sum, up to rounding."""
        return Parts(x * self.weights[self.bins(context)[0]].sum(0), *self._own(hashes, context))

    def score(self, hashes: Hashes, x: Floats, context: Context) -> Floats:
        """Log-odds between the notes of a slate: shape [notes]; `x` has shape [notes, features]."""
        scores: Floats = x @ self.weights[self.bins(context)[0]].sum(0)
        for part in self._own(hashes, context):
            scores += part
        return scores

    def _own(self, hashes: Hashes, context: Context) -> tuple[Floats, Floats]:
        """What the item part says of each note: its biases, and its factors."""
        items, (bins, stage) = self.items, self.bins(context)
        before = items.found(hashes_of(context.recent[: self.recent]))
        user = taste(self.contexts[bins[1]], self.contexts[bins[2]], before, self.ages, items["says"])
        bias, factors = np.empty(len(hashes), np.float32), np.empty(len(hashes), np.float32)
        own(items.found(hashes), items["bias"], items["stage"], stage, items["answers"], user, bias, factors)
        return bias, factors

    def learn(self, hashes: Hashes, x: Floats, context: Context, took: int, sampled: Floats | None = None) -> None:
        """One step: of this slate, row `took` was engaged with.

        `sampled` are the rows' sampling weights: a row that stands for w candidates weighs as w in the softmax. Raises `ValueError`,
        having learned nothing, on an example that cannot be one.
        """
        if sampled is None:
            sampled = np.ones(len(hashes), np.float32)
        check(hashes, x, took, self.weights.shape[1], sampled)
        items, (bins, stage), n = self.items, self.bins(context), len(hashes)
        recent = hashes_of(dict.fromkeys(context.recent[: self.recent]))
        if 2 * (n + len(recent)) > items.most:
            raise ValueError(f"an item part of {items.most} notes cannot learn from {n + len(recent)} at once")
        rows, first = items.touch(np.concatenate([hashes, recent]))
        begin(items["says"], items.hashes, first, len(items))
        squares, of_items = self.squares, items.squares
        learn(
            x, took, sampled, np.array(bins), stage, rows[:n], rows[n:], self.ages,
            self.weights, self.contexts, items["bias"], items["stage"], items["answers"], items["says"],
            squares["weights"], squares["contexts"], of_items["bias"], of_items["stage"], of_items["answers"], of_items["says"],
            self.rate, self.bias_rate, self.factor_rate, self.shrink,
        )  # fmt: skip

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


def hashes_of(notes: Iterable[int]) -> Hashes:
    return np.array(list(notes), np.uint64)


def check(hashes: Hashes, x: Floats, took: int, features: int, sampled: Floats) -> None:
    """Raises `ValueError` unless these can be one example."""
    n = len(hashes)
    if x.shape != (n, features) or not 0 <= took < n:
        raise ValueError(f"features {x.shape} and row {took} of {n} notes: wanted {features} features")
    if sampled.shape != (n,):
        raise ValueError(f"{len(sampled)} sampling weights for {n} notes")
    if fault := FAULTS[faulty(hashes, x, sampled)]:
        raise ValueError(fault)


FAULTS = ("", "a feature is no number", "a note stands twice in a slate", "sampling weights are numbers above 0")


@kernel("int64(uint64[::1], float32[:, ::1], float32[:])")
def faulty(hashes: Hashes, x: Floats, sampled: Floats) -> int:
    """Which of `FAULTS` an example has."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if not np.isfinite(x[i, j]):
                return 1
    seen = np.full(room(len(hashes)), np.int32(-1), np.int32)
    for i in range(len(hashes)):
        at = slot_of(seen, hashes, hashes[i])
        if seen[at] >= 0:
            return 2
        seen[at] = i
    for i in range(len(sampled)):
        if not (np.isfinite(sampled[i]) and sampled[i] > 0):
            return 3
    return 0


@kernel("float32[::1](float32[::1], float32[::1], int32[:], float32[::1], float32[:, ::1])")
def taste(history: Floats, gap: Floats, before: Places, ages: Floats, says: Floats) -> Floats:
    """The user's side of the factors: v of his context, and of the notes before, by their age."""
    user = history + gap
    for i in range(len(before)):
        if before[i] >= 0:
            note, age = says[before[i]], ages[i]
            for j in range(len(user)):
                user[j] += age * note[j]
    return user


@kernel("void(int32[:], float32[::1], float32[:, ::1], int64, float32[:, ::1], float32[::1], float32[::1], float32[::1])")
def own(rows: Places, biases: Floats, stages: Floats, stage: int, answers: Floats, user: Floats, bias: Floats, factors: Floats) -> None:
    """Bias and factors of each row; 0 where there is none."""
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            bias[i] = factors[i] = np.float32(0.0)
        else:
            bias[i] = biases[row] + stages[row, stage]
            factors[i] = dot(answers[row], user)


@kernel(
    "void(float32[:, ::1], int64, float32[:], int64[::1], int64, int32[::1], int32[::1], float32[::1],"
    " float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1], float32[:, ::1],"
    " float32[:, ::1], float32[:, ::1], float32[::1], float32[:, ::1], float32[:, ::1], float32[:, ::1],"
    " float32, float32, float32, float32)"
)
def learn(
    x: Floats, took: int, sampled: Floats, bins: Places, stage: int, rows: Places, before: Places, ages: Floats,
    weights: Floats, contexts: Floats, biases: Floats, stages: Floats, answers: Floats, says: Floats,
    weights2: Floats, contexts2: Floats, biases2: Floats, stages2: Floats, answers2: Floats, says2: Floats,
    rate: np.float32, bias_rate: np.float32, factor_rate: np.float32, shrink: np.float32,
) -> None:  # fmt: skip
    """One step on all parts, every gradient as of before it; `…2` are the sums of squared gradients."""
    user = taste(contexts[bins[1]], contexts[bins[2]], before, ages, says)
    common = weights[bins[0]] + weights[bins[1]] + weights[bins[2]] + weights[bins[3]]
    n, p = len(rows), np.empty(len(rows), np.float32)
    for i in range(n):
        row = rows[i]
        p[i] = dot(x[i], common) + biases[row] + stages[row, stage] + dot(answers[row], user) + np.log(sampled[i])
    top, total = p.max(), np.float32(0.0)
    for i in range(n):
        p[i] = np.exp(p[i] - top)
        total += p[i]

    of_features, toward, gradient = np.zeros_like(common), np.zeros_like(user), np.empty_like(user)
    for i in range(n):
        row = rows[i]
        p[i] /= total
        error = p[i] - np.float32(1.0) if i == took else p[i]
        for j in range(len(common)):
            of_features[j] += error * x[i, j]
        pull = shrink * p[i]
        slope = error + pull * biases[row]
        biases2[row] += slope * slope
        biases[row] -= bias_rate * slope / np.sqrt(biases2[row])
        slope = error + pull * stages[row, stage]
        stages2[row, stage] += slope * slope
        stages[row, stage] -= bias_rate * slope / np.sqrt(stages2[row, stage])
        answer, pull = answers[row], shrink * abs(error)
        for j in range(len(user)):
            toward[j] += error * answer[j]
            gradient[j] = error * user[j] + pull * answer[j]
        adagrad(answer, answers2[row], gradient, factor_rate)
    for at in range(len(bins)):
        own_pull = shrink if at else np.float32(0.0)
        adagrad(weights[bins[at]], weights2[bins[at]], of_features + own_pull * weights[bins[at]], rate)
    for at in range(1, 3):
        adagrad(contexts[bins[at]], contexts2[bins[at]], toward, factor_rate)
    pull = np.float32(0.1) * shrink
    for i in range(len(before)):
        note = says[before[i]]
        for j in range(len(user)):
            gradient[j] = ages[i] * (toward[j] + pull * note[j])
        adagrad(note, says2[before[i]], gradient, factor_rate)
