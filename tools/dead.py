"""Dead letters for people: read newest last, and sent once more to where they came from. What a letter is: `streams/dead.py`."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from config.decode import CODES
from config.settings import Settings
from config.topics import full
from streams.dead import SENT, Again, Letter, NotRetriable, parse
from streams.dead import retry as again
from streams.stage import Record
from tools import broker
from tools.mistake import Mistake

QUIET_S = 1.0
"""A log that gives nothing for so long is read to its end: end offsets of the embedded broker fall short."""


class Wanted(NamedTuple):
    """Which letters; empty: any."""

    reason: str = ""
    topic: str = ""
    """where the record came from, by its short name"""
    since_ms: int = 0
    until_ms: int = 1 << 62
    """when the letter was written, epoch ms"""

    def has(self, at: int, one: Letter) -> bool:
        short = one.topic.rpartition(".")[2]
        return self.reason in ("", one.reason) and self.topic in ("", short) and self.since_ms <= at < self.until_ms


AGO = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(text: str, now: float) -> int:
    """Epoch ms of ``2h`` (ago; s, m, h, d) or of an RFC 3339 time. Raises `Mistake`."""
    if text[-1:] in AGO and text[:-1].replace(".", "", 1).isdigit():
        return int((now - float(text[:-1]) * AGO[text[-1]]) * 1000)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Mistake(f"{text!r} is no time: 2h (ago), or 2026-01-31T18:00:00Z") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def picked(reason: str, topic: str, since: str, until: str) -> Wanted:
    """From words. Raises `Mistake`."""
    if reason and reason not in CODES:
        raise Mistake(f"no such reason: {reason}; there are {', '.join(CODES)}")
    now = time.time()
    first, last = moment(since, now) if since else 0, moment(until, now) if until else 1 << 62
    return Wanted(reason, topic.rpartition(".")[2], first, last)


ANY = Wanted()


class Box(NamedTuple):
    """The dead letters that are kept."""

    letters: list[tuple[int, Letter]]
    """(append time, letter), oldest first; each place once, however often its letter was written"""
    sent: set[str]
    """first places (as in the header ``retry``) of those that were sent again"""
    refused: set[str]
    """first places of those that were sent again and came back"""


def opened(settings: Settings, wanted: Wanted = ANY) -> Box:
    """Reads the whole topic; `wanted` picks letters, not what is known of retries."""
    kafka, box = settings.kafka, Box([], set(), set())
    seen: set[tuple[str, int]] = set()
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
                    if headers and headers[0][0] == SENT:
                        box.sent.add(headers[0][1].decode())
                        continue
                    try:
                        found = parse(Record(tp.topic, tp.partition, one.offset, one.timestamp, one.key, one.value, headers))
                    except ValueError:
                        continue  # somebody else's
                    if found.retried:
                        box.refused.add(found.retried)
                    if (found.place, found.index) not in seen and wanted.has(one.timestamp, found):
                        seen.add((found.place, found.index))
                        box.letters.append((one.timestamp, found))
    box.letters.sort(key=lambda pair: (pair[0], pair[1].place, pair[1].index))
    return box


def state(box: Box, one: Letter) -> str:
    """What became of a letter."""
    if one.retried:
        return "refused again"
    try:
        place = again(one).headers[0][1].decode()
    except NotRetriable:
        return ""
    return "refused again" if place in box.refused else "sent again" if place in box.sent else ""


def show(settings: Settings, wanted: Wanted, limit: int, *, as_json: bool) -> None:
    """The newest letters, and how many there are by reason."""
    box = opened(settings, wanted)
    newest = box.letters[-limit:] if limit > 0 else []
    if as_json:
        for at, one in newest:
            print(msgspec.json.encode({"at": at, **plain(one), "state": state(box, one)}).decode())
        return
    console = Console(highlight=False)
    if not box.letters:
        console.print("no dead letters")
        return
    table = Table("at", "reason", Column("where", overflow="fold"), "message", "bytes", box=None, pad_edge=False)
    for at, one in newest:
        became = state(box, one)
        where = f"{one.place}[{one.index}]" + (f" ({became})" if became else "")
        when = datetime.fromtimestamp(at / 1000, UTC).strftime("%m-%d %H:%M:%S")
        table.add_row(when, one.reason, where, escape(one.message), escape(excerpt(one.value)))
    console.print(table)
    counts = Counter(one.reason for _, one in box.letters)
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


def retry(settings: Settings, wanted: Wanted, *, dry_run: bool) -> str:
    """Sends again what can be sent again, each letter once however often this is run; what was done, as text.

    What was sent is written into the same topic, after Kafka acknowledged it; if this dies in between, the letter is sent again, and
    counts once all the same: ids that were not given are derived from the first place.
    """
    box = opened(settings, wanted)
    left: Counter[str] = Counter()
    chosen: list[tuple[Letter, Again]] = []
    for _, one in box.letters:
        try:
            record = again(one)
        except NotRetriable as error:
            left[str(error).partition(" (")[0].partition(";")[0]] += 1
            continue
        place = record.headers[0][1].decode()
        if place in box.refused:
            left["it was retried, and refused again"] += 1
        elif place in box.sent:
            left["it was retried"] += 1
        else:
            chosen.append((one, record))
    if chosen and not dry_run:
        with broker.producer(settings.kafka) as producer:
            dead = full(settings.kafka.prefix, "dead")
            for start in range(0, len(chosen), 500):
                part = chosen[start : start + 500]
                sends = [
                    producer.send(r.topic, key=r.key, value=r.value, headers=list(r.headers), partition=one.partition) for one, r in part
                ]
                for future in sends:
                    future.get(timeout=60)
                # An empty value, since a client refuses a record that has neither key nor value.
                marks = [producer.send(dead, key=r.key, value=b"", headers=[(SENT, r.headers[0][1])]) for _, r in part]
                for future in marks:
                    future.get(timeout=60)
    lines = [f"{'would send' if dry_run else 'sent'} {len(chosen):,} of {len(box.letters):,} dead letters again"]
    return "\n".join(lines + [f"left {number:,}: {why}" for why, number in left.most_common()])
