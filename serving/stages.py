"""The roles of a feed's pipeline, and the data that goes from one to the next.

    Query, Viewer ─► Source.asks ─► heads ─► Candidates ─► early Filters ─► records ─► Filters ─► Scorer ─► Scored ─► slots ─► Page

A source says which lists it wants, a filter which candidates stay, a scorer what each is worth. A filter cannot reorder and a scorer
cannot drop: their answers have no room for it. None of them reads, waits, counts or catches: `feed.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from models.features import Past
from models.gathering import look
from models.interest import Named, Taste
from models.user import Hot
from serving.beside import Beside
from serving.keys import Keys
from store.layout import NOTE

Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

NO_HASHES: Hashes = np.empty(0, np.uint64)
NO_NOTES: npt.NDArray[np.void] = np.empty(0, NOTE)


class Query(msgspec.Struct, frozen=True):
    """What was asked, and when in the stream's time."""

    user_id: str
    user: int
    """hash of the user id"""
    surface: str
    n: int
    request_id: str
    seed: int
    """hash of the request id: whoever has the slate can draw the same numbers again"""
    channel: str = ""
    city: str = ""
    lat: float | None = None
    lon: float | None = None
    exclude: Any = None
    """sorted note hashes that must not come; None without any"""
    shown: Any = None
    """lower halves of note hashes of earlier pages, uint32; None on the first page"""
    start: int = 0
    """position of the first item"""
    before: int = 0
    """hash of the author of the item above it; 0 on the first page"""
    explain: bool = False
    session_id: str = ""
    device: str = ""
    note: int = 0
    """hash of the note whose like is asked for; 0 without one"""


class Friend(NamedTuple):
    """Whom the user follows, and what he did to a note in public."""

    user_id: str
    action: str


class Viewer(msgspec.Struct, frozen=True):
    """Who asks, as one read of the user's keys tells; built once per feed, shared by all components."""

    hot: Hot
    personal: bool
    """False: the profile must not be used"""
    now: int
    """the stream's clock, epoch ms"""
    tags: Named
    """positive weights, strongest first; empty when not personal"""
    authors: Named
    channels: Named
    taste: Taste
    seen: Hashes
    """sorted"""
    ledger: npt.NDArray[np.void]
    """`models.user.LEDGER` rows"""
    follows: Sequence[str]
    """author ids, newest first"""
    followed: Hashes
    """their hashes, sorted"""
    lat: float | None = None
    lon: float | None = None
    city: str = ""
    beside: Beside | None = None
    """neighbours of the user's recent notes, once they are read; None without any"""
    recent: npt.NDArray[np.void] = NO_NOTES
    """records of the notes engaged with lately, newest first, once they are read; zeros where there is none"""
    friends: Mapping[int, Friend] = {}
    """note hash -> whom the user follows and who acted on it last, once that is read"""


class Ask(NamedTuple):
    """A source wants `places` of a list, from `start` on."""

    name: str
    """list name (`models/lists.py`)"""
    places: int
    inside: bool = False
    """everything in this list lies in the channel that was asked for"""
    start: int = 0
    """places before the first one wanted"""
    reserve: bool = False
    """its notes are taken where there are too few others"""
    by_score: bool = False
    """the lists of this source are cut by the scores in them, which are of one kind, and not at the same depth"""


def worn(query: Query, viewer: Viewer, front: int) -> bool:
    """The user knows more notes than the front of the lists that are asked for him holds, or pages on: then he is about to."""
    return query.shown is not None or viewer.seen.size > front


class Candidates(NamedTuple):
    """Notes by hash, before their records are read; row i of every array is one note."""

    hashes: Hashes
    """ascending"""
    sources: npt.NDArray[np.uint8]
    """bit i: SOURCES[i] brought it"""
    rank: npt.NDArray[np.int64]
    """its best place in any list, ties by the order of the sources"""
    inside: Mask
    """a list of the channel that was asked for holds it"""

    def take(self, rows: npt.NDArray[Any]) -> Candidates:
        return Candidates(*(column[rows] for column in self))


class Scored(NamedTuple):
    """What a scorer says of n notes."""

    score: Floats
    """higher is better"""
    own: Floats
    """the part of the score that is this user's taste in the note itself: what matching pool notes to users goes by"""
    predictions: Floats
    """[n, len(PREDICTED)] expected actions per exposure"""
    features: Floats
    """[n, len(features)]"""
    context: bytes
    """what is known of the user beside them, as it is logged"""
    contributions: Floats | None
    """[n, len(parts)], adding up to `score`; None when nobody asked for an explanation"""
    past: Past | None = None
    """the user's side of the features, for `Scorer.expects`; None when that needs nothing of it"""
    km: Floats | None = None
    """how far the notes are, infinite where a place is unknown; None when nobody looked"""


class Source(Protocol):
    name: ClassVar[str]
    """one of `config.records.SOURCES`"""

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]: ...


class Reader(Protocol):
    """A source whose notes stand in no list: it names keys, and makes notes of their values. Read with the lists, in one round trip."""

    name: ClassVar[str]

    def wants(self, query: Query, viewer: Viewer, keys: Keys) -> Sequence[bytes]: ...

    def finds(self, query: Query, viewer: Viewer, values: Sequence[bytes | None]) -> tuple[Viewer, Hashes]:
        """The viewer with what was learned of him, and notes, each once, best first."""


class EarlyFilter(Protocol):
    """Judges by hash alone, so that what goes is never read."""

    name: ClassVar[str]

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates) -> Mask: ...


class Filter(Protocol):
    """Judges by the note's record."""

    name: ClassVar[str]

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask: ...


class Scorer(Protocol):
    name: ClassVar[str]

    @property
    def version(self) -> str:
        """What a slate logs as the model's version."""

    @property
    def features(self) -> Sequence[str]:
        """Names of the features, in the order of `Scored.features`."""

    @property
    def feature_set(self) -> str:
        """Hash of the list of features."""

    @property
    def parts(self) -> Sequence[str]:
        """Names of the contributions."""

    def score(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Scored: ...

    def expects(
        self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, rows: Rows
    ) -> Floats:
        """The predictions for some `rows` of the candidates, which were `scored`, had nobody met those notes (`serving.expected.unknown`)."""


class Placed(NamedTuple):
    """A row of the candidates at a place of the response."""

    row: int
    slot: int
    """index in `config.records.SLOTS`"""
    propensity: float


class Page(NamedTuple):
    """A decided feed: everything that the slate and the response need."""

    query: Query
    viewer: Viewer
    candidates: Candidates
    notes: npt.NDArray[np.void]
    scored: Scored | None
    scorer: Scorer
    placed: Sequence[Placed]
    passed: Sequence[tuple[int, float]]
    """(row, sampling weight) of candidates that were not shown"""
    degraded: str = ""
    counts: Mapping[str, int] = {}


def member(values: Hashes, ascending: Hashes) -> Mask:
    """Which `values` are in `ascending`: two to five times faster than np.isin at the sizes of a feed."""
    if not ascending.size:
        return np.zeros(values.shape, np.bool_)
    at = ascending[:-1].searchsorted(values)  # whatever is larger than all is compared with the last
    found: Mask = ascending[at] == values
    return found


def lookup(values: Hashes, keys: Hashes, weights: Floats) -> Floats:
    """The weight of each value, 0 where it has none; `keys` ascending."""
    found = np.empty(values.shape, np.float32)
    look(np.array(values, order="C").reshape(-1), keys, weights, found.reshape(-1))
    return found
