"""All that the learner has learned: the ranker, a classifier per action, and how well they do.

    Shown ──────────────► click, hide: a negative
    Engaged, the first ─► the ranker: one step over the slate; click: the positive; every other action: a negative
    Engaged ────────────► its action: the positive

*click* stands for engaging at all; what comes after it is learned given that, so that few examples tell most. Each positive was a
negative exactly once, and is corrected for it (`models/labels.py`). Of *like* there is a part of each note's own beside what the features
say (`Ranker.liking`): whom a note draws differs, and how often it was liked does not tell by whom.

The model is stored in parts: a head that names the hashes of all others, the classifiers, the ranker's dense part, and its item part in
blocks of rows; a reader takes a model whose parts are those the head names, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from config.events import PREDICTED
from config.keys import hash64
from config.settings import Settings, SettingsError
from models.features import FEATURE_SET, LIKED, NAMES, RANKED, weights_of
from models.labels import EDGE, Actions, Classifier, logistic, named, weight
from models.ranker import Context, Ranker

VERSION = 2

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]

CLICK, LIKE, HIDE = (PREDICTED.index(action) for action in ("click", "like", "hide"))
GIVEN = tuple(action for action in PREDICTED if action not in ("click", "hide"))
"""Actions that are learned given an engagement."""
GIVEN_COLUMNS = [PREDICTED.index(action) for action in GIVEN]
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

    @property
    def logloss(self) -> float:
        return self.loss / self.n if self.n else 0.0

    @property
    def calibration(self) -> float:
        """What happened against what was expected: 1 is right."""
        return self.happened / self.expected if self.expected else 1.0


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
    blocks: list[int]
    """hashes of the ranker's blocks"""
    memories: list[int]

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
        self.shape = shape_of(settings)
        self.share = rules.negatives
        try:
            self.ranker = Ranker(
                weights_of(RANKED),
                rules.factors,
                rules.items,
                rules.keep,
                rules.recent,
                rules.rate,
                rules.bias_rate,
                rules.factor_rate,
                rules.shrink,
            )
            self.actions = Actions(NAMES, classifiers(settings), negatives=rules.negatives, given=GIVEN)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"settings [learner]: {error}") from None
        self.at = 0
        self.examples = 0
        self.tallies = [Tally() for _ in PREDICTED]

    # ------------------------------------------------------------------------------------------------------------ verbs

    def shown(self, u: int, h: int, x: Floats, t: int) -> None:
        """An exposure."""
        if self.share >= 1.0 or drawn(u, h) < self.share:
            self.negative("click", h, x, 1.0 / self.share)
            self.negative("hide", h, x, 1.0 / self.share)
        self.passed(t)

    def engaged(self, action: str, h: int, x: Floats, t: int, first: bool) -> None:
        """An action after an exposure; `first`: the user's first engagement with the note."""
        if first:
            for name in GIVEN:
                self.negative(name, h, x, 1.0)
            self.positive("click", h, x)
        if action in PREDICTED and action != "click":
            self.positive(action, h, x)
        self.passed(t)

    def chose(self, hashes: Hashes, x: Floats, context: Context, took: int, sampled: Floats) -> None:
        """A slate, row `took` of which was engaged with. Raises `ValueError`, having learned nothing."""
        self.ranker.learn(hashes, x, context, took, sampled)

    def learn(self, action: str, h: int, x: Floats, happened: bool, times: float = 1.0) -> float:
        """One example of one action, which stands for so many; returns the rate predicted before."""
        p = min(max(self.actions.learn(action, x, happened, times), EDGE), 1.0 - EDGE)
        if action != "like":
            return p
        p = min(max(1.0 / (1.0 + (1.0 - p) / p * exp(-float(self.ranker.likings(np.array([h], np.uint64))[0]))), EDGE), 1.0 - EDGE)
        self.ranker.learn_liking(h, times * weight(p, happened) * (p - happened))
        return p

    def negative(self, action: str, h: int, x: Floats, times: float) -> None:
        if action in self.actions.models:
            p = self.learn(action, h, x, False, times)
            tally = self.tallies[PREDICTED.index(action)]
            tally.n = FADE * tally.n + times
            tally.loss = FADE * tally.loss - times * log(1.0 - p)
            tally.expected = FADE * tally.expected + times * p
            tally.happened *= FADE

    def positive(self, action: str, h: int, x: Floats) -> None:
        """Takes the negative back that the chance entered as."""
        if action in self.actions.models:
            p = self.learn(action, h, x, True)
            tally = self.tallies[PREDICTED.index(action)]
            tally.loss += log(1.0 - p) - log(p)
            tally.happened += 1.0

    def passed(self, t: int) -> None:
        self.examples += 1
        self.at = max(self.at, t)

    def predict(self, x: Floats, hashes: Hashes | None = None) -> tuple[Floats, Floats]:
        """Rates per exposure by `PREDICTED`, and those of the actions of `GIVEN` given an engagement.

        `hashes`: whose features they are, to be told what is learned of each note itself beside what its features say.
        """
        rates = self.actions.predict(x).T  # a row an action: rows are dealt with in one go
        if hashes is not None and "like" in self.actions.models:
            like = rates[LIKE]
            rates[LIKE] = np.clip(like / (like + (1.0 - like) * np.exp(-self.ranker.likings(hashes))), EDGE, 1.0 - EDGE)
        given = rates[GIVEN_COLUMNS]
        rates[GIVEN_COLUMNS] = given * rates[CLICK]
        return rates.T, given.T

    # ------------------------------------------------------------------------------------------------------------ bytes

    def parts(self, since: Head | None = None, steps: int = -1) -> tuple[Head, dict[str, bytes]]:
        """The head, and the parts that differ from `since`, the head as of so many steps of the ranker."""
        ranker, count = self.ranker, self.ranker.blocks
        parts = {"actions": self.actions.encode(), "dense": ranker.dense()}
        blocks, memories = [0] * count, [0] * count
        changed = set(range(count) if since is None else ranker.changed(steps))
        for i in range(count):
            if i in changed or since is None or i >= len(since.blocks):
                parts[f"block{i}"], parts[f"memory{i}"] = ranker.block(i), ranker.memory(i)
                blocks[i], memories[i] = hash64(parts[f"block{i}"]), hash64(parts[f"memory{i}"])
            else:
                blocks[i], memories[i] = since.blocks[i], since.memories[i]
        tallies = [Tally(*msgspec.structs.astuple(tally)) for tally in self.tallies]
        head = Head(
            VERSION, FEATURE_SET, self.shape, self.at, self.examples, tallies,
            hash64(parts["actions"]), hash64(parts["dense"]), blocks, memories,
        )  # fmt: skip
        return head, parts

    def take(self, head: Head, values: Mapping[str, bytes | None], learning: bool) -> Self:
        """From the parts that `names_of` tells; raises `Refused` when they are not those the head names."""
        if head.shape != self.shape:
            raise Refused(
                "the model was learned with other factors or classifiers in the settings; give them back, or run `upwell rebuild learner`"
            )
        for name, digest in names_of(head, learning):
            value = values.get(name)
            if value is None or hash64(value) != digest:
                raise Refused(f"part {name} of the model is {'missing' if value is None else 'not the one its head names'}")
        named = [values[name] or b"" for name, _ in names_of(head, learning)]
        dense = named[1]
        try:
            if not learning:  # the dense part is stored with what learning needs, behind what scoring needs
                dense = self.ranker.scoring(dense)
            self.ranker.decode(b"".join([dense, *named[2:]]))
            self.actions.decode(named[0])
        except ValueError as error:
            raise Refused(f"the model cannot be read: {error}") from None
        self.at, self.examples = head.at, head.examples
        self.tallies = [Tally(*msgspec.structs.astuple(tally)) for tally in head.tallies]
        return self


def names_of(head: Head, learning: bool) -> list[tuple[str, int]]:
    """Parts and their hashes: classifiers, dense part, blocks and, for learning, memories."""
    named = [("actions", head.actions), ("dense", head.dense), *((f"block{i}", d) for i, d in enumerate(head.blocks))]
    return named + [(f"memory{i}", d) for i, d in enumerate(head.memories)] if learning else named


def head_from(value: bytes) -> Head:
    """Raises `Refused` on a head that is cut, of another version, or of a model that was learned with other features."""
    try:
        head = _head(value)
    except msgspec.DecodeError as error:
        raise Refused(f"the head of the model is cut, or of another version: {error}") from None
    if head.v != VERSION:
        raise Refused(f"a model of version {head.v}; this program reads {VERSION}")
    if head.feature_set != FEATURE_SET:
        raise Refused(
            f"the model was learned with the features {head.feature_set}, this program computes {FEATURE_SET}: "
            "run the release it was learned with, or begin anew with `upwell rebuild learner`"
        )
    return head


def shape_of(settings: Settings) -> str:
    """Hash of the settings that a stored model can only be read with."""
    rules = settings.learner
    return f"{hash64(msgspec.json.encode((rules.factors, rules.classifier, sorted(rules.classifiers.items()), rules.parameters))):016x}"


def rates_of(settings: Settings) -> dict[str, float]:
    """Actions per exposure before anything was learned."""
    return {**settings.pool.prior.rates, **settings.feed.rates}


def classifiers(settings: Settings) -> dict[str, Classifier]:
    """One per action: River's logistic regression beginning with a prior, or whatever the settings name. Raises `ValueError`."""
    rules, rates = settings.learner, rates_of(settings)
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
