"""What rankers know of a candidate: computed once, at serving, as one matrix; logged with the slate; learned from that log.

A feature is one entry of `FEATURES`: a name and a formula over a `Frame`, which holds what several of them need. `FEATURE_SET` is the
hash of the names: a model that was learned with another list is refused.

Inputs: the note records of the candidates and of the user's recent notes (`Notes`), the neighbour heads of the latter
(`models/neighbours.py`), and the user's record. Sums over neighbours are told as *shares*, log(x / max x + 0.03) over the candidates:
what counts is which is more, in logs of any density, and the best is 0.03 wherever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from config.events import ACTIONS, ENGAGEMENTS
from models.interest import Taste
from models.neighbours import NOBODY, Front
from models.ranker import Context

Floats = npt.NDArray[np.float32]
Notes = npt.NDArray[np.void]
"""Note records: fields hash, author, channel, tags [8] (hashes, 0 empty), counts (by ACTIONS), heat [4] (log2 of engagement points
at four half-lives, -inf none), lat, lon (NaN none), published_at, engaged_at (epoch ms), organic (exposures), quality [3] (mean, low,
high). An absent record is a row of zeros."""

DAY = 86_400_000.0
SECOND = 1_000
SITTING = 60_000
EARTH_KM = 6_371.0
FAR_KM = 100.0
"""From here on one distance is as far as another, and as an unknown place."""
FLOOR = np.float32(0.03)
SHRINK = 10.0
"""Of similarities: as in `models.neighbours.Neighbours`."""
PRIOR = 8.0
"""Engagements that a note's own rates are shrunk by, towards the candidates' mean."""

ENGAGED = [ACTIONS.index(action) for action in ENGAGEMENTS]
LIKE = ACTIONS.index("like")
PRAISE = np.isin(np.arange(len(ACTIONS)), [ACTIONS.index(a) for a in ("like", "collect", "comment", "share", "follow", "purchase")])
"""Actions that say a note was good, not only taken."""


class Joined(NamedTuple):
    """Neighbour heads of a user's recent notes, the newest first, as one table: a row for each neighbour of each head."""

    fronts: Sequence[Front]
    hashes: npt.NDArray[np.uint64]
    """each neighbour once, ascending"""
    place: npt.NDArray[np.intp]
    """row -> its neighbour in `hashes`"""
    owner: npt.NDArray[np.intp]
    """row -> its head"""
    sums: Floats
    """shape [len(SUMS), rows]"""
    counts: npt.NDArray[np.uint32]
    """engagements of the row's neighbour"""


def join(fronts: Sequence[Front]) -> Joined:
    """Heads as one table; a head that is absent has no rows."""
    fronts_of = fronts or [NOBODY]
    found = np.concatenate([front.hashes for front in fronts_of])
    order = np.argsort(found)
    ordered = found[order]
    first = np.empty(len(found), np.bool_)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    place = np.empty(len(found), np.intp)
    place[order] = np.cumsum(first) - 1
    return Joined(
        fronts,
        ordered[first],
        place,
        np.repeat(np.arange(len(fronts_of)), [len(front.hashes) for front in fronts_of]),
        np.concatenate([front.sums for front in fronts_of], axis=1),
        np.concatenate([front.counts for front in fronts_of]),
    )


class Asker(NamedTuple):
    """The user and the request; sequences over recent notes are newest first and of one length."""

    now: int
    """epoch ms, the stream's clock"""
    engagements: int
    """notes engaged with, ever"""
    rank: float
    """running mean of log(1 + rank), see `models.ranker.moved_rank`"""
    hashes: npt.NDArray[np.uint64]
    times: npt.NDArray[np.int64]
    actions: npt.NDArray[np.intp]
    """strongest action on each, index in ACTIONS"""
    recent: Notes
    """their records"""
    joined: Joined
    """their neighbour heads; there may be fewer, of the newest"""
    taste: Taste
    lat: float | None = None
    lon: float | None = None
    followed: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
    """hashes of followed authors"""

    def context(self, recent: int) -> Context:
        """What the ranker's weights depend on, and so many recent notes: what it makes the user's factors of."""
        gap = max(0, self.now - int(self.times[0])) if len(self.times) else -1
        return Context(self.engagements, gap, float(np.float32(self.rank)), tuple(self.hashes[:recent].tolist()))


class Scale(NamedTuple):
    """What the candidates of a request are told against. Some of them, looked at again, are told against that of all."""

    mean: float
    """likes per engagement"""
    hottest: npt.NDArray[np.float64]
    """of the heats: shape [4, 1]"""
    tops: Floats
    """of the features that are shares: shape [shares, 1]"""


class Frame:
    """What features are computed from: one row per candidate.

    Parameters
    ----------
    asker
        The user and the request.
    notes
        Records of the candidates: shape [n].
    heat_epoch, half_lives_ms
        What `heat` is relative to, and its four half-lives.
    scale
        Of the candidates that these are some of; None: they are all.
    """

    def __init__(self, asker: Asker, notes: Notes, heat_epoch: int, half_lives_ms: Sequence[float], scale: Scale | None = None) -> None:
        self.asker, self.notes, self.n, self.given = asker, notes, len(notes), scale
        self.engaged = notes["counts"][:, ENGAGED].sum(1).astype(np.float64)
        self.history = float(np.log1p(asker.engagements))
        times = asker.times
        m = len(times)
        self.age = np.arange(m, dtype=np.float64)
        """steps back in the user's engagements"""
        fresh = np.zeros(m, np.intp)
        fresh[1:] = (times[:-1] - times[1:]) >= SECOND
        self.step = np.cumsum(fresh)
        """the same, what came within a second counted as one"""
        passed = np.array([(asker.now - heat_epoch) / h for h in half_lives_ms])
        heat = notes["heat"].T - passed[:, None]
        hottest = heat.max(1, initial=-np.inf, keepdims=True)
        self.hottest = np.where(np.isfinite(hottest), hottest, 0.0) if scale is None else scale.hottest
        self.heat = np.exp2(heat - self.hottest)
        """of the hottest candidate's, at each half-life"""
        self._link()

    # ------------------------------------------------------------------------------------------------------ neighbours

    def _link(self) -> None:
        """Similarities of the user's recent notes (rows, newest first) and the candidates (columns), by each of `SUMS`; 0 where a
        head does not name the candidate."""
        joined = self.asker.joined
        fronts = joined.fronts
        linked = np.zeros((4, len(fronts), self.n), np.float32)
        self.together, self.after, self.near, self.lately = linked
        if not len(joined.hashes) or not self.n:
            return
        at = np.minimum(np.searchsorted(joined.hashes, self.notes["hash"]), len(joined.hashes) - 1)
        known = np.flatnonzero(joined.hashes[at] == self.notes["hash"])
        column = np.full(len(joined.hashes), -1, np.intp)
        column[at[known]] = known
        to = column[joined.place]
        hit = np.flatnonzero(to >= 0)
        owner, to = joined.owner[hit], to[hit]
        key = np.sqrt(np.array([max(front.engaged, 1) for front in fronts], np.float32))
        norm = key[owner] * np.sqrt(np.maximum(self.engaged, 1.0)).astype(np.float32)[to] + np.float32(SHRINK)
        cell = owner * self.n + to
        for similarity, sums in zip(linked.reshape(4, -1), joined.sums, strict=True):
            similarity[cell] = sums[hit] / norm
        faded = [np.exp2(min(front.landmark - self.asker.now / front.half_life_ms, 0.0)) for front in fronts]
        self.lately *= np.array(faded, np.float32)[:, None]

    def gather(self, similarity: Floats, weight: npt.NDArray[Any]) -> Floats:
        """Σ over recent notes of weight · similarity, for each candidate; `weight` has one entry per recent note."""
        rows = len(similarity)
        summed: Floats = weight[:rows].astype(np.float32) @ similarity
        return summed

    def fade(self, keep: float, last: int = 10_000) -> npt.NDArray[np.float64]:
        """keep^age for the `last` most recent notes, 0 beyond."""
        return faded(keep, last, len(self.age))

    @cached_property
    def closest(self) -> Floats:
        best: Floats = self.together.max(0, initial=0.0)
        return best

    # ------------------------------------------------------------------------------------------------------------ tags

    @cached_property
    def alike(self) -> npt.NDArray[np.float64]:
        """Cosine of the tags: shape [recent, n]."""
        names = np.unique(self.asker.recent["tags"])
        names = names[names != 0]  # what no recent note has adds nothing to any product
        ours, theirs = (_bag(notes["tags"], names) for notes in (self.notes, self.asker.recent))
        alike: npt.NDArray[np.float64] = theirs @ ours.T
        return alike

    # ----------------------------------------------------------------------------------------------------------- praise

    @cached_property
    def mean(self) -> float:
        """Likes per engagement over the candidates: what unknown notes and users are shrunk towards."""
        if self.given is not None:
            return self.given.mean
        return float((self.notes["counts"][:, LIKE].sum() + 1.0) / (self.engaged.sum() + 2.0))

    def rate(self, notes: Notes, without: npt.NDArray[np.float64] | float = 0.0, liked: npt.NDArray[np.float64] | float = 0.0) -> Any:
        """Likes per engagement, shrunk; `without` this user's own engagements and likes."""
        engaged = np.maximum(notes["counts"][:, ENGAGED].max(1).astype(np.float64) - without, 0.0)
        likes = np.clip(notes["counts"][:, LIKE] - liked, 0.0, engaged)
        return (likes + PRIOR * self.mean) / (engaged + PRIOR)

    @cached_property
    def praised(self) -> npt.NDArray[np.float64]:
        """1 for recent notes that were liked and more."""
        return PRAISE[self.asker.actions].astype(np.float64)

    @cached_property
    def surplus(self) -> Any:
        """By how much each recent note was liked more than others like it."""
        return self.praised - self.rate(self.asker.recent, 1.0, self.praised)

    @cached_property
    def common(self) -> npt.NDArray[np.float64]:
        """Log-odds of a like given an engagement."""
        rate = self.rate(self.notes)
        odds: npt.NDArray[np.float64] = np.log(rate / (1.0 - rate))
        return odds

    def lenient(self, weight: npt.NDArray[np.float64]) -> float:
        """Mean surplus of the user, shrunk by two notes."""
        return 4.0 * float((weight * self.surplus).sum() / (weight.sum() + 2.0))

    @cached_property
    def kin(self) -> npt.NDArray[np.float64]:
        """Surplus among the recent notes that are neighbours, by the square of the similarity."""
        square = self.together * self.together
        kin: npt.NDArray[np.float64] = 4.0 * self.gather(square, self.surplus) / (square.sum(0) + np.float32(1e-4))
        return kin

    @cached_property
    def kind(self) -> npt.NDArray[np.float64]:
        """Surplus among the recent notes with like tags."""
        kind: npt.NDArray[np.float64] = 4.0 * (self.surplus @ self.alike) / (self.alike.sum(0) + 2.0)
        return kind

    # --------------------------------------------------------------------------------------------------------- the rest

    @cached_property
    def taste_tags(self) -> npt.NDArray[np.float64]:
        tags = self.notes["tags"]
        count = np.maximum((tags != 0).sum(1), 1)
        weights: npt.NDArray[np.float64] = _lookup(tags, self.asker.taste.tags, self.asker.taste.tag_weights).sum(1) / np.sqrt(count)
        return weights

    @cached_property
    def off(self) -> npt.NDArray[np.float64]:
        """Distance of the note's popularity from what the user takes, in e-folds."""
        if not len(self.age):
            return np.zeros(self.n)
        theirs = np.log1p(self.asker.recent["counts"][:, ENGAGED].sum(1))
        usual = float((self.fade(0.9) * theirs).sum() / self.fade(0.9).sum())
        off: npt.NDArray[np.float64] = np.abs(np.log1p(self.engaged) - usual)
        return off

    @cached_property
    def km(self) -> npt.NDArray[np.float64]:
        """Great-circle distance; infinite where either place is unknown."""
        if self.asker.lat is None or self.asker.lon is None:
            return np.full(self.n, np.inf)
        return np.nan_to_num(distance_km(self.asker.lat, self.asker.lon, self.notes["lat"], self.notes["lon"]), nan=np.inf)


@lru_cache(4_096)
def faded(keep: float, last: int, n: int) -> npt.NDArray[np.float64]:
    """keep^0, keep^1, … for n notes, 0 from `last` on. Cached: each feed wants a dozen of them, and users have a few dozen notes at most."""
    age = np.arange(n, dtype=np.float64)
    weights = np.where(age < last, np.power(keep, age), 0.0)
    weights.setflags(write=False)
    return weights


def distance_km(lat: float, lon: float, lats: npt.NDArray[Any], lons: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Great-circle distance, right at the poles and across the date line; NaN where a place is.

    >>> distance_km(0.0, 179.5, np.array([0.0]), np.array([-179.5])).round(1).tolist()
    [111.2]
    """
    a, b = np.radians(lat), np.radians(lats.astype(np.float64))
    half = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(lons.astype(np.float64) - lon) / 2) ** 2
    arc: npt.NDArray[np.float64] = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
    return arc


def shares(x: Floats, top: Floats) -> Floats:
    """log(x / top + 0.03) by rows, `top` the most of each; where that is not above 0, all are equal.

    >>> shares(np.array([[0.0, 0.47, 1.0], [0.0, 0.0, 0.0]], np.float32), np.array([[1.0], [0.0]], np.float32)).round(2).tolist()
    [[-3.509999990463257, -0.6899999976158142, 0.029999999329447746], [-3.509999990463257, -3.509999990463257, -3.509999990463257]]
    """
    result: Floats = np.log(x / np.where(top > 0.0, top, np.float32(1.0)) + FLOOR)
    return result


def log_days(ms: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = np.log1p(np.maximum(ms, 0) / DAY)
    return result


def _lookup(of: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Values by sorted keys, 0 where there is none."""
    if not len(keys):
        return np.zeros(of.shape)
    at = np.minimum(np.searchsorted(keys, of), len(keys) - 1)
    found: npt.NDArray[np.float64] = np.where(keys[at] == of, values[at], 0.0)
    return found


def _bag(tags: npt.NDArray[np.uint64], names: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Rows of unit length over `names`; what a row has beyond them counts in its length."""
    bag = np.zeros((len(tags), len(names)))
    if len(names) and len(tags):
        at = np.minimum(np.searchsorted(names, tags), len(names) - 1)
        row, column = np.nonzero(names[at] == tags)
        bag[row, at[row, column]] = 1.0
    bag /= np.sqrt(np.maximum((tags != 0).sum(1), 1))[:, None]
    return bag


class Feature(NamedTuple):
    """A name, a formula, and whether what counts is which candidate has more of it: then it is told as a share."""

    name: str
    formula: Callable[[Frame], Any]
    shared: bool = False


FEATURES: tuple[Feature, ...] = (
    # What is taken together with what the user took: similarities of the recent notes' neighbours, summed in several ways.
    Feature("together", lambda f: f.gather(f.together, f.fade(0.8, 30)), shared=True),
    Feature("together_long", lambda f: f.gather(f.together, f.fade(0.97)), shared=True),
    Feature("together_last", lambda f: f.gather(f.together, f.fade(1.0, 1)), shared=True),
    Feature("together_logs", lambda f: f.gather(np.log1p(np.float32(1e3) * f.together[:10]), f.fade(0.8, 10)), shared=True),
    Feature("together_steps", lambda f: f.gather(f.together, np.power(0.6, f.step)), shared=True),
    Feature("together_lately", lambda f: f.gather(f.lately, f.fade(0.8, 30)), shared=True),
    Feature("together_sitting", lambda f: f.gather(f.near, f.fade(0.8, 30)), shared=True),
    Feature("together_page", lambda f: f.gather(f.together, (f.step == 0).astype(np.float64)), shared=True),
    Feature("together_liked", lambda f: f.gather(f.together, f.fade(0.8, 30) * f.praised), shared=True),
    Feature("after", lambda f: f.gather(f.after, np.where(f.age < 10, 1.0 / (f.age + 1), 0.0)), shared=True),
    Feature("after_last", lambda f: f.gather(f.after, f.fade(1.0, 1)), shared=True),
    Feature("closest", lambda f: f.closest, shared=True),
    Feature("voices", lambda f: (f.together > 0.0).sum(0), shared=True),
    # What it is, against what the user likes.
    Feature("tags", lambda f: f.taste_tags),
    Feature("author", lambda f: _lookup(f.notes["author"], f.asker.taste.authors, f.asker.taste.author_weights)),
    Feature("channel", lambda f: _lookup(f.notes["channel"], f.asker.taste.channels, f.asker.taste.channel_weights)),
    Feature("followed", lambda f: np.isin(f.notes["author"], f.asker.followed).astype(np.float64)),
    Feature("alike_now", lambda f: f.fade(0.7) @ f.alike),
    Feature("alike", lambda f: f.fade(0.9) @ f.alike / 3.0),
    Feature("alike_long", lambda f: f.fade(0.98) @ f.alike / 15.0),
    # How it does with everybody.
    Feature("heat0", lambda f: f.heat[0], shared=True),
    Feature("heat1", lambda f: f.heat[1], shared=True),
    Feature("heat2", lambda f: f.heat[2], shared=True),
    Feature("heat3", lambda f: f.heat[3], shared=True),
    Feature("popularity", lambda f: f.engaged, shared=True),
    Feature("off", lambda f: f.off),
    Feature("age", lambda f: log_days(f.asker.now - f.notes["published_at"])),
    Feature("idle", lambda f: log_days(f.asker.now - np.maximum(f.notes["engaged_at"], f.notes["published_at"]))),
    Feature("distance", lambda f: np.log(np.minimum(f.km, FAR_KM) + 0.1)),
    Feature("near", lambda f: np.exp(-f.km / 0.3)),
    Feature("near_wide", lambda f: np.exp(-f.km / 3.0)),
    # Whether it is liked once it is taken.
    Feature("liked", lambda f: f.common),
    Feature("lenient", lambda f: f.lenient(f.fade(0.8))),
    Feature("lenient_long", lambda f: f.lenient(f.fade(0.95))),
    Feature("mood", lambda f: f.lenient((f.asker.now - f.asker.times < SECOND).astype(np.float64))),
    Feature("kin", lambda f: f.kin),
    Feature("kind", lambda f: f.kind),
    Feature("reach", lambda f: np.log1p(f.engaged) - 3.0),
    Feature("history", lambda f: f.history - 3.0),
    Feature("kin_history", lambda f: f.kin * (f.history - 3.0)),
    Feature("kind_history", lambda f: f.kind * (f.history - 3.0)),
    Feature("liked_reach", lambda f: f.common * (np.log1p(f.engaged) - 3.0)),
    Feature("liked_history", lambda f: f.common * (f.history - 3.0)),
)

NAMES = tuple(feature.name for feature in FEATURES)
SHARED = np.array([feature.shared for feature in FEATURES])
FEATURE_SET = blake2b("\n".join(NAMES).encode(), digest_size=8).hexdigest()
"""Tells lists of features apart; logged with every slate."""

RANKED = {"together": 1.0}
"""Weights of the ranker before its first example: decay alone, which follows a shift of interest."""
LIKED = {"liked": 1.0, "lenient": 0.35, "mood": 0.3, "kin": 0.3, "kind": 0.3}
"""The same for a like given an engagement."""

LIMIT = 60_000.0
"""Inside of what float16 holds."""


def matrix(frame: Frame) -> Floats:
    """All features of all candidates, as they are logged: float16 values in float32, shape [n, features]."""
    return scaled(frame)[0]


def scaled(frame: Frame) -> tuple[Floats, Scale]:
    """The same, and what they are told against."""
    x = np.empty((len(FEATURES), frame.n), np.float32)  # a row a feature: each is written in one go
    for row, feature in zip(x, FEATURES, strict=True):
        row[:] = feature.formula(frame)
    shared: Floats = x[SHARED]
    tops = shared.max(1, initial=0.0, keepdims=True) if frame.given is None else frame.given.tops
    x[SHARED] = shares(shared, tops)
    np.clip(x, -LIMIT, LIMIT, out=x)
    return np.ascontiguousarray(x.T).astype(np.float16).astype(np.float32), Scale(frame.mean, frame.hottest, tops)


def weights_of(named: Mapping[str, float]) -> Floats:
    """Weights by name as a vector; raises `KeyError` with a name that is no feature."""
    vector = np.zeros(len(NAMES), np.float32)
    for name, weight in named.items():
        if name not in NAMES:
            raise KeyError(name)
        vector[NAMES.index(name)] = weight
    return vector
