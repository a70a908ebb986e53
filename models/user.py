"""What is kept of a user: one object, several store values, so that a signal rewrites only what it changed.

| part | what | rewritten by |
|---|---|---|
| `hot` | `Hot`: weights, recent engagements, follows, blocks, hidden, place, settings, counters, which slates stand open | every signal |
| `events` | ring of 256 event-id hashes | every signal but impressions (these are known by their note) |
| `public` | `PUBLIC` rows: the last 64 likes, collects and shares, oldest first; friends' feeds read them | those |
| `comments` | rows of (note hash, comment hash) behind the ledger's comment counts | comments |
| `follows` | `Follows`: those beyond the 256 in `hot`, and the notes on which they happened | follows on a note, each 64th beyond 256 |
| `slates` | `Open` slates, not yet settled, in the order of `Hot.slates` | `served`, and when slates are settled |
| `seen0…3` | ring of 2,000 note hashes: exposures, and notes engaged with unseen | exposures |
| `ledger0…3` | ring of 5,000 `LEDGER` rows: what was done to a note, one bit an action | engagements |

The object in memory holds what the store holds: ``User.load(parts of dump) == user`` after every signal.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from math import isnan
from struct import Struct as Layout
from struct import unpack
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from config.events import ACTIONS
from config.keys import hash64
from config.records import Slate
from models.ring import find

VERSION = 1

SEEN, LEDGERS = 4, 4
"""Chunks of the two large rings. A cold user costs a read of every part: few and small enough to rewrite."""

SEEN_PARTS = tuple(f"seen{i}" for i in range(SEEN))
LEDGER_PARTS = tuple(f"ledger{i}" for i in range(LEDGERS))
PARTS = ("hot", "events", "public", "comments", "follows", "slates", *SEEN_PARTS, *LEDGER_PARTS)
"""Store keys of a user, in the order of `User.load`."""

AT_SEEN = PARTS.index("seen0")
AT_LEDGER = PARTS.index("ledger0")

HOT, EVENTS, PUBLICS, COMMENTS, FOLLOWS, SLATES = 1, 2, 4, 8, 16, 32
"""Bits of `User.dirty`: bit i is PARTS[i]."""
ALL = (1 << len(PARTS)) - 1


WEIGHT_ROW = Layout("<QddqQB")
WEIGHT = np.dtype([("hash", "<u8"), ("short", "<f8"), ("long", "<f8"), ("at", "<i8"), ("note", "<u8"), ("by", "u1")])
"""What a user thinks of one tag, author or channel: hash of its name; the two components, forward-decayed (`models/interest.py` reads
them); what moved it last: epoch ms, hash of the note (0 without one), index in `config.events.TYPES`. An impression stands here only
until something was done."""

SEPARATOR = "\0"


class Weighed(NamedTuple):
    """A row of a `Table`, with its name."""

    name: str
    short: float
    long: float
    at: int
    note: int
    by: int


class Table(msgspec.Struct, array_like=True):
    """Weights by name. As bytes they cost a fifth of the memory and nothing to decode and encode; a search among 128 takes 0.2 µs."""

    rows: bytearray = msgspec.field(default_factory=bytearray)
    """WEIGHT rows, in order of arrival"""
    names: str = ""
    """the names in that order, each followed by SEPARATOR; only readers and evictions need them"""

    def __len__(self) -> int:
        return len(self.rows) // WEIGHT_ROW.size

    def __contains__(self, name: str) -> bool:
        return find(self.rows, key_of(name), WEIGHT_ROW.size) >= 0

    def __iter__(self) -> Iterator[Weighed]:
        for name, row in zip(self.names.split(SEPARATOR), WEIGHT_ROW.iter_unpack(self.rows), strict=False):
            yield Weighed(name, *row[1:])

    def bring(self, name: str, key: bytes, short: float, long: float, at: int, note: int, by: int) -> None:
        """A last row, for a name that is not there yet; one that cannot be kept is passed over."""
        if SEPARATOR not in name:
            self.rows += key + MOVED.pack(short, long, at, note, by)
            self.names += name + SEPARATOR

    def drop(self, gone: Container[str]) -> bool:
        """Without the rows of these names; whether there were any."""
        kept = [weighed for weighed in self if weighed.name not in gone]
        if len(kept) == len(self):
            return False
        self.rows = bytearray(b"".join([WEIGHT_ROW.pack(hash64(w.name), *w[1:]) for w in kept]))
        self.names = "".join([w.name + SEPARATOR for w in kept])
        return True


MOVED = Layout("<ddqQB")
"""A row of a `Table` behind its hash."""


@lru_cache(65_536)
def key_of(name: str) -> bytes:
    """The hash of a name as rows begin with it. Cached: tags and authors come back all the time."""
    return hash64(name).to_bytes(8, "little")


RECENT_ROW = Layout("<QqBI")
RECENT = np.dtype([("hash", "<u8"), ("at", "<i8"), ("action", "u1"), ("engaged", "<u4")])
"""A note engaged with: its hash, when first (epoch ms), the strongest action on it (index in ACTIONS), its engagements then."""


class Place(msgspec.Struct, array_like=True):
    """Where the user was last, as told."""

    lat: float | None
    lon: float | None
    city: str
    at: int


class Standing(msgspec.Struct, array_like=True):
    """A slate that stands open, without its body: what its exposures change."""

    until: int
    """epoch ms at which it is settled"""
    marks: bytes
    """a byte per shown item: 0 not seen yet, else what `models.interest` remembers of its exposure"""


class Hot(msgspec.Struct, array_like=True):
    """The part that every signal changes and every feed reads."""

    v: int = VERSION
    tags: Table = msgspec.field(default_factory=Table)
    authors: Table = msgspec.field(default_factory=Table)
    channels: Table = msgspec.field(default_factory=Table)
    n: int = 0
    """notes engaged with while learning: the clock of the decay per event"""
    origin: int = 0
    """epoch ms from which ages are told, 0 before the first weight"""
    short_mark: int = 0
    """landmarks of the two components (`models/decay.py`)"""
    long_mark: int = 0
    signup: dict[str, int] = {}
    """tags chosen at sign-up -> when (ms)"""
    signup_n: int = 0
    """`n` at sign-up"""
    recent: bytes = b""
    """RECENT rows of distinct notes, newest last"""
    follows: list[str] = []
    """the newest authors followed; those before them in part `follows`. This and the next four: oldest first, all distinct"""
    blocks: list[str] = []
    """author ids"""
    hidden_authors: list[str] = []
    hidden_tags: list[str] = []
    hidden_notes: list[int] = []
    """note hashes"""
    place: Place | None = None
    personalized: bool = True
    erased_before: int = 0
    """epoch ms: what is dated before does not count"""
    first_seen: int = 0
    last_seen: int = 0
    """effective time of the newest signal, epoch ms"""
    events: int = 0
    """signals that changed something"""
    exposures: int = 0
    engagements: int = 0
    """notes engaged with, ever"""
    likes: int = 0
    tests: int = 0
    """test and bot signals, of which nothing else is kept"""
    event_n: int = 0
    """pushes onto the rings so far: events, seen, ledger"""
    seen_n: int = 0
    ledger_n: int = 0
    slates: list[Standing] = []
    """oldest first; the bodies are in part `slates`"""
    rank: float = 2.0
    """running mean of log(1 + place) of what the user took from slates (`models.ranker.moved_rank`)"""


HALF = Layout("<e")
PLACED = Layout("<hBbbf")
"""A row of `Open.placed`: position (-1 passed over), slot, first source (-1 none), pool tier (-1 none), propensity or weight."""


class Open(msgspec.Struct, array_like=True, frozen=True):
    """A slate as its user's stage keeps it: shown items first, then those passed over."""

    v: int
    r: str
    """request id"""
    t: int
    shown: int
    """how many of the rows were shown"""
    hashes: bytes
    """note hashes, 8 bytes each, little-endian"""
    placed: bytes
    """PLACED rows"""
    feature_set: str
    features: bytes
    """float16 [rows, features]"""
    predictions: bytes
    """float16 [shown, len(PREDICTED)]"""
    context: bytes

    def row(self, key: bytes) -> int:
        """Row of a shown note by its 8-byte key, -1 when it was not shown."""
        hashes = self.hashes
        at = hashes.find(key)
        while at >= 0 and at & 7:
            at = hashes.find(key, at + 1)
        return at >> 3 if 0 <= at < self.shown << 3 else -1

    def digest(self, row: int) -> int:
        """The note hash of a row."""
        return int.from_bytes(self.hashes[row << 3 : (row + 1) << 3], "little")

    def digests(self) -> tuple[int, ...]:
        return unpack(f"<{len(self.hashes) >> 3}Q", self.hashes)

    def weights(self) -> tuple[float, ...]:
        """Sampling weight of each row: 1 for what was shown."""
        rows = list(PLACED.iter_unpack(self.placed))
        return (*(1.0 for _ in rows[: self.shown]), *(row[4] for row in rows[self.shown :]))

    def place(self, row: int) -> tuple[int, int, int, int, float]:
        """(position, slot, source, tier, propensity) of a row."""
        return PLACED.unpack_from(self.placed, row * PLACED.size)

    def features_of(self, row: int) -> bytes:
        rows = len(self.hashes) >> 3
        width = len(self.features) // rows if rows else 0
        return self.features[row * width : (row + 1) * width]

    def engage(self, row: int) -> float | None:
        """p(engage) as predicted: the first of PREDICTED."""
        width = len(self.predictions) // self.shown
        p = HALF.unpack_from(self.predictions, row * width)[0] if width >= HALF.size else None
        return None if p is None or isnan(p) else p

    def expectation(self, row: int) -> bytes:
        """float16 × len(PREDICTED), empty when none was logged."""
        width = len(self.predictions) // self.shown if self.shown else 0
        return self.predictions[row * width : (row + 1) * width]


class Follows(msgspec.Struct, array_like=True):
    """What feeds rarely need of whom a user follows."""

    older: list[str] = []
    """authors followed before those in `hot`, oldest first"""
    where: dict[str, str] = {}
    """author -> id of the note on which the follow happened: there it is taken back"""

    def __bool__(self) -> bool:
        return bool(self.older or self.where)


LEDGER = np.dtype([("hash", "<u8"), ("bits", "<u2"), ("strange", "<u2"), ("comments", "u1"), ("state", "u1")])
"""A row of the ledger: bit i of `bits` is ACTIONS[i], of `strange` those of them that came before any exposure; comments of this user
that stand; `state` is what the first action found, so that what is taken back is told as it was given: see ONCE, FOLLOWED, SLOT."""

ROW = Layout("<HHBB")
"""A ledger row behind its hash."""

ONCE, FOLLOWED, OWN, SLOT = 1, 2, 4, 3
"""Bits of a row's `state`: the note was engaged with at some time; its author was followed; is this user; slot << SLOT."""

PUBLIC_ROW = Layout("<QqB")
PUBLIC = np.dtype([("hash", "<u8"), ("at", "<i8"), ("action", "u1")])
"""A public action: note hash, epoch ms, index in ACTIONS; oldest first."""

BIT = {action: 1 << i for i, action in enumerate(ACTIONS)}
"""Action -> its bit in the ledger."""


def opened(slate: Slate, t: int) -> Open:
    """What is kept of a slate that left the API at `t`."""
    items = [*slate.items, *slate.passed]
    return Open(
        VERSION,
        slate.request_id,
        t,
        len(slate.items),
        b"".join([item.h.to_bytes(8, "little") for item in items]),
        b"".join([PLACED.pack(i.p, i.slot, (i.sources & -i.sources).bit_length() - 1, i.tier, i.propensity) for i in items]),
        slate.feature_set,
        slate.features,
        slate.predictions,
        slate.context,
    )


_encode = msgspec.msgpack.Encoder().encode
_hot = msgspec.msgpack.Decoder(Hot).decode
_slates = msgspec.msgpack.Decoder(list[Open]).decode
_follows = msgspec.msgpack.Decoder(Follows).decode


class User:
    """The whole state of a user. Mutable; `dirty` holds a bit for each part that differs from the store's."""

    __slots__ = ("comments", "dirty", "events", "follows", "hot", "ledger", "public", "seen", "slates")

    def __init__(self) -> None:
        self.hot = Hot()
        self.dirty = 0
        self.events: list[bytes] = [b""]
        self.public = b""
        self.comments = b""
        self.seen: list[bytes] = [b""] * SEEN
        self.ledger: list[bytes] = [b""] * LEDGERS
        self.follows = Follows()
        self.slates: list[Open] = []

    @classmethod
    def load(cls, values: Sequence[bytes | None]) -> User:
        """From the values of `PARTS`; all None: a user never heard of."""
        user = cls()
        if values[0] is not None:
            user.hot = _hot(values[0])
        user.events = [values[1] or b""]
        user.public = values[2] or b""
        user.comments = values[3] or b""
        if values[4]:
            user.follows = _follows(values[4])
        user.slates = _slates(values[5]) if values[5] else []
        user.seen = [value or b"" for value in values[AT_SEEN:AT_LEDGER]]
        user.ledger = [value or b"" for value in values[AT_LEDGER:]]
        return user

    def part(self, i: int) -> bytes | None:
        """The store's value of PARTS[i]; None for one that is empty."""
        if i == 0:
            return _encode(self.hot)
        if i >= AT_LEDGER:
            return self.ledger[i - AT_LEDGER] or None
        if i >= AT_SEEN:
            return self.seen[i - AT_SEEN] or None
        value = (None, self.events[0], self.public, self.comments, self.follows, self.slates)[i]
        return (value if type(value) is bytes else _encode(value)) if value else None

    def dump(self) -> dict[str, bytes | None]:
        """Changed parts (None deletes) and nothing twice: the object is clean afterwards."""
        dirty, self.dirty = self.dirty, 0
        changed: dict[str, bytes | None] = {}
        while dirty:
            low = dirty & -dirty
            i = low.bit_length() - 1
            changed[PARTS[i]] = self.part(i)
            dirty ^= low
        return changed

    def values(self) -> list[bytes | None]:
        """All parts as the store would hold them."""
        return [self.part(i) for i in range(len(PARTS))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, User) and all(getattr(self, a) == getattr(other, a) for a in self.__slots__ if a != "dirty")

    __hash__ = None  # type: ignore[assignment]


def decode_hot(value: bytes | None) -> Hot:
    """Part `hot`; None is a user never heard of."""
    return _hot(value) if value else Hot()


def decode_slates(value: bytes | None) -> list[Open]:
    """Part `slates`."""
    return _slates(value) if value else []


def seen_hashes(values: Iterable[bytes | None]) -> npt.NDArray[np.uint64]:
    """Note hashes in the parts `SEEN_PARTS`, in no promised order."""
    return np.frombuffer(b"".join(value for value in values if value), np.dtype("<u8"))


def ledger_rows(values: Iterable[bytes | None]) -> npt.NDArray[np.void]:
    """`LEDGER` rows in the parts `LEDGER_PARTS`, one per note."""
    return np.frombuffer(b"".join(value for value in values if value), LEDGER)


def public_actions(value: bytes | None) -> npt.NDArray[np.void]:
    """`PUBLIC` rows of part `public`, oldest first."""
    return np.frombuffer(value or b"", PUBLIC)


def all_follows(hot: Hot, value: bytes | None = None) -> list[str]:
    """Followed authors, oldest first: those beyond 256 from part `follows`, then `hot`'s."""
    return [*(_follows(value).older if value else ()), *hot.follows]


def recent_engagements(hot: Hot) -> npt.NDArray[np.void]:
    """`RECENT` rows, newest last."""
    return np.frombuffer(hot.recent, RECENT)


def bits_to_actions(bits: int) -> tuple[str, ...]:
    """The actions of a ledger row, for people.

    >>> bits_to_actions(0b10001)
    ('impression', 'like')
    """
    return tuple(action for action, bit in BIT.items() if bits & bit)
