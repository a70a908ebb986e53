"""All that the learner has learned: the ranker, a classifier per action, and how well they do.

    Shown ──────────────► click, hide: a negative
    Engaged, the first ─► the ranker: one step over the slate; click: the positive; its action: a positive; every other: a negative
    Engaged ────────────► its action: the positive

*click* stands for engaging at all; what comes after it is learned given that, so that few examples tell most. Each positive that comes
late was a negative exactly once, and is corrected for it (`models/labels.py`). Of *like* there is a part of each note's and each user's
own beside what the features say (`models/liking.py`), learned on the same error.

The model is stored in parts: a head that names the hashes of all others, the classifiers, the ranker's dense part, and three tables in
blocks of rows: its notes, its users, and what is known of likes. A reader takes a model whose parts are those the head names, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Self

import msgspec
import numpy as np

from config.events import PREDICTED
from config.keys import hash64
from config.settings import Settings, SettingsError
from models.context import Context
from models.features import FEATURE_SET, LIKED, NAMES, RANKED, weights_of
from models.labels import EDGE, Actions, Classifier, logistic, named, weight
from models.liking import Liking
from models.pace import Pace
from models.ranker import Halves, Ranker
from models.rows import BLOCK, NOBODY, Floats, Hashes, Rows

VERSION = 4

CLICK, LIKE, HIDE = (PREDICTED.index(action) for action in ("click", "like", "hide"))
GIVEN = tuple(action for action in PREDICTED if action not in ("click", "hide"))
"""Actions that are learned given an engagement."""
GIVEN_COLUMNS = [PREDICTED.index(action) for action in GIVEN]
TABLES = (("block", "memory"), ("user", "user_memory"), ("like", "like_memory"))
"""Names of parts: of the ranker's notes and its users, and of what is known of likes."""
Row = dict[str, float]
"""Features by name."""
FADE = 0.9995
"""What an example leaves of the tallies before it: they speak of the last few thousand."""


class Refused(ValueError):
    """A model that cannot be used; the message says why."""


class Tally(msgspec.Struct, array_like=True):
    """How well one action is predicted, lately."""

    n: float = 0.0
    """chances the action had: exposures or engagements"""
    loss: float = 0.0
    """log loss of the rates predicted before learning, on what became of them"""
    expected: float = 0.0
    happened: float = 0.0

    def add(self, n: float, expected: float, loss: float, happened: float) -> None:
        """Another chance, or `n` alike."""
        self.n, self.expected = FADE * self.n + n, FADE * self.expected + expected
        self.loss, self.happened = FADE * self.loss + loss, FADE * self.happened + happened

    @property
    def logloss(self) -> float:
        return self.loss / self.n if self.n else 0.0

    @property
    def calibration(self) -> float:
        """What happened against what was expected: 1 is right."""
        return self.happened / self.expected if self.expected else 1.0


class Table(msgspec.Struct, array_like=True):
    """What the head says of one of `TABLES`."""

    rows: int = 0
    steps: int = 0
    blocks: list[int] = []
    """hashes of what scoring needs"""
    memories: list[int] = []
    """… and of what only learning needs"""


class Head(msgspec.Struct, array_like=True):
    """The one value that says which model it is."""

    v: int
    feature_set: str
    shape: str
    """hash of the settings that shape it"""
    at: int
    """stream time of the newest example, epoch ms"""
    examples: int
    tallies: list[Tally]
    """by `PREDICTED`"""
    actions: int
    """hash of that part"""
    dense: int
    tables: list[Table]
    """by `TABLES`"""
    pace: tuple[float, int] = (0.0, 0)
    """`models.pace.Pace` of the exposures"""

    @property
    def version(self) -> str:
        """What slates and answers call it."""
        return f"learned-{hash64(b'%x %x' % (self.dense, self.actions)):016x}"[:16]


encode_head = msgspec.msgpack.Encoder().encode
_head = msgspec.msgpack.Decoder(Head).decode


class Model:
    """See the module's docstring.

    Parameters
    ----------
    settings
        ``[learner]``, and the rates of ``[pool.prior]`` and ``[feed.rates]`` that actions begin with. Raises `SettingsError`.
    """

    def __init__(self, settings: Settings) -> None:
        rules = settings.learner
        if unknown := sorted(set(rules.anchor) - set(NAMES)):
            raise SettingsError(f"setting learner.anchor.{unknown[0]}: no feature; there are {', '.join(NAMES)}")
        self.shape = shape_of(settings)
        self.negatives, self.capacity, self.pace = rules.negatives, rules.capacity, Pace()
        try:
            if not rules.capacity > 0.0:
                raise ValueError(f"capacity = {rules.capacity}: wanted more than 0")
            self.ranker = Ranker(
                weights_of(RANKED),
                rules.factors,
                rules.items,
                rules.users,
                rules.keep,
                rules.recent,
                rules.rate,
                rules.bias_rate,
                rules.factor_rate,
                rules.user_rate,
                rules.shrink,
                rules.depth,
                weights_of(rules.anchor),
            )
            self.liking = Liking(rules.like_factors, rules.likes, rules.like_rate, rules.like_shrink)
            self.actions = Actions(NAMES, classifiers(settings), negatives=rules.negatives, given=GIVEN)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"settings [learner]: {error}") from None
        self.at = 0
        self.examples = 0
        self.settled = False
        self.tallies = [Tally() for _ in PREDICTED]

    # ------------------------------------------------------------------------------------------------------------ verbs

    def shown(self, u: int, h: int, x: Floats, t: int) -> None:
        """An exposure."""
        self.pace.saw(t)
        share = self.actions.share["click"] = self.actions.share["hide"] = self.share
        if not self.settled and (share >= 1.0 or drawn(u, h) < share):
            row = self.actions.row(x)
            self.negative("click", u, h, row, 1.0 / share)
            self.negative("hide", u, h, row, 1.0 / share)
        self.passed(t)

    @property
    def share(self) -> float:
        """Of the exposures, that is learned from: those that come faster than there is capacity for stand for each other."""
        return self.negatives * min(1.0, self.capacity / max(self.pace.per_second, self.capacity))

    def engaged(self, action: str, u: int, h: int, x: Floats, t: int, first: bool) -> None:
        """An action after an exposure; `first`: the user's first engagement with the note."""
        if self.settled:
            self.passed(t)
            return
        at_once, row = first and action in GIVEN, self.actions.row(x)
        if first:
            for name in GIVEN:
                if name != action:
                    self.negative(name, u, h, row, 1.0)
            self.positive("click", u, h, row)
        if action in PREDICTED and action != "click":
            self.positive(action, u, h, row, late=not at_once)
        self.passed(t)

    def chose(self, u: int, hashes: Hashes, x: Floats, context: Context, took: int, sampled: Floats) -> None:
        """A slate, row `took` of which this user engaged with. Raises `ValueError`, having learned nothing."""
        self.ranker.learn(hashes, x, context, took, u, sampled)

    def left(self, u: int) -> None:
        """A user was erased."""
        self.liking.forget(u)
        self.ranker.forget(u)

    def settle(self) -> None:
        """From here on, and until it is stored and read, nothing is learned but of users themselves what they take: their vectors move."""
        self.settled = True
        self.ranker.settle()

    def learn(self, action: str, u: int, h: int, row: Row, happened: bool, times: float = 1.0, late: bool = True) -> float:
        """One example of one action, which stands for so many; returns the rate predicted before."""
        if action != "like":
            return min(max(self.actions.learn(action, row, happened, times, late=late), EDGE), 1.0 - EDGE)
        beyond = float(self.liking.beyond(u, np.array([h], np.uint64))[0])
        p = min(max(self.actions.learn(action, row, happened, times, late=late, beyond=beyond), EDGE), 1.0 - EDGE)
        self.liking.learn(u, h, times * weight(p, happened, late) * (p - happened))
        return p

    def negative(self, action: str, u: int, h: int, row: Row, times: float) -> None:
        if action in self.actions.models:
            p = self.learn(action, u, h, row, False, times)
            self.tallies[PREDICTED.index(action)].add(times, times * p, -times * log(1.0 - p), 0.0)

    def positive(self, action: str, u: int, h: int, row: Row, late: bool = True) -> None:
        """`late`: takes the negative back that its chance entered as."""
        if action in self.actions.models:
            p = self.learn(action, u, h, row, True, late=late)
            tally = self.tallies[PREDICTED.index(action)]
            if late:
                tally.loss += log(1.0 - p) - log(p)
                tally.happened += 1.0
            else:
                tally.add(1.0, p, -log(p), 1.0)

    def passed(self, t: int) -> None:
        self.examples += 1
        self.at = max(self.at, t)

    def predict(self, x: Floats, hashes: Hashes | None = None, user: int = NOBODY) -> tuple[Floats, Floats]:
        """Rates per exposure by `PREDICTED`, and those of the actions of `GIVEN` given an engagement.

        `hashes`: whose features they are, and `user`, who asks: to be told what is learned of these themselves beside what features say.
        """
        rates = self.actions.predict(x).T  # a row an action: rows are dealt with in one go
        if hashes is not None and "like" in self.actions.models:
            like = rates[LIKE]
            like = like / (like + (1.0 - like) * np.exp(-self.liking.beyond(user, hashes)))
            rates[LIKE] = np.minimum(np.maximum(like, np.float32(EDGE)), np.float32(1.0 - EDGE))
        given = rates[GIVEN_COLUMNS]
        rates[GIVEN_COLUMNS] = given * rates[CLICK]
        return rates.T, given.T

    # ------------------------------------------------------------------------------------------------------------ bytes

    @property
    def tables(self) -> tuple[Rows, ...]:
        """By `TABLES`."""
        return self.ranker.items, self.ranker.users, self.liking.rows

    def parts(self, since: Head | None = None) -> tuple[Head, dict[str, bytes]]:
        """The head, and the parts that differ from `since`."""
        parts = {"actions": self.actions.encode(), "dense": self.ranker.dense()}
        before = since.tables if since else [None] * len(TABLES)
        tables = [stored(rows, names, then, parts) for rows, names, then in zip(self.tables, TABLES, before, strict=True)]
        tallies = [Tally(*msgspec.structs.astuple(tally)) for tally in self.tallies]
        hashes = hash64(parts["actions"]), hash64(parts["dense"])
        pace = self.pace.per_second, self.pace.at
        return Head(VERSION, FEATURE_SET, self.shape, self.at, self.examples, tallies, *hashes, tables, pace), parts

    def take(self, head: Head, values: Mapping[str, bytes | None], learning: bool) -> Self:
        """From the parts that `names_of` tells; raises `Refused` when they are not those the head names."""
        if head.shape != self.shape:
            raise Refused(
                "the model was learned with other factors or classifiers in the settings; give them back, or run `upwell rebuild learner`"
            )
        parts: dict[str, bytes] = {}
        for name, digest in names_of(head, learning):
            value = values.get(name)
            if value is None or hash64(value) != digest:
                raise Refused(f"part {name} of the model is {'missing' if value is None else 'not the one its head names'}")
            parts[name] = value

        halves: list[Halves] = []
        for (block, memory), table in zip(TABLES, head.tables, strict=True):
            count = range(len(table.blocks))
            halves.append(([parts[f"{block}{i}"] for i in count], [parts[f"{memory}{i}"] for i in count] if learning else None))
        try:
            self.ranker.take(parts["dense"], *halves[:2])
            self.liking.rows.take(head.tables[2].rows, head.tables[2].steps, *halves[2])
            self.actions.decode(parts["actions"])
        except ValueError as error:
            raise Refused(f"the model cannot be read: {error}") from None
        self.at, self.examples, self.pace = head.at, head.examples, Pace(*head.pace)
        self.actions.share["click"] = self.actions.share["hide"] = self.share
        self.tallies = [Tally(*msgspec.structs.astuple(tally)) for tally in head.tallies]
        return self


def stored(rows: Rows, names: tuple[str, str], since: Table | None, parts: dict[str, bytes]) -> Table:
    """Of one table; blocks and memories that changed `since` are put into `parts`."""
    table, changed = Table(len(rows), rows.steps), set(rows.changed(since.steps if since else -1))
    for i in range(rows.blocks):
        old = [since.blocks, since.memories] if since else [[], []]
        for name, of, before, bytes_of in zip(names, (table.blocks, table.memories), old, (rows.block, rows.memory), strict=True):
            if i in changed or i >= len(before):
                part = parts[f"{name}{i}"] = bytes_of(i)
                of.append(hash64(part))
            else:
                of.append(before[i])
    return table


def names_of(head: Head, learning: bool) -> list[tuple[str, int]]:
    """Parts and their hashes: classifiers, dense part, blocks and, for learning, memories."""
    named = [("actions", head.actions), ("dense", head.dense)]
    for names, table in zip(TABLES, head.tables, strict=True):
        for name, of in list(zip(names, (table.blocks, table.memories), strict=True))[: 1 + learning]:
            named += [(f"{name}{i}", digest) for i, digest in enumerate(of)]
    return named


def part_names(settings: Settings) -> tuple[str, ...]:
    """Of all parts there can be, but for the head."""
    rules = settings.learner
    counts = zip(TABLES, (rules.items, rules.users, rules.likes), strict=True)
    return ("actions", "dense", *(f"{name}{i}" for names, most in counts for name in names for i in range(-(-most // BLOCK))))


def head_from(value: bytes) -> Head:
    """Raises `Refused` on a head that is cut, of another version, or of a model that was learned with other features."""
    try:
        head = _head(value)
    except msgspec.DecodeError as error:
        raise Refused(f"the head of the model is cut, or of another version: {error}") from None
    if head.v != VERSION:
        raise Refused(f"a model of version {head.v}; this program reads {VERSION}: begin anew with `upwell rebuild learner`")
    if len(head.tables) != len(TABLES):
        raise Refused(f"the head of a model names {len(head.tables)} tables; wanted {len(TABLES)}")
    if head.feature_set != FEATURE_SET:
        raise Refused(
            f"the model was learned with the features {head.feature_set}, this program computes {FEATURE_SET}: "
            "run the release it was learned with, or begin anew with `upwell rebuild learner`"
        )
    return head


def shape_of(settings: Settings) -> str:
    """Hash of the settings that a stored model can only be read with."""
    rules = settings.learner
    return f"{hash64(msgspec.json.encode((rules.factors, rules.keep, rules.like_factors, rules.classifier, sorted(rules.classifiers.items()), rules.parameters))):016x}"


def rates_of(settings: Settings) -> dict[str, float]:
    """Actions per exposure before anything was learned."""
    return {**settings.pool.prior.rates, **settings.feed.rates}


def classifiers(settings: Settings) -> dict[str, Classifier]:
    """One per action: River's logistic regression beginning with a prior, or whatever the settings name. Raises `ValueError`."""
    rules, rates = settings.learner, rates_of(settings)
    if unknown := sorted(set(rules.classifiers) - set(PREDICTED)):
        raise ValueError(f"classifiers.{unknown[0]}: not one of {', '.join(PREDICTED)}")
    found: dict[str, Classifier] = {}
    for action in PREDICTED:
        path = rules.classifiers.get(action, rules.classifier)
        if path:
            found[action] = named(path, **rules.parameters)
            continue
        rate = min(max(rates.get(action, 0.01) / (rates["click"] if action in GIVEN else 1.0), 1e-4), 0.5)
        prior = LIKED if action == "like" else {}
        # What notes are liked by others says how often this one is: then the rate is in the features.
        found[action] = logistic(NAMES, prior, 0.0 if prior else log(rate / (1.0 - rate)), rules.action_rate, rules.patience)
    return found


def drawn(u: int, h: int) -> float:
    """A number in [0, 1) that depends on the user and the note alone: which exposures are learned from above the learner's capacity.

    >>> drawn(1, 2) == drawn(1, 2), 0.0 <= drawn(1, 2) < 1.0
    (True, True)
    """
    return hash64(b"%x %x" % (u, h)) / 2.0**64


def finite(value: bytes, rows: int) -> Floats | None:
    """float16 features of so many rows; None when they are not that."""
    if len(value) != 2 * len(NAMES) * rows:
        return None
    x = np.frombuffer(value, "<f2").astype(np.float32).reshape(rows, len(NAMES))
    return x if np.isfinite(x).all() else None
