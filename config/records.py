"""The internal records: what stages and the API tell each other. Public events and notes stand in `events.py`.

Every internal topic holds *packed records*: a header (version, source, range of source positions, append time), tables, and signals.
Structs are msgpack arrays, version first; union members are told apart by an integer tag. Names are short because a field is
written millions of times; each is explained here. None can hold itself, so the collector of cycles need not look at them (`gc=False`).

A **position** is (offset, index, step): the offset of a record in its log, the place of a signal inside it, and the step at that
place: timers that fire before a signal are steps 0, 1, … and the signal itself is the last one. Ranges, marks and checkpoints are positions.
Every signal begins with the source position that produced it: `o` (offset, relative to the header's `base`), `i` and `s`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

VERSION = 1
READABLE = (1,)
"""Versions that readers take: the current one and the one before."""

MAX_SIGNALS = 1_000
MAX_BYTES = 512 * 1024


class Position(NamedTuple):
    offset: int
    index: int = 0  # type: ignore[assignment] # the field's name wins over tuple's search method
    step: int = 0


START = Position(0, 0, 0)


class Source(msgspec.Struct, array_like=True, frozen=True):
    """Where a packed record comes from: the identity of the log, its topic and partition."""

    log: str
    topic: str
    partition: int

    @property
    def name(self) -> str:
        return f"{self.log}/{self.topic}/{self.partition}"


class Signal(msgspec.Struct, array_like=True, tag_field="tag", gc=False):
    """What all signals begin with: the source position that produced it (0, 0, 0 when the writer is the API)."""

    o: int = 0
    i: int = 0
    s: int = 0


class Tick(Signal, tag=0):
    """Only moves the clock: appended by a quiet partition's owner when a deadline is due."""

    t: int = 0
    """effective time, epoch ms"""


class Probe(Signal, tag=9):
    """A heartbeat of the API, in any log: shows how old what the store shows is, and changes nothing (docs/decisions/0008)."""

    t: int = 0
    """always 0: it moves no clock"""
    k: int = 0
    """its number: it passes partition `k` (modulo their count) of every log"""
    at: int = 0
    """when it was sent, epoch ms of the sender's wall clock"""


# ---------------------------------------------------------------------------------------------------------------- by-user


class Facts(msgspec.Struct, array_like=True, gc=False):
    """What later stages must not look up about a note; written by intake, so that every replay sees the same."""

    id: str
    known: bool = False
    author: str = ""
    channel: str = ""
    tags: tuple[str, ...] = ()
    engaged: int = 0
    """distinct engagements of the note so far (for neighbours)"""
    lat: float | None = None
    lon: float | None = None
    city: str = ""


class Extra(msgspec.Struct, omit_defaults=True, gc=False):
    """What few events carry; a map, so that absent fields cost nothing. Names are the event's own."""

    dwell_ms: int | None = None
    completion: float | None = None
    author_id: str | None = None
    comment_id: str | None = None
    scope: str | None = None
    reason: str | None = None
    tags: tuple[str, ...] = ()
    lat: float | None = None
    lon: float | None = None
    city: str | None = None
    query: str | None = None
    surface: str | None = None
    product_id: str | None = None
    order_id: str | None = None
    quantity: int | None = None
    value: float | None = None
    currency: str | None = None


class Act(Signal, tag=1):
    """One thing a user did: a valid public event, split."""

    u: str = ""
    """user id"""
    k: int = 0
    """index in `config.events.TYPES`"""
    t: int = 0
    """effective time, epoch ms"""
    id: int = 0
    """hash of the event id (given or derived)"""
    n: int = -1
    """index in the header's `notes`, -1 without a note"""
    r: str = ""
    """request id of the feed response that showed the note"""
    p: int = -1
    """place in that response, -1 when not told"""
    f: int = 0
    """traffic: index in `config.events.TRAFFIC` (0 user, 1 test, 2 bot)"""
    x: Extra | None = None


class SlateItem(msgspec.Struct, array_like=True, gc=False):
    """A note of a slate, shown or passed over."""

    h: int
    """note hash"""
    p: int
    """position; -1 for one that was passed over"""
    slot: int = 0
    """index in SLOTS"""
    sources: int = 0
    """bit i = SOURCES[i] brought it"""
    tier: int = -1
    """pool tier while shown, -1 outside the pools"""
    propensity: float = 1.0
    """probability of being placed here (shown), or sampling weight (passed over)"""
    campaign: str = ""


SLOTS = ("ranked", "pool", "sponsored")
SOURCES = ("interest", "channel", "behaviour", "follow", "friends", "nearby", "pool", "hot")


class Slate(msgspec.Struct, array_like=True, gc=False):
    """What one feed response showed, and a seeded sample of what it did not show."""

    request_id: str
    surface: str
    items: list[SlateItem]
    passed: list[SlateItem]
    feature_set: str
    """hash of the named feature list"""
    features: bytes
    """float16, row-major [len(items) + len(passed), features]"""
    predictions: bytes
    """float16, row-major [len(items), len(PREDICTED)]: expected action rates per exposure"""
    query: str = ""
    session_id: str = ""
    device: str = ""
    variants: dict[str, str] = {}
    model_version: str = ""
    policy_version: str = ""
    settings_hash: str = ""
    degraded: str = ""
    context: bytes = b""
    """`models.context.Context`: what is known of the user besides the features of the notes"""
    shadow: bool = False
    """nobody saw it (evaluation): it is learned from in the same way, and is no exposure, whatever the settings say"""


class Served(Signal, tag=2):
    """A slate left the API. Deduplicated by `id`."""

    u: str = ""
    t: int = 0
    id: int = 0
    slate: Slate | None = None


class Personalize(Signal, tag=3):
    """`PUT /v1/users/{id}/settings`: profile and learning on or off."""

    u: str = ""
    t: int = 0
    id: int = 0
    on: bool = True


class Forget(Signal, tag=4):
    """`DELETE /v1/users/{id}/interests/{tag}`."""

    u: str = ""
    t: int = 0
    id: int = 0
    tag_name: str = ""


class Erase(Signal, tag=5):
    """`DELETE /v1/users/{id}`: state gone; events dated before `t` do not bring it back."""

    u: str = ""
    t: int = 0
    id: int = 0


UserSignal = Tick | Probe | Act | Served | Personalize | Forget | Erase

# ---------------------------------------------------------------------------------------------------------------- by-note


class NoteChange(Signal, tag=1):
    """A catalogue record: fields present are set, null clears (RFC 7396)."""

    n: int = 0
    """index in the header's `notes`"""
    t: int = 0
    id: int = 0
    patch: dict[str, Any] = {}
    """contract fields without note_id and timestamp; already validated"""
    deleted: bool = False


class NoteAct(Signal, tag=2):
    """A counter of a note moves: told by the users stage, already distinct per user and note."""

    n: int = 0
    a: int = 0
    """index in `config.events.ACTIONS`"""
    t: int = 0
    d: int = 1
    """+1, or -1 when taken back"""
    slot: int = 0
    src: int = -1
    """index in SOURCES of the source that brought it (the first), -1 when it was not served by us"""
    p: int = -1
    e: bytes = b""
    """with an exposure: float16 × len(PREDICTED), what was expected of it; empty when unknown"""
    flags: int = 0
    """FOLLOWER | STRANGE (no exposure of this note to this user is known yet) | TEST | BOT | SELF"""
    u: int = 0
    """user hash"""
    tier: int = -1
    """pool tier at serving"""
    h: int = 0
    """note hash, when its id is not known to the teller (then n is -1): an exposure by `served`"""


FOLLOWER, STRANGE, TEST, BOT, SELF = 1, 2, 4, 8, 16


class NoteServed(Signal, tag=3):
    """A note stands in a slate (+1), or the slate was settled: seen, or expired unseen (-1)."""

    n: int = 0
    t: int = 0
    d: int = 1
    slot: int = 0
    tier: int = -1
    h: int = 0
    """note hash, when its id is not known to the teller (then n is -1)"""


class Bars(Signal, tag=4):
    """Priors and quantiles of a channel, to every partition of by-note."""

    channel: str = ""
    version: int = 0
    t: int = 0
    body: bytes = b""
    """encoded `models.quality` bars"""


NoteSignal = Tick | Probe | NoteChange | NoteAct | NoteServed | Bars

# ---------------------------------------------------------------------------------------------------------------- by-list


class Score(Signal, tag=1):
    """A note's place in a list changes; `score` None takes it out."""

    name: str = ""
    h: int = 0
    score: float | None = None
    t: int = 0
    a: int = 0
    """author hash (hot lists hold one note per author at the head)"""


class Evidence(Signal, tag=2):
    """A note's evidence at the end of a tier, under the list ``channel:<name>``."""

    name: str = ""
    h: int = 0
    t: int = 0
    tier: int = 0
    body: bytes = b""
    """encoded `models.quality` evidence"""


ListSignal = Tick | Score | Evidence

# ---------------------------------------------------------------------------------------------------------------- by-pair


class Link(Signal, tag=1):
    """A user engaged with a note for the first time: once to each partition that owns it or one of those engaged with before it.

    One signal instead of two for every pair: pairs are what there is most of.
    """

    h: int = 0
    """note hash"""
    t: int = 0
    engaged: int = 0
    """engagement count of the note"""
    rows: bytes = b""
    """`models.user.RECENT_ROW` of the last notes before it, newest last: hash, epoch ms, action, engagement count then"""
    m: int = 0
    """whose keys this partition owns: bit 0 the note's, bit d that of the d-th note before it"""


PairSignal = Tick | Link

# --------------------------------------------------------------------------------------------------------------- examples


class Shown(Signal, tag=1):
    """An exposure: enters at once as a negative for every action (delayed feedback re-enters it as `Engaged`)."""

    u: int = 0
    h: int = 0
    t: int = 0
    set: str = ""
    """feature set hash"""
    x: bytes = b""
    """float16 features"""
    p: int = 0
    slot: int = 0
    propensity: float = 1.0
    r: str = ""


class Engaged(Signal, tag=2):
    """An action on an exposed note; with the first engagement of a note comes the whole slate (`c`, `hs`, `xs`, `w`)."""

    u: int = 0
    h: int = 0
    t: int = 0
    a: int = 0
    """index in ACTIONS"""
    d: int = 1
    set: str = ""
    x: bytes = b""
    p: int = 0
    slot: int = 0
    r: str = ""
    c: bytes = b""
    """`models.context.Context`"""
    at: int = -1
    """row of the note in `xs`, -1 when no slate comes with it"""
    hs: tuple[int, ...] = ()
    """note hashes of the slate, shown then passed over"""
    xs: bytes = b""
    """float16 [len(hs), features]"""
    w: tuple[float, ...] = ()
    """sampling weight per row of `xs` (1 for shown)"""


class Left(Signal, tag=3):
    """A user was erased: nothing learned of him alone stays."""

    u: int = 0
    t: int = 0


ExampleSignal = Tick | Shown | Engaged | Left

# ---------------------------------------------------------------------------------------------------------------- headers


class Packed(msgspec.Struct, array_like=True):
    """The header of every packed record; subclasses add tables and the typed signals."""

    v: int
    source: Source | None
    """None: no range; every signal is deduplicated by its id (the API's), or needs no dedup (ticks)"""
    base: int
    """offset to which the signals' `o` is relative"""
    first: tuple[int, int, int]
    end: tuple[int, int, int]
    """the record speaks for source positions in [first, end)"""
    appended: int
    """append time of the oldest public record in it, epoch ms"""


class UserRecord(Packed):
    notes: list[Facts]
    signals: list[UserSignal]


class NoteRecord(Packed):
    notes: list[str]
    """note ids"""
    signals: list[NoteSignal]


class ListRecord(Packed):
    notes: list[str]
    signals: list[ListSignal]


class PairRecord(Packed):
    notes: list[str]
    signals: list[PairSignal]


class ExampleRecord(Packed):
    notes: list[str]
    signals: list[ExampleSignal]


encode = msgspec.msgpack.Encoder().encode
decode_user = msgspec.msgpack.Decoder(UserRecord).decode
decode_note = msgspec.msgpack.Decoder(NoteRecord).decode
decode_list = msgspec.msgpack.Decoder(ListRecord).decode
decode_pair = msgspec.msgpack.Decoder(PairRecord).decode
decode_example = msgspec.msgpack.Decoder(ExampleRecord).decode
