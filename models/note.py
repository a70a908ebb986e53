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

import struct
from typing import Any

import msgspec

from config.events import ACTIONS, ENGAGEMENTS, PREDICTED
from config.records import BOT, FOLLOWER, SELF, SOURCES, STRANGE, TEST, Facts
from config.settings import Lists, Notes
from models import pool, quality
from models.lists import HOUR
from models.pool import PoolState

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
    """value per exposure (CES) it was held against (of a move without a decision: the tier's own bar), the channel whose bars it is one
    of ("": all notes, and the settings), and their publication number (0: of the settings)"""


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
