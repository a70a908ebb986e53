"""Dead letters: what could not be processed, with its original bytes, and why and where in the headers.

==============  =================================================================================================================
header          holds
==============  =================================================================================================================
``reason``      one of `config.decode.CODES`
``topic``, ``partition``, ``offset``  where the record stands in its log
``index``       place in its array; 0 for a lone object, and where the record as a whole cannot be read
``message``     one line that names the field
``step``        only where a step was passed over for good (``fold_error``): its place in the position, for rebuilds
``retry``       only on what was retried once: ``topic/partition/offset[/index]`` of the first try, the topic by its short name
``part``        only where the value is not the whole record: ``element`` (of a large array, or the signal of a large internal record) or
                ``head`` (of a record too large to send)
==============  =================================================================================================================

A large record is not repeated for each of its bad places: that would let one record of 1 MB write 500 MB of dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from config.decode import laxly
from streams.stage import Record

Headers = tuple[tuple[str, bytes], ...]

WHOLE_BYTES = 4_096
"""A record up to this size is kept whole with each of its dead places."""

LETTER_BYTES = 1_044_000
"""Of key, value and headers: below what a broker and a producer take by default."""

KEY_BYTES = 1_024
MESSAGE_CHARS = 500

OF_THE_RECORD = ("not_utf8", "too_large", "too_many", "fold_error")
"""Reasons that concern the record, not the place `index` in it (a fold error's index counts what an array was split into). `not_json` may
concern either: of an array that is one but for a NaN in some elements, these."""

RETRIED = "retry"
SENT = "retried"
"""The one header of a record without a value in the dead topic: the first place of a letter that was sent again."""
PLACE_BYTES = 256
"""Of the `RETRIED` header: what is longer, anybody wrote."""
PUBLIC = ("events", "notes")

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Signals(msgspec.Struct, array_like=True):
    """A packed record (`config.records.Packed`), its signals as bytes."""

    v: Any
    source: Any
    base: Any
    first: Any
    end: Any
    appended: Any
    notes: Any
    signals: list[msgspec.Raw]


_signals = msgspec.msgpack.Decoder(Signals).decode


class NotRetriable(Exception):
    """Why a dead letter cannot be sent again."""


class Letter(msgspec.Struct, frozen=True):
    """A dead letter, read back."""

    reason: str
    topic: str
    """full name"""
    partition: int
    offset: int
    index: int
    message: str
    key: bytes | None
    value: bytes | None
    retried: str = ""
    part: str = ""
    step: int = -1
    """of the position that every fold passes over; -1: none is"""

    @property
    def place(self) -> str:
        """Where the record stands in its log."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Again(NamedTuple):
    """A record to send again."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


def letter(record: Record, topic: str, index: int | None, reason: str, message: str) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the dead letter of `record`, which came from `topic` (full name)."""
    value, part = record.value, ""
    if value is not None and len(value) > WHOLE_BYTES and reason not in OF_THE_RECORD:
        element = element_of(value, index or 0, record.topic in PUBLIC)
        if element is not None:
            value, part = element, "element"
    key = record.key and record.key[:KEY_BYTES]
    where = (("reason", reason), ("topic", topic), ("partition", record.partition), ("offset", record.offset), ("index", index or 0))
    headers = [(name, str(text).encode()) for name, text in where]
    headers.append(("message", message[:MESSAGE_CHARS].encode(errors="replace")))
    first = first_try(record)
    if first is not None:
        headers.append((RETRIED, first))
    room = LETTER_BYTES - len(key or b"") - sum(len(name) + len(text) + 16 for name, text in headers) - 64
    if value is not None and len(value) > room:
        value, part = value[: max(0, room)], "head"
    if part:
        headers.append(("part", part.encode()))
    return key, value, tuple(headers)


def first_try(record: Record) -> bytes | None:
    """The place that the record names as the one of its first try. Headers are written by anybody, and may hold anything or nothing."""
    for name, value in record.headers:
        if name == RETRIED and value and len(value) <= PLACE_BYTES:
            return value
    return None


def element_of(value: bytes, index: int, public: bool = True) -> bytes | None:
    """The bytes of one element of an array, of one signal of an internal record; None when `value` has no such place."""
    places = places_of(value, public)
    return bytes(places[index]) if index < len(places) else None


@lru_cache(1)
def places_of(value: bytes, public: bool) -> Sequence[msgspec.Raw | bytes]:
    """Cached: one record may hold five hundred bad places, and asks for each."""
    try:
        return _elements(value) if public else _signals(value).signals
    except (ValueError, RecursionError):
        return (laxly(value) or ()) if public else ()


def parse(record: Record) -> Letter:
    """A record of the dead topic. Raises `ValueError` when it is no dead letter."""
    headers = {name: (text or b"").decode(errors="replace") for name, text in record.headers}
    try:
        return Letter(
            headers["reason"],
            headers["topic"],
            int(headers["partition"]),
            int(headers["offset"]),
            int(headers["index"]),
            headers.get("message", ""),
            record.key,
            record.value,
            headers.get(RETRIED, ""),
            headers.get("part", ""),
            int(headers.get("step", "-1")),
        )
    except (KeyError, ValueError) as error:
        raise ValueError(f"{record.topic}/{record.partition}/{record.offset} is no dead letter: {error}") from None


def retry(dead: Letter) -> Again:
    """What to send so that the dead part, and only it, is tried once more. Raises `NotRetriable`.

    However often the same letter is sent, it counts once: ids that were not given are derived from the place that the ``retry`` header
    names, so that all its copies have the same.
    """
    short = dead.topic.rpartition(".")[2]
    if short not in PUBLIC:
        raise NotRetriable(f"{dead.topic} is an internal log: correct the program, then `upwell rebuild` folds it again")
    if dead.retried:
        raise NotRetriable(f"it was retried before (first tried at {dead.retried})")
    if dead.part == "head":
        raise NotRetriable(f"only its beginning was kept; the whole record is {dead.place}")
    if dead.reason in OF_THE_RECORD or dead.part == "element":
        value, element = dead.value, dead.part == "element"
    else:
        found = element_of(dead.value, dead.index) if dead.value is not None else None
        value, element = (dead.value, False) if found is None else (found, True)
    place = f"{short}/{dead.partition}/{dead.offset}"
    place = f"{place}/{dead.index}" if element else place
    return Again(dead.topic, dead.key, value, ((RETRIED, place.encode()),))
