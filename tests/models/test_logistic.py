"""The default classifier."""

from __future__ import annotations

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st
from river.linear_model import LogisticRegression
from river.optim import AdaGrad
from river.utils import VectorDict

import models.logistic
from models.logistic import Logistic

NUMBERS = st.floats(-30, 30)


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.logistic).failed == 0


@settings(max_examples=100)
@given(
    st.lists(NUMBERS, min_size=3, max_size=3),
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.floats(0.1, 100)), max_size=20),
)
def test_it_learns_and_predicts_as_rivers_own(prior: list[float], told: list[tuple[float, float, float, bool, float]]) -> None:
    """Weights, intercept, squared gradients and probabilities are those of River's `LogisticRegression` with `AdaGrad`, to the last bit."""
    weights = dict(zip("abc", prior, strict=True))
    ours = Logistic(weights, -1.0)
    rivers = LogisticRegression(AdaGrad(0.05), intercept_init=-1.0, intercept_lr=0.005)
    rivers._weights = VectorDict(dict(weights))
    rivers.optimizer.g2.update(dict.fromkeys(weights, 50.0))
    for a, b, c, happened, w in told:
        x = {"a": a, "b": b, "c": c}
        assert ours.predict_proba_one(x) == rivers.predict_proba_one(x)
        for model in (ours, rivers):
            model.learn_one(x, happened, w=w)
    assert (ours.weights, ours.intercept, ours.squares) == (rivers.weights, rivers.intercept, dict(rivers.optimizer.g2))
    assert ours.steps == rivers.optimizer.n_iterations
