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
``moves``   msgpack list of `Move`      ``GET /v1/notes/{id}``: the last [notes] history moves, oldest first
``text``    msgpack `Text`              the API, for the notes shown
==========  ==========================  ==========================================================================================
"""

from __future__ import annotations

from typing import Any

import msgspec

VERSION = 1


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


class Move(msgspec.Struct, omit_defaults=True):
    """One move of a note in the pools, as `transitions` and the history of ``GET /v1/notes/{id}`` have it."""

    seq: int = 0
    """gap-free per note, from 1"""
    at: int = 0
    """epoch ms"""
    source: int | None = msgspec.field(default=None, name="from")
    """tier left; None at the entry"""
    target: int | None = msgspec.field(default=None, name="to")
    """tier entered; None when the note leaves the ladder"""
    verdict: str = ""
    evidence: dict[str, Any] = {}
    bar: dict[str, Any] = {}


class Note(msgspec.Struct, array_like=True):
    """The state of one note."""

    v: int = VERSION
    id: str = ""
    """empty while only its hash is known"""
    status: int = 0
    """index in `store.layout.STATUSES`; 0 (unknown): signals came, the note did not yet"""
    visibility: int = 0
    """index in `store.layout.VISIBILITIES`"""
    media: int = 0
    author: str = ""
    channel: str = ""
    tags: tuple[str, ...] = ()
    city: str = ""
    lat: float | None = None
    lon: float | None = None
    language: str = ""
    author_notes: int = 0
    author_followers: int = 0
    since: int = 0
    """when the first signal came, epoch ms"""
    published_at: int = 0
    """0: never published"""
    changed_at: int = 0
    """last catalogue record"""
    engaged_at: int = 0
    """last engagement, 0 never"""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * 14)
    """distinct users by `config.events.ACTIONS`, organic and paid, without test and bot"""
    test: list[int] = []
    """the same for traffic `test`; empty until the first"""
    bot: list[int] = []
    paid: list[int] = []
    """part of `counts`: what came from sponsored slots; empty until the first. paid[0] are the paid exposures"""
    by_source: list[int] = []
    """exposures by `config.records.SOURCES`, last: not served by us; empty until the first"""
    served: int = 0
    """under way: in a slate that is neither seen nor expired"""
    counted: list[int] = msgspec.field(default_factory=lambda: [0] * 9)
    """evidence since publication: organic exposures, then organic actions by `config.events.PREDICTED`"""
    expected: list[float] = msgspec.field(default_factory=lambda: [0.0] * 8)
    """what the scorer expected of those exposures that came with an expectation, by PREDICTED"""
    plain: int = 0
    """organic exposures without an expectation"""

    base: int = 0
    """landmark of the forward-decayed sums, epoch ms; 0 before the first"""
    heats: list[float] = msgspec.field(default_factory=lambda: [0.0] * 6)
    """engagement points at the half-lives of [notes] heat_half_lives_h (4); CES and exposures at [lists] hot_half_life_h"""
    exposed_at: int = 0
    """last organic exposure"""

    seq: int = 0
    """of the last move"""
    told: list[float | None] = msgspec.field(default_factory=lambda: [None] * 4)
    """scores last told to the lists: popularity, hot, recency, placement; None: in none of them"""
    told_tier: int = -1
    """tier of the pool lists that hold the note"""
    engaged_told: int = -1
    """`engaged` of the facts as written"""
    timer: int = 0
    """the deadline that is set, 0 none"""


decode = msgspec.msgpack.Decoder(Note).decode
decode_text = msgspec.msgpack.Decoder(Text).decode
decode_moves = msgspec.msgpack.Decoder(list[Move]).decode
