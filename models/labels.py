"""What an example teaches about each action, and one online classifier per action that learns it.

An exposure enters at once, as a negative of every action; an action enters it again, as a positive (delayed feedback). Two ways to
correct for the negatives that were none:

* weights, for estimators whose `learn_one` takes one: a positive that comes late weighs 1 / (1 - p), p as predicted before the step, so
  that its gradient takes the negative back: (p - 1) / (1 - p) = (p - 1) - p;
* calibration, for all others: they learn the stream as it is, b, and p = b / (1 - b) is served.

Both are exact in the mean if each late positive was a negative exactly once: the users stage sees to that. What comes with its chance,
as a like that is the first engagement, was never a negative.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from math import exp
from typing import Any, Protocol, Self, TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt
from river.linear_model import LogisticRegression
from river.optim import AdaGrad
from river.utils import VectorDict

from config.events import PREDICTED

VERSION = 1

Floats = npt.NDArray[np.float32]

EDGE = 1e-4
"""Probabilities are kept this far from 0 and 1."""
BOUND = np.float32(30.0)
"""Of log-odds."""
HEAVIEST = 100.0
"""Weight of a late positive at most: rates above 0.99 are none of ours."""


class Classifier(Protocol):
    """Any binary River classifier."""

    def learn_one(self, x: dict[str, float], y: bool) -> None: ...
    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]: ...


def corrected(b: float | Floats, share: float = 1.0) -> Any:
    """Rate behind a stream in which each positive was a negative first, and only a share of the negatives stands.

    >>> float(corrected(0.2))
    0.25
    """
    return np.clip(share * b / np.maximum(1.0 - b, EDGE), EDGE, 1.0 - EDGE)


def weight(p: float, happened: bool, late: bool = True) -> float:
    """Importance of an example in that stream, p being the rate; `late`: it was a negative before.

    >>> weight(0.75, False), weight(0.75, True), weight(0.75, True, late=False)
    (1.0, 4.0, 1.0)
    """
    return min(1.0 / (1.0 - p), HEAVIEST) if happened and late else 1.0


def joined(p: float, beyond: float) -> float:
    """A rate whose log-odds are moved by `beyond`.

    >>> round(joined(0.5, 1.0), 3), joined(0.9999, 50.0)
    (0.731, 0.9999)
    """
    return p if beyond == 0.0 else min(max(1.0 / (1.0 + (1.0 - p) / p * exp(-beyond)), EDGE), 1.0 - EDGE)


def named(path: str, **parameters: Any) -> Classifier:
    """A River classifier by its path below `river`; raises `ValueError` when there is none, or it cannot learn from numbers below 0.

    >>> type(named("naive_bayes.GaussianNB")).__name__
    'GaussianNB'
    >>> type(named("ensemble.BaggingClassifier", model="river.tree.HoeffdingTreeClassifier").model).__name__
    'HoeffdingTreeClassifier'
    """
    try:
        made, tried = (instance(path, **parameters) for _ in range(2))
    except (ImportError, AttributeError, TypeError, ValueError) as e:
        raise ValueError(f"river.{path} is no classifier: {e}") from e
    if not (hasattr(made, "learn_one") and hasattr(made, "predict_proba_one")):
        raise ValueError(f"river.{path} is no classifier")
    try:
        for x in TRIAL:
            tried.learn_one(x, x["a"] < 0.0)
            tried.predict_proba_one(x)
    except Exception as e:
        raise ValueError(f"river.{path} is no classifier of numbers that may be below 0, or tells no probability: {e!r}") from e
    result: Classifier = made
    return result


def instance(path: str, **parameters: Any) -> Any:
    """Of a class of River's. A parameter "river.…" is one of that class, too; what is drawn is seeded, so that a replay finds the same."""
    module, _, name = path.rpartition(".")
    kind = getattr(import_module(f"river.{module}"), name)
    seed = {"seed": SEED} if "seed" in signature(kind).parameters else {}
    return kind(**{**seed, **{name: meant(value) for name, value in parameters.items()}})


def meant(value: Any) -> Any:
    """What a parameter of the settings stands for."""
    if isinstance(value, list):
        return [meant(one) for one in value]
    return instance(value.removeprefix("river.")) if isinstance(value, str) and value.startswith("river.") else value


SEED = 1
TRIAL = tuple({"a": a, "b": b} for a in (-2.0, 1.0) for b in (-1.0, 0.0, 3.0))
"""What a classifier must be able to learn from."""


class Steps(AdaGrad):
    """River's AdaGrad to the last bit, which asks for its rate once a step and not once a feature."""

    def _step_with_dict(self, w: Any, g: Any) -> Any:
        rate, eps, squares = self.learning_rate, self.eps, self.g2
        for name, slope in g.items():
            total = squares[name] = squares[name] + slope**2
            w[name] -= rate / (total + eps) ** 0.5 * slope
        return w


def linear(model: Any) -> TypeGuard[LogisticRegression]:
    """It was made by `logistic`: a row of numbers, scored as one of a matrix. River's own, with whatever optimizer, goes the slow way."""
    return isinstance(model, LogisticRegression) and isinstance(model.optimizer, Steps)


def logistic(
    names: Sequence[str], prior: Mapping[str, float], intercept: float, rate: float = 0.05, patience: float = 50.0
) -> LogisticRegression:
    """River's logistic regression that begins with a prior: weights by name, and squared gradients that stand for examples behind them."""
    model = LogisticRegression(Steps(rate), intercept_init=intercept, intercept_lr=0.005)
    model._weights = VectorDict({name: prior.get(name, 0.0) for name in names})  # River's initializers do not see the feature's name
    model.optimizer.g2.update(dict.fromkeys(names, patience))
    return model


class Actions:
    """One online classifier per action, on the features logged at serving.

    Linear ones are scored as one matrix product; any other River classifier works, a row at a time. Shines with few numbers that mean
    the same for all notes; what is one note's own is in its features (shrunk rates), and in the ranker's item part.

    Parameters
    ----------
    names
        Of the features, in the order of the columns.
    models
        Action -> classifier; actions without one are predicted as the rate in `rates`.
    rates
        Action -> its rate per exposure before anything was learned; by default 0.01.
    negatives
        Share of the negatives that is learned from, each standing for 1 / share …
    given
        … but of these actions all are.

    Examples
    --------
    >>> actions = Actions(["a"], {"like": logistic(["a"], {"a": 1.0}, -2.0)})
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> [round(float(p), 3) for p in actions.predict(x)[:, PREDICTED.index("like")]]
    [0.119, 0.269]
    >>> round(actions.learn("like", actions.row(x[1]), happened=True), 3)
    0.269
    >>> bool(actions.predict(x)[1, PREDICTED.index("like")] > 0.27)
    True

    References
    ----------
    S. Ktena et al.: Addressing delayed feedback for continuous training with neural networks in CTR prediction (RecSys 2019).
    """

    def __init__(
        self,
        names: Sequence[str],
        models: Mapping[str, Classifier],
        rates: Mapping[str, float] | None = None,
        negatives: float = 1.0,
        given: Sequence[str] = (),
    ) -> None:
        if not 0.0 < negatives <= 1.0:
            raise ValueError(f"negatives wants a share above 0, at most 1, got {negatives}")
        unknown = set(models) - set(PREDICTED)
        if unknown:
            raise ValueError(f"not predicted: {', '.join(sorted(unknown))}")
        self.names, self.models = list(names), {action: models[action] for action in PREDICTED if action in models}
        self.rates = [(rates or {}).get(action, 0.01) for action in PREDICTED]
        self.share = {action: 1.0 if action in given else negatives for action in PREDICTED}
        self.weighs = {action: "w" in signature(model.learn_one).parameters for action, model in self.models.items()}
        self._refresh()

    # ------------------------------------------------------------------------------------------------------------ verbs

    def row(self, x: Floats) -> dict[str, float]:
        """Features as River wants them, to be learned from by several actions. Raises `ValueError` on those that are no numbers."""
        if x.shape != (len(self.names),) or not np.isfinite(x).all():
            raise ValueError(f"features {x.shape}: wanted {len(self.names)} numbers")
        return dict(zip(self.names, x.astype(np.float64).tolist(), strict=True))

    def learn(
        self, action: str, row: dict[str, float], happened: bool, times: float = 1.0, *, late: bool = True, beyond: float = 0.0
    ) -> float:
        """One example of one action, which stands for so many; returns the rate predicted before.

        `late`: what happened was a negative before. `beyond`: log-odds that are known beside the features; linear models learn the error of
        both together.
        """
        model = self.models[action]
        of_features = self._proba(action, row)
        p = joined(of_features, beyond)
        if self.weighs[action]:
            w = times * weight(p, happened, late)
            if beyond and linear(model):
                w *= (p - happened) / (of_features - happened)  # River steps by the error of what it knows itself
            model.learn_one(row, happened, w=w)  # type: ignore[call-arg]
            self.stale = True
        else:
            if happened and not late:  # in the stream that is calibrated each positive was a negative
                model.learn_one(row, False)
            model.learn_one(row, happened)
        return p

    def predict(self, x: Floats) -> Floats:
        """Rates per exposure by `PREDICTED`: shape [n, len(PREDICTED)], for features of shape [n, features]."""
        if self.stale:
            self._refresh()
        rates = np.empty((len(PREDICTED), len(x)), np.float32)
        if len(self.linear) < len(PREDICTED):
            rates[:] = np.array(self.rates, np.float32)[:, None]
        if self.linear:
            odds = self.weights.T @ x.T
            odds += self.intercepts[:, None]
            np.negative(odds, out=odds)
            np.maximum(odds, -BOUND, out=odds)
            np.minimum(odds, BOUND, out=odds)
            np.exp(odds, out=odds)
            odds += np.float32(1.0)
            if len(self.linear) < len(PREDICTED):
                rates[self.linear] = np.float32(1.0) / odds
            else:
                np.divide(np.float32(1.0), odds, out=rates)
        for i, action in enumerate(PREDICTED):
            if action in self.models and i not in self.linear:
                rates[i] = [self._proba(action, dict(zip(self.names, row, strict=True))) for row in x.astype(np.float64).tolist()]
        np.maximum(rates, np.float32(EDGE), out=rates)
        np.minimum(rates, np.float32(1.0 - EDGE), out=rates)
        return rates.T

    def _proba(self, action: str, row: dict[str, float]) -> float:
        p = self.models[action].predict_proba_one(row).get(True, 0.5)
        return min(max(p, EDGE), 1.0 - EDGE) if self.weighs[action] else float(corrected(p, self.share[action]))

    def _refresh(self) -> None:
        """The arrays of the linear models."""
        self.stale = False
        self.linear = [i for i, action in enumerate(PREDICTED) if linear(self.models.get(action))]
        found: list[Any] = [self.models[PREDICTED[i]] for i in self.linear]
        tables = [model.weights for model in found]
        self.weights = np.array([[t.get(name, 0.0) for t in tables] for name in self.names], np.float32).reshape(
            len(self.names), len(found)
        )
        self.intercepts = np.array([model.intercept for model in found], np.float32)

    # ------------------------------------------------------------------------------------------------------------ bytes

    def encode(self) -> bytes:
        """Linear models as numbers, exactly; others as River pickles, which are read back only where settings name such a model."""
        parts: dict[str, Any] = {}
        for action, model in self.models.items():
            if linear(model):
                weights, squares = model.weights, model.optimizer.g2
                parts[action] = [
                    model.intercept,
                    [float(weights.get(name, 0.0)) for name in self.names],
                    [float(squares.get(name, 0.0)) for name in self.names],
                    model.optimizer.n_iterations,
                ]
            else:
                parts[action] = pickle.dumps(model, 5)
        return msgspec.msgpack.encode([VERSION, self.names, parts])

    def decode(self, value: bytes) -> Self:
        """Take over what `encode` wrote; raises `ValueError`, and stays as it was, for other features or actions, or a cut value."""
        try:
            version, names, parts = msgspec.msgpack.decode(value)
        except (msgspec.MsgspecError, TypeError, ValueError) as e:
            raise ValueError("classifiers that are cut") from e
        if version != VERSION or names != self.names or list(parts) != list(self.models):
            raise ValueError("classifiers of another version, or of other features or actions")
        if any(isinstance(parts[a], bytes) == linear(m) for a, m in self.models.items()):
            raise ValueError("classifiers of another kind than the settings name")
        try:
            pickled = {action: pickle.loads(part) for action, part in parts.items() if isinstance(part, bytes)}
        except Exception as e:  # whatever the classes of another release of River make of it
            raise ValueError(f"classifiers that this release of River cannot read: {e}") from e
        if any(type(read) is not type(self.models[action]) for action, read in pickled.items()):
            raise ValueError("classifiers of another kind than the settings name")
        for action, model in self.models.items():
            part = parts[action]
            if linear(model):
                model.intercept = part[0]
                model._weights = VectorDict(dict(zip(self.names, part[1], strict=True)))
                model.optimizer.g2.update(zip(self.names, part[2], strict=True))
                model.optimizer.n_iterations = part[3]
            else:
                self.models[action] = pickled[action]
        self._refresh()
        return self
