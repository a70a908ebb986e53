"""The slate ranker."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.ranker
from models.context import Context
from models.ranker import Ranker
from models.rows import begin

FEATURES = 3
PRIOR = np.array([1.0, 0.0, 0.0], np.float32)

Example = tuple[np.ndarray, np.ndarray, Context, int, int, np.ndarray | None]


def example(seed: int) -> Example:
    """Drawn from a seed: drawing each number by itself costs more than the test."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    hashes = rng.choice(np.arange(1, 60, dtype=np.uint64) * np.uint64(rng.choice([1, 2**58])), n, replace=False)
    x = rng.normal(0, 3, (n, FEATURES)).astype(np.float16).astype(np.float32)
    recent = tuple(rng.choice(60, int(rng.integers(0, 7)), replace=False).tolist())
    context = Context(int(rng.integers(0, 200)), int(rng.integers(-1, 10**7)), float(np.float32(rng.uniform(0, 7))), recent)
    weights = rng.uniform(0.5, 50, n).astype(np.float32) if rng.random() < 0.5 else None
    return hashes, x, context, int(rng.integers(0, n)), int(rng.integers(0, 7)), weights


EXAMPLES = st.integers(0, 2**32).map(example)


def small() -> Ranker:
    return Ranker(PRIOR, factors=4, items=32, users=4, recent=4)


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.ranker).failed == 0


@settings(max_examples=50)
@given(st.lists(EXAMPLES, max_size=12), st.integers(0, 12))
def test_a_learner_that_was_stopped_anywhere_goes_on_byte_for_byte(told: list, cut: int) -> None:
    """A fold that was stored and read back equals one that was not, within bounds, with notes leaving."""
    straight, resumed = small(), small()
    for one in told:
        straight.learn(*one)
    for one in told[:cut]:
        resumed.learn(*one)
    resumed = small().decode(resumed.encode())
    for one in told[cut:]:
        resumed.learn(*one)
    assert resumed.encode() == straight.encode()
    assert len(straight.items) <= straight.items.most
    assert len(straight.users) <= straight.users.most


@settings(max_examples=50)
@given(st.lists(EXAMPLES, max_size=4), EXAMPLES)
def test_a_score_changes_nothing_and_is_the_sum_of_its_parts(told: list, asked: tuple) -> None:
    """Reading is reading; a contribution is a part of the score; what serving gets scores alike."""
    ranker = small()
    for one in told:
        ranker.learn(*one)
    hashes, x, context, _, user, _ = asked
    before = ranker.encode()
    score = ranker.score(hashes, x, context, user)
    assert ranker.explain(hashes, x, context, user).score == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert ranker.encode() == before
    served = small().decode(ranker.encode(learning=False))
    assert served.score(hashes, x, context, user).tobytes() == score.tobytes()


def test_a_slate_is_scored_by_row_whatever_its_order() -> None:
    """Turning a slate round turns its scores round."""
    ranker, hashes, x = small(), np.arange(1, 6, dtype=np.uint64), np.eye(5, FEATURES, dtype=np.float32)
    ranker.learn(hashes, x, Context(recent=(3, 9)), 2)
    there, back = ranker.score(hashes, x, Context(recent=(1,))), ranker.score(hashes[::-1], x[::-1], Context(recent=(1,)))
    assert there == pytest.approx(back[::-1])


def test_what_follows_what_is_learned_from_the_notes_alone() -> None:
    """With equal features, a user's recent note decides."""
    ranker, hashes, x = Ranker(PRIOR, factors=8), np.array([10, 20], np.uint64), np.zeros((2, FEATURES), np.float32)
    for _ in range(200):
        ranker.learn(hashes, x, Context(5, 0, 2.0, (1,)), 0)
        ranker.learn(hashes, x, Context(5, 0, 2.0, (2,)), 1)
    assert ranker.score(hashes, x, Context(5, 0, 2.0, (1,))).argmax() == 0
    assert ranker.score(hashes, x, Context(5, 0, 2.0, (2,))).argmax() == 1


def test_an_anchor_ranks_and_is_never_learned_away() -> None:
    """A ranker learns byte for byte the same with an anchor, which is added to its scores and stands in its explanation."""
    anchor = np.arange(1, FEATURES + 1, dtype=np.float32)
    free, held = (Ranker(PRIOR, factors=4, anchor=weights) for weights in (None, anchor))
    hashes, x, context = np.arange(1, 6, dtype=np.uint64), np.eye(5, FEATURES, dtype=np.float32), Context(recent=(3, 9))
    for took in (2, 0, 2):
        free.learn(hashes, x, context, took, 7)
        held.learn(hashes, x, context, took, 7)
    assert held.encode() == free.encode()
    assert held.score(hashes, x, context, 7) == pytest.approx(free.score(hashes, x, context, 7) + x @ anchor, abs=1e-5)
    assert held.explain(hashes, x, context, 7).score == pytest.approx(held.score(hashes, x, context, 7), abs=1e-5)


BEFORE = Context(recent=(5,))


def choosy(times: int = 60, **settings: float) -> tuple[Ranker, np.ndarray, np.ndarray]:
    """Of two notes that nothing tells apart, user 1 takes the first and user 2 the second; both took the same before."""
    ranker, hashes, x = Ranker(PRIOR, factors=8, **settings), np.array([10, 20], np.uint64), np.zeros((2, FEATURES), np.float32)
    for _ in range(times):
        ranker.learn(hashes, x, BEFORE, 0, 1)
        ranker.learn(hashes, x, BEFORE, 1, 2)
    return ranker, hashes, x


def test_what_is_the_users_own_is_learned_of_him_alone() -> None:
    """With equal features and the same taken lately, the user decides; whoever is not known, or is not to be, has nothing of it."""
    ranker, hashes, x = choosy()
    assert ranker.score(hashes, x, BEFORE, 1).argmax() == 0
    assert ranker.score(hashes, x, BEFORE, 2).argmax() == 1
    assert ranker.score(hashes, x, BEFORE, 3).tolist() == ranker.score(hashes, x, BEFORE).tolist()


def test_of_a_user_who_leaves_nothing_of_his_own_stays() -> None:
    """He is as one who never came; the others are what they were."""
    ranker, hashes, x = choosy()
    other = ranker.score(hashes, x, BEFORE, 2).tolist()
    ranker.forget(1)
    ranker.forget(3)
    assert ranker.score(hashes, x, BEFORE, 1).tolist() == ranker.score(hashes, x, BEFORE).tolist()
    assert ranker.score(hashes, x, BEFORE, 2).tolist() == other


def test_a_settled_ranker_moves_users_alone() -> None:
    """Whoever has no vector is ranked as before."""
    ranker, hashes, x = choosy()
    ranker.settle()
    before = [ranker.score(hashes, x, BEFORE, user).tolist() for user in (0, 3)]
    for _ in range(20):
        ranker.learn(hashes, x, BEFORE, 1, 3)
    assert ranker.score(hashes, x, BEFORE).tolist() == before[0]
    assert np.diff(ranker.score(hashes, x, BEFORE, 3)) > np.diff(before[1]) + 0.1


def test_a_score_is_the_mean_of_the_members() -> None:
    """Each learns as if it were alone, but for where its vectors begin."""
    both = [choosy(5, keep=keep)[0] for keep in ((0.9,), (0.9, 0.5))]
    for name in ("bias", "stage"):
        assert both[1].items[name][:2].mean(1) == pytest.approx(both[0].items[name][:2, 0], abs=0.02)
    parts = both[1].explain(np.array([10, 20], np.uint64), np.eye(2, FEATURES, dtype=np.float32), Context())
    assert parts.bias == pytest.approx((both[1].items["bias"] + both[1].items["stage"][..., 0]).mean(1)[:2])
    assert parts.features.sum(1) == pytest.approx(both[1].weights[:, both[1].bins(Context())[0]].sum(1).mean(0)[:2])


def test_a_slate_weighs_less_the_deeper_its_choice_stood() -> None:
    """Half at `depth`; rows that stand for many candidates count as many."""
    hashes, x = np.array([1, 2], np.uint64), np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    moved = []
    for depth, sampled in ((1e9, 9.0), (9.0, 9.0), (9.0, 1.0)):
        ranker = Ranker(PRIOR, factors=4, depth=depth)
        ranker.learn(hashes, x, Context(), 0, 1, np.array([1.0, sampled], np.float32))
        moved.append(float(np.sqrt(ranker.items.squares["bias"][0, 0] - np.float32(0.1))))
    assert moved[1] == pytest.approx(moved[0] / 2, rel=1e-3)
    share = np.e / (1 + np.e)
    assert moved[2] == pytest.approx(share / (1 + 1 / 9), rel=1e-3)


def test_a_row_that_stands_for_many_counts_as_many() -> None:
    """Sampling weights enter the softmax."""
    hashes, x = np.array([1, 2], np.uint64), np.zeros((2, FEATURES), np.float32)
    plain, weighted = small(), small()
    plain.learn(hashes, x, Context(), 0)
    weighted.learn(hashes, x, Context(), 0, sampled=np.array([1, 9], np.float32))
    assert (weighted.items["bias"][1] < plain.items["bias"][1]).all()
    assert (plain.items["bias"][1] < 0).all()


@pytest.mark.parametrize(
    ("x", "took", "sampled"),
    [
        (np.full((2, FEATURES), np.nan, np.float32), 0, None),
        (np.zeros((2, FEATURES + 1), np.float32), 0, None),
        (np.zeros((2, FEATURES), np.float32), 2, None),
        (np.zeros((2, FEATURES), np.float32), 0, np.array([1, 0], np.float32)),
    ],
)
def test_an_example_that_is_none_teaches_nothing(x: np.ndarray, took: int, sampled: np.ndarray | None) -> None:
    """Missing, foreign and infinite features are refused before anything moves."""
    ranker = small()
    before = ranker.encode()
    with pytest.raises(ValueError, match=r"number|row|weights"):
        ranker.learn(np.array([1, 2], np.uint64), x, Context(), took, 1, sampled)
    assert ranker.encode() == before


@pytest.mark.parametrize("cut", [0, 5, -1])
def test_a_model_that_is_cut_or_foreign_is_refused(cut: int) -> None:
    """The one that was there stays."""
    ranker = small()
    ranker.learn(np.array([1, 2], np.uint64), np.ones((2, FEATURES), np.float32), Context(), 0)
    before = ranker.encode()
    with pytest.raises(ValueError, match="ranker"):
        ranker.decode(before[:cut])
    with pytest.raises(ValueError, match="ranker"):
        ranker.decode(Ranker(np.zeros(FEATURES + 1, np.float32), factors=4).encode())
    assert ranker.encode() == before


class Written:
    """The step of one member written down in numpy, a dictionary a column, in doubles: what the kernels are compared with."""

    def __init__(self, ranker: Ranker, member: int) -> None:
        self.like, self.member = ranker, member
        self.weights, self.contexts = ranker.weights[member].astype(float), ranker.contexts[member].astype(float)
        self.weights2, self.contexts2 = (ranker.squares[name][member].astype(float) for name in ("weights", "contexts"))
        self.rows: dict[int, dict[str, np.ndarray]] = {}
        self.users: dict[int, dict[str, np.ndarray]] = {}

    def row(self, h: int) -> dict[str, np.ndarray]:
        if h not in self.rows:
            begins = np.zeros((1, 4 * len(self.like.ages)), np.float32)
            begin(begins, np.array([h], np.uint64), 0, 1)
            says = begins[0].reshape(-1, 4)[self.member].astype(float)
            self.rows[h] = {"bias": np.zeros(1), "stage": np.zeros(4), "answers": np.zeros(4), "says": says}
            self.rows[h] |= {f"{name}2": np.full(len(value), 0.1) for name, value in self.rows[h].items()}
        return self.rows[h]

    def learn(self, hashes: np.ndarray, x: np.ndarray, context: Context, took: int, who: int, sampled: np.ndarray | None) -> None:
        like, x = self.like, x.astype(float)
        bins, stage = like.bins(context)
        slate, before = [self.row(h) for h in hashes.tolist()], [self.row(h) for h in context.recent[: like.recent]]
        of_user = self.users.setdefault(who, {"says": np.zeros(4), "says2": np.full(4, 0.1)}) if who else {"says": np.zeros(4)}
        ages = like.ages[self.member, : len(before)].astype(float)
        user = (
            self.contexts[bins[1]]
            + self.contexts[bins[2]]
            + of_user["says"]
            + sum((age * one["says"] for age, one in zip(ages, before, strict=False)), np.zeros(4))
        )
        scores = x @ self.weights[bins].sum(0) + np.array([one["bias"][0] + one["stage"][stage] + one["answers"] @ user for one in slate])
        weights = np.ones(len(x)) if sampled is None else sampled.astype(float)
        worth = 1.0 / (1.0 + weights[scores > scores[took]].sum() / float(like.depth))
        scores = scores + np.log(weights)
        p = worth * np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        error = p - worth * (np.arange(len(p)) == took)
        toward = sum((e * one["answers"] for e, one in zip(error, slate, strict=False)), np.zeros(4))
        for at, row in enumerate(bins):
            step(self.weights, self.weights2, row, error @ x + (like.shrink if at else 0.0) * self.weights[row], like.rate)
        for row in bins[1:3]:
            step(self.contexts, self.contexts2, row, toward, like.factor_rate)
        for e, q, one in zip(error, p, slate, strict=False):
            step(one["bias"], one["bias2"], 0, e + like.shrink * q * one["bias"][0], like.bias_rate)
            step(one["stage"], one["stage2"], stage, e + like.shrink * q * one["stage"][stage], like.bias_rate)
            step(one["answers"], one["answers2"], slice(None), e * user + like.shrink * abs(e) * one["answers"], like.factor_rate)
        if who:
            step(of_user["says"], of_user["says2"], slice(None), toward + 0.1 * like.shrink * of_user["says"], like.user_rate)
        for age, one in zip(ages, before, strict=False):
            step(one["says"], one["says2"], slice(None), age * (toward + 0.1 * like.shrink * one["says"]), like.factor_rate)


def step(values: np.ndarray, squares: np.ndarray, at: object, gradient: np.ndarray, rate: float) -> None:
    """AdaGrad."""
    squares[at] += gradient**2
    values[at] -= rate * gradient / np.sqrt(squares[at])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=6))
def test_a_step_is_what_its_formula_says(seeds: list[int]) -> None:
    """Every column after a few steps, up to rounding, as long as nothing leaves."""
    ranker = Ranker(PRIOR, factors=4, items=256, recent=4, depth=2.0)
    members = [Written(ranker, m) for m in range(len(ranker.ages))]
    for one in map(example, seeds):
        ranker.learn(*one)
        for written in members:
            written.learn(*one)
    for m, written in enumerate(members):
        assert ranker.weights[m] == pytest.approx(written.weights, rel=1e-3, abs=1e-4)
        assert ranker.contexts[m] == pytest.approx(written.contexts, rel=1e-3, abs=1e-4)
        for table, told, names in (
            (ranker.items, written.rows, ("bias", "stage", "answers", "says")), (ranker.users, written.users, ("says",)),
        ):  # fmt: skip
            rows = table.found(np.array(list(told), np.uint64))
            assert sorted(rows.tolist()) == list(range(len(table)))
            for row, one in zip(rows, told.values(), strict=False):
                for name in names:
                    assert np.atleast_1d(table[name][row, m]) == pytest.approx(one[name], rel=1e-3, abs=1e-4)
                    assert np.atleast_1d(table.squares[name][row, m]) == pytest.approx(one[f"{name}2"], rel=1e-3, abs=1e-4)
