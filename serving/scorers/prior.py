"""The scorer that knows nothing yet: a stated prior over popularity, taste, quality and freshness.

    logit p(click) = logit(rate) + Σ weight · feature         p(action) = rate of the action · p(click) / rate of a click

It shines when there is no model, or none that can be trusted; it fails to see who likes what beyond tags, author and channel. Its
expectations by action are what pools hold evidence against until then; what slates log to be learned from are the learner's features
(`learned.py`).

Features are natural quantities, so that they mean the same in every log: log-odds of taste as `models/interest.py` has learned them,
log2 of decayed engagements, log of quality over an average note's, log days, 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from config.events import PREDICTED
from config.keys import hash64
from config.records import SOURCES
from config.settings import Interest, SettingsError
from models.lists import EPOCH
from serving.expected import unknown
from serving.stages import Candidates, Floats, Query, Rows, Scored, Viewer, lookup, member
from store.layout import taken

DAY = 86_400_000.0
EARTH_KM = 6_371.0
TOP = 60_000.0
"""Inside of what float16 holds; no feature comes near -TOP."""


class Frame:
    """What features are computed from: one row per candidate, built once."""

    viewer: Viewer
    notes: npt.NDArray[np.void]
    sources: npt.NDArray[np.uint8]
    now: int
    average: np.float32
    tags: Floats
    author: Floats
    channel: Floats
    heat: Floats
    """log2(1 + engagement points as of now), by half-life"""

    def __init__(self, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], scorer: PriorScorer) -> None:
        rules, half_lives_ms = scorer.interest, scorer.half_lives_ms
        self.viewer, self.notes, self.sources = viewer, notes, candidates.sources
        self.now, self.average = viewer.now, scorer.average
        taste = viewer.taste
        if taste.tags.size:
            tags = notes["tags"][:, : rules.note_tags]
            ones = np.ones(tags.shape[1], np.float32)  # a product with ones sums rows four times faster than sum(axis=1)
            count = np.maximum((tags != 0).astype(np.float32) @ ones, np.float32(1.0))
            self.tags = (lookup(tags, taste.tags, taste.tag_weights) @ ones) / np.sqrt(count)
        else:
            self.tags = np.zeros(notes.shape, np.float32)
        self.author = rules.author_share * lookup(notes["author"], taste.authors, taste.author_weights)
        self.channel = rules.channel_share * lookup(notes["channel"], taste.channels, taste.channel_weights)
        passed = np.array([(self.now - EPOCH) / half_life for half_life in half_lives_ms], np.float64)
        since = (notes["heat"].T - passed[:, None]).astype(np.float32)  # the difference in double, the rest need not be
        self.heat = np.log2(np.float32(1.0) + np.exp2(np.minimum(since, np.float32(60.0))))

    def beside(self) -> Any:
        """log(1 + 50 Σ keep^age · similarity) to the user's recent notes: 0 without any, about 4 at most."""
        found = self.viewer.beside
        if found is None:
            return 0.0
        return np.log(np.float32(1.0) + np.float32(50.0) * lookup(self.notes["hash"], found.hashes, found.scores))

    def bit(self, source: str) -> Floats:
        return ((self.sources >> np.uint8(SOURCES.index(source))) & 1).astype(np.float32)

    def near(self) -> Any:
        """exp(-distance / 1 km), 0 where either place is unknown."""
        if self.viewer.lat is None:
            return 0.0
        return np.nan_to_num(np.exp(-distance_km(self.viewer.lat, self.viewer.lon, self.notes)), nan=0.0)


def distance_km(lat: float | None, lon: float | None, notes: npt.NDArray[np.void]) -> Floats:
    """Great-circle distance to each note; NaN where either place is unknown."""
    if lat is None or lon is None:
        return np.full(notes.shape, np.nan, np.float32)
    a, b = np.radians(lat), np.radians(notes["lat"].astype(np.float64))
    half = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(notes["lon"].astype(np.float64) - lon) / 2) ** 2
    return (2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))).astype(np.float32)


TINY = np.float32(1e-12)

Feature = tuple[str, Callable[[Frame], Any]]

FEATURES: tuple[Feature, ...] = (
    ("tags", lambda f: f.tags),
    ("author", lambda f: f.author),
    ("channel", lambda f: f.channel),
    ("heat0", lambda f: f.heat[0]),
    ("heat1", lambda f: f.heat[1]),
    ("heat2", lambda f: f.heat[2]),
    ("heat3", lambda f: f.heat[3]),
    ("quality", lambda f: log_ratio(f.notes["quality"][:, 0], f.average)),
    ("spread", lambda f: log_ratio(f.notes["quality"][:, 2], f.notes["quality"][:, 1])),
    ("age", lambda f: log_days(f.now - f.notes["published_at"])),
    ("idle", lambda f: log_days(f.now - np.maximum(f.notes["engaged_at"], f.notes["published_at"]))),
    ("exposures", lambda f: np.log(np.float32(1.0) + f.notes["organic"].astype(np.float32))),
    ("followed", lambda f: member(f.notes["author"], f.viewer.followed)),
    ("near", lambda f: f.near()),
    ("pool", lambda f: f.notes["tier"] >= 0),
    ("beside", lambda f: f.beside()),
    ("from_interest", lambda f: f.bit("interest")),
    ("from_channel", lambda f: f.bit("channel")),
    ("from_pool", lambda f: f.bit("pool")),
    ("from_hot", lambda f: f.bit("hot")),
)
"""A feature is one entry: its name, and how it is computed. Their order and names make the hash that slates log."""

NAMES = tuple(name for name, _ in FEATURES)
SET = f"{hash64('prior ' + ' '.join(NAMES)):016x}"

WEIGHED = {
    "tags": "tags",
    "author": "author",
    "channel": "channel",
    "popularity": "heat1",
    "trend": "heat0",
    "quality": "quality",
    "age": "age",
    "followed": "followed",
    "near": "near",
    "beside": "beside",
}
"""Setting of `[feed.prior]` -> feature it weighs."""


def log_ratio(value: npt.NDArray[np.float32], of: Any) -> Floats:
    """log(value / of), 0 where either is not known yet (0)."""
    known = (value > 0.0) & (of > 0.0)
    return np.where(known, np.log(np.maximum(value, TINY) / np.maximum(of, TINY)), np.float32(0.0))


def log_days(ms: npt.NDArray[np.int64]) -> Floats:
    # log(1 + x), since log1p is not vectorised; what it would be better at is shorter than a second.
    return np.log(np.float32(1.0) + np.maximum(ms, 0).astype(np.float32) * np.float32(1.0 / DAY))


class PriorScorer:
    """See the module's docstring.

    Parameters
    ----------
    weights
        ``[feed.prior]`` of the settings
    rates
        actions per exposure of an average note, by action
    worth
        what an action is worth (``[pool] weights``): with the rates, the value of an average note
    interest
        ``[interest]``: how a note's tags, author and channel share in a user's own part
    half_lives_h
        of the four heats of a note record
    """

    name: ClassVar[str] = "prior"

    def __init__(
        self,
        weights: Mapping[str, float],
        rates: Mapping[str, float],
        worth: Mapping[str, float],
        interest: Interest,
        half_lives_h: Sequence[float],
    ) -> None:
        unknown = sorted(set(weights) - {*WEIGHED, "bias"})
        if unknown:
            raise SettingsError(f"unknown setting feed.prior.{unknown[0]}")
        for action in PREDICTED:
            if not 0.0 < rates.get(action, 0.0) < 1.0:
                raise SettingsError(
                    f"setting pool.prior.rates.{action} (or feed.rates) wants a rate between 0 and 1, got {rates.get(action)}"
                )
        self.interest = interest
        self.average = np.float32(sum(rates.get(action, 0.0) * points for action, points in worth.items()))
        self.half_lives_ms = tuple(hours * 3_600_000.0 for hours in half_lives_h)
        self.features, self.feature_set = NAMES, SET
        self.version = f"prior-{hash64(repr(sorted({**weights, **rates}.items()))):016x}"[:14]
        used = [(name, column) for name, column in WEIGHED.items() if weights.get(name)]
        self.parts = ("base", *(name for name, _ in used))
        self.columns = np.array([NAMES.index(column) for _, column in used], np.intp)
        self.weights = np.array([weights[name] for name, _ in used], np.float32)
        self.personal = np.array([name in ("tags", "author", "channel", "beside") for name, _ in used])
        click = rates["click"]
        self.base = np.float32(np.log(click / (1.0 - click)) + weights.get("bias", 0.0))
        self.lift = np.array([rates[action] / click for action in PREDICTED], np.float32)
        self.hide = PREDICTED.index("hide")
        self.hide_rate = np.float32(rates["hide"])

    def expects(
        self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, rows: Rows
    ) -> Floats:
        return self.score(query, viewer, candidates.take(rows), unknown(taken(notes, rows))).predictions

    def score(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Scored:
        frame = Frame(viewer, candidates, notes, self)
        features = np.empty((len(FEATURES), notes.size), np.float32)  # a row a feature: each is written in one go
        for row, (_, column) in zip(features, FEATURES, strict=True):
            row[:] = column(frame)
        np.minimum(features, TOP, out=features)
        contributions = np.empty((len(self.parts), notes.size), np.float32)
        contributions[0] = self.base
        np.multiply(features[self.columns], self.weights[:, None], out=contributions[1:])
        score = contributions.sum(axis=0)
        own = contributions[1:][self.personal].sum(axis=0)
        click = 1.0 / (1.0 + np.exp(-np.minimum(score, 12.0)))
        predictions = np.minimum(click[:, None] * self.lift, 0.9)
        # Who likes a subject hides less of it.
        predictions[:, self.hide] = self.hide_rate * np.exp(-np.minimum(np.maximum(own, -3.0), 3.0))
        return Scored(score, own, predictions, features.T, b"", contributions.T)
