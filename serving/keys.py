"""Store keys as the API asks for them, hundreds at a time: prefixes are made once per manifest."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from config.keys import hash64
from store.base import Names, each
from store.manifest import Manifest


class Keys:
    """Keys of users, notes and lists under one manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.users, self.notes, self.lists = (manifest.count(stage) for stage in ("users", "notes", "lists"))
        self._notes = {kind: OfNotes(self._prefixes("notes", kind)) for kind in ("note", "facts", "text", "state", "moves")}
        self._heads = self._prefixes("lists", "head")
        self._neighbours = OfNotes(self._prefixes("neighbours", "head"))
        self._users: dict[str, list[bytes]] = {}
        self.clocks = [manifest.at("users", p).ledger for p in range(self.users)]
        """the runner's part of each users partition: its clock"""
        self.all_clocks = [*self.clocks, *(manifest.at("notes", p).ledger for p in range(self.notes))]

        self.pools = [manifest.at("notes", p).key("pools") for p in range(self.notes)]
        """each notes partition's part of the pools' totals"""

    def _prefixes(self, stage: str, kind: str) -> list[bytes]:
        return [self.manifest.at(stage, p).key(kind) for p in range(self.manifest.count(stage))]

    def user(self, user_id: str, digest: int, parts: Sequence[str]) -> list[bytes]:
        """The named parts of a user's record."""
        partition, key = digest % self.users, user_id.encode()
        keys = []
        for part in parts:
            prefixes = self._users.get(part)
            if prefixes is None:
                prefixes = self._users[part] = self._prefixes("users", part)
            keys.append(prefixes[partition] + key)
        return keys

    def note(self, kind: str, digests: npt.ArrayLike) -> list[bytes]:
        """One kind of value of many notes."""
        return self._notes[kind](digests)

    def records(self, digests: npt.ArrayLike) -> Names:
        """The records of many notes, for `Store.table`."""
        return self._notes["note"].names(digests)

    def neighbours(self, digests: npt.ArrayLike) -> list[bytes]:
        """The heads of the neighbours of notes."""
        return self._neighbours(digests)

    def head(self, name: str) -> bytes:
        """The head of a list."""
        return self._heads[hash64(name) % self.lists] + name.encode()


class OfNotes:
    """Keys of notes by hash, each under the prefix of the partition that owns it: hundreds at once, so their digits are made by one call."""

    def __init__(self, prefixes: Sequence[bytes]) -> None:
        self.prefixes = prefixes
        length = len(prefixes[0])
        self.row: np.dtype[np.void] | None = None
        """a key as a row of an array, when all are of one length"""
        if all(len(prefix) == length for prefix in prefixes):
            self.row, self.text = np.dtype([("prefix", f"V{length}"), ("digits", "V16")]), f"S{length + 16}"
            self.rows = np.frombuffer(b"".join(prefixes), f"V{length}")

    def __call__(self, digests: npt.ArrayLike) -> list[bytes]:
        return list(each(self.names(digests)))

    def names(self, digests: npt.ArrayLike) -> Names:
        """As an array when all are of one length."""
        hashes = np.asarray(digests, np.uint64)
        digits = hexlify(hashes.astype(">u8").tobytes())
        owners = hashes % np.uint64(len(self.prefixes))
        if self.row is None:
            return [
                self.prefixes[owner] + digits[at : at + 16] for owner, at in zip(owners.tolist(), range(0, len(digits), 16), strict=True)
            ]
        keys = np.empty(hashes.size, self.row)
        keys["prefix"], keys["digits"] = self.rows[owners], np.frombuffer(digits, "V16")
        return keys.view(self.text)
