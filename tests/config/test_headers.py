"""Whatever a client writes into its headers: the records are read, and those after them."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

import streams.logs  # noqa: F401 - brings kafka-python to it
from config.headers import read_leniently
from tests import parts


class Raw(str):
    """A header's name that is sent as other bytes."""

    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe name"


def found_by_tools(address: str) -> list[tuple[bytes, list[str]]]:
    consumer = KafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    found = [(record.value, [name for name, _ in record.headers]) for record in islice(consumer, 4)]
    consumer.close()
    return found


async def read(address: str) -> list[tuple[bytes, list[str]]]:
    consumer = AIOKafkaConsumer("t", bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: list[tuple[bytes, list[str]]] = []
        async with asyncio.timeout(20):
            while len(found) < 4:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.value, [name for name, _ in record.headers]) for record in records]
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_header_name_that_is_no_utf8_stops_no_consumer(tmp_path: Path, compression: str | None) -> None:
    parts.need(parts.broker_program)
    read_leniently()
    with parts.EmbeddedBroker(tmp_path / "broker") as broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.address)
        admin.create_topics([NewTopic("t", 1, 1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=broker.address, linger_ms=200, compression_type=compression)
        for value, name in ((b"a", "trace"), (b"b", Raw("?")), (b"c", "trace"), (b"d", Raw("?"))):
            producer.send("t", value, headers=[(name, b"1")])
        producer.flush()
        producer.close()
        assert (
            asyncio.run(read(broker.address))
            == found_by_tools(broker.address)
            == [
                (b"a", ["trace"]),
                (b"b", ["\ufffd\ufffd name"]),
                (b"c", ["trace"]),
                (b"d", ["\ufffd\ufffd name"]),
            ]
        )
