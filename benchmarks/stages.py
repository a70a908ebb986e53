"""What one event costs in each stage, by part: intake to lists in this process, on the mix of the whole job, without broker or sockets.

``python -m benchmarks.stages [events] [--profile STAGE|all]``. Microseconds of CPU an event of the outside. *decode* is everything up to
the fold (unpack, marks, plan, objects from their bytes), *encode* all from there to the bytes of values and records, *store* packing a read and a
commit as the wire wants them, *produce* and *fetch* aiokafka's record batches. What a worker uses beside is clients, sockets, threads and the loop.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from aiokafka.consumer.fetcher import READ_UNCOMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from benchmarks.rig import NOTES, events, machine, notes, yardstick
from config.keys import hash64
from config.settings import load
from streams import fold
from streams.local import Local, Log
from streams.unpack import Fetched

START = 1_750_000_000_000
FRAME = 2_000
"""Records that a fetch brings for a partition, from a backlog of small ones."""
BATCH = 100
"""Records of one batch of a client that sends events one by one."""
PARTS = ("fetch", "decode", "fold", "encode", "store", "produce")


class Measured(Local):
    """A system in one process that knows what its stages use."""

    spent: defaultdict[str, defaultdict[str, float]]
    profiler: cProfile.Profile | None = None
    profiled = "all"

    def took(self, stage: str, part: str, work: Callable[[], Any]) -> Any:
        profiled = self.profiler is not None and part in ("decode", "fold", "encode") and self.profiled in (stage, "all")
        if profiled:
            self.profiler.enable()  # type: ignore[union-attr]
        begun = time.process_time()
        done = work()
        self.spent[stage][part] += time.process_time() - begun
        if profiled:
            self.profiler.disable()  # type: ignore[union-attr]
        return done

    async def piece(self, part: fold.Partition) -> None:
        """Plan, read, fold, cut, send, write: `fold.step` and `fold.commit` with a clock."""
        name, took, store = part.stage.name, self.took, self.store
        need = took(name, "decode", part.plan)
        if need.keys:
            took(name, "store", lambda: hiredis.pack_command(("MGET", *need.keys)))
            values = await store.read(need.keys)
            took(name, "decode", lambda: part.supply(need, values))
        if need.lookups:
            assert self.resolve is not None
            begun = time.process_time()
            part.facts = await self.resolve(need.lookups)
            self.spent[name]["decode"] += time.process_time() - begun
        took(name, "fold", part.fold)
        cut = took(name, "encode", part.cut)
        await self.send(cut.records)
        took(name, "produce", lambda: batches([r.value or b"" for r in cut.records], 1))
        arguments = [part.slot.checkpoint, *cut.values, *[v for v in cut.values.values() if v is not None]]
        took(name, "store", lambda: hiredis.pack_command(("EVALSHA", b"0" * 40, len(cut.values), *arguments)))
        await store.commit(part.slot, cut.expected, cut.checkpoint, cut.values, cut.timers)
        took(name, "encode", lambda: part.applied(cut))

    async def drain(self) -> None:
        """`pump`, in frames."""
        if not self.begun:
            await self.begin()
        moved = True
        while moved:
            moved = False
            for i, (log, part) in enumerate(self.parts):
                if len(log) > self.read[i]:
                    await self.frame(log, part, log[self.read[i] : self.read[i] + FRAME])
                    self.read[i] = min(len(log), self.read[i] + FRAME)
                    moved = True

    async def frame(self, log: Log, part: fold.Partition, records: list[Any]) -> None:
        raw = b"".join(batches([r.value or b"" for r in records], BATCH if log.topic == "events" else 1))
        self.took(part.stage.name, "fetch", lambda: unpacked(log, raw))
        self.took(part.stage.name, "decode", lambda: part.feed(records))
        while part.waiting:
            await self.piece(part)


def batches(values: Sequence[bytes], size: int) -> list[bytes]:
    """Record batches as a producer makes them."""
    made = []
    for at in range(0, len(values), size):
        builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 30)
        for i, value in enumerate(values[at : at + size]):
            builder.append(i, START, None, value, [])
        made.append(at.to_bytes(8, "big") + bytes(builder.build())[8:])  # the broker's part: the first offset
    return made


def unpacked(log: Log, raw: bytes) -> list[Any]:
    """Records as a consumer reads them."""
    tp = TopicPartition(f"upwell.{log.topic}", log.partition)
    fetched = Fetched()
    fetched[tp] = FetchResult(
        tp,
        assignment=None,
        partition_records=PartitionRecords(tp, MemoryRecords(raw), None, 0, None, None, True, READ_UNCOMMITTED),
        backoff=0,
    )
    return list(fetched[tp]._partition_records)


STAGES = ("intake", "users", "notes", "lists")


async def measured(count: int, profiled: str | None = None, stages: Sequence[str] = STAGES) -> Measured:
    """The stages after `count` events of the mix, a quarter as many before them not counted."""
    local = Measured(load(environ={}), stages, partitions=4)
    local.spent = defaultdict(lambda: defaultdict(float))
    local.now = START
    for i, note in enumerate(notes()):
        local.append("notes", json.dumps(note).encode(), None, i % 4)
    await local.drain()
    warm = count // 4
    for i, event in enumerate(events(count + warm)):
        if i == warm:
            await local.drain()
            local.spent.clear()
            if profiled:
                local.profiler, local.profiled = cProfile.Profile(), profiled
        local.now = event["timestamp"] = START + i * 5
        user = event["user_id"]
        local.append("events", json.dumps(event, separators=(",", ":")).encode(), user.encode(), hash64(user) % 4)
    await local.drain()
    return local


def table(local: Measured, count: int) -> list[str]:
    lines = [f"| µs an event | {' | '.join(PARTS)} | all |", f"|---|{'---|' * (len(PARTS) + 1)}"]
    total: defaultdict[str, float] = defaultdict(float)
    for stage, spent in local.spent.items():
        for part, seconds in spent.items():
            total[part] += seconds
        lines.append(row(stage, spent, count))
    lines.append(row("**all**", total, count))
    return lines


def row(name: str, spent: dict[str, float], count: int) -> str:
    cells = [f"{spent.get(part, 0.0) / count * 1e6:.1f}" for part in PARTS]
    return f"| {name} | {' | '.join(cells)} | {sum(spent.values()) / count * 1e6:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=int, nargs="?", default=40_000)
    parser.add_argument("--profile", metavar="STAGE", help="where the time of a stage goes, or of all")
    given = parser.parse_args()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    local = asyncio.run(measured(given.events, given.profile))
    print(f"{machine()}, yardstick {yardstick():.0f} ms\n")
    print("\n".join(table(local, given.events)))
    signals = {name: sum(len(log) for (topic, _), log in local.logs.items() if topic == name) for name in ("by-user", "by-note", "by-list")}
    print(f"\n{given.events} events over {NOTES} notes; records written: {', '.join(f'{n} {name}' for name, n in signals.items())}.")
    if local.profiler is not None:
        pstats.Stats(local.profiler).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
