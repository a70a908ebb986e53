"""What a user thinks of tags, authors and channels: weights that each exposure and its outcome move, at once.

``p(engage) = σ(global part + own)``. The own part is the user's weights on the note:

    own = Σ tag weights / √tags + author_share · author weight + channel_share · channel weight

Serving adds it to its global part before it predicts, so that the prediction logged with an exposure already is that p, as of then.
Where none was logged, the global part is a stated default and p is computed here. A step on the log loss moves every weight by its
share times rate times (y - p):

* an exposure enters at once as y = 0: ``-p``, with the p of that moment, which is remembered in a byte beside the slate;
* the first engagement enters as y = 1 and takes the exposure's step back: ``s (1 - p) + p0``; s is the action's strength (a like
  says more than a click), p0 what the exposure was counted with (p itself when that is no longer known, 0 without an exposure);
* a stronger action later adds the difference: of all actions on a note the strongest counts, in whatever order they come;
* what is taken back moves the weights as far down as the same action would move them up now;
* hiding and reporting move them down by their strength, following moves the author up, unfollowing down.

Each weight is the sum of a short and a long memory, which differ in step and decay. Both fade with time and with every note engaged
with (the short one keeps .8 of itself: a new interest takes over within three to five). They are kept in forward-decayed form: the
age of a user is ``τ = n · bits + time / half-life`` halvings, a step adds ``v · 2^(τ - landmark)``, and nothing else is touched.

Tags chosen at sign-up add a prior to their weights that fades with every note engaged with; it is no evidence and is not decayed by time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config import settings
from config.events import TYPES
from config.keys import hash64
from config.records import Facts
from models.decay import ROOM, bits_of, rebase
from models.user import Hot, Weight

DAY = 86_400_000
SIGNUP = TYPES.index("signup")
STEPS = 253
"""p is remembered in a byte: mark = 1 + round(STEPS · p); 0 says "not seen yet" …"""
FORGOTTEN = 255
"""… and this one that an exposure was counted with a p that is no longer known."""

AGES = 1_000.0
"""Halvings after which a reader takes nothing to be left; inside of what a double holds."""

SURE = 30.0
"""Logits are cut here, far outside of what matters and inside of what exp takes."""


def probability(logit: float) -> float:
    """σ, safe for any logit.

    >>> probability(0.0)
    0.5
    """
    return 1.0 / (1.0 + exp(-min(max(logit, -SURE), SURE)))


def logit_of(p: float) -> float:
    """Inverse of `probability`, for p in (0, 1)."""
    return log(p / (1.0 - p))


class Interest(NamedTuple):
    """One line of what the platform believes about a user."""

    kind: str
    """tag, author or channel"""
    value: str
    weight: float
    """short + long + what is left of the sign-up prior"""
    short: float
    long: float
    by: int
    """what moved it last: index in TYPES"""
    note: int
    """hash of the note that moved it, 0 without one"""
    at: int
    """epoch ms"""


class Taste(NamedTuple):
    """Weights by hash, hashes ascending, for a scorer that handles all candidates at once."""

    tags: npt.NDArray[np.uint64]
    tag_weights: npt.NDArray[np.float32]
    authors: npt.NDArray[np.uint64]
    author_weights: npt.NDArray[np.float32]
    channels: npt.NDArray[np.uint64]
    channel_weights: npt.NDArray[np.float32]


class Interests:
    """The rules of learning and reading a user's weights; the weights themselves are in `Hot`.

    Follows a shift within a few engagements and keeps a slow background. Knows nothing of notes that share no tag, author or
    channel with what the user met: that is what neighbours are for.

    Parameters
    ----------
    rules
        Section ``[interest]`` of the settings.

    Examples
    --------
    >>> from config.records import Facts
    >>> interests, hot = Interests(settings.load(environ={}).interest), Hot()
    >>> note = Facts("n1", True, "ann", "food", ("bread",))
    >>> mark = interests.shown(hot, note, 1_000, None, 7)
    >>> interests.engaged(hot, note, 2_000, None, 2.0, mark, TYPES.index("like"), 7, first=True, fade=True)
    >>> [(i.kind, i.value, round(i.weight, 2)) for i in interests.strengths(hot, 2_000)]
    [('tag', 'bread', 0.96), ('author', 'ann', 0.72), ('channel', 'food', 0.48)]

    References
    ----------
    S. Ktena et al.: Addressing Delayed Feedback for Continuous Training (RecSys 2019), for negatives that come first.
    """

    def __init__(self, rules: settings.Interest) -> None:
        self.rules = rules
        self.short_bits, self.long_bits = bits_of(rules.short_keep), bits_of(rules.long_keep)
        self.short_ms, self.long_ms = rules.short_half_life_d * DAY, rules.long_half_life_d * DAY
        self.default = logit_of(rules.default_rate)
        self.tag_share = tuple(1.0 / sqrt(max(n, 1)) for n in range(rules.note_tags + 1))

    # ------------------------------------------------------------------------------------------------------------- decay

    def growth(self, hot: Hot, now: int) -> tuple[float, float]:
        """How much larger a step is written now than it is: kept sums divided by these are weights."""
        elapsed = (max(hot.last_seen, now)) - hot.origin if hot.origin else 0
        return (
            2.0 ** min(hot.n * self.short_bits + elapsed / self.short_ms - hot.short_mark, AGES),
            2.0 ** min(hot.n * self.long_bits + elapsed / self.long_ms - hot.long_mark, AGES),
        )

    def settle(self, hot: Hot, t: int) -> tuple[float, float]:
        """`growth` for a writer: begins the user's time, and moves landmarks when there is no room left."""
        last = hot.last_seen
        now = max(last, t)
        if not hot.origin:
            hot.origin = now
        elapsed = now - hot.origin
        short = hot.n * self.short_bits + elapsed / self.short_ms - hot.short_mark
        long = hot.n * self.long_bits + elapsed / self.long_ms - hot.long_mark
        if short > ROOM or long > ROOM:
            a, b = rebase(short, 0), rebase(long, 0)
            down_short, down_long = 2.0**-a, 2.0**-b
            for table in (hot.tags, hot.authors, hot.channels):
                for weight in table.values():
                    weight.short *= down_short
                    weight.long *= down_long
            hot.short_mark, hot.long_mark = hot.short_mark + a, hot.long_mark + b
            short, long = short - a, long - b
        return 2.0**short, 2.0**long

    def prior(self, hot: Hot) -> float:
        """What a tag chosen at sign-up still weighs."""
        rules = self.rules
        return rules.signup_weight * rules.signup_fade / (rules.signup_fade + hot.n - hot.signup_n)

    # ----------------------------------------------------------------------------------------------------------- reading

    def own(self, hot: Hot, facts: Facts, now: int) -> float:
        """The user's own part of the logit of engaging with a note."""
        short, long = self.growth(hot, now)
        return self._own(hot, facts, 1.0 / short, 1.0 / long)

    def _own(self, hot: Hot, facts: Facts, short: float, long: float) -> float:
        tags, table, signup, total = facts.tags, hot.tags, hot.signup, 0.0
        if len(tags) > self.rules.note_tags:
            tags = tags[: self.rules.note_tags]
        for tag in tags:
            weight = table.get(tag)
            if weight is not None:
                total += weight.short * short + weight.long * long
            if signup and tag in signup:
                total += self.prior(hot)
        total *= self.tag_share[len(tags)]
        weight = hot.authors.get(facts.author)
        if weight is not None:
            total += self.rules.author_share * (weight.short * short + weight.long * long)
        weight = hot.channels.get(facts.channel)
        if weight is not None:
            total += self.rules.channel_share * (weight.short * short + weight.long * long)
        return total

    def strengths(self, hot: Hot, now: int) -> list[Interest]:
        """All weights as of `now`, strongest first."""
        grown_short, grown_long = self.growth(hot, now)
        prior = self.prior(hot) if hot.signup else 0.0
        found = []
        for kind, table in (("tag", hot.tags), ("author", hot.authors), ("channel", hot.channels)):
            for value, w in table.items():
                short, long = w.short / grown_short, w.long / grown_long
                known = prior if kind == "tag" and value in hot.signup else 0.0
                found.append(Interest(kind, value, short + long + known, short, long, w.by, w.note, w.at))
        for value, at in hot.signup.items():
            if value not in hot.tags:
                found.append(Interest("tag", value, prior, 0.0, 0.0, SIGNUP, 0, at))
        found.sort(key=lambda i: (-i.weight, i.kind, i.value))
        return found

    def taste(self, hot: Hot, now: int) -> Taste:
        """The same weights by hash: ``own`` of many notes is three look-ups in sorted arrays."""
        short, long = self.growth(hot, now)
        prior = self.prior(hot) if hot.signup else 0.0
        tags = {tag: w.short / short + w.long / long for tag, w in hot.tags.items()}
        for tag in hot.signup:
            tags[tag] = tags.get(tag, 0.0) + prior
        authors = {author: w.short / short + w.long / long for author, w in hot.authors.items()}
        channels = {channel: w.short / short + w.long / long for channel, w in hot.channels.items()}
        return Taste(*_arrays(tags), *_arrays(authors), *_arrays(channels))

    # ---------------------------------------------------------------------------------------------------------- learning

    def shown(self, hot: Hot, facts: Facts, t: int, logged: float | None, note: int) -> int:
        """An exposure: a step towards "not engaged". `logged` is serving's prediction. Returns the mark that remembers p.

        Exposures alone bring in few new tags and no new authors: what was merely passed over would crowd out what was chosen.
        """
        short, long = self.settle(hot, t)
        p = probability(self.default + self._own(hot, facts, 1.0 / short, 1.0 / long)) if logged is None else min(max(logged, 0.0), 1.0)
        mark = round(STEPS * p)
        self._step(hot, facts, t, -mark / STEPS, 0, note, short, long, False)
        return 1 + mark

    def engaged(
        self, hot: Hot, facts: Facts, t: int, logged: float | None, gain: float, mark: int, by: int, note: int, first: bool, fade: bool
    ) -> None:
        """An action whose strength exceeds what was done before by `gain` (negative: taken back).

        `mark` is what `shown` returned, FORGOTTEN when an exposure is known but not its p, 0 without one. With the `first`
        action the exposure's own step is taken back (with a negative gain: nothing is left of the engagement, and the exposure's
        step counts again). `fade`: the note was never engaged with, and everything before fades by one step.
        """
        if fade:
            hot.n += 1
        short, long = self.settle(hot, t)
        p = probability(self.default + self._own(hot, facts, 1.0 / short, 1.0 / long)) if logged is None else min(max(logged, 0.0), 1.0)
        amount = gain * (1.0 - p)
        if first and mark:
            before = p if mark == FORGOTTEN else (mark - 1) / STEPS
            amount += before if gain > 0.0 else -before
        self._step(hot, facts, t, amount, by, note, short, long, True)

    def pushed(self, hot: Hot, facts: Facts, t: int, amount: float, by: int, note: int) -> None:
        """A step of a stated size on all of a note: hidden, reported."""
        short, long = self.settle(hot, t)
        self._step(hot, facts, t, amount, by, note, short, long, True)

    def author(self, hot: Hot, author: str, t: int, amount: float, by: int, note: int) -> None:
        """A step on one author: followed, unfollowed, hidden."""
        self._alone(hot, hot.authors, author, t, amount * self.rules.author_share, by, note, self.rules.authors)

    def tag(self, hot: Hot, tag: str, t: int, amount: float, by: int, note: int) -> None:
        """A step on one tag: hidden."""
        self._alone(hot, hot.tags, tag, t, amount, by, note, self.rules.tags)

    def _alone(self, hot: Hot, table: dict[str, Weight], name: str, t: int, amount: float, by: int, note: int, bound: int) -> None:
        short, long = self.settle(hot, t)
        weight = table.get(name)
        if weight is None:
            weight = table[name] = Weight()
        late_short, late_long = self._late(hot, t)
        self._add(weight, t, amount * short * late_short, amount * long * late_long, by, note)
        if len(table) > bound:
            self._evict(table, bound, short, long, (name,))

    def _late(self, hot: Hot, t: int) -> tuple[float, float]:
        """What is left of a step that comes late: it counts as it would had it come in its time."""
        late = hot.last_seen - t
        if late <= 0:
            return self.rules.short_rate, self.rules.long_rate
        return self.rules.short_rate * 2.0 ** (-late / self.short_ms), self.rules.long_rate * 2.0 ** (-late / self.long_ms)

    @staticmethod
    def _add(weight: Weight, t: int, short: float, long: float, by: int, note: int) -> None:
        weight.short += short
        weight.long += long
        if by or not weight.by:
            weight.at, weight.by, weight.note = t, by, note

    def _step(
        self, hot: Hot, facts: Facts, t: int, amount: float, by: int, note: int, grown_short: float, grown_long: float, bring: bool
    ) -> None:
        """`amount` on all weights of a note, each by its share; `bring`: those that are not there yet are brought in."""
        rules = self.rules
        late_short, late_long = self._late(hot, t)
        short, long = amount * grown_short * late_short, amount * grown_long * late_long
        tags, table = facts.tags, hot.tags
        if len(tags) > rules.note_tags:
            tags = tags[: rules.note_tags]
        share = self.tag_share[len(tags)]
        step_short, step_long = short * share, long * share
        for tag in tags:
            weight = table.get(tag)
            if weight is None:
                if not bring and len(table) >= rules.passed_tags:
                    continue
                weight = table[tag] = Weight()
            weight.short += step_short
            weight.long += step_long
            if by or not weight.by:
                weight.at, weight.by, weight.note = t, by, note
        if len(table) > rules.tags:
            self._evict(table, rules.tags, grown_short, grown_long, tags)
        author = facts.author
        if author:
            weight = hot.authors.get(author)
            if weight is None and bring:
                weight = hot.authors[author] = Weight()
            if weight is not None:
                self._add(weight, t, short * rules.author_share, long * rules.author_share, by, note)
                if len(hot.authors) > rules.authors:
                    self._evict(hot.authors, rules.authors, grown_short, grown_long, (author,))
        channel = facts.channel
        if channel:
            weight = hot.channels.get(channel)
            if weight is None:
                weight = hot.channels[channel] = Weight()
            self._add(weight, t, short * rules.channel_share, long * rules.channel_share, by, note)
            if len(hot.channels) > rules.channels:
                self._evict(hot.channels, rules.channels, grown_short, grown_long, (channel,))

    @staticmethod
    def _evict(table: dict[str, Weight], bound: int, short: float, long: float, keep: Sequence[str]) -> None:
        """The weakest leave, an eighth of the bound at once (sorting is dear), but never those of the note at hand; ties by name."""
        weakest = sorted((abs(w.short / short + w.long / long), name) for name, w in table.items() if name not in keep)
        for _, name in weakest[: len(table) - bound + bound // 8]:
            del table[name]


def _arrays(weights: dict[str, float]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    by_hash = sorted((hash64(name), weight) for name, weight in weights.items())
    return np.array([h for h, _ in by_hash], np.uint64), np.array([w for _, w in by_hash], np.float32)
