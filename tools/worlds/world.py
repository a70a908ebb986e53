"""A world of notes whose quality is known to nobody but the world.

A round is an hour. A note has a quality z ~ N(0, 1); the log-odds of an action are mean + slope z + N(0, noise). With a `click` of (mean,
slope, correlation with z) an exposure has to be clicked first, and actions are per click. `warmth` is how far a note's first audience lies
from the average one: N(0, warmth) on the log-odds, fading as 300 / (300 + exposures). `expected` counts what an average note would have
earned from that same audience: what a scorer predicts that knows the users and not the note.

The notes and the luck of exposures have generators of their own, so that two policies meet the same notes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WEIGHTS = np.array([1.0, 1.0, 4.0, 4.0, 8.0])
"""CES of like, collect, comment, share, follow"""
SPREADS = 300.0
"""exposures after which half of a first audience's warmth is gone"""
MARK = 500
"""exposures that count as having been found"""
DAY = 24


class Spec(msgspec.Struct, frozen=True):
    """One world's settings, the format of `worlds/*.json`."""

    name: str
    notes: int
    rounds: int
    arrival_rounds: int
    exposures_per_round: int
    click: tuple[float, float, float] | None
    actions: dict[str, tuple[float, float]]
    noise: float
    warmth: float
    chill: float = 0.0
    """mean of the warmth: below zero, first audiences are colder than the average one"""


def read(path: str | Path) -> Spec:
    """The world of a JSON file. Raises ValueError that names file and field."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Spec)
    except (msgspec.DecodeError, OSError) as error:
        raise ValueError(f"{path}: {error}") from None


def sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


class World:
    """One run. Vectors are indexed by note; action matrices are (notes, 5) in the order of `WEIGHTS`."""

    def __init__(self, spec: Spec, seed: int) -> None:
        hidden = np.random.default_rng([seed, 1])
        self.luck = np.random.default_rng([seed, 2])
        self.spec, n = spec, spec.notes
        z = hidden.standard_normal(n)
        self.means, slopes = np.array(list(spec.actions.values())).T
        self.odds = self.means + slopes * z[:, None] + spec.noise * hidden.standard_normal((n, len(WEIGHTS)))
        self.click, self.average_click = np.ones(n), 1.0
        if spec.click:
            mean, slope, tie = spec.click
            appeal = tie * z + np.sqrt(1.0 - tie * tie) * hidden.standard_normal(n)
            self.click, self.average_click = sigmoid(mean + slope * appeal), float(sigmoid(np.array(mean)))
        self.arrival = hidden.integers(0, spec.arrival_rounds, n)
        self.warmth = spec.chill + spec.warmth * hidden.standard_normal(n)
        self.value = self.click * (sigmoid(self.odds) @ WEIGHTS)
        """true CES per exposure among the average audience"""
        self.round = 0
        self.exposures, self.clicks = np.zeros(n), np.zeros(n)
        self.actions, self.expected = np.zeros((n, len(WEIGHTS))), np.zeros((n, len(WEIGHTS)))
        self.based, self.found = np.full(n, np.inf), np.full(n, np.inf)
        """rounds in which a note's base was complete, and in which it had been shown MARK times"""
        self.story: list[Array] = []
        """exposures of each note after each round, for the plot"""

    @property
    def published(self) -> NDArray[np.bool_]:
        return np.asarray(self.arrival <= self.round)

    def step(self, shown: Array, base: int) -> None:
        """An hour: each note is shown so many times, counters move. Refuses more than the capacity, and unpublished notes."""
        shown = np.floor(shown)
        if shown.min() < 0 or shown.sum() > self.spec.exposures_per_round or shown[~self.published].any():
            raise ValueError("an allocation within capacity, of published notes")
        warm = (self.warmth * SPREADS / (SPREADS + self.exposures))[:, None]
        clicks = self.luck.binomial(shown.astype(np.int64), self.click)
        self.actions += self.luck.binomial(clicks[:, None], sigmoid(self.odds + warm))
        self.expected += shown[:, None] * self.average_click * sigmoid(self.means + warm)
        self.clicks += clicks
        self.exposures += shown
        self.turn(base)

    def meet(self, note: int) -> list[str]:
        """One exposure, and what the person does, in order: the same odds as those of `step`. The hour does not end by it."""
        warm = self.warmth[note] * SPREADS / (SPREADS + self.exposures[note])
        self.exposures[note] += 1.0
        self.expected[note] += self.average_click * sigmoid(self.means + warm)
        if self.luck.random() >= self.click[note]:
            return []
        self.clicks[note] += 1.0
        did = self.luck.random(len(WEIGHTS)) < sigmoid(self.odds[note] + warm)
        self.actions[note] += did
        acted = [name for name, done in zip(self.spec.actions, did.tolist(), strict=True) if done]
        return ["click", *acted] if self.spec.click else acted

    def turn(self, base: int) -> None:
        """The hour is over."""
        for mark, when in ((base, self.based), (MARK, self.found)):
            when[(self.exposures >= mark) & np.isinf(when)] = self.round
        self.story.append(self.exposures.copy())
        self.round += 1

    def report(self, base: int) -> dict[str, float]:
        """The figures by which policies are compared; see docs/pools.md for their meaning."""
        top = np.argsort(-self.value)[: self.spec.notes // 20]
        wait = self.found[top] - self.arrival[top] + 1
        extra = np.maximum(self.exposures - base, 0)
        reached = np.flatnonzero(self.exposures >= MARK)
        due = self.arrival + DAY <= self.round  # later ones have not had their day yet
        return {
            "ces_per_exposure": float((self.actions @ WEIGHTS).sum() / max(self.exposures.sum(), 1)),
            "rounds_to_500_top5": float(np.median(wait)),
            "top5_ever_500": float(np.isfinite(wait).mean()),
            "wasted_below_median": float(extra[self.value < np.median(self.value)].sum() / max(extra.sum(), 1)),
            "precision_promoted": float(np.isin(reached, top).mean()) if len(reached) else 0.0,
            "base_within_24": float((self.based[due] - self.arrival[due] < DAY).mean()) if due.any() else 1.0,
            "capacity_used": float(self.exposures.sum() / (self.round * self.spec.exposures_per_round)),
        }
