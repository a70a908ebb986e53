"""What is engaged with together: streaming item-to-item, bounded, decayed, exact under replay.

An engagement links a note with the user's last few, both ways. What a note *stores* is larger than the head that serving reads: an
evicted neighbour has lost what it had gathered, and newcomers, which have gathered little, would leave first. So eviction weighs what
a neighbour gathered against the engagements it had to gather it in, and it takes a batch at a time, since one at a time costs a scan each.
"""

from __future__ import annotations

from array import array
from math import floor
from struct import Struct
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from models.decay import rebase

VERSION = 1

SUMS = ("together", "after", "near", "recent")
"""What is gathered of a neighbour: sums over users who engaged with both notes, d engagements apart, of

========  ===========================================================================================================
together  d^-0.5
after     1/d, where the neighbour came after the note, d <= 10
near      d^-0.5, where at most `near_ms` lay between the two
recent    d^-0.5 · 2^(time / half-life), relative to the landmark in front of the head
========  ===========================================================================================================
"""

_STATE = Struct("<BxHIq")  # version, neighbours, engagements of the note, landmark
_FRONT = Struct("<BxHIqd")  # version, neighbours, engagements of the note, landmark, half-life in ms

FOLLOWING = 10
"""Distance up to which one note counts as following another."""


class Around:
    """The stored neighbours of one note: parallel columns, in the order in which the neighbours came.

    Columns are machine arrays of the width they are stored in, so that every sum is rounded as its encoding is:
    ``Around.decode(around.encode()) == around`` after every pair.
    """

    __slots__ = ("after", "born", "counts", "engaged", "hashes", "landmark", "near", "places", "recent", "together")

    def __init__(self) -> None:
        self.engaged = 0
        """engagements of the note itself, as last told"""
        self.landmark = 0
        """halvings up to which `recent` is scaled down; 0 before the first pair"""
        self.hashes = array("Q")
        self.together = array("f")
        self.after = array("f")
        self.near = array("f")
        self.recent = array("f")
        self.counts = array("I")
        """engagements of the neighbour, as last told"""
        self.born = array("I")
        """engagements of the note when the neighbour came"""
        self.places: dict[int, int] = {}
        """hash -> row"""

    def columns(self) -> tuple[array[int] | array[float], ...]:
        return self.hashes, self.together, self.after, self.near, self.recent, self.counts, self.born

    def __len__(self) -> int:
        return len(self.hashes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Around) and self.encode() == other.encode()

    __hash__ = None  # type: ignore[assignment]

    def encode(self) -> bytes:
        head = _STATE.pack(VERSION, len(self.hashes), self.engaged, self.landmark)
        return b"".join((head, *(column.tobytes() for column in self.columns())))

    @classmethod
    def decode(cls, value: bytes | None) -> Self:
        """None: a note without neighbours. Raises `ValueError` on a value of another version or length."""
        around = cls()
        if value is None:
            return around
        if len(value) < _STATE.size or value[0] != VERSION:
            raise ValueError("not the neighbours of a note in this version")
        _, n, around.engaged, around.landmark = _STATE.unpack_from(value)
        if len(value) != _STATE.size + 32 * n:
            raise ValueError(f"{len(value)} bytes do not hold {n} neighbours")
        at = _STATE.size
        for column in around.columns():
            end = at + n * column.itemsize
            column.frombytes(value[at:end])
            at = end
        around.places = {h: i for i, h in enumerate(around.hashes)}
        return around

    def keep(self, rows: npt.NDArray[np.intp]) -> None:
        """Keep only these rows, in this order."""
        for name in ("hashes", "together", "after", "near", "recent", "counts", "born"):
            column = getattr(self, name)
            setattr(self, name, array(column.typecode, np.frombuffer(column, column.typecode)[rows].tobytes()))
        self.places = {h: i for i, h in enumerate(self.hashes)}


class Front(NamedTuple):
    """The head of a note's neighbours, as serving reads it, best first."""

    engaged: int
    """engagements of the note"""
    landmark: int
    half_life_ms: float
    hashes: npt.NDArray[np.uint64]
    sums: npt.NDArray[np.float32]
    """shape [len(SUMS), neighbours]"""
    counts: npt.NDArray[np.uint32]
    """how often each neighbour was engaged with, as last told"""


class Neighbours:
    """Streaming item-to-item neighbours of a note.

    Shines where tastes come in sequences and change: a pair counts from the next request on, and nothing is retrained. Knows nothing
    of a note that nobody has engaged with beside another, and sees no further than one step: that is what factors are for.

    Parameters
    ----------
    slots
        Neighbours stored of a note: 32 bytes each.
    head
        Neighbours that serving reads: 28 bytes each.
    batch
        Neighbours evicted at once when there is no free slot; the cost of a scan is spread over so many.
    youth
        Engagements of the note that a newcomer is given before what it gathered is compared with the others'.
    shrink
        Added to the norm of a similarity: what few pairs say is worth little.
    near_ms
        Time between two engagements up to which they belong to one sitting.
    half_life_ms
        Time in which `recent` halves.

    Examples
    --------
    >>> neighbours, around = Neighbours(), Around()
    >>> neighbours.learn(around, other=7, distance=1, t=1_000, gap=1_000, engaged=3, others=4)
    >>> neighbours.learn(around, other=8, distance=-4, t=2_000, gap=1_000, engaged=3, others=1)
    >>> front = read(neighbours.head(around))
    >>> front.hashes.tolist(), front.sums[:2].tolist()
    ([7, 8], [[1.0, 0.5], [0.0, 0.25]])

    References
    ----------
    B. Sarwar et al.: Item-based collaborative filtering recommendation algorithms (WWW 2001); distance and order of a session as in
    M. Ludewig, D. Jannach: Evaluation of session-based recommendation algorithms (2018).
    """

    def __init__(
        self,
        slots: int = 400,
        head: int = 100,
        batch: int = 16,
        youth: float = 500.0,
        shrink: float = 10.0,
        near_ms: int = 60_000,
        half_life_ms: float = 21 * 86_400_000.0,
    ) -> None:
        if not 0 < batch <= slots:
            raise ValueError("a batch of evicted neighbours must be above 0 and within the slots")
        self.slots, self.size, self.batch, self.youth, self.shrink = slots, head, batch, youth, shrink
        self.near_ms, self.half_life_ms = near_ms, half_life_ms
        self.weights = (0.0, *(d**-0.5 for d in range(1, 65)))

    def learn(self, around: Around, other: int, distance: int, t: int, gap: int, engaged: int, others: int) -> None:
        """The note and `other` were engaged with by one user.

        `distance` is in engagements, negative when the other came after the note; `t` the time of the later one and `gap` the time
        between, in ms; `engaged` and `others` are how often either note was engaged with.
        """
        around.engaged = engaged
        age = t / self.half_life_ms
        if not around.hashes:
            around.landmark = floor(age)
        elif moved := rebase(age, around.landmark):
            self.rebase(around, moved)
        row = around.places.get(other)
        if row is None:
            if len(around.hashes) >= self.slots:
                self.evict(around)
            row = around.places[other] = len(around.hashes)
            around.hashes.append(other)
            for column in (around.together, around.after, around.near, around.recent):
                column.append(0.0)
            around.counts.append(0)
            around.born.append(engaged)
        apart = -distance if distance < 0 else distance
        weight = self.weights[apart] if apart < len(self.weights) else apart**-0.5
        around.counts[row] = others
        around.together[row] += weight
        around.recent[row] += weight * 2.0 ** max(age - around.landmark, -100.0)
        if distance < 0 and apart <= FOLLOWING:
            around.after[row] += 1.0 / apart
        if gap <= self.near_ms:
            around.near[row] += weight

    def rebase(self, around: Around, halvings: int) -> None:
        """Move the landmark; exact but for sums that fade away altogether."""
        around.landmark += halvings
        down = 2.0**-halvings
        around.recent = array("f", [value * down for value in around.recent])

    def evict(self, around: Around) -> None:
        """Take out the `batch` that gathered least for their age; of equals the smaller hash leaves."""
        strength = np.frombuffer(around.together, np.float32).astype(np.float64)
        age = np.maximum(around.engaged - np.frombuffer(around.born, np.uint32).astype(np.float64), 0.0)
        weakest = np.lexsort((np.frombuffer(around.hashes, np.uint64), strength / (age + self.youth)))[: self.batch]
        kept = np.ones(len(strength), np.bool_)
        kept[weakest] = False
        around.keep(np.flatnonzero(kept))

    def head(self, around: Around) -> bytes:
        """What serving reads: the neighbours of the highest similarity, in one value; `read` is its twin."""
        norm = np.sqrt(np.frombuffer(around.counts, np.uint32).astype(np.float32) * np.float32(max(around.engaged, 1)))
        similarity = np.frombuffer(around.together, np.float32) / (norm + np.float32(self.shrink))
        best = np.arange(len(similarity))
        if len(best) > self.size:
            best = np.sort(np.argpartition(similarity, -self.size)[-self.size :])
        best = best[np.argsort(-similarity[best], kind="stable")]  # of equals the first that came
        front = _FRONT.pack(VERSION, len(best), around.engaged, around.landmark, self.half_life_ms)
        columns = (np.frombuffer(column, column.typecode)[best].tobytes() for column in around.columns()[:6])
        return b"".join((front, *columns))


def read(value: bytes | None) -> Front:
    """A head; one that is absent, cut or of another version has no neighbours."""
    if value is None or len(value) < _FRONT.size or value[0] != VERSION:
        return NOBODY
    _, n, engaged, landmark, half_life = _FRONT.unpack_from(value)
    if len(value) != _FRONT.size + n * (12 + 4 * len(SUMS)):
        return NOBODY
    sums = np.frombuffer(value, "<f4", len(SUMS) * n, _FRONT.size + 8 * n).reshape(len(SUMS), n)
    counts = np.frombuffer(value, "<u4", n, _FRONT.size + (8 + 4 * len(SUMS)) * n)
    return Front(engaged, landmark, half_life, np.frombuffer(value, "<u8", n, _FRONT.size), sums, counts)


NOBODY = Front(0, 0, 1.0, np.empty(0, np.uint64), np.empty((len(SUMS), 0), np.float32), np.empty(0, np.uint32))
