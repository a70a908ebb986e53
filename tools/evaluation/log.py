"""Files of contract JSON lines as one log by time, and which of its events are tested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from config.events import ENGAGEMENTS
from tools.mistake import Mistake
from tools.replay import milliseconds


class Line(NamedTuple):
    """An event or a note of a file."""

    at: int
    note: bool
    user: str
    note_id: str
    type: str
    body: bytes


class Head(msgspec.Struct):
    """What the loop must know of a line."""

    type: str | None = None
    user_id: str = ""
    anonymous_id: str = ""
    note_id: str = ""
    timestamp: int | datetime | None = None


_head = msgspec.json.Decoder(Head).decode


def lines(files: Iterable[Path]) -> list[Line]:
    """All events and notes, by time, of equal times in the order of the files. Raises `Mistake`."""
    found: list[Line] = []
    for file in files:
        try:
            bodies = file.read_bytes().splitlines()
        except OSError as error:
            raise Mistake(f"cannot read {file}: {error.strerror}") from None
        for number, body in enumerate(bodies, 1):
            if body.strip():
                found.append(line(body, f"{file}:{number}"))
    if not any(not one.note for one in found):
        raise Mistake("no events in " + ", ".join(map(str, files)))
    return sorted(found, key=lambda one: one.at)


def line(body: bytes, place: str) -> Line:
    try:
        head = _head(body)
        at = milliseconds(head.timestamp)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{place}: {error}") from None
    if at is None:
        raise Mistake(f"{place}: evaluation goes by time, and this line has no timestamp")
    user = head.user_id or (f"anon:{head.anonymous_id}" if head.anonymous_id else "")
    return Line(at, head.type is None, user, head.note_id, head.type or "", body)


def engagements(log: Sequence[Line]) -> tuple[dict[int, bool], dict[tuple[str, str], int]]:
    """Index of a user's first event with a note that he engages with -> whether he likes it; and of each first engagement."""
    first: dict[tuple[str, str], int] = {}
    engaged: dict[tuple[str, str], int] = {}
    liked: set[tuple[str, str]] = set()
    for i, one in enumerate(log):
        if one.note or not one.note_id:
            continue
        pair = (one.user, one.note_id)
        first.setdefault(pair, i)
        if one.type in ENGAGEMENTS:
            engaged.setdefault(pair, i)
        if one.type == "like":
            liked.add(pair)
    return {first[pair]: pair in liked for pair in engaged}, engaged
