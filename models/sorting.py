"""The order of hashes and of scores: by which notes and neighbours that come from many lists are brought together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

DEPTH = 10_000
"""Steps in which depths of lists are compared."""
RESERVE = 1 << 40
"""Added to the rank of what is taken only where there is little else."""

Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]


def ascending(hashes: Hashes) -> Places:
    """What `np.argsort(hashes, kind="stable")` gives, several times faster for hashes: they are spread evenly, so that few of them share their
    leading bits. Right for all numbers, but slow for many that lie together.

    >>> ascending(np.array([1 << 63, 7, 1 << 63, 5], np.uint64)).tolist()
    [3, 1, 0, 2]
    """
    order = np.empty(len(hashes), np.intp)
    sort(np.array(hashes, np.uint64), order)  # a copy: what lies in bytes is read-only, another type to a kernel
    return order


@kernel("void(uint64[::1], int64[::1])")
def sort(hashes: Hashes, order: Places) -> None:
    """Fills `order`: into buckets by the leading bits, two to a hash, and within a bucket by insertion. Shapes: [n], [n]."""
    n, bits = len(hashes), 1
    while (1 << bits) < 2 * n:
        bits += 1
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int32)
    for i in range(n):
        ends[np.int64(hashes[i] >> shift) + 1] += 1
    for i in range(1 << bits):
        ends[i + 1] += ends[i]
    sorted_ = np.empty(n, np.uint64)
    for i in range(n):
        h = hashes[i]
        bucket = np.int64(h >> shift)
        sorted_[ends[bucket]], order[ends[bucket]] = h, i
        ends[bucket] += 1
    for i in range(1, n):
        h, row, at = sorted_[i], order[i], i
        while at and sorted_[at - 1] > h:
            sorted_[at], order[at] = sorted_[at - 1], order[at - 1]
            at -= 1
        sorted_[at], order[at] = h, row


def descending(scores: Floats) -> Places:
    """What `np.argsort(-scores, kind="stable")` gives.

    >>> descending(np.array([1.0, 3.0, -2.0, 3.0], np.float32)).tolist()
    [1, 3, 0, 2]
    """
    order = np.empty(len(scores), np.intp)
    rank(np.array(scores, np.float32), order)  # a copy: of one record the column lies as it should already, but may be read-only
    return order


@kernel("void(float32[::1], int64[::1])")
def rank(scores: Floats, order: Places) -> None:
    """Fills `order`: by four rounds over the bytes of numbers that ascend as the scores descend. Shapes: [n], [n]."""
    n, values = len(scores), scores.view(np.uint32)
    keys, others = np.empty(n, np.uint32), np.empty(n, np.uint32)
    rows, ends = np.empty(n, np.int64), np.zeros((4, 257), np.int64)
    for i in range(n):
        bits = values[i] if scores[i] != 0.0 else np.uint32(0)  # of two zeros none is less
        key = bits if bits >> np.uint32(31) else bits ^ np.uint32(0x7FFFFFFF)
        keys[i], order[i] = np.uint32(0xFFFFFFFF) if np.isnan(scores[i]) else key, i
        for byte in range(4):
            ends[byte, ((keys[i] >> np.uint32(8 * byte)) & np.uint32(0xFF)) + 1] += 1
    for byte in range(4):
        for i in range(256):
            ends[byte, i + 1] += ends[byte, i]
        for i in range(n):
            at = (keys[i] >> np.uint32(8 * byte)) & np.uint32(0xFF)
            others[ends[byte, at]], rows[ends[byte, at]] = keys[i], order[i]
            ends[byte, at] += 1
        keys, others = others, keys
        for i in range(n):
            order[i] = rows[i]


@kernel(
    "int64(uint64[::1], int64[::1], uint8[::1], int64[::1], boolean[::1], boolean[::1], int64[::1], uint64[::1], uint8[::1], int64[::1],"
    " boolean[::1])"
)
def bring(
    found: Hashes, sizes: Places, bits: Bits, wanted: Places, reserve: Mask, inside: Mask, places: Places, hashes: Hashes, sources: Bits,
    ranks: Places, within: Mask,
) -> int:  # fmt: skip
    """Brings together what stands in several lists: each hash once, ascending.

    Parameters
    ----------
    found, sizes
        The lists, one behind the other, and how long each is.
    bits, wanted, reserve, inside
        By list: the bit of its source, how many places were asked for, whether it is taken only where there is little else, and whether it vouches
        for what the request asked for.
    places
        The order of all that was found; empty: a place counts by how deep in its list it is, so that lists of which many were asked are cut at
        the same depth as others, and of equals the first list goes before.
    hashes, sources, ranks, within
        Filled: each hash, the bits of its lists, its best rank, and whether any list vouches for it. There is room for all that was found.

    Returns
    -------
    How many hashes there are.
    """
    n, lists = len(found), len(sizes)
    of, place, order = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    at = 0
    for one in range(lists):
        for depth in range(sizes[one]):
            of[at] = one
            place[at] = places[at] if len(places) else depth * DEPTH // wanted[one] * lists + one + (RESERVE if reserve[one] else 0)
            at += 1
    sort(found, order)
    distinct = 0
    for i in range(n):
        row = order[i]
        one = of[row]
        if not i or found[row] != hashes[distinct - 1]:
            hashes[distinct], sources[distinct], ranks[distinct], within[distinct] = found[row], bits[one], place[row], inside[one]
            distinct += 1
        else:
            sources[distinct - 1] |= bits[one]
            ranks[distinct - 1] = min(ranks[distinct - 1], place[row])
            within[distinct - 1] |= inside[one]
    return distinct
