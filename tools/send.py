"""One event, checked here and acknowledged by Kafka: `upwell send`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

from config.keys import hash64, partition_of
from config.settings import Settings
from config.topics import full
from tools import broker
from tools.mistake import Mistake
from tools.valid import event_fault


def from_flags(type: str, user: str, note: str, fields: Sequence[str]) -> bytes:
    """An event from what the flags say; pure."""
    event: dict[str, Any] = {"type": type}
    if user:
        event["user_id"] = user
    if note:
        event["note_id"] = note
    for field in fields:
        name, equals, text = field.partition("=")
        if not equals or not name:
            raise Mistake(f"--field {field}: name=value is the form")
        try:
            event[name] = json.loads(text)
        except json.JSONDecodeError:
            event[name] = text
    return msgspec.json.encode(event)


def from_stdin(stream: BinaryIO) -> bytes:
    """The one JSON object that stands there."""
    body = stream.read().strip()
    if not body:
        raise Mistake("nothing on stdin; try: upwell send like --user u1 --note n1, or echo '{\"type\": …}' | upwell send -")
    return body


def one(settings: Settings, body: bytes) -> str:
    """Sends it and says where it stands."""
    now = int(time.time() * 1000)
    fault = event_fault(body, now, settings)
    if fault:
        raise Mistake(f"this event would be refused: {fault}")
    event = msgspec.json.decode(body)
    if not isinstance(event, dict):
        raise Mistake("one event, and no array of them: `upwell replay FILE` sends many")
    topic = full(settings.kafka.prefix, "events")
    key = str(event.get("user_id") or f"anon:{event.get('anonymous_id')}")
    partition = partition_of(hash64(key), broker.counts(settings.kafka, ["events"])["events"])
    with broker.producer(settings.kafka) as producer:
        sent = producer.send(topic, key=key.encode(), value=body, partition=partition).get(timeout=30)
    return f"sent to {topic}, partition {sent.partition}, offset {sent.offset}"
