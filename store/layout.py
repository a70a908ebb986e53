"""Fixed-width values that the API reads by the hundred: note records, list heads, neighbour heads.

The note record is a projection of the notes stage's own state (`models/note.py`), written with it in one atomic step, so that the
API filters and ranks 500 candidates with one read and one `np.frombuffer`. Floats that only rank are float32; the exact counters
live in the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

NOTE_VERSION = 1

STATUSES = ("unknown", "published", "under_review", "rejected", "deleted")
VISIBILITIES = ("public", "followers", "private")
MEDIA = ("", "image", "video")
POOL_STATES = ("none", "running", "held", "stopped", "graduated", "expired", "paused")

NOTE = np.dtype(
    [
        ("version", "u1"),
        ("status", "u1"),  # STATUSES
        ("visibility", "u1"),  # VISIBILITIES
        ("media", "u1"),  # MEDIA
        ("tier", "i1"),  # pool tier, -1 outside
        ("pool", "u1"),  # POOL_STATES
        ("language", "S2"),
        ("hash", "u8"),
        ("author", "u8"),
        ("channel", "u8"),  # hash of the whole channel; prefixes are lists of their own
        ("cell", "u8"),  # geo cell hash, 0 without a place
        ("lat", "f4"),  # NaN without a place
        ("lon", "f4"),
        ("tags", "u8", (8,)),  # hashes of the first 8 tags, 0-filled
        ("published_at", "i8"),  # epoch ms
        ("engaged_at", "i8"),  # last engagement, epoch ms; 0 never
        ("counts", "u4", (14,)),  # distinct users by config.events.ACTIONS
        ("organic", "u4"),  # exposures that are evidence
        ("paid", "u4"),
        ("served", "u4"),  # under way: served, not yet seen, not yet expired
        ("quota", "u4"),  # exposures the tier still wants: quota - exposures in the tier
        ("tier_entered_at", "i8"),
        ("deadline", "i8"),  # window end of the tier, epoch ms
        (
            "heat",
            "f4",
            (4,),
        ),  # log2 of engagement points at the half-lives of [notes] heat_half_lives_h, landmark models.lists.EPOCH; -inf: none
        ("quality", "f4", (3,)),  # mean, low, high (90 %): engagement score (CES) per exposure, models.quality; 0 before the first look
        ("score", "f4"),  # placement order inside a tier (models.pool.score); 0 outside
        ("rate", "f4"),  # shrunk CES per exposure at the hot half-life, when last looked at
    ]
)
"""One note as serving sees it."""

HEAD = np.dtype([("hash", "u8"), ("score", "f4")])
"""One place of a list head or a neighbour head: 12 bytes, best first."""


def notes_from(values: Sequence[bytes | None]) -> tuple[npt.NDArray[np.void], npt.NDArray[np.intp]]:
    """The records that exist, are whole and of this version, and their indices in `values`."""
    size = NOTE.itemsize
    with suppress(TypeError):  # as soon as one of them is None
        if set(map(len, values)) == {size}:  # type: ignore[arg-type]
            notes = np.frombuffer(b"".join(values), NOTE)  # type: ignore[arg-type]
            if (notes["version"] == NOTE_VERSION).all():
                return notes, np.arange(notes.size)
    kept = [i for i, v in enumerate(values) if v is not None and len(v) == size and v[0] == NOTE_VERSION]
    return np.frombuffer(b"".join([values[i] or b"" for i in kept]), NOTE), np.array(kept, np.intp)


def records(table: bytes) -> npt.NDArray[np.void]:
    """Of a table of records (`Store.table`) a record for each value: zeros where there is none, or none of this version."""
    notes = np.frombuffer(table, NOTE)
    if (whole := notes["version"] == NOTE_VERSION).all():
        return notes
    notes = notes.copy()
    notes[~whole] = np.zeros(1, NOTE)
    return notes


def taken(notes: npt.NDArray[np.void], rows: npt.NDArray[Any] | Sequence[int]) -> npt.NDArray[np.void]:
    """Some of the records, by index or mask, whole: `notes[rows]` copies field by field, five times slower."""
    whole = notes.view(np.uint8).reshape(notes.size, notes.dtype.itemsize)[rows]
    return whole.reshape(-1).view(notes.dtype)


def head_from(value: bytes | None) -> npt.NDArray[np.void]:
    """A list head, best first; a cut last place is dropped."""
    return np.frombuffer(value[: len(value) // HEAD.itemsize * HEAD.itemsize], HEAD) if value else np.empty(0, HEAD)


def heads_from(values: Sequence[bytes | None]) -> tuple[npt.NDArray[np.void], list[int]]:
    """The places of many heads, one after the other, and how many each has."""
    size = HEAD.itemsize
    whole = [b"" if value is None else value[: len(value) // size * size] for value in values]
    return np.frombuffer(b"".join(whole), HEAD), [len(value) // size for value in whole]


def head_bytes(places: Iterable[tuple[int, float]]) -> bytes:
    """(hash, score) pairs, best first, as a head."""
    return np.array(list(places), HEAD).tobytes()


class PartitionState(msgspec.Struct, array_like=True):
    """What the runner itself keeps of a partition, in its checkpointed state (key kind `partition`)."""

    v: int = 1
    clock: int = 0
    """highest effective time seen, epoch ms: the stream's clock"""
    appended: int = 0
    """append time of the last record, epoch ms"""
    marks: dict[str, tuple[int, int, int]] = {}
    """source name -> end of the last range applied"""
    skips: list[tuple[int, int, int]] = []
    """positions that were dead-lettered as fold_error: every later fold passes them too"""
    settings: str = ""
    """hash of the settings that shaped the fold"""
    probed: int = 0
    """sending time of the newest probe applied, epoch ms"""
    told: dict[int, tuple[int, int, int]] = {}
    """partition of the log that this stage's readers follow -> the last step of our own log that told it anything"""


encode_partition = msgspec.msgpack.Encoder().encode
decode_partition = msgspec.msgpack.Decoder(PartitionState).decode


def checkpoint_bytes(log: str, position: tuple[int, int, int]) -> bytes:
    """``log|offset.index.step``, padded, so that checkpoints of one log compare as bytes."""
    return b"%s|%016d.%08d.%08d" % (log.encode(), *position)


def checkpoint_from(value: bytes) -> tuple[str, tuple[int, int, int]]:
    """The log's identity and the position; raises `ValueError` on anything else."""
    log, _, place = value.rpartition(b"|")
    offset, index, step = place.split(b".")
    return log.decode(), (int(offset), int(index), int(step))
