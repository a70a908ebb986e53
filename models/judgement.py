"""What a note's evidence says, and what becomes of it in the pools: its quality as of a look, when the next look is, its moves."""

from __future__ import annotations

import math

import msgspec

from models import pool, quality
from models.note import ASSESSED, CLICK, DELETED, REJECTED, Note, Rules, Transition
from models.pool import OPEN, PoolState
from models.scores import rate_of, wants


def evidence_of(note: Note, bars: quality.Bars, rules: Rules) -> quality.Evidence:
    """The counts as `models.quality` takes them; exposures without an expectation are expected to do what the channel's do."""
    counted, expected = note.counted, note.expected
    plain = note.plain + rules.follower_lift * note.plain_followers
    return quality.Evidence(
        float(max(counted[0], 0)),
        tuple([float(max(counted[k + 1], 0)) for k in ASSESSED]),
        tuple([max(expected[k] + plain * rate, 0.0) for k, rate in zip(ASSESSED, bars.rate, strict=True)]),
    )


def looked(note: Note, a: int) -> bool:
    """Evidence of action `a` came: is the note to be looked at? A posterior costs more than all counting, and one exposure in a
    hundred says little. So an exposure weighs 1, a click 4, what is rarer 16, and a note is looked at when the weight since
    the last look passes a share of all its evidence, and exactly where a promise or a quota ends."""
    note.look -= 1 if a == 0 else 4 if a == CLICK else 16
    return note.look <= 0 or (a == 0 and note.counted[0] == note.limit)


def rest(note: Note, rules: Rules) -> None:
    """A look was taken: when is the next one?"""
    counted = note.counted
    total = counted[0] + 4 * counted[1] + 16 * sum(counted[2:])
    note.look = max(rules.look_least, int(rules.look_share * total))
    place = note.pool
    note.limit = 0
    if place is not None and place.state == OPEN:
        note.limit = min([end for end in (math.ceil(place.base), ends(place, rules.pool)) if end > counted[0]], default=0)


def ends(place: PoolState, made: pool.Rules) -> int:
    """The count of organic exposures at which the note's tier ends; 0 outside the tiers."""
    if place.state != OPEN:
        return 0
    return math.ceil(place.base if place.tier == 0 else place.start + made.tiers[place.tier].quota)


def look(note: Note, bars: quality.Bars, prior: float, rules: Rules, now: int) -> pool.Move | None:
    """The note's quality as of now, and what becomes of it in the pools. `prior`: log value of a note nothing is known of."""
    made = rules.pool
    evidence = evidence_of(note, bars, rules)
    found = quality.assess(evidence, bars, rules.worth)
    note.quality, note.prior = (found.log, found.sd), prior
    note.rate = rate_of(note, rules)
    place, move = note.pool, None
    if place is not None and place.state not in (pool.PAUSED, pool.DELETED):
        move = pool.judge(place, evidence, bars, made, now, found)
        if move is not None:
            note.pool = move.state
    rest(note, rules)
    return move


def owed_of(note: Note, rules: Rules, now: int) -> int:
    """Promised exposures of the note that are overdue."""
    return math.ceil(pool.owed(note.pool, float(note.counted[0]), rules.pool, now)) if note.pool is not None else 0


def deadline_of(note: Note, rules: Rules, now: int) -> int:
    """When the note has to be looked at though no signal comes: what is owed to it is overdue, or a window ends; 0: never."""
    place = note.pool
    if place is None:
        return 0
    late = pool.overdue(place, rules.pool) if place.tier == 0 and place.state == OPEN else 0
    return late if late > now else pool.next_deadline(place) or 0


def transition(move: pool.Move, bars: quality.Bars) -> Transition:
    """A decision as it is told; `bars`: those it was decided by."""
    return told(move.seq, move.at, move.origin, move.target, move.verdict, move.evidence, move.quality, move.probability, move.bar, bars)


def told(
    seq: int,
    at: int,
    origin: int | None,
    target: int,
    verdict: str,
    evidence: quality.Evidence,
    found: quality.Quality,
    probability: float,
    bar: float,
    bars: quality.Bars,
) -> Transition:
    """A move with all that was known at that moment; a publication number is one of its channel's, so the channel stands beside it."""
    return Transition(
        seq, at, origin, target, verdict,
        {
            "exposures": round(evidence.exposures),
            "observed": {action: round(n) for action, n in zip(quality.ACTIONS, evidence.observed, strict=True)},
            "expected": {action: round(n, 3) for action, n in zip(quality.ACTIONS, evidence.expected, strict=True)},
            "quality": {"mean": round(found.mean, 5), "low": round(found.low, 5), "high": round(found.high, 5)},
            "probability": round(probability, 4),
        },
        {"value": round(bar, 5), "channel": bars.channel, "version": bars.number},
    )  # fmt: skip


def turn(note: Note, now: int, bars: quality.Bars, rules: Rules) -> Transition | None:
    """After a catalogue record: the note enters the pools once, pauses while it may not be shown, and leaves them when it is deleted.

    Only a running note pauses: what was held or stopped has nothing to resume. Nothing is decided by evidence here; what it said is told
    all the same, with the tier's own bar.
    """
    place = note.pool
    if place is None:
        if not wants(note):
            return None
        after = pool.enter(now, rules.pool, note.author_notes, note.author_followers, float(note.counted[0]))
        after, verdict = msgspec.structs.replace(after, seq=1), "entered"
    elif note.status in (DELETED, REJECTED):
        after, verdict = pool.delete(place), "deleted"
    elif wants(note):
        after, verdict = pool.resume(place, now), "resumed"
    else:
        after, verdict = pool.pause(place, now) if place.state == OPEN else place, "paused"
    if after is place:
        return None
    note.pool = after
    rest(note, rules)
    note.look = 0
    evidence, bar = evidence_of(note, bars, rules), bars.cuts[after.tier]
    found = quality.assess(evidence, bars, rules.worth)
    return told(after.seq, now, None if place is None else place.tier, after.tier, verdict, evidence, found, found.above(bar), bar, bars)
