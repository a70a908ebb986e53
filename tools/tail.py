"""Events as they are applied: follows `by-user`, the log that the users stage folds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from config.events import TYPES
from config.records import Act, Erase, Facts, Forget, Personalize, Served, UserRecord, decode_user
from config.settings import Settings
from tools import broker
from tools.people import printable


def follow(settings: Settings, user: str, *, as_json: bool, from_start: bool) -> None:
    """Prints until Ctrl-C."""
    with broker.consumer(settings.kafka) as consumer:
        logs = list(broker.places(consumer, settings.kafka, ["by-user"]))
        consumer.assign(logs)
        if from_start:
            consumer.seek_to_beginning(*logs)
        else:
            consumer.seek_to_end(*logs)
        while True:
            for records in consumer.poll(500).values():
                for record in records:
                    try:
                        packed = decode_user(record.value or b"")
                    except msgspec.MsgspecError as error:  # not written by intake: the stage makes a dead letter of it
                        print(f"{record.topic}/{record.partition}/{record.offset} is none of ours: {error}", file=sys.stderr)
                        continue
                    for one in applied(packed, user):
                        print(msgspec.json.encode(one).decode() if as_json else line(one), flush=True)


def applied(record: UserRecord, user: str = "") -> Iterator[dict[str, Any]]:
    """What a packed record says, signal by signal, of one user or of all; pure."""
    for signal in record.signals:
        told = plain(signal, record.notes)
        if told is not None and (not user or told["user_id"] == user):
            yield told


def plain(signal: Any, notes: Sequence[Facts]) -> dict[str, Any] | None:
    """A signal as plain data; None for one that only moves the clock."""
    match signal:
        case Act():
            told: dict[str, Any] = {"at": signal.t, "user_id": signal.u, "type": TYPES[signal.k]}
            if signal.n >= 0:
                facts = notes[signal.n]
                told |= {"note_id": facts.id, "tags": list(facts.tags)}
                if not facts.known:
                    told["unknown_note"] = True
            if signal.r:
                told |= {"request_id": signal.r, "position": signal.p}
            if signal.x is not None:
                told |= msgspec.to_builtins(signal.x)
            return told
        case Served():
            shown = [] if signal.slate is None else signal.slate.items
            return {"at": signal.t, "user_id": signal.u, "type": "served", "notes": len(shown)}
        case Personalize():
            return {"at": signal.t, "user_id": signal.u, "type": "settings", "personalized": signal.on}
        case Forget():
            return {"at": signal.t, "user_id": signal.u, "type": "forget", "tag": signal.tag_name}
        case Erase():
            return {"at": signal.t, "user_id": signal.u, "type": "erase"}
    return None


def line(told: dict[str, Any]) -> str:
    """For people."""
    clock = time.strftime("%H:%M:%S", time.gmtime(told["at"] / 1000))
    rest = {
        key: value for key, value in told.items() if key not in ("at", "user_id", "type", "note_id", "tags", "request_id") and value != -1
    }
    words = [clock, f"{told['user_id']:<14}", f"{told['type']:<12}", told.get("note_id", "")]
    if told.get("tags"):
        words.append("#" + " #".join(told["tags"]))
    words += [f"{key}={value}" for key, value in rest.items()]
    return printable("  ".join(word for word in words if word))
