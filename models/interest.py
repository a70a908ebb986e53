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

from collections.abc import Container, Mapping
from functools import lru_cache
from math import exp, log, sqrt
from struct import Struct as Layout
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from config import settings
from config.events import TYPES
from config.keys import hash64
from config.records import Facts
from models.decay import ROOM, bits_of, rebase
from models.ring import find
from models.user import Hot
from models.weights import KEY, SEPARATOR, WEIGHT_ROW, Table, key_of

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


WIDTH = WEIGHT_ROW.size
BY = WIDTH - 1
"""byte of a weight's row that says what moved it"""
components, write = Layout("<dd").unpack_from, Layout("<dd").pack_into
write_all = WEIGHT_ROW.pack_into

TAG, AUTHOR, CHANNEL = range(3)
Name = tuple[int, bytes, float, str]
"""(kind, key, share in a step, name)"""
Row = tuple[Name, int, float, float]
"""(name, where its row begins or -1, what is kept there)"""


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


Named = list[tuple[str, float]]
"""Names with their weights."""


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
        self.names = lru_cache(65_536)(self._names)
        """what of a note has weights; cached, since the same notes come all the time"""
        self.short_rate, self.long_rate, self.passed = rules.short_rate, rules.long_rate, rules.passed_tags * WIDTH
        self.smallest = min(rules.tags, rules.authors, rules.channels) * WIDTH
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
        last, origin, n = hot.last_seen, hot.origin, hot.n
        now = max(t, last)
        if not origin:
            hot.origin = origin = now
        elapsed = now - origin
        short = n * self.short_bits + elapsed / self.short_ms - hot.short_mark
        long = n * self.long_bits + elapsed / self.long_ms - hot.long_mark
        if short > ROOM or long > ROOM:
            a, b = rebase(short, 0), rebase(long, 0)
            down_short, down_long = 2.0**-a, 2.0**-b
            for table in (hot.tags, hot.authors, hot.channels):
                for at in range(0, len(table.rows), WIDTH):
                    kept_short, kept_long = components(table.rows, at)
                    write(table.rows, at, kept_short * down_short, kept_long * down_long)
            hot.short_mark, hot.long_mark = hot.short_mark + a, hot.long_mark + b
            short, long = short - a, long - b
        return 2.0**short, 2.0**long

    def prior(self, hot: Hot) -> float:
        """What a tag chosen at sign-up still weighs."""
        rules = self.rules
        return rules.signup_weight * rules.signup_fade / (rules.signup_fade + hot.n - hot.signup_n)

    # ----------------------------------------------------------------------------------------------------------- reading

    def _names(self, tags: tuple[str, ...], author: str, channel: str) -> tuple[Name, ...]:
        """What of a note has weights."""
        tags = tags[: self.rules.note_tags]
        share = self.tag_share[len(tags)]
        names = [(TAG, key_of(tag), share, tag) for tag in tags]
        if author:
            names.append((AUTHOR, key_of(author), self.rules.author_share, author))
        if channel:
            names.append((CHANNEL, key_of(channel), self.rules.channel_share, channel))
        return tuple({name[:2]: name for name in reversed(names) if SEPARATOR not in name[3]}.values())[::-1]

    def met(self, hot: Hot, names: tuple[Name, ...]) -> tuple[list[Row], float, float]:
        """Where the weights of a note stand, what they are, and their shares' sums: short and long. One pass, since it is taken for
        every exposure."""
        tables = (hot.tags, hot.authors, hot.channels)
        rows: list[Row] = []
        total_short = total_long = 0.0
        for name in names:
            kind, key, share, _ = name
            table = tables[kind]
            at = table.keys.find(key)
            if at > 0 and at & 7:  # across two hashes
                at = find(table.keys, key, KEY)
            if at >= 0:
                at = (at >> 3) * WIDTH
                short, long = components(table.rows, at)
                total_short += share * short
                total_long += share * long
                rows.append((name, at, short, long))
            else:
                rows.append((name, -1, 0.0, 0.0))
        return rows, total_short, total_long

    def own(self, hot: Hot, facts: Facts, now: int) -> float:
        """The user's own part of the logit of engaging with a note."""
        short, long = self.growth(hot, now)
        rows, total_short, total_long = self.met(hot, self.names(facts.tags, facts.author, facts.channel))
        return total_short / short + total_long / long + (self.chosen(hot, rows) if hot.signup else 0.0)

    def chosen(self, hot: Hot, rows: list[Row]) -> float:
        """What tags chosen at sign-up add to `own`."""
        prior, chosen = self.prior(hot), hot.signup
        return sum([share * prior for (kind, _, share, tag), *_ in rows if kind == TAG and tag in chosen])

    def strengths(self, hot: Hot, now: int) -> list[Interest]:
        """All weights as of `now`, strongest first."""
        grown_short, grown_long = self.growth(hot, now)
        prior = self.prior(hot) if hot.signup else 0.0
        found = []
        for kind, table in (("tag", hot.tags), ("author", hot.authors), ("channel", hot.channels)):
            for name, kept_short, kept_long, at, note, by in table:
                short, long = kept_short / grown_short, kept_long / grown_long
                known = prior if kind == "tag" and name in hot.signup else 0.0
                found.append(Interest(kind, name, short + long + known, short, long, by, note, at))
        for name, at in hot.signup.items():
            if name not in hot.tags:
                found.append(Interest("tag", name, prior, 0.0, 0.0, SIGNUP, 0, at))
        found.sort(key=lambda i: (-i.weight, i.kind, i.value))
        return found

    def strongest(self, hot: Hot, now: int, count: int) -> tuple[Named, Named, Named]:
        """The positive weights as of `now`, at most `count` of tags, authors and channels each, strongest first: `strengths` for a feed."""
        short, long = self.growth(hot, now)
        prior = self.prior(hot) if hot.signup else 0.0
        tags = _strongest(hot.tags, short, long, count, hot.signup, prior)
        nothing: dict[str, int] = {}
        return (
            tags,
            _strongest(hot.authors, short, long, count, nothing, 0.0),
            _strongest(hot.channels, short, long, count, nothing, 0.0),
        )

    def taste(self, hot: Hot, now: int) -> Taste:
        """The same weights by hash: ``own`` of many notes is three look-ups in sorted arrays."""
        short, long = self.growth(hot, now)
        prior = self.prior(hot) if hot.signup else 0.0
        (tag_keys, tags), (author_keys, authors), (channel_keys, channels) = (t.arrays() for t in (hot.tags, hot.authors, hot.channels))
        hashes, weights = tag_keys, tags["short"] / short + tags["long"] / long
        if hot.signup:
            chosen = np.array([hash64(tag) for tag in hot.signup], np.uint64)
            weights += prior * np.isin(hashes, chosen)
            new = chosen[~np.isin(chosen, hashes)]
            hashes, weights = np.concatenate([hashes, new]), np.concatenate([weights, np.full(new.shape, prior)])
        return Taste(
            *_ascending(hashes, weights),
            *_ascending(author_keys, authors["short"] / short + authors["long"] / long),
            *_ascending(channel_keys, channels["short"] / short + channels["long"] / long),
        )

    # ---------------------------------------------------------------------------------------------------------- learning

    def shown(self, hot: Hot, facts: Facts, t: int, logged: float | None, note: int) -> int:
        """An exposure: a step towards "not engaged". `logged` is serving's prediction. Returns the mark that remembers p.

        Exposures alone bring in few new tags and no new authors: what was merely passed over would crowd out what was chosen.
        """
        short, long = self.settle(hot, t)
        rows, total_short, total_long = self.met(hot, self.names(facts.tags, facts.author, facts.channel))
        p = self.expected(hot, rows, total_short / short + total_long / long) if logged is None else min(max(logged, 0.0), 1.0)
        mark = round(STEPS * p)
        self._step(hot, rows, t, -mark / STEPS, 0, note, short, long, False)
        return 1 + mark

    def expected(self, hot: Hot, rows: list[Row], own: float) -> float:
        """p(engage) where serving logged none."""
        return probability(self.default + own + (self.chosen(hot, rows) if hot.signup else 0.0))

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
        rows, total_short, total_long = self.met(hot, self.names(facts.tags, facts.author, facts.channel))
        p = self.expected(hot, rows, total_short / short + total_long / long) if logged is None else min(max(logged, 0.0), 1.0)
        amount = gain * (1.0 - p)
        if first and mark:
            before = p if mark == FORGOTTEN else (mark - 1) / STEPS
            amount += before if gain > 0.0 else -before
        self._step(hot, rows, t, amount, by, note, short, long, True)

    def pushed(self, hot: Hot, facts: Facts, t: int, amount: float, by: int, note: int) -> None:
        """A step of a stated size on all of a note: hidden, reported."""
        short, long = self.settle(hot, t)
        rows, _, _ = self.met(hot, self.names(facts.tags, facts.author, facts.channel))
        self._step(hot, rows, t, amount, by, note, short, long, True)

    def author(self, hot: Hot, author: str, t: int, amount: float, by: int, note: int) -> None:
        """A step on one author: followed, unfollowed, hidden."""
        self._alone(hot, (AUTHOR, key_of(author), self.rules.author_share, author), t, amount, by, note)

    def tag(self, hot: Hot, tag: str, t: int, amount: float, by: int, note: int) -> None:
        """A step on one tag: hidden."""
        self._alone(hot, (TAG, key_of(tag), 1.0, tag), t, amount, by, note)

    def _alone(self, hot: Hot, name: Name, t: int, amount: float, by: int, note: int) -> None:
        short, long = self.settle(hot, t)
        self._step(hot, self.met(hot, (name,))[0], t, amount, by, note, short, long, True)

    def _step(
        self, hot: Hot, rows: list[Row], t: int, amount: float, by: int, note: int, grown_short: float, grown_long: float, bring: bool
    ) -> None:
        """`amount` on weights, each by its share; `bring`: those that are not there yet are brought in."""
        short, long = amount * self.short_rate * grown_short, amount * self.long_rate * grown_long
        late = hot.last_seen - t
        if late > 0:  # what comes late counts as it would had it come in its time
            short *= 2.0 ** (-late / self.short_ms)
            long *= 2.0 ** (-late / self.long_ms)
        tables, full = (hot.tags, hot.authors, hot.channels), False
        for (kind, key, share, name), at, kept_short, kept_long in rows:
            table = tables[kind]
            stored = table.rows
            if at < 0:
                if bring or kind == CHANNEL or (kind == TAG and len(stored) < self.passed):
                    table.bring(name, key, short * share, long * share, t, note, by)
                    full = full or len(stored) > self.smallest
            elif by or not stored[at + BY]:
                write_all(stored, at, kept_short + short * share, kept_long + long * share, t, note, by)
            else:
                write(stored, at, kept_short + short * share, kept_long + long * share)
        if full:
            names = [name[3] for name, *_ in rows]
            rules = self.rules
            for table, bound in zip(tables, (rules.tags, rules.authors, rules.channels), strict=True):
                if len(table) > bound:
                    evict(table, bound, grown_short, grown_long, names)


def evict(table: Table, bound: int, short: float, long: float, keep: Container[str]) -> None:
    """The weakest leave, an eighth of the bound at once (it is dear), but never those of the note at hand; ties by name."""
    weakest = sorted((abs(w.short / short + w.long / long), w.name) for w in table if w.name not in keep)
    table.drop({name for _, name in weakest[: len(table) - bound + bound // 8]})


def _ascending(hashes: npt.NDArray[np.uint64], weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    order = np.argsort(hashes)
    return hashes[order].astype(np.uint64, copy=False), weights[order].astype(np.float32, copy=False)


def _strongest(table: Table, short: float, long: float, count: int, chosen: Mapping[str, int], prior: float) -> Named:
    if not chosen and not table.rows:
        return []
    _, rows = table.arrays()
    weights = rows["short"] / short + rows["long"] / long
    if not chosen:
        best = np.argsort(-weights, kind="stable")[:count]
        names = table.names.split(SEPARATOR)
        return [(names[i], w) for i, w in zip(best.tolist(), weights[best].tolist(), strict=True) if w > 0.0]
    known = dict(zip(table.names.split(SEPARATOR), weights.tolist(), strict=False))
    for name in chosen:
        known[name] = known.get(name, 0.0) + prior
    return sorted(((name, w) for name, w in known.items() if w > 0.0), key=lambda named: (-named[1], named[0]))[:count]
