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

The object in memory holds what the store holds: ``User(parts of dump) == user`` after every signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct as Layout

import msgspec
import numpy as np
import numpy.typing as npt

from config.events import ACTIONS
from models.slate import Open, Standing
from models.weights import Table

VERSION = 2

SEEN, LEDGERS = 4, 4
"""Chunks of the two large rings. A cold user costs a read of every part: few and small enough to rewrite."""

SEEN_PARTS = tuple(f"seen{i}" for i in range(SEEN))
LEDGER_PARTS = tuple(f"ledger{i}" for i in range(LEDGERS))
PARTS = ("hot", "events", "public", "comments", "follows", "slates", *SEEN_PARTS, *LEDGER_PARTS)
"""Store keys of a user, in the order of `User`."""

AT_SEEN = PARTS.index("seen0")
AT_LEDGER = PARTS.index("ledger0")

HOT, EVENTS, PUBLICS, COMMENTS, FOLLOWS, SLATES = 1, 2, 4, 8, 16, 32
"""Bits of `User.dirty`: bit i is PARTS[i]."""
ALL = (1 << len(PARTS)) - 1


RECENT_ROW = Layout("<QqBI")
RECENT = np.dtype([("hash", "<u8"), ("at", "<i8"), ("action", "u1"), ("engaged", "<u4")])
"""A note engaged with: its hash, when last (epoch ms), the strongest action on it (index in ACTIONS), its engagements then."""


class Place(msgspec.Struct, array_like=True, gc=False):
    """Where the user was last, as told."""

    lat: float | None
    lon: float | None
    city: str
    at: int


class Hot(msgspec.Struct, array_like=True, gc=False):
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
    follows: tuple[str, ...] = ()
    """the newest authors followed; those before them in part `follows`. This and the next four: oldest first, all distinct. Most are empty: tuples,
    since an empty list takes 80 bytes and an empty tuple none"""
    blocks: tuple[str, ...] = ()
    """author ids"""
    hidden_authors: tuple[str, ...] = ()
    hidden_tags: tuple[str, ...] = ()
    hidden_notes: tuple[int, ...] = ()
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
    """running mean of log(1 + place) of what the user took from slates (`models.context.moved_rank`)"""


class Follows(msgspec.Struct, array_like=True, gc=False):
    """What feeds rarely need of whom a user follows."""

    older: list[str] = []
    """authors followed before those in `hot`, oldest first"""
    where: dict[str, str] = {}
    """author -> id of the note on which the follow happened: there it is taken back …"""
    also: dict[str, list[str]] = {}
    """… and ids of further notes on which it was said again, and counts"""

    def __bool__(self) -> bool:
        return bool(self.older or self.where)


LEDGER = np.dtype([("hash", "<u8"), ("bits", "<u2"), ("strange", "<u2"), ("comments", "u1"), ("state", "u1")])
"""A row of the ledger: bit i of `bits` is ACTIONS[i], of `strange` those of them whose exposure was not told yet; comments of this user
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


NO_FOLLOWS = Follows()
"""Of the many who follow nobody; never changed."""

_encode = msgspec.msgpack.Encoder().encode
_hot = msgspec.msgpack.Decoder(Hot).decode
_slates = msgspec.msgpack.Decoder(list[Open]).decode
_follows = msgspec.msgpack.Decoder(Follows).decode


class User:
    """The whole state of a user. Mutable; `dirty` holds a bit for each part that differs from the store's."""

    __slots__ = ("comments", "dirty", "events", "follows", "hot", "ledger", "public", "seen", "slates")

    def __init__(self, values: Sequence[bytes | None] = (None,) * len(PARTS)) -> None:
        """From the values of `PARTS`; all None: a user never heard of."""
        hot, events, public, comments, follows, slates = values[:AT_SEEN]
        self.dirty = 0
        self.hot = _hot(hot) if hot is not None else Hot()
        self.events: list[bytes] = [events or b""]
        self.public = public or b""
        self.comments = comments or b""
        self.follows: Follows = _follows(follows) if follows else NO_FOLLOWS
        self.slates: list[Open] = _slates(slates) if slates else []
        self.seen: list[bytes] = [value or b"" for value in values[AT_SEEN:AT_LEDGER]]
        self.ledger: list[bytes] = [value or b"" for value in values[AT_LEDGER:]]

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
