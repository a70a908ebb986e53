"""The ladder of traffic pools: which notes are shown more, which no longer, and why.

Every published note enters the base tier and is promised its base exposures; nothing is decided before they are complete, so that what base
tiers teach about a channel is not chosen by luck. From then on each signal re-evaluates it: promoted as soon as it is likely enough to pass
the next tier's entry bar, stopped as soon as it is hopeless at its own, held when its quota ends between the two, expired when its window
ends. The bars are quantiles of the channel's recent notes, so they follow the competition. A note that was stopped or has expired is
judged again whenever late evidence comes, at any age: old notes fade in the order of placement, they do not end. It goes on only by
evidence that it did not have when it left (`PoolState.stood`), else a window would end nothing.

A base that is not complete when its window ends keeps its exposures and stays owed (`short`, told once), behind all whose window still
runs; what is still missing after `life_hours` is owed no longer (`lapsed`). Complete at any time, it is judged as any other.

Decisions see evidence, bars, settings and the stream's clock; nothing else exists for them. A move is data: the caller writes it down.

    base ──promoted──► trial ──promoted──► … ──► top            at most one tier a step
      │ held             │ stopped, held, expired
      └──────────────────┴──► promoted or reopened by late evidence

Times are epoch milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from config.settings import Pool, PoolPrior, Settings, SettingsError
from models.quality import ACTIONS, Bars, Evidence, Quality, Recent, assess, default_bars

VERSION = 1
HOUR = 3_600_000

ENDS = frozenset({"promoted", "held", "stopped", "expired"})
"""Verdicts that end a tier, and teach its channel. A base ends once, complete."""

OPEN, HELD, STOPPED, EXPIRED, PAUSED, DELETED = "open", "held", "stopped", "expired", "paused", "deleted"


class Rules(Pool, frozen=True):
    """Section `[pool]` of the settings, explained there, once it is checked; `rules` makes one."""

    @property
    def worth(self) -> tuple[float, ...]:
        """Weights in the order of `ACTIONS`."""
        return tuple([self.weights.get(name, 0.0) for name in ACTIONS])

    @property
    def quantiles(self) -> tuple[float, ...]:
        return tuple([tier.bar for tier in self.tiers])


class PoolState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a note stands; fixed and small, part of the note record."""

    tier: int
    state: str
    born: int
    """when it entered the base tier"""
    entered: int
    """when it entered this tier"""
    deadline: int
    """when this tier's window ends"""
    start: float
    """organic exposures at entry into this tier"""
    base: float
    """organic exposures it is promised"""
    seq: int = 0
    """number of its last move; gap-free"""
    paused: int = 0
    """since when it is under review, 0 when it is not"""
    version: int = VERSION
    stood: float = 0.0
    """probability that it passes its own tier's bar when it last left; 0 before"""


class Move(msgspec.Struct, frozen=True):
    """One step, with what it was decided on; `state` is the pool after it."""

    seq: int
    at: int
    origin: int
    """tier before"""
    target: int
    """tier after"""
    verdict: str
    """entered, promoted, held, stopped, expired, reopened, short, lapsed, paused, resumed, deleted"""
    probability: float
    """that the note passes the bar in question"""
    bar: float
    """value per exposure it was held against"""
    quality: Quality
    evidence: Evidence
    state: PoolState


def rules(section: Mapping[str, Any]) -> Rules:
    """The settings' `[pool]` as plain data, as rules. Raises SettingsError, which names the setting."""
    try:
        made = msgspec.convert(section, Rules)
    except msgspec.ValidationError as error:
        raise SettingsError(f"setting pool: {error}") from None
    validate(made)
    return made


def configured(settings: Settings) -> Rules:
    """The rules of loaded settings. Raises SettingsError, which names the setting."""
    return rules(msgspec.to_builtins(settings.pool))


def validate(made: Rules) -> None:
    """Quotas of zero, falling bars, windows that overlap and the like raise SettingsError, which names the setting."""
    if len(made.tiers) < 2:
        raise SettingsError("setting pool.tiers: a ladder has at least two tiers")
    for i, tier in enumerate(made.tiers):
        where, before = f"setting pool.tiers[{i}]", made.tiers[i - 1] if i else None
        if tier.quota <= 0:
            raise SettingsError(f"{where}.quota: wants at least one exposure, got {tier.quota}")
        if not 0.0 <= tier.bar < 1.0:
            raise SettingsError(f"{where}.bar: is a quantile of recent notes, in [0, 1), got {tier.bar}")
        if before is None and tier.bar != 0.0:
            raise SettingsError(f"{where}.bar: the base tier is open to all, its bar is 0, got {tier.bar}")
        if before is not None and tier.bar <= before.bar:
            raise SettingsError(f"{where}.bar: bars rise with the ladder, got {tier.bar} after {before.bar}")
        for name in ("window_hours", "pace", "boost"):
            if getattr(tier, name) <= 0.0:
                raise SettingsError(f"{where}.{name}: is above zero, got {getattr(tier, name)}")
        if tier.quota > tier.pace * tier.window_hours:
            raise SettingsError(f"{where}.pace: {tier.pace} an hour cannot bring {tier.quota} exposures in {tier.window_hours} hours")
        if not 0.0 <= tier.stop < tier.promote <= 1.0:
            raise SettingsError(f"{where}.stop: stop < promote, both probabilities, got {tier.stop} and {tier.promote}")
    if not 0.0 < made.deliver_hours <= made.tiers[0].window_hours:
        raise SettingsError("setting pool.deliver_hours: overlaps the end of the base tier's window (pool.tiers[0].window_hours)")
    if made.tiers[0].window_hours >= made.life_hours:
        raise SettingsError("setting pool.life_hours: a promise lives longer than the base tier's window (pool.tiers[0].window_hours)")
    unknown = sorted(set(made.weights) - set(ACTIONS)) or [name for name, worth in made.weights.items() if worth < 0.0]
    if unknown or not any(made.weights.get(name, 0.0) > 0.0 for name in ACTIONS[1:]):
        raise SettingsError(f"setting pool.weights: wants weights >= 0 of {', '.join(ACTIONS[1:])}; see {', '.join(unknown) or 'all'}")
    if not 0.0 < made.base_share <= 1.0:
        raise SettingsError("setting pool.base_share: is a share, in (0, 1]")
    if made.half_life_hours <= 0.0:
        raise SettingsError("setting pool.half_life_hours: is above zero")
    if not 0.0 <= made.reopen <= 1.0:
        raise SettingsError("setting pool.reopen: is a probability")
    if made.creator_bonus < 0:
        raise SettingsError("setting pool.creator_bonus: is not below zero")
    check_prior(made.prior)


def check_prior(prior: PoolPrior) -> None:
    for field in ("slopes", "rates"):
        table: dict[str, float] = getattr(prior, field)
        wrong = [name for name in ACTIONS if table.get(name, 0.0) <= 0.0] or sorted(set(table) - set(ACTIONS))
        if wrong:
            raise SettingsError(f"setting pool.prior.{field}.{wrong[0]}: wants a number above zero for each of {', '.join(ACTIONS)}")
    for field in ("shape", "rate_strength", "level_strength", "slope_strength", "bar_strength", "window"):
        if getattr(prior, field) <= 0:
            raise SettingsError(f"setting pool.prior.{field}: is above zero")
    if not 0.0 <= prior.rho < 1.0:
        raise SettingsError("setting pool.prior.rho: is a correlation, in [0, 1)")


# ---------------------------------------------------------------------------------------------------------------- a note's way


def enter(now: int, made: Rules, notes: int | None = None, followers: int | None = None, start: float = 0.0) -> PoolState:
    """A note was published (or passed review for the first time). New creators get a larger base.

    Parameters
    ----------
    notes, followers
        The author's notes so far and followers; None when not told: then no bonus.
    start
        Organic exposures the note already has.
    """
    new = (notes is not None and notes <= made.creator_notes) or (followers is not None and followers <= made.creator_followers)
    base = float(made.tiers[0].quota + (made.creator_bonus if new else 0))
    return PoolState(0, OPEN, now, now, now + ms(made.tiers[0].window_hours), start, base)


def decide(pool: PoolState, evidence: Evidence, bars: Bars, made: Rules, now: int) -> Move | None:
    """What becomes of the note now; None: nothing. Call it after every signal of the note and at its deadline.

    Reads counters that only add up, so the answer does not depend on how exposures were split into signals before it. A note ends its base
    tier exactly once: what comes back from there later is `reopened`, so that the channel's moments count no note twice.
    """
    if pool.state in (PAUSED, DELETED):
        return None
    return judge(pool, evidence, bars, made, now, assess(evidence, bars, made.worth))


def judge(pool: PoolState, evidence: Evidence, bars: Bars, made: Rules, now: int, quality: Quality) -> Move | None:
    """`decide`, when the quality is known already."""
    tier = made.tiers[pool.tier]
    own, top = bars.cuts[pool.tier], pool.tier + 1 == len(made.tiers)
    following = 0.0 if top else quality.above(bars.cuts[pool.tier + 1])
    used, promised = evidence.exposures - pool.start, evidence.exposures >= pool.base
    unfinished = pool.tier == 0 and pool.state == EXPIRED  # its base lapsed before it was complete

    def move(verdict: str, probability: float, bar: float, after: PoolState) -> Move:
        after = msgspec.structs.replace(after, seq=pool.seq + 1)
        return Move(after.seq, now, pool.tier, after.tier, verdict, probability, bar, quality, evidence, after)

    if not top and promised and following > tier.promote:  # the base is an experiment of one size for all: what it teaches is unbiased
        running = pool.state == OPEN or unfinished or (pool.state == HELD and pool.tier > 0)
        after = opened(pool, pool.tier + 1, evidence, made, now)
        return move("promoted" if running else "reopened", following, bars.cuts[pool.tier + 1], after)
    staying = quality.above(own)
    if pool.state != OPEN and not unfinished:
        doubt = min(1.0 - made.reopen, 0.5 * (1.0 - pool.stood))  # at least half of the doubt there was is gone
        if pool.state != HELD and pool.tier and used < tier.quota and 1.0 - staying < doubt:
            return move("reopened", staying, own, msgspec.structs.replace(pool, state=OPEN, deadline=now + ms(tier.window_hours)))
        if pool.state == HELD and pool.tier and now >= pool.deadline:
            return move("expired", staying, own, left(pool, EXPIRED, staying))
        return None
    if pool.tier == 0:
        if promised:
            held = following >= tier.stop
            return move("held" if held else "stopped", following, bars.cuts[1], left(pool, HELD if held else STOPPED, staying))
        if now >= pool.deadline and pool.state == OPEN and not short(pool, made):
            return move("short", following, bars.cuts[1], msgspec.structs.replace(pool, deadline=pool.born + ms(made.life_hours)))
        if now >= pool.deadline and pool.state == OPEN:
            return move("lapsed", following, bars.cuts[1], left(pool, EXPIRED, staying))
        return None
    if promised and staying < tier.stop:
        return move("stopped", staying, own, left(pool, STOPPED, staying))
    if used >= tier.quota:
        return move("held", following, own if top else bars.cuts[pool.tier + 1], left(pool, HELD, staying))
    if now >= pool.deadline:
        return move("expired", staying, own, left(pool, EXPIRED, staying))
    return None


def short(pool: PoolState, made: Rules) -> bool:
    """The base's window has ended before it was complete."""
    return pool.tier == 0 and pool.deadline > pool.born + ms(made.tiers[0].window_hours)


def opened(pool: PoolState, tier: int, evidence: Evidence, made: Rules, now: int) -> PoolState:
    deadline = now + ms(made.tiers[tier].window_hours)
    return msgspec.structs.replace(pool, tier=tier, state=OPEN, entered=now, deadline=deadline, start=evidence.exposures)


def left(pool: PoolState, state: str, stood: float) -> PoolState:
    return msgspec.structs.replace(pool, state=state, stood=stood)


def pause(pool: PoolState, now: int) -> PoolState:
    """Sent to review in the middle of a tier: nothing is decided and nothing shown until `resume`."""
    return pool if pool.state in (PAUSED, DELETED) else msgspec.structs.replace(pool, state=PAUSED, paused=now, seq=pool.seq + 1)


def resume(pool: PoolState, now: int) -> PoolState:
    """Back from review: the tier goes on where it stood, its window later by the time away. The next signal decides what is due."""
    if pool.state != PAUSED:
        return pool
    away = now - pool.paused
    moved = {"born": pool.born + away, "entered": pool.entered + away, "deadline": pool.deadline + away}
    return msgspec.structs.replace(pool, state=OPEN, paused=0, seq=pool.seq + 1, **moved)


def delete(pool: PoolState) -> PoolState:
    """Deleted or rejected: out of every pool for good."""
    return pool if pool.state == DELETED else msgspec.structs.replace(pool, state=DELETED, seq=pool.seq + 1)


def next_deadline(pool: PoolState) -> int | None:
    """When `decide` has to be called though no signal comes; None: never."""
    return pool.deadline if pool.state == OPEN or (pool.state == HELD and pool.tier > 0) else None


# --------------------------------------------------------------------------------------------------------------- what it is shown


class Need(msgspec.Struct, array_like=True, frozen=True):
    """Exposures a note should get within the next hour."""

    due: float
    """owed to the promise: comes before everything else"""
    want: float
    """of use to the note's tier, `due` included: goes by score"""


NOTHING = Need(0.0, 0.0)


def need(pool: PoolState, exposures: float, made: Rules, now: int) -> Need:
    """How many exposures the note should still get now. What is under way already (served, not yet seen) counts as an exposure here.

    The promise is paced evenly over `deliver_hours` and follows the note whatever its tier; a tier's pace is an allowance that grows
    with the time in it, so that an hour without traffic is made good later.
    """
    if pool.state in (PAUSED, DELETED) or (pool.state == EXPIRED and pool.tier == 0):
        return NOTHING
    owed = pool.base * min(1.0, ((now - pool.born) / HOUR + 1.0) / made.deliver_hours)
    due = max(0.0, owed - exposures)
    if pool.state != OPEN:
        return Need(due, due)
    tier = made.tiers[pool.tier]
    quota = float(tier.quota) if pool.tier else pool.base - pool.start
    allowed = min(quota, tier.pace * ((now - pool.entered) / HOUR + 1.0))
    return Need(due, max(due, allowed - (exposures - pool.start)))


EPOCH = 1_704_067_200_000
"""2024-01-01: the landmark from which scores fade forward"""


def score(pool: PoolState, quality: Quality, made: Rules) -> float:
    """Order of placement among pool notes, higher first: log of (mean + optimism x sd), times the tier's boost, fading by half-life.

    Forward decay: instead of old notes losing, new ones start higher, so the order never has to be swept and needs no clock.
    """
    fade = math.log(2.0) * (pool.born - EPOCH) / (made.half_life_hours * HOUR)
    return quality.log + made.optimism * quality.sd + math.log(made.tiers[pool.tier].boost) + fade


FAR = 1e6
"""hours: further than any base tier reaches"""


def queue(pool: PoolState, exposures: float, made: Rules) -> float:
    """Order of the base tier's list, higher first: whose next exposure is due the longest.

    By the pace, the share x of the base is due at born + x deliver_hours: an order that needs no clock and no sweep, and in which
    everybody is late alike when capacity does not suffice. Whose window has ended waits behind all others, the newest first, so that what
    could not be kept yesterday does not break what is promised today.
    """
    born = (pool.born - EPOCH) / HOUR
    if short(pool, made):
        return born - FAR
    return -(born + made.deliver_hours * min(1.0, exposures / max(pool.base, 1.0)))


def owed(pool: PoolState, exposures: float, made: Rules, now: int) -> float:
    """Promised exposures that are overdue: the base was to be delivered by now and is not complete. For the alert, hours before its window ends."""
    if pool.tier or pool.state != OPEN or now < overdue(pool, made):
        return 0.0
    return max(0.0, pool.base - exposures)


def overdue(pool: PoolState, made: Rules) -> int:
    """From when on what a base misses is overdue."""
    return pool.born + ms(made.deliver_hours)


def first_bars(channel: str, made: Rules) -> Bars:
    """The bars of the settings, until the first ones come for a channel."""
    return default_bars(channel, made.prior, made.worth, made.quantiles)


def ripe(recent: Recent, made: Rules) -> bool:
    """A channel's notes have taught enough for bars of its own: as many as what is believed of it weighs.

    Of one note nobody can tell how good its channel is, and how much notes of it differ: the first good note of a channel would set the
    bar that it has to pass. Until then the next wider channel's bars hold, else all notes', else those of the settings.
    """
    return len(recent.rows) >= made.prior.bar_strength


def publish(recent: Recent, made: Rules) -> Bars:
    """A channel's next bars, from what its recent notes did."""
    return recent.bars(made.prior, made.worth, made.quantiles)


def ms(hours: float) -> int:
    return int(hours * HOUR)


__all__ = [
    "Move", "Need", "PoolState", "Rules", "configured", "decide", "delete", "enter", "first_bars", "need", "next_deadline", "overdue",
    "owed", "pause",
    "publish", "queue", "resume", "ripe", "rules", "score", "short", "validate",
]  # fmt: skip
