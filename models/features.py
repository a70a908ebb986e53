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
from models.asker import Asker, Floats, Hashes, Notes
from models.gathering import (
    AFTER,
    LATELY,
    LIMIT,
    LOGS,
    NAMED,
    NEAR,
    SIMILARITIES,
    SQUARE,
    TOGETHER,
    gather,
    half,
    halve,
    look,
    odds,
    recall,
    reckon,
    say,
    tell,
)

DAY = 86_400_000.0
FAR = -30.0
"""Exponent of e below which nothing is left in float16; see `models.gathering.COLD`."""
SECOND = 1_000
SITTING = 60_000
EARTH_KM = 6_371.0
FAR_KM = 100.0
"""From here on one distance is as far as another, and as an unknown place."""
FLOOR = np.float32(0.03)

ENGAGED = np.array([ACTIONS.index(action) for action in ENGAGEMENTS])
LIKE = ACTIONS.index("like")
PRAISE = np.isin(np.arange(len(ACTIONS)), [ACTIONS.index(a) for a in ("like", "collect", "comment", "share", "follow", "purchase")])
"""Actions that say a note was good, not only taken."""


class Sum(NamedTuple):
    """A formula: Σ over the user's recent notes of weight · similarity. All of them are computed as one."""

    similarity: int
    """index in SIMILARITIES, or ALIKE"""
    weight: Callable[[Past], npt.NDArray[np.float64]]
    """one number a recent note"""
    steady: bool = True
    """the numbers depend on nothing but how many notes there are"""


ALIKE = len(SIMILARITIES)
"""The cosine of the tags."""


class Back:
    """How far back each recent note lies: all that steady weights may look at."""

    def __init__(self, n: int) -> None:
        self.age: npt.NDArray[np.float64] = ages(n)
        """steps back in the user's engagements"""

    def fade(self, keep: float, last: int = 10_000) -> npt.NDArray[np.float64]:
        """keep^age for the `last` most recent notes, 0 beyond."""
        return faded(keep, last, len(self.age))


class Past(Back):
    """The user's side of the features: made once a request, whatever candidates are looked at.

    Parameters
    ----------
    asker
        The user and the request.
    mean
        Likes per engagement over the candidates: what unknown notes and users are shrunk towards.
    """

    def __init__(self, asker: Asker, mean: float) -> None:
        self.asker, self.mean = asker, mean
        self.history = float(np.log1p(asker.engagements))
        m = len(asker.times)
        super().__init__(m)
        self.step = np.empty(m, np.intp)
        """the same, what came within a second counted as one"""
        self.praised, self.surplus, self.taken = np.empty((3, m))
        """1 for recent notes that were liked and more; by how much each was liked more than others like it; everybody's engagements"""
        counts = np.array(asker.recent["counts"], order="C")
        times, actions = np.ascontiguousarray(asker.times), np.ascontiguousarray(asker.actions)
        recall(counts, times, actions, PRAISE, ENGAGED, LIKE, SECOND, mean, self.step, self.praised, self.surplus, self.taken)

    def lenient(self, weight: npt.NDArray[np.float64]) -> float:
        """Mean surplus of the user, shrunk by two notes."""
        return 4.0 * float((weight @ self.surplus) / (np.add.reduce(weight) + 2.0))

    def off(self, reach: Any) -> Any:
        """Distance of a note's popularity from what the user takes, in e-folds; 0 from whoever took nothing."""
        if not len(self.age):
            return 0.0 * reach
        weight = self.fade(0.9)
        return np.abs(reach - (weight @ np.log1p(self.taken)) / np.add.reduce(weight))

    @property
    def odds(self) -> float:
        """Log-odds of a like, of a note that nothing is known of."""
        return float(np.log(self.mean / (1.0 - self.mean)))

    @property
    def lately(self) -> Floats:
        """What is left by now of each head's sums that fade."""
        joined = self.asker.joined
        return np.exp2(np.minimum(joined.landmark - self.asker.now / joined.half_life_ms, 0.0)).astype(np.float32)

    @cached_property
    def weights(self) -> Floats:
        """Of the features that are sums over neighbours, and of `kin`: shape [recent, sums]."""
        weights = steady(len(self.age)).copy()
        for column, sum_of in _MOVING:
            weights[:, column] = sum_of.weight(self)
        weights[:, -2] = self.surplus
        return weights

    @cached_property
    def tagged(self) -> tuple[Hashes, npt.NDArray[np.float64]]:
        """Tags of the recent notes and of the taste, ascending: what is none of them adds nothing to any product. And what each adds to each of
        `Frame.tagged`, before the length of the candidate's bag: shapes [names], [names, …]."""
        tags, taste = np.array(self.asker.recent["tags"], order="C"), self.asker.taste
        by_note = np.empty((2 + len(TAGGED), len(tags)))
        by_note[0], by_note[1] = self.surplus, 1.0
        for row, (_, sum_of) in enumerate(TAGGED, 2):
            by_note[row] = sum_of.weight(self)
        most = tags.size + len(taste.tags)
        names, table = np.empty(most, np.uint64), np.zeros((most, 1 + len(by_note)))
        known = tell(tags, taste.tags, taste.tag_weights, by_note, names, table)
        return names[:known], table[:known]


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
    """

    def __init__(self, asker: Asker, notes: Notes, heat_epoch: int, half_lives_ms: Sequence[float]) -> None:
        self.asker, self.notes, self.n = asker, notes, n = asker, notes, len(notes)
        self.counts = np.array(notes["counts"], order="C")
        self.engaged = np.add.reduce(self.counts.take(ENGAGED, 1), 1, np.float64)
        self.past = Past(asker, float((self.counts[:, LIKE].sum() + 1.0) / (self.engaged.sum() + 2.0)))
        passed = np.array([(asker.now - heat_epoch) / h for h in half_lives_ms])
        heat, warm, ages = np.empty((len(passed), n)), np.empty((len(passed), n)), np.empty((2, n))
        published, engaged_at = notes["published_at"].astype(np.int64), notes["engaged_at"].astype(np.int64)
        reckon(np.array(notes["heat"], order="C"), passed, published, engaged_at, asker.now, DAY, heat, warm, ages)
        self.heat: npt.NDArray[np.float64] = np.exp2(heat, out=heat)
        """of the hottest candidate's, at each half-life"""
        heat *= warm
        ages = np.log1p(ages, out=ages)
        self.age: npt.NDArray[np.float64] = ages[0]
        self.idle: npt.NDArray[np.float64] = ages[1]
        """log(1 + days) since it was published, and since it was engaged with or published"""

    def look(self, column: str, keys: Hashes, weights: Floats) -> Floats:
        """The weight of each note by one of its columns, 0 where it has none; `keys` ascending."""
        found = np.empty(self.n, np.float32)
        look(self.notes[column].astype(np.uint64), keys, weights, found)
        return found

    # ------------------------------------------------------------------------------------------------------ neighbours

    @cached_property
    def _gathered(self) -> tuple[Floats, Floats]:
        """`gathered`, by candidates, and `closest`: both of one pass over the heads' rows that name a candidate."""
        joined, past = self.asker.joined, self.past
        sums, closest = np.zeros((self.n, past.weights.shape[1]), np.float32), np.zeros(self.n, np.float32)
        if len(joined.hashes) and self.n:
            hashes, reach = self.notes["hash"].astype(np.uint64), np.sqrt(np.maximum(self.engaged, 1.0)).astype(np.float32)
            key, lately = np.sqrt(joined.engaged), past.lately
            gather(
                hashes,
                joined.hashes,
                joined.place,
                joined.owner,
                joined.sums,
                key,
                lately,
                reach,
                past.weights,
                SIMILARITIES_OF,
                sums,
                closest,
            )
        return sums, closest

    @property
    def gathered(self) -> Floats:
        """Σ over recent notes of weight · similarity, by the columns of `Past.weights`: shape [sums, n]."""
        return self._gathered[0].T

    @property
    def closest(self) -> Floats:
        """The highest `together` of any recent note."""
        return self._gathered[1]

    @cached_property
    def kin(self) -> Floats:
        """Surplus among the recent notes that are neighbours, by the square of the similarity."""
        kin: Floats = np.float32(4.0) * self.gathered[-2] / (self.gathered[-1] + np.float32(1e-4))
        return kin

    # ------------------------------------------------------------------------------------------------------------ tags

    @cached_property
    def tagged(self) -> npt.NDArray[np.float64]:
        """By the columns of `Past.tagged`: the user's weights on the tags, the surplus and the number of recent notes that are alike, and the
        features that are sums over those. Shape […, n]."""
        # A copy of the tags: of one record the column lies as it should already, but may be read-only.
        by_candidate: npt.NDArray[np.float64] = np.zeros((self.n, 3 + len(TAGGED)))
        say(np.array(self.notes["tags"], order="C"), *self.past.tagged, by_candidate)
        return by_candidate.T

    @cached_property
    def kind(self) -> npt.NDArray[np.float64]:
        """Surplus among the recent notes with like tags."""
        kind: npt.NDArray[np.float64] = 4.0 * self.tagged[1] / (self.tagged[2] + 2.0)
        return kind

    # --------------------------------------------------------------------------------------------------------- the rest

    @cached_property
    def common(self) -> npt.NDArray[np.float64]:
        """Log-odds of a like given an engagement."""
        common = np.empty(self.n)
        odds(self.counts, ENGAGED, LIKE, self.past.mean, common)
        return np.log(common, out=common)

    @cached_property
    def reach(self) -> npt.NDArray[np.float64]:
        """log(1 + engagements)"""
        reach: npt.NDArray[np.float64] = np.log1p(self.engaged)
        return reach

    @cached_property
    def km(self) -> npt.NDArray[np.float64]:
        """Great-circle distance; infinite where either place is unknown."""
        if self.asker.lat is None or self.asker.lon is None:
            return np.full(self.n, np.inf)
        km = distance_km(self.asker.lat, self.asker.lon, self.notes["lat"], self.notes["lon"])
        np.copyto(km, np.inf, where=np.isnan(km))
        return km


@lru_cache(4_096)
def faded(keep: float, last: int, n: int) -> npt.NDArray[np.float64]:
    """keep^0, keep^1, … for n notes, 0 from `last` on. Cached: each feed wants a dozen of them, and users have a few dozen notes at most."""
    age = ages(n)
    weights = np.where(age < last, np.power(keep, age), 0.0)
    weights.setflags(write=False)
    return weights


@lru_cache(4_096)
def ages(n: int) -> npt.NDArray[np.float64]:
    """0, 1, … n - 1."""
    age = np.arange(n, dtype=np.float64)
    age.setflags(write=False)
    return age


@lru_cache(256)
def steady(n: int) -> Floats:
    """`Past.weights` of n recent notes, 1 where they depend on more than that."""
    back: Any = Back(n)
    weights = [sum_of.weight(back) if sum_of.steady else np.ones(n) for _, sum_of in NEIGHBOURLY]
    made: Floats = np.array([*weights, np.ones(n), np.ones(n)], np.float32).T.copy()
    return made


def distance_km(lat: float, lon: float, lats: npt.NDArray[Any], lons: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Great-circle distance, right at the poles and across the date line; NaN where a place is.

    >>> distance_km(0.0, 179.5, np.array([0.0]), np.array([-179.5])).round(1).tolist()
    [111.2]
    """
    sine = np.empty(len(lats))
    half(lat, lon, lats.astype(np.float64), lons.astype(np.float64), sine)
    arc: npt.NDArray[np.float64] = np.arcsin(sine, out=sine)
    arc *= 2 * EARTH_KM
    return arc


def shares(x: Floats, top: Floats) -> Floats:
    """log(x / top + 0.03) by rows, `top` the most of each; where that is not above 0, all are equal.

    >>> shares(np.array([[0.0, 0.47, 1.0], [0.0, 0.0, 0.0]], np.float32), np.array([[1.0], [0.0]], np.float32)).round(2).tolist()
    [[-3.509999990463257, -0.6899999976158142, 0.029999999329447746], [-3.509999990463257, -3.509999990463257, -3.509999990463257]]
    """
    result: Floats = np.log(x / np.where(top > 0.0, top, np.float32(1.0)) + FLOOR)
    return result


class Feature(NamedTuple):
    """A name, a formula, and whether what counts is which candidate has more of it: then it is told as a share."""

    name: str
    formula: Callable[[Frame], Any] | Sum
    shared: bool = False
    unmet: Callable[[Past], float] | str | None = None
    """what it is of a note that nobody has met yet: a number, or as another feature of it; None: the same, as it tells what the author said.
    A share is that of nothing"""


FEATURES: tuple[Feature, ...] = (
    # What is taken together with what the user took: similarities of the recent notes' neighbours, summed in several ways.
    Feature("together", Sum(TOGETHER, lambda p: p.fade(0.8, 30)), shared=True),
    Feature("together_long", Sum(TOGETHER, lambda p: p.fade(0.97)), shared=True),
    Feature("together_last", Sum(TOGETHER, lambda p: p.fade(1.0, 1)), shared=True),
    Feature("together_logs", Sum(LOGS, lambda p: p.fade(0.8, 10)), shared=True),
    Feature("together_steps", Sum(TOGETHER, lambda p: np.power(0.6, p.step), steady=False), shared=True),
    Feature("together_lately", Sum(LATELY, lambda p: p.fade(0.8, 30)), shared=True),
    Feature("together_sitting", Sum(NEAR, lambda p: p.fade(0.8, 30)), shared=True),
    Feature("together_page", Sum(TOGETHER, lambda p: (p.step == 0).astype(np.float64), steady=False), shared=True),
    Feature("together_liked", Sum(TOGETHER, lambda p: p.fade(0.8, 30) * p.praised, steady=False), shared=True),
    Feature("after", Sum(AFTER, lambda p: np.where(p.age < 10, 1.0 / (p.age + 1), 0.0)), shared=True),
    Feature("after_last", Sum(AFTER, lambda p: p.fade(1.0, 1)), shared=True),
    Feature("closest", lambda f: f.closest, shared=True),
    Feature("voices", Sum(NAMED, lambda p: p.fade(1.0)), shared=True),
    # What it is, against what the user likes.
    Feature("tags", lambda f: f.tagged[0]),
    Feature("author", lambda f: f.look("author", f.asker.taste.authors, f.asker.taste.author_weights)),
    Feature("channel", lambda f: f.look("channel", f.asker.taste.channels, f.asker.taste.channel_weights)),
    Feature("followed", lambda f: f.look("author", f.asker.followed, np.ones(len(f.asker.followed), np.float32))),
    Feature("alike_now", Sum(ALIKE, lambda p: p.fade(0.7))),
    Feature("alike", Sum(ALIKE, lambda p: p.fade(0.9) / 3.0)),
    Feature("alike_long", Sum(ALIKE, lambda p: p.fade(0.98) / 15.0)),
    # How it does with everybody.
    Feature("heat0", lambda f: f.heat[0], shared=True),
    Feature("heat1", lambda f: f.heat[1], shared=True),
    Feature("heat2", lambda f: f.heat[2], shared=True),
    Feature("heat3", lambda f: f.heat[3], shared=True),
    Feature("popularity", lambda f: f.engaged, shared=True),
    Feature("off", lambda f: f.past.off(f.reach), unmet=lambda p: p.off(0.0)),
    Feature("age", lambda f: f.age),
    Feature("idle", lambda f: f.idle, unmet="age"),
    Feature("distance", lambda f: np.log(np.minimum(f.km, FAR_KM) + 0.1)),
    Feature("near", lambda f: np.exp(np.maximum(f.km / -0.3, FAR))),
    Feature("near_wide", lambda f: np.exp(np.maximum(f.km / -3.0, FAR))),
    # Whether it is liked once it is taken.
    Feature("liked", lambda f: f.common, unmet=lambda p: p.odds),
    Feature("lenient", lambda f: f.past.lenient(f.past.fade(0.8))),
    Feature("lenient_long", lambda f: f.past.lenient(f.past.fade(0.95))),
    Feature("mood", lambda f: f.past.lenient((f.asker.now - f.asker.times < SECOND).astype(np.float64))),
    Feature("kin", lambda f: f.kin, unmet=lambda p: 0.0),
    Feature("kind", lambda f: f.kind),
    Feature("reach", lambda f: f.reach - 3.0, unmet=lambda p: -3.0),
    Feature("history", lambda f: f.past.history - 3.0),
    Feature("kin_history", lambda f: f.kin * (f.past.history - 3.0), unmet=lambda p: 0.0),
    Feature("kind_history", lambda f: f.kind * (f.past.history - 3.0)),
    Feature("liked_reach", lambda f: f.common * (f.reach - 3.0), unmet=lambda p: -3.0 * p.odds),
    Feature("liked_history", lambda f: f.common * (f.past.history - 3.0), unmet=lambda p: p.odds * (p.history - 3.0)),
)

NAMES = tuple(feature.name for feature in FEATURES)
SHARED = np.flatnonzero([feature.shared for feature in FEATURES])
FEATURE_SET = blake2b("\n".join(NAMES).encode(), digest_size=8).hexdigest()
"""Tells lists of features apart; logged with every slate."""

_SUMS_OF = [(at, feature.formula) for at, feature in enumerate(FEATURES) if isinstance(feature.formula, Sum)]
NEIGHBOURLY = [(at, sum_of) for at, sum_of in _SUMS_OF if sum_of.similarity != ALIKE]
"""Features that are sums over neighbours, with their rows."""
_MOVING = [(column, sum_of) for column, (_, sum_of) in enumerate(NEIGHBOURLY) if not sum_of.steady]
TAGGED = [(at, sum_of) for at, sum_of in _SUMS_OF if sum_of.similarity == ALIKE]
_NEIGHBOURLY_ROWS, _TAGGED_ROWS = (np.array([at for at, _ in some]) for some in (NEIGHBOURLY, TAGGED))
_UNMET = [(at, feature.unmet) for at, feature in enumerate(FEATURES) if callable(feature.unmet)]
_UNMET_ROWS = np.array([at for at, _ in _UNMET])
_UNMET_AS = [(at, NAMES.index(feature.unmet)) for at, feature in enumerate(FEATURES) if isinstance(feature.unmet, str)]
OTHERS = [(at, feature.formula) for at, feature in enumerate(FEATURES) if not isinstance(feature.formula, Sum)]
SIMILARITIES_OF = np.array([*(sum_of.similarity for _, sum_of in NEIGHBOURLY), SQUARE, SQUARE], np.intp)
"""What the columns of `Past.weights` are weights of."""

RANKED = {"together": 1.0}
"""Weights of the ranker before its first example: decay alone, which follows a shift of interest."""
LIKED = {"liked": 1.0, "lenient": 0.35, "mood": 0.3, "kin": 0.3, "kind": 0.3}
"""The same for a like given an engagement."""


def matrix(frame: Frame) -> Floats:
    """All features of all candidates, as they are logged: float16 values in float32, shape [n, features], a feature in one piece."""
    x = np.empty((len(FEATURES), frame.n), np.float32)  # a row a feature: each is written in one go
    x[_NEIGHBOURLY_ROWS] = frame.gathered[: len(NEIGHBOURLY)]
    x[_TAGGED_ROWS] = frame.tagged[-len(TAGGED) :]
    for at, formula in OTHERS:
        x[at] = formula(frame)
    shared: Floats = x[SHARED]
    x[SHARED] = shares(shared, shared.max(1, initial=0.0, keepdims=True))
    return halves(x).T


def unmet(x: Floats, past: Past) -> Floats:
    """Rows of a matrix as they would be had nobody met these notes yet. `past` is that of the frame, so that what is unknown is told against
    the same candidates."""
    blind = x.copy()
    for at, other in _UNMET_AS:
        blind[:, at] = blind[:, other]
    blind[:, SHARED] = _NO_SHARE
    numbers = np.array([number(past) for _, number in _UNMET], np.float32)
    blind[:, _UNMET_ROWS] = np.minimum(np.maximum(numbers, -LIMIT), LIMIT).astype(np.float16)  # few: no need for `halves`
    return blind


def halves(x: Floats) -> Floats:
    """Each value as float16 holds it, those beyond `LIMIT` as `LIMIT`: what `x.clip(-LIMIT, LIMIT).astype(float16).astype(float32)` gives.

    >>> halves(np.array([0.1, 1e-6, -1e-9, 2049.0, 1e9], np.float32)).tolist()
    [0.0999755859375, 1.0132789611816406e-06, -0.0, 2048.0, 60000.0]
    """
    result = np.empty_like(x)
    halve(x.reshape(-1), result.reshape(-1))
    return result


_NO_SHARE = halves(np.log(FLOOR)[None])
"""What a share of nothing is."""


def weights_of(named: Mapping[str, float]) -> Floats:
    """Weights by name as a vector; raises `KeyError` with a name that is no feature."""
    vector = np.zeros(len(NAMES), np.float32)
    for name, weight in named.items():
        if name not in NAMES:
            raise KeyError(name)
        vector[NAMES.index(name)] = weight
    return vector
