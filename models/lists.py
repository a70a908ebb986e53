"""List names, what their scores mean, and the bounded sorted lists themselves.

The notes stage tells scores, the lists stage keeps them sorted, the feed reads the heads. A list lives under ``hash64(name)``; its
head is `store.layout.HEAD`, best first, ties by the smaller hash. Scores are comparable inside one kind of list only, and are
float32 from the moment they are told. Every list holds *published* notes only.

=============================  ==========================  =====================================================================
list                           score                       who is in it
=============================  ==========================  =====================================================================
``tag:<tag>``                  popularity                  public notes with that tag (the author's own, the first [notes] tags)
``channel:<c>``                popularity                  public notes of that channel or below: `beauty/skincare` is in
                                                           ``channel:beauty/skincare`` and ``channel:beauty``
``city:<city>``                popularity                  public notes of that city
``geo:<level>:<row>:<col>``    popularity                  public notes with a place in that cell; see `cell` and `covering`
``author:<author id>``         recency                     public and followers-only notes of that author: check `visibility`
``hot``                        hot                         public notes with any engagement; one note per author
``hot:channel:<c>``            hot                         the same, for a channel and each prefix of it
``hot:city:<city>``            hot                         the same, for a city
``pool:<tier>``                placement                   public notes that run in that tier and still want exposures
``pool:<tier>:<top channel>``  placement                   the same, by the first segment of the channel
=============================  ==========================  =====================================================================

**popularity** = log2(S + seed · 2^x(published_at)) + quality_share · z: S are forward-decayed engagement points at the half-life
``[lists] popular_half_life_h``, x(t) = (t - EPOCH) / half-life, z the bits by which
the note's quality exceeds that of a new note of its channel. A note begins with `seed` points at
its publication, so that popularity, freshness and quality meet in one number whose order needs no sweep: everything halves together.
Subtract x(now) and take 2^ to have points as of now.

**hot** = log2(r) + x(last exposure), r = (C + k m) / (E + k): C and E are the CES and the exposures decayed to the last exposure at
the half-life ``[lists] hot_half_life_h``, m and k the prior rate and its weight in exposures. Nothing in it moves while nothing happens; exposure alone
lowers r; a note that is shown no more loses one bit a half-life against those that are.

**recency** = seconds from EPOCH to `published_at` (float32: 16 s steps; the note record has the exact time).

**placement** = the order inside a pool tier, `models.pool.score`: higher is served first, with sampling by the feed.

EPOCH is 2020-01-01 UTC: near enough that float32 tells scores apart, before and after it alike.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

EPOCH = 1_577_836_800_000
"""Landmark of told scores and of projected heats: 2020-01-01 UTC, epoch ms."""

HOUR = 3_600_000

# ----------------------------------------------------------------------------------------------------------------------- names

MAX_SEGMENTS = 4
"""Segments of a channel that have lists of their own."""


def channels(channel: str) -> tuple[str, ...]:
    """A channel and its prefixes, shortest first.

    >>> channels("beauty/skincare")
    ('beauty', 'beauty/skincare')
    """
    if not channel:
        return ()
    parts = channel.split("/")[:MAX_SEGMENTS]
    return tuple("/".join(parts[: i + 1]) for i in range(len(parts)))


def popular_names(tags: Sequence[str], channel: str, city: str, lat: float | None, lon: float | None) -> tuple[str, ...]:
    """The lists in which a note stands by popularity; each once."""
    names = [f"tag:{tag}" for tag in tags]
    names += [f"channel:{name}" for name in channels(channel)]
    if city:
        names.append(f"city:{city}")
    if lat is not None and lon is not None:
        names += [cell(lat, lon, level) for level in range(len(LEVELS))]
    return tuple(dict.fromkeys(names))


def hot_names(channel: str, city: str) -> tuple[str, ...]:
    names = ["hot", *(f"hot:channel:{name}" for name in channels(channel))]
    if city:
        names.append(f"hot:city:{city}")
    return tuple(names)


def author_name(author: str) -> str:
    return f"author:{author}"


def pool_names(tier: int, channel: str) -> tuple[str, ...]:
    """The lists of a pool tier: all channels, and the note's top channel."""
    top = channel.partition("/")[0]
    return (f"pool:{tier}", f"pool:{tier}:{top}") if top else (f"pool:{tier}",)


def evidence_names(channel: str) -> tuple[str, ...]:
    """Whose bars a note's evidence teaches, and whose it goes by (the last that are known): all notes, then channel by channel."""
    return ("channel:", *(f"channel:{name}" for name in channels(channel)))


# ------------------------------------------------------------------------------------------------------------------- geo cells

LEVELS = (0.0045, 0.045, 0.36)
"""Height of a cell in degrees of latitude: 500 m, 5 km and 40 km. Columns are as wide as the row is high, so cells are near square everywhere."""
FINE, NEAR, WIDE = range(len(LEVELS))

KM_PER_DEGREE = 111.195


def columns(row: int, level: int) -> int:
    """How many cells lie around the earth in a row, counted at the row's middle."""
    height = LEVELS[level]
    middle = min(max(-90.0 + (row + 0.5) * height, -90.0), 90.0)
    return max(1, round(360.0 * math.cos(math.radians(middle)) / height))


def row_of(lat: float, level: int) -> int:
    """Row 0 begins at the south pole; the north pole lies in the last one."""
    height = LEVELS[level]
    return min(max(int((lat + 90.0) / height), 0), math.ceil(180.0 / height) - 1)


def column_of(lon: float, count: int) -> int:
    """Column 0 begins at the date line, from either side: 180° and -180° are one."""
    return int(((lon + 180.0) % 360.0) / 360.0 * count) % count


def cell(lat: float, lon: float, level: int = NEAR) -> str:
    """The name of the list of the cell that holds a place.

    >>> cell(31.2304, 121.4737)
    'geo:1:2694:5727'
    """
    row = row_of(lat, level)
    return f"geo:{level}:{row}:{column_of(lon, columns(row, level))}"


def covering(lat: float, lon: float, radius_km: float, level: int = NEAR) -> tuple[str, ...]:
    """Names of all cells that may hold a place within `radius_km`, the nearest rows first; over poles and date line.

    At a radius of twice its cells' height a level has about 25 of them; choose the coarser one beyond.
    """
    reach = radius_km / KM_PER_DEGREE + 1e-9
    south, north, home = row_of(lat - reach, level), row_of(lat + reach, level), row_of(lat, level)
    names = []
    for row in sorted(range(south, north + 1), key=lambda r: (abs(r - home), r)):
        count = columns(row, level)
        span = longitudes(lat, reach)
        if span >= 180.0:
            picked: Sequence[int] = range(count)
        else:
            first, last = column_of(lon - span, count), column_of(lon + span, count)
            picked = range(first, last + 1) if first <= last else (*range(first, count), *range(last + 1))
            if first == last and 2.0 * span > 360.0 / count:
                picked = range(count)
        names += [f"geo:{level}:{row}:{column}" for column in picked]
    return tuple(names)


def longitudes(lat: float, reach: float) -> float:
    """How far in degrees of longitude a circle of `reach` degrees around `lat` extends; 180: all around (a pole is inside)."""
    if abs(lat) + reach >= 90.0:
        return 180.0
    return math.degrees(math.asin(min(1.0, math.sin(math.radians(reach)) / math.cos(math.radians(lat))))) + 1e-9


# ---------------------------------------------------------------------------------------------------------------------- scores


def popularity(points: float, base: int, published_at: int, z: float, half_life_ms: float, seed: float) -> float:
    """log2 of points and seed as of EPOCH, plus `z` bits of quality: see the module's docstring. `points` have their landmark at `base`."""
    late = max(base, published_at)  # so that no power is above one
    warmth = max(points, 0.0) * 2.0 ** ((base - late) / half_life_ms) + seed * 2.0 ** ((published_at - late) / half_life_ms)
    return math.log2(max(warmth, 1e-300)) + (late - EPOCH) / half_life_ms + z


def hot(ces: float, exposures: float, base: int, exposed_at: int, half_life_ms: float, rate: float, weight: float) -> float:
    """log2 of the shrunk rate at the last exposure, plus that moment in half-lives. Sums have their landmark at `base`."""
    shrunk = shrunk_rate(ces, exposures, base, exposed_at, half_life_ms, rate, weight)
    return math.log2(max(shrunk, 1e-300)) + (exposed_at - EPOCH) / half_life_ms


def shrunk_rate(ces: float, exposures: float, base: int, exposed_at: int, half_life_ms: float, rate: float, weight: float) -> float:
    """CES per exposure, both decayed to the last exposure (or the landmark, where that is later), drawn to `rate` with a weight of so
    many exposures."""
    fade = float(2.0 ** (min(base - exposed_at, 0) / half_life_ms))
    return (max(ces, 0.0) * fade + rate * weight) / (max(exposures, 0.0) * fade + weight)


def recency(published_at: int) -> float:
    return (published_at - EPOCH) / 1000.0


# ------------------------------------------------------------------------------------------------------------------- the lists

PLACE = struct.Struct("<Qf")
"""`store.layout.HEAD`: hash, score."""
SHADOW = struct.Struct("<QfQ")
"""hash, score, author: a note that stands behind another one of its author."""
HASH = struct.Struct("<Q")
SINGLE = struct.Struct("<f")

pack_hash, pack_place, unpack_place = HASH.pack, PLACE.pack, PLACE.unpack_from
pack_shadow, unpack_shadow = SHADOW.pack, SHADOW.unpack_from


def single(score: float) -> float:
    """`score` as float32 keeps it; what float32 cannot keep becomes its largest."""
    try:
        return float(SINGLE.unpack(SINGLE.pack(score))[0])
    except OverflowError:
        return math.copysign(3.4028234663852886e38, score)


def index_of(table: bytearray, wanted: bytes, width: int, at: int = 0) -> int:
    """The first entry of `width` bytes that holds `wanted` at byte `at`; -1 without one. A search in C, faster here than a dict is to load."""
    found = table.find(wanted)
    while found >= 0 and found % width != at:
        found = table.find(wanted, found + 1)
    return found // width if found >= 0 else -1


def place_of(head: bytearray, digest: int, score: float) -> int:
    """Where (digest, score) stands or belongs: best first, ties by the smaller hash."""
    low, high = 0, len(head) // 12
    while low < high:
        middle = (low + high) >> 1
        other, there = unpack_place(head, middle * 12)
        if there > score or (there == score and other < digest):
            low = middle + 1
        else:
            high = middle
    return low


class Ranked:
    """A bounded sorted list whose state is its encoding: nothing to decode on loading, nothing to encode on writing.

    It holds every note that was put into it while there was room, and the best ones beyond that. A place that a removal
    frees stays free until the next score of a note that once fell out.

    Parameters
    ----------
    head
        `store.layout.HEAD` bytes, best first.
    bound
        Places at most.
    """

    __slots__ = ("bound", "dirty", "head")

    def __init__(self, head: bytes, bound: int) -> None:
        self.head, self.bound, self.dirty = bytearray(head), bound, False

    def __len__(self) -> int:
        return len(self.head) // 12

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return PLACE.iter_unpack(self.head)

    def put(self, digest: int, score: float | None, author: int = 0) -> None:
        """Sets, moves or (None) removes a note."""
        head = self.head
        at = index_of(head, pack_hash(digest), 12)
        if score is None or score != score:
            if at >= 0:
                del head[at * 12 : at * 12 + 12]
                self.dirty = True
            return
        score = single(score)
        if at >= 0:
            if unpack_place(head, at * 12)[1] == score:
                return
            del head[at * 12 : at * 12 + 12]
        place = place_of(head, digest, score) * 12
        if place < self.bound * 12:
            head[place:place] = pack_place(digest, score)
            del head[self.bound * 12 :]
        elif at < 0:
            return
        self.dirty = True


class OnePerAuthor:
    """A bounded sorted list whose head holds the best note of each author; the others wait in its shadow.

    Parameters
    ----------
    head
        `store.layout.HEAD` bytes, best first, one per author.
    rest
        The authors of the head (8 bytes each, in its order), then the shadow (`SHADOW`, best first). Authors come first by the head's length.
    bound
        Places at most of the head, and of the shadow.
    """

    __slots__ = ("authors", "bound", "dirty", "head", "shadow")

    def __init__(self, head: bytes, rest: bytes, bound: int) -> None:
        self.head, self.bound, self.dirty = bytearray(head), bound, False
        middle = len(head) // 12 * 8
        self.authors, self.shadow = bytearray(rest[:middle]), bytearray(rest[middle:])

    def __len__(self) -> int:
        return len(self.head) // 12

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return PLACE.iter_unpack(self.head)

    @property
    def rest(self) -> bytes:
        return bytes(self.authors + self.shadow)

    def put(self, digest: int, score: float | None, author: int = 0) -> None:
        """Sets, moves or (None) removes a note. Author 0 is unknown, and never stands in another's way."""
        known = pack_hash(digest)
        at = index_of(self.head, known, 12)
        if score is None or score != score:
            if at >= 0:
                self.succeed(*self.take(at))
                self.dirty = True
            else:
                self.leave_shadow(known)
            return
        score = single(score)
        if at >= 0:
            same = self.authors[at * 8 : at * 8 + 8] == pack_hash(author)
            if same and unpack_place(self.head, at * 12)[1] == score:
                return
            if same and (not author or index_of(self.shadow, pack_hash(author), 20, 12) < 0):  # nobody waits behind it: it only moves
                self.take(at)
                self.show(digest, score, author)
                self.dirty = True
                return
            self.succeed(*self.take(at))
        else:
            self.leave_shadow(known)
        self.dirty = True
        rival = index_of(self.authors, pack_hash(author), 8) if author else -1
        if rival >= 0:
            other, there = unpack_place(self.head, rival * 12)
            if there > score or (there == score and other < digest):
                self.hide(digest, score, author)
                return
            self.hide(other, there, author)
            self.take(rival)
        self.show(digest, score, author)

    def take(self, at: int) -> tuple[int, int]:
        """Takes a place out of the head; returns note and author."""
        digest, _ = unpack_place(self.head, at * 12)
        (author,) = HASH.unpack_from(self.authors, at * 8)
        del self.head[at * 12 : at * 12 + 12]
        del self.authors[at * 8 : at * 8 + 8]
        return digest, author

    def show(self, digest: int, score: float, author: int) -> None:
        place = place_of(self.head, digest, score)
        if place < self.bound:
            self.head[place * 12 : place * 12] = pack_place(digest, score)
            self.authors[place * 8 : place * 8] = pack_hash(author)
            del self.head[self.bound * 12 :]
            del self.authors[self.bound * 8 :]

    def succeed(self, digest: int, author: int) -> None:
        """`digest` left the head: the author's next note takes a place there."""
        at = index_of(self.shadow, pack_hash(author), 20, 12) if author else -1
        if at >= 0:
            heir, score, _ = unpack_shadow(self.shadow, at * 20)
            del self.shadow[at * 20 : at * 20 + 20]
            self.show(heir, score, author)

    def hide(self, digest: int, score: float, author: int) -> None:
        low, high = 0, len(self.shadow) // 20
        while low < high:
            middle = (low + high) >> 1
            other, there, _ = unpack_shadow(self.shadow, middle * 20)
            if there > score or (there == score and other < digest):
                low = middle + 1
            else:
                high = middle
        self.shadow[low * 20 : low * 20] = pack_shadow(digest, score, author)
        del self.shadow[self.bound * 20 :]

    def leave_shadow(self, known: bytes) -> None:
        at = index_of(self.shadow, known, 20)
        if at >= 0:
            del self.shadow[at * 20 : at * 20 + 20]
            self.dirty = True
