"""Dead letters for people: read newest last, and sent once more to where they came from. What a letter is: `streams/dead.py`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Column, Table

from config.settings import Settings
from streams.dead import RETRIED, Letter, NotRetriable, parse
from streams.dead import retry as again
from streams.stage import Record
from tools import broker

QUIET_S = 1.0
"""A log that gives nothing for so long is read to its end: end offsets of the embedded broker fall short."""


def letters(settings: Settings, reason: str = "") -> Iterator[tuple[int, Letter]]:
    """(append time, letter) of every dead letter that is kept, log by log."""
    kafka = settings.kafka
    with broker.consumer(kafka) as consumer:
        logs = broker.places(consumer, kafka, ["dead"])
        consumer.assign(list(logs))
        consumer.seek_to_beginning(*logs)
        ends = consumer.end_offsets(list(logs))
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_S or any(consumer.position(tp) < end for tp, end in ends.items()):
            for tp, records in consumer.poll(200).items():
                quiet_since = time.monotonic()
                for one in records:
                    headers = tuple((name, value or b"") for name, value in one.headers or ())
                    found = parse(Record(tp.topic, tp.partition, one.offset, one.timestamp, one.key, one.value, headers))
                    if not reason or found.reason == reason:
                        yield one.timestamp, found


def show(settings: Settings, reason: str, limit: int, *, as_json: bool) -> None:
    """The newest letters, and how many there are by reason."""
    found = sorted(letters(settings, reason), key=lambda pair: pair[0])
    if as_json:
        for at, one in found[-limit:]:
            print(msgspec.json.encode({"at": at, **plain(one)}).decode())
        return
    console = Console(highlight=False)
    if not found:
        console.print("no dead letters")
        return
    table = Table("at", "reason", Column("where", overflow="fold"), "message", "bytes", box=None, pad_edge=False)
    for at, one in found[-limit:]:
        where = f"{one.place}[{one.index}]" + (" (retried)" if one.retried else "")
        table.add_row(datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S"), one.reason, where, one.message, excerpt(one.value))
    console.print(table)
    counts = Counter(one.reason for _, one in found)
    console.print("in all: " + ", ".join(f"{number:,} {name}" for name, number in counts.most_common()), style="bold")


def plain(one: Letter) -> dict[str, object]:
    told: dict[str, object] = msgspec.structs.asdict(one)
    for name in ("key", "value"):
        value = told[name]
        told[name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else None
    return told


def excerpt(value: bytes | None, size: int = 60) -> str:
    """The beginning, on one line."""
    if value is None:
        return "(tombstone)"
    text = "".join(letter if letter.isprintable() else "·" for letter in value[: size * 2].decode("utf-8", "replace"))
    return text[:size] + ("…" if len(value) > size else "")


def retry(settings: Settings, reason: str, *, dry_run: bool) -> str:
    """Sends again what can be sent again; what was done, as text. Sending the same letter twice counts once."""
    found = [one for _, one in letters(settings, reason)]
    tried = {one.retried for one in found if one.retried}
    refused: Counter[str] = Counter()
    sent = 0
    if found:
        with broker.producer(settings.kafka) as producer:
            futures = []
            for one in found:
                try:
                    record = again(one)
                except NotRetriable as error:
                    refused[str(error).partition(" (")[0].partition(";")[0]] += 1
                    continue
                if dict(record.headers)[RETRIED].decode() in tried:
                    refused["it was retried, and refused again"] += 1
                    continue
                sent += 1
                if not dry_run:
                    headers = list(record.headers)
                    futures.append(
                        producer.send(record.topic, key=record.key, value=record.value, headers=headers, partition=one.partition)
                    )
            producer.flush(timeout=60)
            for future in futures:
                future.get(timeout=60)
    lines = [f"{'would send' if dry_run else 'sent'} {sent:,} of {len(found):,} dead letters again"]
    return "\n".join(lines + [f"left {number:,}: {why}" for why, number in refused.most_common()])
