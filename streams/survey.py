"""What the logs say was told: for a stage whose checkpoint is lost, where its output ends in the logs it wrote to."""

from __future__ import annotations

import contextlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from config.records import Packed, Position
from config.security import client_security
from config.settings import Settings
from config.topics import full
from streams import packing
from streams.dead import parse
from streams.stage import Record
from streams.unpack import Whole

LAST_RECORDS = 256
"""Records of one partition that surely reach back beyond the last piece that was told to it (20,000 steps, packed by 1,000 or 512 KB)."""

decode_header = msgspec.msgpack.Decoder(Packed).decode
Key = tuple[str, int]
"""Short topic name and partition."""


@contextlib.asynccontextmanager
async def consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """In no group: what a rebuild reads moves nobody's offsets."""
    reader = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.servers.split(","),
        client_id="upwell-rebuild",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4_194_304,
        fetch_max_wait_ms=100,
        **client_security(settings.kafka),
    )
    await reader.start()
    reader._fetcher._records = Whole()
    try:
        yield reader
    finally:
        await reader.stop()


async def read_to_end(settings: Settings, tps: Iterable[TopicPartition], take: Callable[[Any], None]) -> None:
    """Every record of those logs, as far as they reach now; by high watermarks, since ends may be told short."""
    async with consumer(settings) as reader:
        left = set(tps)
        reader.assign(list(left))
        await reader.seek_to_beginning()
        ends: dict[TopicPartition, int] = {}
        while left:
            for records in (await reader.getmany(timeout_ms=200)).values():
                for record in records:
                    take(record)
            for tp in sorted(left):
                mark = reader.highwater(tp)
                if mark is not None:
                    ends.setdefault(tp, mark)
                if tp in ends and await reader.position(tp) >= ends[tp]:
                    left.discard(tp)
                    reader.pause(tp)


class Survey:
    """What the logs say of a store that was lost: how far each source was heard, and which steps no fold may take."""

    def __init__(self) -> None:
        self.heard: dict[str, dict[Key, tuple[Position, deque[int]]]] = defaultdict(dict)
        self.skips: dict[Key, list[tuple[int, int, int]]] = defaultdict(list)

    def packed(self, topic: str, partition: int, value: bytes) -> None:
        """A record of an internal log."""
        header = decode_header(value)
        if header.source is None:
            return
        places, place, end = self.heard[header.source.name], (topic, partition), Position(*header.end)
        last, firsts = places.get(place, (end, deque(maxlen=LAST_RECORDS)))
        if end >= last:  # else a repeat
            firsts.append(header.first[0])
        places[place] = (max(last, end), firsts)

    def letter(self, prefix: str, record: Any) -> None:
        """A dead letter; of a step that was passed over, its position."""
        headers = tuple((name, value or b"") for name, value in record.headers or ())
        with contextlib.suppress(ValueError):
            found = parse(Record("dead", record.partition, record.offset, record.timestamp, record.key, record.value, headers))
            position = (found.offset, found.index, found.step)
            skips = self.skips[found.topic.removeprefix(f"{prefix}."), found.partition]
            if found.step >= 0 and position not in skips:
                skips.append(position)

    def told(self, source: str) -> Position:
        """Everything that this source told before here was acknowledged: a piece is sent after the one before it was."""
        places = self.heard.get(source)
        if not places:
            return Position(0)
        _, firsts = max(places.values(), key=lambda place: place[0])
        return Position(min(firsts))


async def survey(settings: Settings, counts: Mapping[str, int]) -> Survey:
    """Reads every internal log, headers only, and the dead letters."""
    found, prefix = Survey(), settings.kafka.prefix
    short = {full(prefix, topic): topic for topic in (*packing.PACKED, "dead")}

    def take(record: Any) -> None:
        topic = short[record.topic]
        if topic == "dead":
            found.letter(prefix, record)
        else:
            with contextlib.suppress(msgspec.DecodeError):  # what cannot be read told nothing
                found.packed(topic, record.partition, record.value or b"")

    await read_to_end(settings, [TopicPartition(name, p) for name, topic in short.items() for p in range(counts[topic])], take)
    return found
