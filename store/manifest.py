"""The manifest: partition counts, generations and version of one system, checked by every process at its start.

It is the one value outside any slot. API and tools find every other key through it: a key's partition is its hash modulo the
partition count of the stage's input topic, and a rebuilt stage lives under its next generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec

from config.keys import Slot, manifest_key, partition_of
from config.topics import STAGES
from store.base import Store

VERSION = 1


class ManifestError(Exception):
    """The store belongs to another system than the settings name; the message says which and what to do."""


class Manifest(msgspec.Struct, frozen=True):
    """What a system looks like; JSON in the store, so that a person can read it."""

    prefix: str
    partitions: dict[str, int]
    """input topic (short name) -> partitions"""
    generations: dict[str, int] = {}
    """stage -> generation of its keys; 0 when not named"""
    version: int = VERSION

    @classmethod
    def new(cls, prefix: str, partitions: Mapping[str, int]) -> Self:
        """A first manifest: generation 0 of every stage."""
        return cls(prefix, dict(partitions), dict.fromkeys(STAGES, 0))

    def count(self, stage: str) -> int:
        """Partitions of a stage's (first) input topic."""
        return self.partitions[STAGES[stage][0]]

    def at(self, stage: str, partition: int) -> Slot:
        """The slot of one partition of a stage."""
        return Slot(self.prefix, self.generations.get(stage, 0), stage, partition)

    def slot(self, stage: str, digest: int) -> Slot:
        """The slot that owns the key whose hash is `digest`."""
        return self.at(stage, partition_of(digest, self.count(stage)))

    def swapped(self, stage: str, generation: int) -> Manifest:
        """The manifest after a rebuild of `stage`."""
        return msgspec.structs.replace(self, generations={**self.generations, stage: generation})


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Manifest).decode


def decode(value: bytes, prefix: str) -> Manifest:
    """Raises `ManifestError` for bytes that are no manifest of this version and prefix."""
    try:
        manifest = _decode(value)
    except msgspec.DecodeError as error:
        raise ManifestError(f"{manifest_key(prefix).decode()} holds no manifest ({error}): is this store another program's?") from None
    if manifest.version != VERSION:
        raise ManifestError(
            f"the manifest has version {manifest.version}, this program reads {VERSION}: use the release that wrote it, or a new prefix"
        )
    if manifest.prefix != prefix:
        raise ManifestError(f"the manifest names prefix {manifest.prefix!r}, the settings say {prefix!r}")
    return manifest


async def load(store: Store, prefix: str) -> Manifest | None:
    """The manifest of `prefix`; None when there is none yet."""
    (value,) = await store.read([manifest_key(prefix)])
    return None if value is None else decode(value, prefix)


async def create(store: Store, manifest: Manifest) -> Manifest:
    """Writes `manifest` if there is none, and returns the one that stands: the first writer wins."""
    if await store.put(manifest_key(manifest.prefix), _encode(manifest), None, check=True):
        return manifest
    standing = await load(store, manifest.prefix)
    if standing is None:
        raise ManifestError(f"{manifest_key(manifest.prefix).decode()} vanished while it was read")
    return standing


async def swap(store: Store, old: Manifest, new: Manifest) -> bool:
    """Puts `new` in the place of `old`; False when another manifest stands there by now."""
    return await store.put(manifest_key(old.prefix), _encode(new), _encode(old), check=True)


def check(manifest: Manifest, partitions: Mapping[str, int]) -> None:
    """The broker's partition counts (by short topic name) against the manifest's: another count would look for keys elsewhere."""
    for topic, count in sorted(partitions.items()):
        known = manifest.partitions.get(topic)
        if known is not None and known != count:
            raise ManifestError(
                f"topic {manifest.prefix}.{topic} has {count} partitions, the state was written with {known}: "
                "feed a new prefix from events and notes (docs/operations), or put the topic back"
            )
