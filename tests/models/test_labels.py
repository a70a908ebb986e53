"""Classifiers per action, and delayed feedback."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.optim import AdaGrad

import models.labels
from config.events import PREDICTED
from models.labels import EDGE, Actions, Classifier, corrected, logistic, named

NAMES = ["a", "b"]
LIKE, CLICK = PREDICTED.index("like"), PREDICTED.index("click")
TOLD = st.lists(st.tuples(st.sampled_from(["like", "click"]), st.integers(0, 2**32), st.booleans()), max_size=20)


def fresh() -> Actions:
    return Actions(NAMES, {action: logistic(NAMES, {"a": 1.0}, -1.0) for action in ("like", "click")})


def tell(actions: Actions, told: list[tuple[str, int, bool]]) -> Actions:
    for action, seed, happened in told:
        actions.learn(action, actions.row(np.random.default_rng(seed).normal(size=2).astype(np.float32)), happened)
    return actions


def rate_after(model: Classifier, rate: float, at_once: float) -> float:
    """What is served after 6,000 chances with positives for a `rate` of them: a share of these comes at once, the others were negatives before."""
    actions, rng = Actions(NAMES, {"like": model}), np.random.default_rng(3)
    one = np.array([1.0, 0.0], np.float32)
    for happened in rng.random(6_000) < rate:
        if happened and rng.random() < at_once:
            actions.learn("like", actions.row(one), True, late=False)
            continue
        actions.learn("like", actions.row(one), False)
        if happened:
            actions.learn("like", actions.row(one), True)
    return float(actions.predict(one[None])[0, LIKE])


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.labels).failed == 0


@settings(max_examples=40)
@given(TOLD, st.integers(0, 20))
def test_a_learner_that_was_stopped_anywhere_goes_on_byte_for_byte(told: list[tuple[str, int, bool]], cut: int) -> None:
    """decode(encode(models)) learns on as they would have."""
    resumed = fresh().decode(tell(fresh(), told[:cut]).encode())
    assert tell(resumed, told[cut:]).encode() == tell(fresh(), told).encode()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.booleans(), st.floats(0.1, 100)), max_size=20))
def test_the_default_learns_as_rivers_own(told: list[tuple[float, float, bool, float]]) -> None:
    """Its optimizer is River's AdaGrad to the last bit."""
    ours, rivers = (logistic(NAMES, {"a": 1.0}, -1.0) for _ in range(2))
    rivers.optimizer = AdaGrad(0.05)
    rivers.optimizer.g2.update(ours.optimizer.g2)
    for a, b, happened, w in told:
        for model in (ours, rivers):
            model.learn_one({"a": a, "b": b}, happened, w=w)
    assert (ours.weights, ours.intercept, ours.optimizer.g2) == (rivers.weights, rivers.intercept, rivers.optimizer.g2)


@settings(max_examples=40)
@given(TOLD)
def test_one_matrix_product_is_river_row_by_row(told: list[tuple[str, int, bool]]) -> None:
    """The fast path and its plain twin agree, and neither learns."""
    actions = tell(fresh(), told)
    before = actions.encode()
    x = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    plain = [actions.models["like"].predict_proba_one(dict(zip(NAMES, row, strict=True)))[True] for row in x.astype(float).tolist()]
    assert actions.predict(x)[:, LIKE] == pytest.approx(np.clip(plain, 1e-4, 1 - 1e-4), abs=1e-5)
    assert actions.encode() == before


@pytest.mark.parametrize("at_once", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rate", [0.05, 0.4, 0.8])
def test_negatives_that_were_none_are_made_up_for(rate: float, at_once: float) -> None:
    """What is served is the rate per exposure, by weights and by calibration, however many positives come late."""
    assert rate_after(logistic(NAMES, {}, 0.0, rate=0.1, patience=1.0), rate, at_once) == pytest.approx(rate, abs=0.06)
    assert rate_after(named("naive_bayes.GaussianNB"), rate, at_once) == pytest.approx(rate, abs=0.06)


def test_a_late_positive_takes_its_negative_back() -> None:
    """Negative, then positive, teach what one positive does, as far as a small step goes."""
    one = np.array([1.0, 1.0], np.float32)
    steps = []
    for told in ([(False, True), (True, True)], [(True, False)]):
        actions = Actions(NAMES, {"like": logistic(NAMES, {"a": 1.0}, 0.5, rate=1e-6, patience=1.0)})
        model = actions.models["like"]
        model.optimizer.g2.update(dict.fromkeys(NAMES, 1e6))  # type: ignore[attr-defined]
        for happened, late in told:
            actions.learn("like", actions.row(one), happened, late=late)
        steps.append(model.weights["a"] - 1.0)  # type: ignore[attr-defined]
    assert steps[0] == pytest.approx(steps[1], rel=0.05)
    assert steps[1] > 0.0


def test_what_is_known_beside_the_features_is_not_learned_by_them() -> None:
    """Where that tells the rate already, the weights stay; without it they do not."""
    one, moved = np.array([1.0, 0.0], np.float32), []
    for beyond in (0.0, float(np.log(4.0))):
        actions, rng = Actions(NAMES, {"like": logistic(NAMES, {}, 0.0, patience=1.0)}), np.random.default_rng(2)
        for happened in rng.random(2_000) < 0.8:
            p = actions.learn("like", actions.row(one), bool(happened), late=False, beyond=beyond)
        moved.append(float(actions.predict(one[None])[0, LIKE]))
    assert moved[0] == pytest.approx(0.8, abs=0.05)
    assert moved[1] == pytest.approx(0.5, abs=0.05)
    assert p == pytest.approx(0.8, abs=0.05)


@given(st.floats(0.001, 0.999))
def test_calibration_undoes_the_second_entry(p: float) -> None:
    """A rate p looks like p / (1 + p) in the stream."""
    assert float(corrected(p / (1 + p))) == pytest.approx(p, abs=1e-3)


def test_any_river_classifier_can_be_named_and_stored() -> None:
    """The slow way: a row at a time, a pickle for its bytes."""
    actions = Actions(NAMES, {"click": named("naive_bayes.GaussianNB")})
    tell(actions, [("click", 1, False), ("click", 2, True)])
    again = Actions(NAMES, {"click": named("naive_bayes.GaussianNB")}).decode(actions.encode())
    x = np.ones((3, 2), np.float32)
    assert again.predict(x).tolist() == actions.predict(x).tolist()


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("linear_model.LogisticRegression", {}),
        ("linear_model.LogisticRegression", {"optimizer": "river.optim.Adam"}),
        ("linear_model.Perceptron", {}),
        ("tree.HoeffdingTreeClassifier", {}),
        ("forest.ARFClassifier", {"n_models": 2}),
        ("facto.FMClassifier", {}),
        ("ensemble.BaggingClassifier", {"model": "river.tree.HoeffdingTreeClassifier"}),
        (
            "ensemble.StackingClassifier",
            {"models": 2 * ["river.naive_bayes.GaussianNB"], "meta_classifier": "river.linear_model.Perceptron"},
        ),
    ],
)
def test_a_named_classifier_says_what_river_says_and_goes_on_where_it_was_stored(path: str, parameters: dict[str, Any]) -> None:
    """Linear ones, trees, forests and ensembles of others, with whatever optimizer: predicted as River does, the same in a replay."""

    def learned(restart: bool) -> tuple[Actions, npt.NDArray[np.float32]]:
        actions = Actions(NAMES, {"like": named(path, **parameters)})
        for i, one in enumerate(x):
            if restart and i % 20 == 19:
                actions = Actions(NAMES, {"like": named(path, **parameters)}).decode(actions.encode())
            actions.learn("like", actions.row(one), bool(one[0] > 0.0))
        return actions, actions.predict(x)[:, LIKE]

    x = np.random.default_rng(1).normal(0.0, 1.0, (60, len(NAMES))).astype(np.float32)
    actions, at_once = learned(False)
    assert learned(True)[1].tolist() == at_once.tolist()
    model, weighs = actions.models["like"], actions.weighs["like"]
    own = [model.predict_proba_one(actions.row(one)).get(True, 0.5) for one in x]
    wanted = np.clip(own, EDGE, 1.0 - EDGE) if weighs else [corrected(p) for p in own]
    assert at_once == pytest.approx(wanted, abs=1e-6)


def test_a_classifier_that_another_release_of_river_stored_is_refused() -> None:
    """Whatever its pickle makes of being read here."""
    actions = Actions(NAMES, {"click": named("naive_bayes.GaussianNB")})
    for was, now in ((b"GaussianNB", b"GaussianXX"), (b"river.naive_bayes", b"river.naive_bayez")):
        value = actions.encode()
        assert was in value
        with pytest.raises(ValueError, match="classifiers that this release of River cannot read"):
            actions.decode(value.replace(was, now))


@pytest.mark.parametrize("path", ["naive_bayes.MultinomialNB", "ensemble.VotingClassifier"])
def test_a_classifier_that_cannot_learn_from_our_features_is_refused_at_the_start(path: str) -> None:
    """One that wants counts, or tells no probability, would fail at each example."""
    models = 2 * ["river.naive_bayes.GaussianNB"]
    with pytest.raises(ValueError, match=rf"{path} is no classifier of numbers"):
        named(path, **{"models": models} if "Voting" in path else {})


@pytest.mark.parametrize("path", ["naive_bayes.Nothing", "nowhere.GaussianNB", "optim.SGD", "GaussianNB"])
def test_a_name_that_is_no_classifier_is_refused(path: str) -> None:
    """A wrong setting names itself."""
    with pytest.raises(ValueError, match="no classifier"):
        named(path)


@pytest.mark.parametrize("x", [np.array([1.0], np.float32), np.array([np.nan, 0.0], np.float32)])
def test_an_example_that_is_none_teaches_nothing(x: np.ndarray) -> None:
    """Foreign and missing features are refused before anything moves."""
    actions = fresh()
    before = actions.encode()
    with pytest.raises(ValueError, match="features"):
        actions.learn("like", actions.row(x), True)
    assert actions.encode() == before


def test_models_of_other_features_kinds_or_cut_ones_are_refused() -> None:
    """A model that was learned with another list is not read, and a pickle only where the settings name such a model."""
    pickled = Actions(NAMES, {"like": named("naive_bayes.GaussianNB"), "click": named("naive_bayes.GaussianNB")}).encode()
    other = Actions(["a", "c"], {"like": logistic(["a", "c"], {}, 0.0), "click": logistic(["a", "c"], {}, 0.0)}).encode()
    for value in (pickled, other, fresh().encode()[:-3], b""):
        with pytest.raises(ValueError, match="classifiers"):
            fresh().decode(value)


def test_actions_without_a_model_keep_their_rate() -> None:
    """Nothing learned is the rate of the settings."""
    assert Actions(NAMES, {}, {"click": 0.2}).predict(np.zeros((1, 2), np.float32))[0, CLICK] == pytest.approx(0.2)
