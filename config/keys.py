"""Hashes, partitions and the names of store keys: one definition for stages, API and tools.

Everything that one partition of one stage owns shares the hash tag ``{<prefix>.<generation>.<stage><partition>}``, so that the
atomic write of a piece stays atomic on a cluster. The API finds a key by the same hash over the partition count in the manifest.
"""

from __future__ import annotations

from typing import NamedTuple

import xxhash

_digest = xxhash.xxh3_64_intdigest


def hash64(value: str | bytes) -> int:
    """xxh3_64 of the UTF-8 bytes: the one hash inside. A note's internal key is this hash of its id."""
    return _digest(value.encode() if type(value) is str else value)  # type: ignore[arg-type]


def partition_of(digest: int, partitions: int) -> int:
    """The partition that owns a key whose hash is `digest`."""
    return digest % partitions


def note_key(digest: int) -> bytes:
    """A note's hash as it stands in store keys: 16 hex digits, so that a person can read them."""
    return b"%016x" % digest


class Slot(NamedTuple):
    """What one partition of one stage owns in the store."""

    prefix: str
    generation: int
    stage: str
    partition: int

    @property
    def tag(self) -> bytes:
        return f"{{{self.prefix}.{self.generation}.{self.stage}{self.partition}}}".encode()

    def key(self, kind: str, key: bytes | str = b"") -> bytes:
        """``{tag}:<kind>:<key>``; `key` may hold any bytes, since the hash tag ends before it."""
        return b"%s:%s:%s" % (self.tag, kind.encode(), key.encode() if isinstance(key, str) else key)

    @property
    def checkpoint(self) -> bytes:
        """The position up to which this partition's state is true."""
        return self.key("checkpoint")

    @property
    def ledger(self) -> bytes:
        """Clock, marks and skips: the runner's own part of the checkpointed state."""
        return self.key("partition")

    @property
    def timers(self) -> bytes:
        """Sorted set of deadlines (ms) by ``<family>:<key>``."""
        return self.key("timers")


def manifest_key(prefix: str) -> bytes:
    """Where partition counts, generations and versions of a system stand; checked by every process at its start."""
    return f"{prefix}:manifest".encode()


def workers_key(prefix: str) -> bytes:
    """Where the workers of a system say that they live (`store/workers.py`)."""
    return f"{prefix}:workers".encode()
