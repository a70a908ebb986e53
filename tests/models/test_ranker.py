"""The slate ranker."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.ranker
from models.ranker import Context, Ranker, moved_rank
from models.rows import begin

FEATURES = 3
PRIOR = np.array([1.0, 0.0, 0.0], np.float32)

CONTEXTS = st.builds(
    Context,
    st.integers(0, 2**32 - 1),
    st.integers(-1, 10**12),
    st.floats(0, 10, width=32),
    st.lists(st.integers(0, 2**64 - 1), max_size=6, unique=True).map(tuple),
)


Example = tuple[np.ndarray, np.ndarray, Context, int, np.ndarray | None]


def example(seed: int) -> Example:
    """Drawn from a seed: drawing each number by itself costs more than the test."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    hashes = rng.choice(np.arange(1, 60, dtype=np.uint64) * np.uint64(rng.choice([1, 2**58])), n, replace=False)
    x = rng.normal(0, 3, (n, FEATURES)).astype(np.float16).astype(np.float32)
    recent = tuple(rng.choice(60, int(rng.integers(0, 7)), replace=False).tolist())
    context = Context(int(rng.integers(0, 200)), int(rng.integers(-1, 10**7)), float(np.float32(rng.uniform(0, 7))), recent)
    weights = rng.uniform(0.5, 50, n).astype(np.float32) if rng.random() < 0.5 else None
    return hashes, x, context, int(rng.integers(0, n)), weights


EXAMPLES = st.integers(0, 2**32).map(example)


def small() -> Ranker:
    return Ranker(PRIOR, factors=4, items=32, recent=4)


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.ranker).failed == 0


@given(CONTEXTS)
def test_a_context_is_logged_whole(context: Context) -> None:
    """decode(encode(context)) == context."""
    assert Context.decode(context.encode()) == context


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


@settings(max_examples=50)
@given(st.lists(EXAMPLES, max_size=4), EXAMPLES)
def test_a_score_changes_nothing_and_is_the_sum_of_its_parts(told: list, asked: tuple) -> None:
    """Reading is reading; a contribution is a part of the score; what serving gets scores alike."""
    ranker = small()
    for one in told:
        ranker.learn(*one)
    hashes, x, context = asked[:3]
    before = ranker.encode()
    score = ranker.score(hashes, x, context)
    assert ranker.explain(hashes, x, context).score == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert ranker.encode() == before
    served = small().decode(ranker.encode(learning=False))
    assert served.score(hashes, x, context).tobytes() == score.tobytes()


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


def test_a_row_that_stands_for_many_counts_as_many() -> None:
    """Sampling weights enter the softmax."""
    hashes, x = np.array([1, 2], np.uint64), np.zeros((2, FEATURES), np.float32)
    plain, weighted = small(), small()
    plain.learn(hashes, x, Context(), 0)
    weighted.learn(hashes, x, Context(), 0, np.array([1, 9], np.float32))
    assert weighted.items["bias"][1] < plain.items["bias"][1] < 0


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
        ranker.learn(np.array([1, 2], np.uint64), x, Context(), took, sampled)
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


def test_the_running_rank_moves_towards_what_was_taken() -> None:
    """A well-ranked choice lowers it."""
    assert moved_rank(2.0, 0) < 2.0 < moved_rank(2.0, 100)


class Written:
    """The step written down in numpy, a dictionary a column, in doubles: what the kernels are compared with."""

    def __init__(self, ranker: Ranker) -> None:
        self.like = ranker
        self.weights, self.contexts = ranker.weights.astype(float), ranker.contexts.astype(float)
        self.weights2, self.contexts2 = (ranker.squares[name].astype(float) for name in ("weights", "contexts"))
        self.rows: dict[int, dict[str, np.ndarray]] = {}

    def row(self, h: int) -> dict[str, np.ndarray]:
        if h not in self.rows:
            begins = np.zeros((1, 4), np.float32)
            begin(begins, np.array([h], np.uint64), 0, 1)
            self.rows[h] = {"bias": np.zeros(1), "stage": np.zeros(4), "answers": np.zeros(4), "says": begins[0].astype(float)}
            self.rows[h] |= {f"{name}2": np.full(len(value), 0.1) for name, value in self.rows[h].items()}
        return self.rows[h]

    def learn(self, hashes: np.ndarray, x: np.ndarray, context: Context, took: int, sampled: np.ndarray | None) -> None:
        like, x = self.like, x.astype(float)
        bins, stage = like.bins(context)
        slate, before = [self.row(h) for h in hashes.tolist()], [self.row(h) for h in context.recent[: like.recent]]
        ages = like.ages[: len(before)].astype(float)
        user = (
            self.contexts[bins[1]]
            + self.contexts[bins[2]]
            + sum((age * one["says"] for age, one in zip(ages, before, strict=False)), np.zeros(4))
        )
        scores = x @ self.weights[bins].sum(0) + np.array([one["bias"][0] + one["stage"][stage] + one["answers"] @ user for one in slate])
        scores = scores + (0.0 if sampled is None else np.log(sampled))
        p = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        error = p - (np.arange(len(p)) == took)
        toward = sum((e * one["answers"] for e, one in zip(error, slate, strict=False)), np.zeros(4))
        for at, row in enumerate(bins):
            step(self.weights, self.weights2, row, error @ x + (like.shrink if at else 0.0) * self.weights[row], like.rate)
        for row in bins[1:3]:
            step(self.contexts, self.contexts2, row, toward, like.factor_rate)
        for e, q, one in zip(error, p, slate, strict=False):
            step(one["bias"], one["bias2"], 0, e + like.shrink * q * one["bias"][0], like.bias_rate)
            step(one["stage"], one["stage2"], stage, e + like.shrink * q * one["stage"][stage], like.bias_rate)
            step(one["answers"], one["answers2"], slice(None), e * user + like.shrink * abs(e) * one["answers"], like.factor_rate)
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
    ranker = Ranker(PRIOR, factors=4, items=256, recent=4)
    written = Written(ranker)
    for one in map(example, seeds):
        ranker.learn(*one)
        written.learn(*one)
    assert ranker.weights == pytest.approx(written.weights, rel=1e-3, abs=1e-4)
    assert ranker.contexts == pytest.approx(written.contexts, rel=1e-3, abs=1e-4)
    rows = ranker.items.found(np.array(list(written.rows), np.uint64))
    assert sorted(rows.tolist()) == list(range(len(ranker.items)))
    for row, one in zip(rows, written.rows.values(), strict=False):
        for name in ("bias", "stage", "answers", "says"):
            assert np.atleast_1d(ranker.items[name][row]) == pytest.approx(one[name], rel=1e-3, abs=1e-4)
            assert np.atleast_1d(ranker.items.squares[name][row]) == pytest.approx(one[f"{name}2"], rel=1e-3, abs=1e-4)
