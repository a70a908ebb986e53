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

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
Buffer = bytes | memoryview

BLOCK = 512
"""Rows that are stored together."""
FIRST = 1024
"""Rows there is room for to begin with."""
SQUARES = 0.1
"""What AdaGrad's accumulators of a new row begin with."""


class Rows:
    """A table of float32 columns by hash, learned by AdaGrad.

    Parameters
    ----------
    most
        Rows at most; when there are more, a sixteenth leaves at once.
    columns
        Name -> shape of one row's part.

    Examples
    --------
    >>> rows = Rows(100, {"bias": ()})
    >>> rows.touch([7, 8])
    [7, 8]
    >>> rows.step("bias", rows.known([8]), np.ones(1, np.float32), np.float32(0.1))
    >>> rows["bias"][rows.found(np.array([7, 8], np.uint64))].round(3).tolist(), rows.known([9]).tolist()
    ([0.0, -0.09499999...], [-1])

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer: Adaptive subgradient methods (JMLR 2011).
    """

    def __init__(self, most: int, columns: Mapping[str, tuple[int, ...]]) -> None:
        self.most, self.columns = most, dict(columns)
        self.width = 8 + 4 * sum(prod(shape) for shape in columns.values())
        """bytes of a row in a block, and as many in a memory"""
        self.steps = 0
        self.moved = 0
        """the step at which rows last changed their places"""
        self.used = 0
        self.places: dict[int, int] = {}
        """hash -> row; empty where rows are only read"""
        self.ascending: tuple[Hashes, npt.NDArray[np.intp]] | None = None
        """the same as arrays, of rows that are only read"""
        self._allot(min(most, FIRST))

    def __len__(self) -> int:
        return self.used

    def __getitem__(self, name: str) -> Floats:
        """A column: shape [rows there is room for, …]."""
        return self.values[name]

    def _allot(self, size: int, learning: bool = True) -> None:
        self.hashes, self.touched = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
        self.values = {name: np.zeros((size, *shape), np.float32) for name, shape in self.columns.items()}
        squares = self.columns if learning else {}
        self.squares = {name: np.full((size, *shape), SQUARES, np.float32) for name, shape in squares.items()}

    # ------------------------------------------------------------------------------------------------------------ verbs

    def touch(self, hashes: Sequence[int]) -> list[int]:
        """A step begins that learns of these, so that none of them leaves in it; returns those that are new. They are distinct, and half of
        `most` at most. Raises `ValueError` on rows that were taken over to be read."""
        if self.ascending is not None:
            raise ValueError("rows without memories cannot learn")
        self.steps += 1
        self.touched[[self.places[h] for h in hashes if h in self.places]] = self.steps
        new = [h for h in hashes if h not in self.places]
        while self.used + len(new) > len(self.hashes):
            self._room()
        for row, h in enumerate(new, self.used):
            self.places[h] = row
            self.hashes[row], self.touched[row] = h, self.steps
        self.used += len(new)
        return new

    def drop(self, h: int) -> None:
        """That one leaves now."""
        row = self.places.get(h)
        if row is not None:
            self.steps += 1
            self._resize(np.delete(np.arange(len(self)), row), len(self.hashes))

    def known(self, hashes: Sequence[int]) -> npt.NDArray[np.intp]:
        """Row of each, -1 where there is none."""
        if self.ascending is not None:
            return self.found(np.array(hashes, np.uint64))
        get = self.places.get
        return np.array([get(h, -1) for h in hashes], np.intp)

    def found(self, hashes: Hashes) -> npt.NDArray[np.intp]:
        """The same for hundreds at once."""
        if self.ascending is None:
            return self.known(hashes.tolist())
        ordered, rows = self.ascending
        at = ordered[:-1].searchsorted(hashes)  # whatever is larger than all is compared with the last
        return np.where(ordered[at] == hashes, rows[at], -1)

    def step(self, name: str, at: Any, gradient: Floats, rate: np.float32 | Floats) -> None:
        """AdaGrad on the rows `at` of a column, which are distinct; `rate` of all or of each."""
        adagrad(self.values[name], self.squares[name], at, gradient, rate)

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
        self.places = {h: i for i, h in enumerate(self.hashes[: len(kept)].tolist())}
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

    def take(self, n: int, steps: int, blocks: Sequence[Buffer], memories: Sequence[Buffer] | None = None) -> None:
        """Take over `n` rows after so many steps; without memories they are only read from then on, which is taken over much faster. Raises
        `ValueError`, and stays as it was, on blocks of other lengths."""
        sizes = [min(BLOCK, n - i) * self.width for i in range(0, n, BLOCK)]
        if [*map(len, blocks)] != sizes or (memories is not None and [*map(len, memories)] != sizes):
            raise ValueError("rows that are cut")
        self.steps = self.moved = steps
        self._allot(max(n, min(self.most, FIRST)), learning=memories is not None)
        halves: list[tuple[Sequence[Buffer], list[npt.NDArray[Any]]]] = [
            (blocks, [self.hashes, *self.values.values()]),
            (memories or (), [self.touched, *self.squares.values()]),
        ]
        for parts, columns in halves:
            for i, part in enumerate(parts):
                at = 0
                for column in columns:
                    at = fill(column[i * BLOCK : min((i + 1) * BLOCK, n)], part, at)
        self.used, self.places, self.ascending = n, {}, None
        if memories is not None:
            self.places = {h: i for i, h in enumerate(self.hashes[:n].tolist())}
        elif n:
            order = np.argsort(self.hashes[:n])
            self.ascending = self.hashes[:n][order], order


def adagrad(values: Floats, squares: Floats, at: Any, gradient: Floats, rate: np.float32 | Floats) -> None:
    """One step on the rows `at`, which are distinct."""
    total = squares[at] + gradient * gradient
    squares[at] = total
    values[at] -= rate * gradient / np.sqrt(total)


def fill(array: npt.NDArray[Any], value: Buffer, at: int) -> int:
    """From the bytes at `at`; returns where they end."""
    end = at + array.nbytes
    array.reshape(-1)[:] = np.frombuffer(value, array.dtype, array.size, at)
    return end


def start(h: int, factors: int) -> Floats:
    """Where a vector begins: small, and a function of its hash, so that every replay sees the same. Uniform, variance 0.01."""
    x = np.uint64(h) + np.arange(1, factors + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)  # splitmix64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    unit = (x >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    result: Floats = (unit - np.float32(0.5)) * np.float32(0.34641016)
    return result
