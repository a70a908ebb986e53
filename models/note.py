"""A note's state: what the catalogue says, what was counted, how warm it is, and where it stands in the pools.

Pure: ``note, signal, rules, now -> note changed, and what to tell`` (`streams/notes.py` tells it). Counters are exact sums of +1 and -1,
so their order does not matter; heats are sums in forward-decayed form. What the API reads is a projection (`store.layout.NOTE`,
`project`); the rest of this file's Structs are values in the store:

==========  ==========================  ==========================================================================================
kind        value                       who reads it
==========  ==========================  ==========================================================================================
``note``    `store.layout.NOTE`         the API, by the hundred
``state``   msgpack `Note`              the notes stage; the API for ``GET /v1/notes/{id}`` (exact counts)
``facts``   msgpack `config.records.Facts`  intake, the API; `engaged` is up to 10 % behind
``moves``   msgpack list of `Transition`      ``GET /v1/notes/{id}``: the last [notes] history moves, oldest first
``text``    msgpack `Text`              the API, for the notes shown
==========  ==========================  ==========================================================================================
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from config.events import ACTIONS, ENGAGEMENTS, PREDICTED
from config.records import BOT, FOLLOWER, SELF, SOURCES, STRANGE, TEST, Facts
from config.settings import Lists, Notes
from models import lists, pool, quality
from models.lists import HOUR
from models.pool import OPEN, PoolState
from models.ring import find

VERSION = 1
STATUSES = ("unknown", "published", "under_review", "rejected", "deleted")
VISIBILITIES = ("public", "followers", "private")
MEDIA = ("", "image", "video")
UNKNOWN, PUBLISHED, UNDER_REVIEW, REJECTED, DELETED = range(5)
PUBLIC, FOLLOWERS, PRIVATE = range(3)
RECORDS = 8
"""Catalogue records of a note that are recognised when they come again."""


class Text(msgspec.Struct, omit_defaults=True):
    """What a person sees of a note; a map, so that absent fields cost nothing. Bounded by [notes] body_bytes and so on."""

    v: int = VERSION
    title: str = ""
    body: str = ""
    cover_url: str = ""
    images: list[str] = []
    duration_s: float | None = None
    place: str = ""
    products: list[str] = []


class Transition(msgspec.Struct):
    """One move of a note in the pools, as the public topic (with `note_id`) and the history of ``GET /v1/notes/{id}`` have it."""

    seq: int
    """gap-free per note, from 1"""
    at: int
    """epoch ms"""
    origin: int | None = msgspec.field(name="from")
    """tier before; null at the entry"""
    target: int = msgspec.field(name="to")
    """tier after; the same as `from` when the note stays or leaves the pools"""
    verdict: str
    """entered promoted held stopped expired reopened short lapsed paused resumed deleted"""
    evidence: dict[str, Any]
    """exposures, observed and expected counts by action, quality {mean, low, high}, probability of passing the bar"""
    bar: dict[str, Any]
    """value per exposure (CES) it was held against, and the publication of the channel's bars it comes from"""


class Note(msgspec.Struct, array_like=True, gc=False):
    """The state of one note."""

    v: int = VERSION
    id: str = ""
    """empty while only its hash is known"""
    status: int = UNKNOWN
    """index in STATUSES; unknown: signals came, the note did not yet"""
    visibility: int = PUBLIC
    media: int = 0
    author: str = ""
    channel: str = ""
    tags: tuple[str, ...] = ()
    city: str = ""
    lat: float | None = None
    lon: float | None = None
    language: str = ""
    author_notes: int | None = None
    author_followers: int | None = None
    since: int = 0
    """append time of the first signal, epoch ms; 0: there is nothing here"""
    published_at: int = 0
    """0: never published"""
    changed_at: int = 0
    """last catalogue record"""
    engaged_at: int = 0
    """last engagement, 0 never"""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * len(ACTIONS))
    """distinct users by `config.events.ACTIONS`, organic and paid, without test and bot"""
    test: list[int] = []
    """the same for traffic `test`; empty until the first"""
    bot: list[int] = []
    paid: list[int] = []
    """part of `counts`: what came from sponsored slots; empty until the first. paid[0] are the paid exposures"""
    by_source: list[int] = []
    """organic exposures by `config.records.SOURCES`, last: not served by us; empty until the first"""
    served: int = 0
    """under way: in a slate's ranked or pool slot that is neither seen nor expired"""
    counted: list[int] = msgspec.field(default_factory=lambda: [0] * (1 + len(PREDICTED)))
    """evidence: organic exposures, then organic actions by `config.events.PREDICTED`"""
    expected: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(PREDICTED))
    """what the scorer expected of those exposures that came with an expectation, by PREDICTED"""
    plain: int = 0
    """organic exposures without an expectation: the channel's rates stand in …"""
    plain_followers: int = 0
    """… raised for the author's followers"""

    base: int = 0
    """landmark of the forward-decayed sums, epoch ms; 0 before the first"""
    heats: list[float] = msgspec.field(default_factory=lambda: [0.0] * 6)
    """engagement points at the half-lives of [notes] heat_half_lives_h (4); CES and exposures at [lists] hot_half_life_h"""
    exposed_at: int = 0
    """last organic exposure"""

    pool: PoolState | None = None
    """None: never entered"""
    quality: tuple[float, float] | None = None
    """log value per exposure and its sd (`models.quality`), when last looked at"""
    prior: float = 0.0
    """log value of a note of the channel nothing is known of, then"""
    rate: float = 0.0
    """shrunk CES per exposure at the hot half-life, then"""
    look: int = 0
    """what evidence must still come before the note is looked at again"""
    limit: int = 0
    """the count of organic exposures at which it is looked at in any case"""

    told: list[float | None] = msgspec.field(default_factory=lambda: [None] * 4)
    """scores last told to the lists: popularity, hot, recency, placement; None: in none of them"""
    told_tier: int = -1
    """tier of the pool lists that hold the note"""
    engaged_told: int = 0
    """`engaged` in the facts"""
    timer: int = 0
    """the deadline that is set, 0 none"""
    owed: int = 0
    """promised exposures that are overdue, as they stand in the partition's totals"""
    records: bytes = b""
    """hashes of the last RECORDS catalogue records, 8 bytes each: one that comes again does not undo what came after it"""


class Tally(msgspec.Struct, array_like=True):
    """One tier in one partition, for ``GET /v1/pools``: the sum over partitions is the tier."""

    notes: int = 0
    """running in it now"""
    exposures: int = 0
    """organic ones, of stays that ended"""
    promoted: int = 0
    held: int = 0
    stopped: int = 0
    """stopped or expired"""
    owed: int = 0
    """promised exposures that are overdue, of the notes running in the base tier"""


POPULARITY, HOT, RECENCY, PLACEMENT = range(4)
"""Places in `Note.told`: kinds of lists whose members share one score per note."""

decode = msgspec.msgpack.Decoder(Note).decode
decode_text = msgspec.msgpack.Decoder(Text).decode
decode_moves = msgspec.msgpack.Decoder(list[Transition]).decode
decode_tallies = msgspec.msgpack.Decoder(list[Tally]).decode

# ----------------------------------------------------------------------------------------------------------------------- rules

PAID = 2
"""Index of "sponsored" in `config.records.SLOTS`."""
DAY = 24 * HOUR
GRID, REACH = 7 * DAY, 10 * DAY
"""Landmarks are whole weeks, and move when sums have grown for ten days: 2^480 at the shortest half-life allowed, half an hour."""
EVIDENCE = tuple(0 if action == "impression" else PREDICTED.index(action) + 1 if action in PREDICTED else -1 for action in ACTIONS)
"""ACTIONS -> place in `Note.counted`, -1: no evidence."""
ASSESSED = tuple(PREDICTED.index(action) for action in quality.ACTIONS)
"""`models.quality.ACTIONS` -> place in PREDICTED."""
ENGAGED = tuple(ACTIONS.index(action) for action in ENGAGEMENTS)
CLICK = ACTIONS.index("click")
expectations = struct.Struct(f"<{len(PREDICTED)}e").unpack
EXPECTED_BYTES = 2 * len(PREDICTED)


class Rules(msgspec.Struct, frozen=True):
    """Settings as the fold of a note needs them; `rules` makes one."""

    points: tuple[float, ...]
    """engagement points by ACTIONS"""
    ces: tuple[float, ...]
    """engagement score by ACTIONS"""
    half_lives: tuple[float, float, float, float]
    """of `Note.heats`, ms"""
    hot_half_life: float
    """ms"""
    popular: int
    """which heat is popularity's"""
    seed: float
    quality_share: float
    hot_weight: float
    steps: tuple[float, float, float, float]
    """how far a score must move to be told again, by `Note.told`"""
    tags: int
    look_least: int
    look_share: float
    follower_lift: float
    facts_step: float
    worth: tuple[float, ...]
    """`models.pool.Rules.worth`"""
    pool: pool.Rules


def rules(notes: Notes, section: Lists, made: pool.Rules) -> Rules:
    """Raises ValueError, which names the setting."""
    half_lives = tuple(hours * HOUR for hours in notes.heat_half_lives_h)
    if len(half_lives) != 4 or min(half_lives) < HOUR / 2:
        raise ValueError("setting notes.heat_half_lives_h: wants four half-lives of half an hour or more")
    if section.hot_half_life_h < 0.5:
        raise ValueError("setting lists.hot_half_life_h: wants half an hour or more")
    if section.popular_half_life_h not in notes.heat_half_lives_h:
        raise ValueError("setting lists.popular_half_life_h: wants one of notes.heat_half_lives_h")
    unknown = sorted(set(notes.points) - set(ACTIONS))
    if unknown:
        raise ValueError(f"setting notes.points.{unknown[0]}: wants one of {', '.join(ACTIONS)}")
    return Rules(
        points=tuple([float(notes.points.get(action, 0.0)) for action in ACTIONS]),
        ces=tuple([float(made.weights.get(action, 0.0)) for action in ACTIONS]),
        half_lives=half_lives,
        hot_half_life=section.hot_half_life_h * HOUR,
        popular=notes.heat_half_lives_h.index(section.popular_half_life_h),
        seed=section.popular_seed,
        quality_share=section.quality_share,
        hot_weight=section.hot_weight,
        steps=(section.popular_step, section.hot_step, 0.0, section.placement_step),
        tags=notes.tags,
        look_least=notes.look_least,
        look_share=notes.look_share,
        follower_lift=notes.follower_lift,
        facts_step=notes.facts_step,
        worth=made.worth,
        pool=made,
    )


# ---------------------------------------------------------------------------------------------------------------- what users do


def land(note: Note, t: int, rules: Rules) -> None:
    """Moves the landmark so that growth at `t` has room."""
    base = t // GRID * GRID
    if note.base:
        gap = note.base - base
        halves = (*rules.half_lives, rules.hot_half_life, rules.hot_half_life)
        note.heats = [s * 2.0 ** (gap / h) for s, h in zip(note.heats, halves, strict=True)]
    note.base = base


def apart(counts: list[int], a: int, d: int) -> list[int]:
    """`counts` with `d` more of action `a`; empty until the first."""
    counts = counts or [0] * len(ACTIONS)
    counts[a] += d
    return counts


def act(note: Note, a: int, t: int, d: int, slot: int, src: int, e: bytes, flags: int, rules: Rules) -> bool:
    """A counter moves by `d`; says whether it is evidence. Only adds, so that order does not matter.

    Test and bot traffic is counted apart; sponsored exposures and what follows them, and the author's own doings, are counted and move
    nothing else; an action without a known exposure warms the note but is no evidence.
    """
    if flags:
        if flags & TEST:
            note.test = apart(note.test, a, d)
            return False
        if flags & BOT:
            note.bot = apart(note.bot, a, d)
            return False
    note.counts[a] += d
    if slot == PAID:
        note.paid = apart(note.paid, a, d)
        return False
    if flags & SELF:
        return False
    if t - note.base > REACH:
        land(note, t, rules)
    heats = note.heats
    if a == 0:
        heats[5] += d * 2.0 ** ((t - note.base) / rules.hot_half_life)
        if t > note.exposed_at:
            note.exposed_at = t
        sources = note.by_source
        if not sources:
            sources = note.by_source = [0] * (len(SOURCES) + 1)
        sources[src] += d
        note.counted[0] += d
        expose(note, d, e, flags)
        return True
    points = rules.points[a]
    if points:
        age = t - note.base
        first, second, third, fourth = rules.half_lives
        heats[0] += d * points * 2.0 ** (age / first)
        heats[1] += d * points * 2.0 ** (age / second)
        heats[2] += d * points * 2.0 ** (age / third)
        heats[3] += d * points * 2.0 ** (age / fourth)
        if d > 0 and t > note.engaged_at:
            note.engaged_at = t
    place = EVIDENCE[a]
    if place < 0 or flags & STRANGE:
        return False
    note.counted[place] += d
    worth = rules.ces[a]
    if worth:
        heats[4] += d * worth * 2.0 ** ((t - note.base) / rules.hot_half_life)
    return True


def expose(note: Note, d: int, e: bytes, flags: int) -> None:
    """What was expected of an exposure; what is no rate counts as not told."""
    if len(e) == EXPECTED_BYTES:
        r0, r1, r2, r3, r4, r5, r6, r7 = expectations(e)
        if 0.0 <= r0 + r1 + r2 + r3 + r4 + r5 + r6 + r7 <= 8.0:  # no number, or an infinite one, is not
            s0, s1, s2, s3, s4, s5, s6, s7 = note.expected
            note.expected = [s0 + d * r0, s1 + d * r1, s2 + d * r2, s3 + d * r3, s4 + d * r4, s5 + d * r5, s6 + d * r6, s7 + d * r7]
            return
    if flags & FOLLOWER:
        note.plain_followers += d
    else:
        note.plain += d


def engaged(note: Note) -> int:
    """Engagements of the note, for neighbours: the sum of `config.events.ENGAGEMENTS`. What was given while nobody knew the note, and
    forgotten, may be taken back all the same: then there is less than nothing."""
    counts = note.counts
    return max(0, sum([counts[a] for a in ENGAGED]))


def facts_lag(note: Note, rules: Rules) -> bool:
    """The written facts are further behind than they may be."""
    return abs(engaged(note) - note.engaged_told) > rules.facts_step * note.engaged_told


def facts_of(note: Note) -> Facts:
    """A function of the state, whenever it is written: `engaged` is the count as it was last let out."""
    return Facts(note.id, True, note.author, note.channel, note.tags, note.engaged_told, note.lat, note.lon, note.city)


# --------------------------------------------------------------------------------------------------------------------- quality


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


def transition(move: pool.Move) -> Transition:
    evidence, found = move.evidence, move.quality
    return Transition(
        move.seq, move.at, move.origin, move.target, move.verdict,
        {
            "exposures": round(evidence.exposures),
            "observed": {action: round(n) for action, n in zip(quality.ACTIONS, evidence.observed, strict=True)},
            "expected": {action: round(n, 3) for action, n in zip(quality.ACTIONS, evidence.expected, strict=True)},
            "quality": {"mean": round(found.mean, 5), "low": round(found.low, 5), "high": round(found.high, 5)},
            "probability": round(move.probability, 4),
        },
        {"value": round(move.bar, 5), "version": move.bars},
    )  # fmt: skip


def turn(note: Note, now: int, rules: Rules) -> Transition | None:
    """After a catalogue record: the note enters the pools once, pauses while it may not be shown, and leaves them when it is deleted.

    Only a running note pauses: what was held or stopped has nothing to resume.
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
    return Transition(after.seq, now, None if place is None else place.tier, after.tier, verdict, {"exposures": note.counted[0]}, {})


# -------------------------------------------------------------------------------------------------------------------- scores


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


# ------------------------------------------------------------------------------------------------------------ what authors do


def repeated(note: Note, id: int) -> bool:
    """Whether the catalogue record of that id was here; if not, it now was."""
    key = id.to_bytes(8, "little")
    if find(note.records, key, 8) >= 0:
        return True
    note.records = (note.records + key)[-8 * RECORDS :]
    return False


def number(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def change(note: Note, patch: Mapping[str, Any], deleted: bool, t: int, rules: Rules) -> None:
    """A catalogue record: the fields it has are set, null clears (RFC 7396); what cannot be empty (author, status) stays."""
    note.changed_at = t
    if deleted:
        note.status = DELETED
    elif (status := patch.get("status")) in STATUSES[1:]:
        note.status = STATUSES.index(status)
    elif note.status == UNKNOWN:
        note.status = PUBLISHED
    if "visibility" in patch:
        note.visibility = VISIBILITIES.index(patch["visibility"] or "public")
    if "media" in patch:
        note.media = MEDIA.index(patch["media"] or "")
    if patch.get("author_id"):
        note.author = patch["author_id"]
    if "channel" in patch:
        note.channel = (patch["channel"] or "").strip("/")
    if "tags" in patch:
        note.tags = tuple(dict.fromkeys(patch["tags"] or ()))[: rules.tags]
    if "city" in patch:
        note.city = patch["city"] or ""
    if "lat" in patch or "lon" in patch:
        note.lat, note.lon = patch.get("lat", note.lat), patch.get("lon", note.lon)
    if "language" in patch:
        note.language = patch["language"] or ""
    if "author_notes" in patch:
        note.author_notes = number(patch["author_notes"])
    if "author_followers" in patch:
        note.author_followers = number(patch["author_followers"])
    if note.status == PUBLISHED and not note.published_at:
        note.published_at = t


def cut(value: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, whole characters."""
    if len(value) * 4 <= limit:
        return value
    data = value.encode()
    return value if len(data) <= limit else data[:limit].decode("utf-8", "ignore")


def rewrite(text: Text, patch: Mapping[str, Any], bounds: Notes) -> bool:
    """The text's part of a catalogue record; says whether anything changed."""
    before = msgspec.structs.astuple(text)
    if "title" in patch:
        text.title = cut(patch["title"] or "", bounds.title_bytes)
    if "body" in patch:
        text.body = cut(patch["body"] or "", bounds.body_bytes)
    if "cover_url" in patch:
        text.cover_url = cut(patch["cover_url"] or "", bounds.url_bytes)
    if "images" in patch:
        text.images = [cut(image, bounds.url_bytes) for image in (patch["images"] or ())[: bounds.images]]
    if "duration_s" in patch:
        text.duration_s = None if patch["duration_s"] is None else float(patch["duration_s"])
    if "place" in patch:
        text.place = cut(patch["place"] or "", bounds.title_bytes)
    if "products" in patch:
        text.products = [cut(product, bounds.url_bytes) for product in (patch["products"] or ())[: bounds.products]]
    return before != msgspec.structs.astuple(text)
