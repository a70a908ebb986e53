"""Logistic regression learned one example at a time: what an action's classifier is unless the settings name another."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp

SURE = 18.0
"""Log-odds beyond which a gradient is taken at its limit."""
EPS = 1e-8


class Logistic:
    """River's `LogisticRegression` with `AdaGrad`, to the last bit, for features that are all known at the beginning.

    A class of our own since River's takes twice as long for a step and loads scipy's statistics with it: 42 MB in each worker and API.
    Shines with a few dozen numbers that mean the same for every example; fails where what counts is a product of two of them.

    Parameters
    ----------
    weights
        Of each feature by its name, before anything was learned.
    intercept
        Likewise.
    rate, intercept_rate
        Steps of the weights, divided by the root of their summed squared gradients, and of the intercept.
    patience
        That sum at the beginning: it stands for examples behind the weights.

    Examples
    --------
    >>> model = Logistic({"a": 1.0}, -2.0)
    >>> round(model.predict_proba_one({"a": 1.0})[True], 3)
    0.269
    >>> for _ in range(100):
    ...     model.learn_one({"a": 1.0}, True)
    >>> round(model.predict_proba_one({"a": 1.0})[True], 3)
    0.428

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer: Adaptive subgradient methods for online learning and stochastic optimization (JMLR 2011).
    """

    __slots__ = ("intercept", "intercept_rate", "rate", "squares", "steps", "weights")

    def __init__(
        self,
        weights: Mapping[str, float],
        intercept: float = 0.0,
        rate: float = 0.05,
        intercept_rate: float = 0.005,
        patience: float = 50.0,
    ) -> None:
        self.weights, self.intercept, self.rate, self.intercept_rate = dict(weights), intercept, rate, intercept_rate
        self.squares = dict.fromkeys(self.weights, patience)
        self.steps = 0

    def odds(self, x: Mapping[str, float]) -> float:
        """Log-odds."""
        weights, total = self.weights, 0.0
        for name, value in x.items():
            total += weights[name] * value
        return total + self.intercept

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        odds = self.odds(x)
        p = 1.0 / (1.0 + exp(-odds)) if abs(odds) <= 30.0 else float(odds > 0.0)
        return {False: 1.0 - p, True: p}

    def learn_one(self, x: Mapping[str, float], y: bool, w: float = 1.0) -> None:
        """One step down the logistic loss of an example that weighs `w`."""
        sign = 1.0 if y else -1.0
        z = self.odds(x) * sign
        slope = w * (exp(-z) * -sign if z > SURE else -sign if z < -SURE else -sign / (exp(z) + 1.0))
        self.intercept -= self.intercept_rate * slope
        weights, squares, rate = self.weights, self.squares, self.rate
        for name, value in x.items():
            step = value * slope
            total = squares[name] = squares[name] + step**2
            weights[name] -= rate / (total + EPS) ** 0.5 * step
        self.steps += 1
