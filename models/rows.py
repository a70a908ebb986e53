"""Rows of numbers, one for each thing that is known by its hash: what a model learns of notes and users one by one.

Bounded: when there are more, those leave that were longest in no example. Stored in blocks of rows, each in two halves: what scoring
needs, and what only learning needs beside that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from models.kernel import kernel

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int32]
"""Rows, -1: none."""
Buffer = bytes | memoryview

NOBODY = 0
"""The hash of a user of whom nothing may be used."""
BLOCK = 512
"""Rows that are stored together."""
FIRST = 1024
"""Rows there is room for to begin with."""
SQUARES = 0.1
"""What AdaGrad's accumulators of a new row begin with."""


class Rows:
    """A table of float32 columns by hash, each with the squared gradients that AdaGrad wants. Whoever learns moves them; this is where they lie.

    Parameters
    ----------
    most
        Rows at most; when there are more, a sixteenth leaves at once.
    columns
        Name -> shape of one row's part.

    Examples
    --------
    >>> rows = Rows(100, {"bias": ()})
    >>> rows.touch(np.array([7, 8], np.uint64))
    (array([0, 1], dtype=int32), 0)
    >>> rows.touch(np.array([9, 8, 9], np.uint64))
    (array([2, 1, 2], dtype=int32), 2)
    >>> rows.found(np.array([8, 10], np.uint64)).tolist()
    [1, -1]
    """

    def __init__(self, most: int, columns: Mapping[str, tuple[int, ...]]) -> None:
        self.most, self.columns = most, dict(columns)
        self.width = 8 + 4 * sum(prod(shape) for shape in columns.values())
        """bytes of a row in a block, and as many in a memory"""
        self.steps = 0
        self.moved = 0
        """the step at which rows last changed their places"""
        self.used = 0
        self.learning = True
        """whether they were taken over with what learning needs"""
        self._allot(min(most, FIRST))

    def __len__(self) -> int:
        return self.used

    def __getitem__(self, name: str) -> Floats:
        """A column: shape [rows there is room for, …]."""
        return self.values[name]

    def _allot(self, size: int) -> None:
        self.hashes, self.touched = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        self.slots = np.full(room(size), -1, np.int32)
        """row by hash: open addressing, at most half full"""
        self.values = {name: np.zeros((size, *shape), np.float32) for name, shape in self.columns.items()}
        squares = self.columns if self.learning else {}
        self.squares = {name: np.full((size, *shape), SQUARES, np.float32) for name, shape in squares.items()}

    # ------------------------------------------------------------------------------------------------------------ verbs

    def touch(self, hashes: Hashes) -> tuple[Places, int]:
        """A step begins that learns of these, so that none of them leaves in it; returns the row of each, and the first of the rows that
        are new. They are half of `most` at most. Raises `ValueError` on rows that were taken over to be read."""
        if not self.learning:
            raise ValueError("rows without memories cannot learn")
        self.steps += 1
        if self.used + len(hashes) > len(self.hashes):
            known = self.found(hashes)
            self.touched[known[known >= 0]] = self.steps
            new = len(np.unique(hashes[known < 0]))
            while self.used + new > len(self.hashes):
                self._room()
        first, rows = self.used, np.empty(len(hashes), np.int32)
        self.used = touch(self.slots, self.hashes, self.touched, first, self.steps, hashes, rows)
        return rows, first

    def drop(self, h: int) -> None:
        """That one leaves now."""
        (row,) = self.found(np.array([h], np.uint64))
        if row >= 0:
            self.steps += 1
            self._resize(np.delete(np.arange(len(self)), row), len(self.hashes))

    def found(self, hashes: Hashes) -> Places:
        """Row of each, -1 where there is none."""
        rows = np.empty(len(hashes), np.int32)
        find(self.slots, self.hashes, hashes, rows)
        return rows

    def _room(self) -> None:
        """Grow, or at the bound take out those longest untouched (of equals the smaller hash)."""
        used, size = self.used, len(self.hashes)
        if size < self.most:
            self._resize(np.arange(used), min(self.most, 2 * size))
            return
        oldest = np.lexsort((self.hashes[:used], self.touched[:used]))[: max(1, used // 16)]
        self._resize(np.setdiff1d(np.arange(used), oldest), size)

    def _resize(self, kept: npt.NDArray[np.intp], size: int) -> None:
        """Keep these rows, in this order, with room for `size`."""
        hashes, touched, values, squares = self.hashes, self.touched, self.values, self.squares
        self._allot(size)
        self.hashes[: len(kept)], self.touched[: len(kept)] = hashes[kept], touched[kept]
        for name in self.columns:
            self.values[name][: len(kept)], self.squares[name][: len(kept)] = values[name][kept], squares[name][kept]
        self.used = len(kept)
        index(self.slots, self.hashes, self.used)
        self.moved = self.steps

    # ------------------------------------------------------------------------------------------------------------ bytes

    @property
    def blocks(self) -> int:
        """So many blocks there are."""
        return -(-len(self) // BLOCK)

    def changed(self, since: int) -> list[int]:
        """Blocks that differ from what they were after so many steps."""
        if self.moved > since:
            return list(range(self.blocks))
        touched = self.touched[: len(self)]
        return [i for i in range(self.blocks) if int(touched[i * BLOCK : (i + 1) * BLOCK].max()) > since]

    def block(self, i: int) -> bytes:
        """What scoring needs of the rows of a block."""
        of = slice(i * BLOCK, min((i + 1) * BLOCK, len(self)))
        return b"".join([self.hashes[of].tobytes(), *(column[of].tobytes() for column in self.values.values())])

    def memory(self, i: int) -> bytes:
        """What learning needs of them beside that."""
        of = slice(i * BLOCK, min((i + 1) * BLOCK, len(self)))
        return b"".join([self.touched[of].tobytes(), *(column[of].tobytes() for column in self.squares.values())])

    def check(self, n: int, blocks: Sequence[Buffer], memories: Sequence[Buffer] | None = None) -> None:
        """Raises `ValueError` unless these are so long as `n` rows are."""
        sizes = [min(BLOCK, n - i) * self.width for i in range(0, n, BLOCK)]
        if [*map(len, blocks)] != sizes or (memories is not None and [*map(len, memories)] != sizes):
            raise ValueError("rows that are cut")

    def take(self, n: int, steps: int, blocks: Sequence[Buffer], memories: Sequence[Buffer] | None = None) -> None:
        """Take over `n` rows after so many steps; without memories they are only read from then on, which is taken over much faster. Raises
        `ValueError`, and stays as it was, on blocks of other lengths."""
        self.check(n, blocks, memories)
        self.steps = self.moved = steps
        self.learning = memories is not None
        self._allot(max(n, min(self.most, FIRST)))
        halves: list[tuple[Sequence[Buffer], list[npt.NDArray[Any]]]] = [
            (blocks, [self.hashes, *self.values.values()]),
            (memories or (), [self.touched, *self.squares.values()]),
        ]
        for parts, columns in halves:
            for i, part in enumerate(parts):
                at = 0
                for column in columns:
                    at = fill(column[i * BLOCK : min((i + 1) * BLOCK, n)], part, at)
        self.used = n
        index(self.slots, self.hashes, n)


@kernel("int64(int64)")
def room(n: int) -> int:
    """Slots for so many rows: a power of two, at least twice as many."""
    slots = 2
    while slots < 2 * n:
        slots *= 2
    return slots


@kernel("int64(int32[::1], uint64[::1], uint64)")
def slot_of(slots: Places, hashes: Hashes, h: int) -> int:
    """Where in `slots` the row of a hash stands, or would."""
    mask = np.uint64(len(slots) - 1)
    at = (
        ((h ^ (h >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    ) & mask  # ids are hashes; those of tests need not be
    while slots[at] >= 0 and hashes[slots[at]] != h:
        at = (at + np.uint64(1)) & mask
    return int(at)


@kernel("void(int32[::1], uint64[::1], int64)")
def index(slots: Places, hashes: Hashes, n: int) -> None:
    """Enters the first `n` rows into slots that are free."""
    for row in range(n):
        slots[slot_of(slots, hashes, hashes[row])] = row


@kernel("void(int32[::1], uint64[::1], uint64[:], int32[::1])")
def find(slots: Places, hashes: Hashes, wanted: Hashes, rows: Places) -> None:
    for i in range(len(wanted)):
        rows[i] = slots[slot_of(slots, hashes, wanted[i])]


@kernel("int64(int32[::1], uint64[::1], uint64[::1], int64, int64, uint64[:], int32[::1])")
def touch(slots: Places, hashes: Hashes, touched: Hashes, used: int, step: int, wanted: Hashes, rows: Places) -> int:
    """The rows of `wanted`, which come in where they are not there: there is room. Returns how many rows are used then."""
    for i in range(len(wanted)):
        at = slot_of(slots, hashes, wanted[i])
        if slots[at] < 0:
            slots[at] = used
            hashes[used] = wanted[i]
            used += 1
        rows[i] = slots[at]
        touched[rows[i]] = step
    return used


@kernel("void(float32[:, ::1], uint64[::1], int64, int64)")
def begin(vectors: Floats, hashes: Hashes, first: int, end: int) -> None:
    """Where vectors of new rows begin: small, and a function of the hash, so that every replay sees the same. Uniform, variance 0.01."""
    for row in range(first, end):
        for j in range(vectors.shape[1]):
            x = hashes[row] + np.uint64(j + 1) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
            unit = np.float32(x >> np.uint64(40)) / np.float32(1 << 24)
            vectors[row, j] = (unit - np.float32(0.5)) * np.float32(0.34641016)


@kernel("float32(float32[::1], float32[::1])")
def dot(a: Floats, b: Floats) -> np.float32:
    """Σ a · b in eight sums, which need not wait for each other."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    whole = len(a) // 8 * 8
    for j in range(0, whole, 8):
        s0 += a[j] * b[j]
        s1 += a[j + 1] * b[j + 1]
        s2 += a[j + 2] * b[j + 2]
        s3 += a[j + 3] * b[j + 3]
        s4 += a[j + 4] * b[j + 4]
        s5 += a[j + 5] * b[j + 5]
        s6 += a[j + 6] * b[j + 6]
        s7 += a[j + 7] * b[j + 7]
    for j in range(whole, len(a)):
        s0 += a[j] * b[j]
    return ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))


@kernel("void(float32[::1], float32[::1], float32[::1], float32)")
def adagrad(values: Floats, squares: Floats, gradient: Floats, rate: np.float32) -> None:
    """One step: J. Duchi, E. Hazan, Y. Singer, Adaptive subgradient methods (JMLR 2011)."""
    for j in range(len(values)):
        squares[j] += gradient[j] * gradient[j]
        values[j] -= rate * gradient[j] / np.sqrt(squares[j])


def fill(array: npt.NDArray[Any], value: Buffer, at: int) -> int:
    """From the bytes at `at`; returns where they end."""
    end = at + array.nbytes
    array.reshape(-1)[:] = np.frombuffer(value, array.dtype, array.size, at)
    return end
