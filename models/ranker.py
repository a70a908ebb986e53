"""Which note of a slate is engaged with: one softmax over the whole slate, learned as the slates come.

    score(note) = (w + w_history + w_gap + w_rank) · x  +  b + b_stage  +  q · (v_history + v_gap + v_user + Σ keep^age v_recent)  +  anchor · x

The dense part (w by context, v of contexts) is small. The item part holds, for each note that was in a slate lately, two biases (for
all users, and for users at that stage of their history: what newcomers begin with is not what others go on to) and two vectors:
q, what it answers to, and v, what it says about the taste of somebody who took it. A user is above all the notes in his record, so that a
shift of interest moves the ranking with the next request and nobody has to be known; what these do not say of those who took something
lately is a vector of their own.

There are a few members of this kind beside each other, one for each `keep`, each learning from its own error; a score is their mean, which
is surer than any of them. The anchor is no part of what they learn: it holds the ranking to what the user took last, which a
learned weight gives up for what usually pays, and so it follows a shift of interest as soon as the decay it is built on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple, Self

import numpy as np

from models.context import Context
from models.kernel import kernel
from models.rows import BLOCK, NOBODY, SQUARES, Buffer, Floats, Hashes, Places, Rows, adagrad, begin, dot, fill, room, slot_of

LAYOUT = 2
"""Version of a ranker in bytes."""

HISTORY = (1, 3, 6, 12, 25, 60, 150)
"""Notes engaged with, ever: from each of these on another row of weights is added."""
GAPS = (1, 60_000, 3_600_000)
"""The same for ms since the last engagement."""
RANKS = (1.0, 2.0, 3.0, 4.0, 5.0)
"""The same for the running mean of log(1 + rank) of what the user took."""
STAGES = (0, 1, 2, 2, 3, 3, 3, 3)
"""Bin of the history -> which of the biases by stage."""


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


_HEADER = Struct("<BBBHHHIQIQ")  # layout, accumulators too, members, features, factors, rows of weights; items and users: rows, steps
Halves = tuple[Sequence[Buffer], Sequence[Buffer] | None]
"""Blocks of a table, and memories where it is to learn."""


class Ranker:
    """Online slate model: softmax cross-entropy, AdaGrad, weights by context, biases and factors of notes, factors of users.

    Shines where each example is a choice among things that were all there to choose from. It takes the features' word for what a note
    is: a note that was in no slate yet has nothing of its own, and is ranked by its features.

    Parameters
    ----------
    prior
        Weight of each feature before the first example: shape [features].
    anchor
        Added to the weights when notes are ranked, never when they are learned from; none by default.
    factors
        Length of q and v of one member.
    items, users
        Notes in the item part, and users who are known; when there are more, those leave that were longest in no example, a sixteenth at once.
    keep
        What a step back in the user's recent notes leaves of a note's v: one member for each.
    recent
        How many steps back.
    rate, bias_rate, factor_rate, user_rate
        AdaGrad step sizes.
    shrink
        L2, per example, on what is added to the common weights: contexts, biases, factors.
    depth
        A slate weighs half when so many of its notes were scored above the one that was taken: who digs that deep had other reasons.

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
    J. Duchi, E. Hazan, Y. Singer: Adaptive subgradient methods (JMLR 2011). Users as what they took, and a vector beside: Y. Koren,
    Factorization meets the neighborhood (KDD 2008), sections 3 and 4.
    """

    def __init__(
        self,
        prior: Floats,
        factors: int = 32,
        items: int = 100_000,
        users: int = 100_000,
        keep: Sequence[float] = (0.9, 0.97),
        recent: int = 40,
        rate: float = 0.05,
        bias_rate: float = 0.1,
        factor_rate: float = 0.05,
        user_rate: float = 0.2,
        shrink: float = 0.05,
        depth: float = 100.0,
        anchor: Floats | None = None,
    ) -> None:
        if not keep or users < 1 or not depth > 0.0:
            raise ValueError(
                f"keep = {list(keep)}, users = {users}, depth = {depth}: wanted one keep at least, room for a user, a depth above 0"
            )
        self.recent = recent
        self.rate, self.bias_rate, self.factor_rate, self.user_rate = map(np.float32, (rate, bias_rate, factor_rate, user_rate))
        self.shrink, self.depth = np.float32(shrink), np.float32(depth)
        self.ages = (np.array(keep)[:, None] ** np.arange(recent)).astype(np.float32)
        members, rows = len(keep), 1 + len(HISTORY) + 1 + len(GAPS) + 2 + len(RANKS) + 1
        self.weights = np.zeros((members, rows, len(prior)), np.float32)
        self.weights[:, 0] = prior
        self.anchor = np.zeros_like(prior) if anchor is None else anchor
        self.contexts = np.zeros((members, rows, factors), np.float32)
        self.squares = {"weights": np.ones_like(self.weights), "contexts": np.full_like(self.contexts, SQUARES)}
        vector = (members, factors)
        self.items = Rows(items, {"bias": (members,), "stage": (members, STAGES[-1] + 1), "answers": vector, "says": vector})
        self.users = Rows(users, {"says": vector})

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

    def explain(self, hashes: Hashes, x: Floats, context: Context, user: int = NOBODY) -> Parts:
        """Scores by their parts: `score` is their sum, up to rounding."""
        return Parts(x * self._common(context), *self._own(hashes, context, user))

    def score(self, hashes: Hashes, x: Floats, context: Context, user: int = NOBODY) -> Floats:
        """Log-odds between the notes of a slate for this user, a hash: shape [notes]; `x` has shape [notes, features]."""
        scores: Floats = x @ self._common(context)
        for part in self._own(hashes, context, user):
            scores += part
        return scores

    def _common(self, context: Context) -> Floats:
        """Weights of the features, mean of the members, and the anchor."""
        weights: Floats = self.weights[:, self.bins(context)[0]].sum(1).mean(0) + self.anchor
        return weights

    def _own(self, hashes: Hashes, context: Context, user: int) -> tuple[Floats, Floats]:
        """What the item part says of each note: its biases, and its factors."""
        items, (bins, stage) = self.items, self.bins(context)
        before = items.found(hashes_of(context.recent[: self.recent]))
        who = int(self.users.found(hashes_of([user]))[0]) if user != NOBODY else -1
        bias, factors = np.empty(len(hashes), np.float32), np.empty(len(hashes), np.float32)
        own(
            items.found(hashes), bins[1], bins[2], stage, before, who, self.ages,
            self.contexts, items["bias"], items["stage"], items["answers"], items["says"], self.users["says"], bias, factors,
        )  # fmt: skip
        return bias, factors

    def learn(self, hashes: Hashes, x: Floats, context: Context, took: int, user: int = NOBODY, sampled: Floats | None = None) -> None:
        """One step: of this slate, this user took row `took`.

        `sampled` are the rows' sampling weights: a row that stands for w candidates weighs as w in the softmax. Raises `ValueError`,
        having learned nothing, on an example that cannot be one.
        """
        if sampled is None:
            sampled = np.ones(len(hashes), np.float32)
        check(hashes, x, took, self.weights.shape[2], sampled)
        items, users, (bins, stage), n = self.items, self.users, self.bins(context), len(hashes)
        recent = hashes_of(dict.fromkeys(context.recent[: self.recent]))
        if 2 * (n + len(recent)) > items.most:
            raise ValueError(f"an item part of {items.most} notes cannot learn from {n + len(recent)} at once")
        rows, first = items.touch(np.concatenate([hashes, recent]))
        begin(flat(items["says"]), items.hashes, first, len(items))
        who = int(users.touch(hashes_of([user]))[0][0]) if user != NOBODY else -1
        squares, of_items = self.squares, items.squares
        learn(
            x, took, sampled, np.array(bins), stage, rows[:n], rows[n:], who, self.ages,
            self.weights, self.contexts, items["bias"], items["stage"], items["answers"], items["says"], users["says"],
            squares["weights"], squares["contexts"],
            of_items["bias"], of_items["stage"], of_items["answers"], of_items["says"], users.squares["says"],
            self.rate, self.bias_rate, self.factor_rate, self.user_rate, self.shrink, self.depth,
        )  # fmt: skip

    def settle(self) -> None:
        """From here on only users move."""
        self.rate = self.bias_rate = self.factor_rate = np.float32(0.0)

    def forget(self, user: int) -> None:
        """What was learned of a user by himself leaves."""
        self.users.drop(user)

    # ------------------------------------------------------------------------------------------------------------ bytes

    def dense(self, learning: bool = True) -> bytes:
        """Header and dense part."""
        members, rows, features = self.weights.shape
        shape = members, features, self.contexts.shape[2], rows
        header = _HEADER.pack(LAYOUT, learning, *shape, len(self.items), self.items.steps, len(self.users), self.users.steps)
        arrays = [self.weights, self.contexts, *(self.squares.values() if learning else ())]
        return b"".join([header, *(array.tobytes() for array in arrays)])

    def encode(self, learning: bool = True) -> bytes:
        """Everything, byte for byte: dense part, and of both tables blocks, memories; without `learning`, what scoring needs, half of it."""
        parts = [self.dense(learning)]
        for table in (self.items, self.users):
            count = range(table.blocks)
            parts += [*map(table.block, count), *(map(table.memory, count) if learning else ())]
        return b"".join(parts)

    def decode(self, value: bytes) -> Self:
        """Take over what `encode` wrote; raises `ValueError`, and stays as it was, on another version, another shape or a cut value."""
        learning, counts = self._header(value)
        at, view, tables = self._dense(learning), memoryview(value), list[Halves]()
        for table, (n, _) in zip((self.items, self.users), counts, strict=True):
            halves: list[list[Buffer]] = []
            for _ in range(1 + learning):
                sizes = [min(BLOCK, n - i) * table.width for i in range(0, n, BLOCK)]
                halves.append([view[at + sum(sizes[:i]) : at + sum(sizes[: i + 1])] for i in range(len(sizes))])
                at += sum(sizes)
            tables.append((halves[0], halves[1] if learning else None))
        if len(value) != at:
            raise ValueError("a ranker that is cut")
        return self.take(value[: self._dense(learning)], *tables)

    def take(self, dense: bytes, items: Halves, users: Halves) -> Self:
        """The same from its parts; `dense` may hold what learning needs, whether that is wanted (memories) or not."""
        learning, counts = self._header(dense)
        wanted = items[1] is not None
        if len(dense) != self._dense(learning) or (wanted and not learning):
            raise ValueError("a ranker that is cut")
        self.items.check(counts[0][0], *items)
        self.users.take(*counts[1], *users)
        self.items.take(*counts[0], *items)
        at = _HEADER.size
        for array in (self.weights, self.contexts, *(self.squares.values() if wanted else ())):
            at = fill(array, dense, at)
        return self

    def _dense(self, learning: bool) -> int:
        """Bytes of the dense part with its header."""
        return _HEADER.size + (1 + learning) * (self.weights.nbytes + self.contexts.nbytes)

    def _header(self, value: bytes) -> tuple[bool, tuple[tuple[int, int], tuple[int, int]]]:
        """Whether what learning needs is there; of items and users, rows and steps. Raises `ValueError` on another version or shape."""
        if len(value) < _HEADER.size or value[0] != LAYOUT:
            raise ValueError("not a ranker in this version")
        _, learning, members, features, factors, rows, items, steps, users, user_steps = _HEADER.unpack_from(value)
        if (members, rows, features) != self.weights.shape or factors != self.contexts.shape[2]:
            wanted = self.weights.shape[0], self.weights.shape[2], self.contexts.shape[2]
            raise ValueError(f"a ranker of {members} members, {features} features and {factors} factors: wanted {wanted}")
        return bool(learning), ((items, steps), (users, user_steps))


def hashes_of(notes: Iterable[int]) -> Hashes:
    return np.array(list(notes), np.uint64)


def flat(vectors: Floats) -> Floats:
    """The members' vectors of each row, one behind the other."""
    return np.reshape(vectors, (len(vectors), -1))


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


@kernel("float32[::1](int64, int64, int64, int32[:], int64, float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1])")
def taste(
    member: int, history: int, gap: int, before: Places, who: int, ages: Floats, contexts: Floats, says: Floats, users: Floats
) -> Floats:
    """A member's side of the factors that is the user's: v of his context, of himself, and of the notes before, by their age."""
    user: Floats = contexts[member, history] + contexts[member, gap]
    if who >= 0:
        user += users[who, member]
    for i in range(len(before)):
        if before[i] >= 0:
            note, age = says[before[i], member], ages[member, i]
            for j in range(len(user)):
                user[j] += age * note[j]
    return user


@kernel(
    "void(int32[:], int64, int64, int64, int32[:], int64, float32[:, ::1], float32[:, :, ::1],"
    " float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[::1], float32[::1])"
)
def own(
    rows: Places, history: int, gap: int, stage: int, before: Places, who: int, ages: Floats,
    contexts: Floats, biases: Floats, stages: Floats, answers: Floats, says: Floats, users: Floats, bias: Floats, factors: Floats,
) -> None:  # fmt: skip
    """Bias and factors of each row, means of the members; 0 where there is no row."""
    bias[:] = np.float32(0.0)
    factors[:] = np.float32(0.0)
    members = contexts.shape[0]
    share = np.float32(1.0) / np.float32(members)
    for m in range(members):
        user = taste(m, history, gap, before, who, ages, contexts, says, users)
        for i in range(len(rows)):
            row = rows[i]
            if row >= 0:
                bias[i] += share * (biases[row, m] + stages[row, m, stage])
                factors[i] += share * dot(answers[row, m], user)


@kernel(
    "void(float32[:, ::1], int64, float32[:], int64[::1], int64, int32[::1], int32[::1], int64, float32[:, ::1],"
    " float32[:, :, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1],"
    " float32[:, :, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1], float32[:, :, ::1],"
    " float32, float32, float32, float32, float32, float32)"
)
def learn(
    x: Floats, took: int, sampled: Floats, bins: Places, stage: int, rows: Places, before: Places, who: int, ages: Floats,
    weights: Floats, contexts: Floats, biases: Floats, stages: Floats, answers: Floats, says: Floats, users: Floats,
    weights2: Floats, contexts2: Floats, biases2: Floats, stages2: Floats, answers2: Floats, says2: Floats, users2: Floats,
    rate: np.float32, bias_rate: np.float32, factor_rate: np.float32, user_rate: np.float32, shrink: np.float32, depth: np.float32,
) -> None:  # fmt: skip
    """One step of every member on all its parts, every gradient as of before it; `…2` are the sums of squared gradients."""
    n, p = len(rows), np.empty(len(rows), np.float32)
    for m in range(weights.shape[0]):
        user = taste(m, bins[1], bins[2], before, who, ages, contexts, says, users)
        common = weights[m, bins[0]] + weights[m, bins[1]] + weights[m, bins[2]] + weights[m, bins[3]]
        for i in range(n):
            row = rows[i]
            p[i] = dot(x[i], common) + biases[row, m] + stages[row, m, stage] + dot(answers[row, m], user)
        place = np.float32(0.0)
        for i in range(n):
            if p[i] > p[took]:
                place += sampled[i]
        for i in range(n):
            p[i] += np.log(sampled[i])
        top, total = p.max(), np.float32(0.0)
        for i in range(n):
            p[i] = np.exp(p[i] - top)
            total += p[i]

        worth = np.float32(1.0) / (np.float32(1.0) + place / depth)
        of_features, toward, gradient = np.zeros_like(common), np.zeros_like(user), np.empty_like(user)
        for i in range(n):
            row = rows[i]
            p[i] *= worth / total
            error = p[i] - worth if i == took else p[i]
            for j in range(len(common)):
                of_features[j] += error * x[i, j]
            pull = shrink * p[i]
            slope = error + pull * biases[row, m]
            biases2[row, m] += slope * slope
            biases[row, m] -= bias_rate * slope / np.sqrt(biases2[row, m])
            slope = error + pull * stages[row, m, stage]
            stages2[row, m, stage] += slope * slope
            stages[row, m, stage] -= bias_rate * slope / np.sqrt(stages2[row, m, stage])
            answer, pull = answers[row, m], shrink * abs(error)
            for j in range(len(user)):
                toward[j] += error * answer[j]
                gradient[j] = error * user[j] + pull * answer[j]
            adagrad(answer, answers2[row, m], gradient, factor_rate)
        for at in range(len(bins)):
            weight, own_pull = weights[m, bins[at]], shrink if at else np.float32(0.0)
            adagrad(weight, weights2[m, bins[at]], of_features + own_pull * weight, rate)
        for at in range(1, 3):
            adagrad(contexts[m, bins[at]], contexts2[m, bins[at]], toward, factor_rate)
        pull = np.float32(0.1) * shrink
        if who >= 0:
            adagrad(users[who, m], users2[who, m], toward + pull * users[who, m], user_rate)
        for i in range(len(before)):
            note, age = says[before[i], m], ages[m, i]
            for j in range(len(user)):
                gradient[j] = age * (toward[j] + pull * note[j])
            adagrad(note, says2[before[i], m], gradient, factor_rate)
