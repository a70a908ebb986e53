"""What is handed over and not waited for: in groups, bounded, and each record hears what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from serving.producer import Ack, Handed, Record


class Log:
    """A log that takes groups of records, once it is open; `broken`: it fails with them."""

    def __init__(self, opened: bool = True, broken: bool = False) -> None:
        self.groups: list[list[bytes]] = []
        self.open, self.broken = asyncio.Event(), broken
        if opened:
            self.open.set()

    async def send(self, records: Sequence[Record]) -> list[Ack | None]:
        await self.open.wait()
        if self.broken:
            raise OSError("away")
        first = sum(map(len, self.groups))
        self.groups.append([record.value for record in records])
        return [Ack(record.partition, first + at) for at, record in enumerate(records)]


def record(value: bytes, heard: list[Ack | None]) -> Record:
    return Record("by-user", b"u", value, 3, heard.append)


def test_what_is_handed_over_at_once_leaves_together_and_each_hears_of_its_own_place() -> None:
    async def told() -> None:
        log, heard = Log(), list[Ack | None]()
        handed = Handed(log.send, most=10, wait_s=60.0)
        handed.add(record(b"a", heard))
        handed.add(record(b"b", heard))
        await handed.drain(5.0)
        handed.add(record(b"c", heard))
        await handed.drain(5.0)
        assert log.groups == [[b"a", b"b"], [b"c"]]
        assert heard == [Ack(3, 0), Ack(3, 1), Ack(3, 2)]

    asyncio.run(told())


def test_more_than_may_be_under_way_is_lost_at_once_and_not_sent() -> None:
    async def told() -> None:
        log, heard = Log(opened=False), list[Ack | None]()
        handed = Handed(log.send, most=2, wait_s=60.0)
        for value in (b"a", b"b", b"c"):
            handed.add(record(value, heard))
        assert heard == [None]
        log.open.set()
        await handed.drain(5.0)
        assert log.groups == [[b"a", b"b"]]
        assert handed.count == 0

    asyncio.run(told())


def test_nobody_has_to_stop_it_for_a_record_to_leave() -> None:
    async def told() -> None:
        log, heard = Log(), asyncio.Event()
        handed = Handed(log.send, most=10, wait_s=0.001)
        handed.add(Record("by-user", b"u", b"a", 3, lambda ack: heard.set()))
        await asyncio.wait_for(heard.wait(), 30.0)
        assert log.groups == [[b"a"]]

    asyncio.run(told())


def test_whoever_is_in_a_group_that_fails_or_is_too_late_hears_that_there_is_no_acknowledgement() -> None:
    async def told() -> None:
        for log in (Log(broken=True), Log(opened=False)):
            heard = list[Ack | None]()
            handed = Handed(log.send, most=10, wait_s=60.0)
            handed.add(record(b"a", heard))
            handed.add(record(b"b", heard))
            await handed.drain(0.01)
            assert heard == [None, None]

    asyncio.run(told())
