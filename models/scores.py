"""A note's scores in lists: popularity, heat, age, and its place in the queue of its tier. When one moved enough, its lists must hear of it."""

from __future__ import annotations

import math

from models import lists, pool, quality
from models.note import PRIVATE, PUBLIC, PUBLISHED, Note, Rules
from models.pool import OPEN


def wants(note: Note) -> bool:
    """The note may be shown to everybody."""
    return note.status == PUBLISHED and note.visibility == PUBLIC


def popularity_of(note: Note, rules: Rules) -> float:
    k = rules.popular
    log = note.quality[0] - note.prior if note.quality is not None else 0.0
    base = note.base or note.published_at
    z = rules.quality_share * log * LOG2E
    return lists.popularity(note.heats[k], base, note.published_at, z, rules.half_lives[k], rules.seed)


LOG2E = 1.0 / math.log(2.0)


def hot_of(note: Note, rules: Rules) -> float | None:
    """None: nobody engaged, or nobody was shown it."""
    heats = note.heats
    if heats[4] <= 0.0 or heats[5] <= 0.0:
        return None
    return lists.hot(heats[4], heats[5], note.base, note.exposed_at, rules.hot_half_life, math.exp(note.prior), rules.hot_weight)


def placement_of(note: Note, rules: Rules) -> float | None:
    """None: not running in a tier."""
    place, found = note.pool, note.quality
    if place is None or place.state != OPEN or found is None:
        return None
    return pool.score(place, quality.Quality(*found), rules.pool)


def queue_of(note: Note, rules: Rules) -> float | None:
    """Order in the list of its tier: placement, but in the base tier whose promise is due the longest. None: in no tier's list."""
    placement, place = placement_of(note, rules), note.pool
    if placement is None or place is None or place.tier:
        return placement
    return pool.queue(place, float(note.counted[0]), rules.pool)


def scores_of(note: Note, rules: Rules) -> tuple[float | None, float | None, float | None, float | None]:
    """By `Note.told`; None: in no list of that kind."""
    if note.status != PUBLISHED or note.visibility == PRIVATE:
        return None, None, None, None
    recency = lists.recency(note.published_at)
    if note.visibility != PUBLIC:
        return None, None, recency, None
    return popularity_of(note, rules), hot_of(note, rules), recency, queue_of(note, rules)


def rate_of(note: Note, rules: Rules) -> float:
    """Shrunk CES per exposure at the hot half-life, as of the last exposure."""
    heats, prior = note.heats, math.exp(note.prior) if note.quality is not None else 0.0
    return lists.shrunk_rate(heats[4], heats[5], note.base, note.exposed_at, rules.hot_half_life, prior, rules.hot_weight)


def matters(before: float | None, after: float | None, step: float) -> bool:
    """A score changed so much that its lists must hear of it."""
    if before is None or after is None:
        return before is not after
    return before != after if step == 0.0 else abs(after - before) >= step
