"""The order of hashes: what notes and neighbours that come from many lists are brought together by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

Hashes = npt.NDArray[np.uint64]
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
