"""A whole system in one process: logs are lists, the store is in memory, stages are production's own.

For evaluation, for tests, and as the oracle of fault tests: `refold` folds a recorded log again, and what it leaves in a memory store
must equal the live store byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from config.records import START, Position, Source
from config.settings import Settings
from config.topics import STAGES, TOPICS, full
from store.base import Store
from store.lag import slot_stage
from store.layout import checkpoint_bytes
from store.manifest import Manifest, create
from store.memory import MemoryStore
from streams import fold, packing
from streams.engine import available, make
from streams.stage import Record, Stage

LOG = "local"
FORGOTTEN = Record("", 0, 0, 0, None, None)
"""In the place of a record that nobody will read again."""


class Log(list[Record]):
    """One partition of a topic."""

    def __init__(self, topic: str, partition: int) -> None:
        super().__init__()
        self.topic, self.partition = topic, partition

    def append_value(self, value: bytes | None, timestamp: int, key: bytes | None = None, headers: Any = ()) -> int:
        """Appends; returns the offset."""
        self.append(Record(self.topic, self.partition, len(self), timestamp, key, value, headers))
        return len(self) - 1


class Local:
    """Logs, a store, and every stage's partitions; `pump` folds until nothing is left to fold.

    Parameters
    ----------
    settings
        of the system; the prefix names topics and keys.
    stages
        which stages run (None: all there are); what others would read stays in its log.
    partitions
        of every topic that is not single.
    late
        stages that wait until so many records are there, as one that commits every second does.
    keep
        whether logs keep what every stage has read; a long run forgets it.
    """

    def __init__(
        self,
        settings: Settings,
        stages: Sequence[str] | None = None,
        store: Store | None = None,
        partitions: int = 1,
        late: Mapping[str, int] | None = None,
        keep: bool = True,
        **made: Stage,
    ) -> None:
        self.settings, self.store = settings, store or MemoryStore()
        self.late, self.keep = late or {}, keep
        prefix = settings.kafka.prefix
        self.counts = {t.name: 1 if t.single else partitions for t in TOPICS.values()}
        self.manifest = Manifest.new(prefix, self.counts)
        self.logs = {(name, p): Log(name, p) for name, count in self.counts.items() for p in range(count)}
        names = available() if stages is None else stages
        self.stages = {name: made.get(name) or make(name, settings) for name in names}
        self.parts: list[tuple[Log, fold.Partition]] = []
        self.read: dict[int, int] = {}
        self.begun = False
        self.now = 0
        """append time of whatever is appended next, epoch ms"""
        self.resolve: fold.Resolve | None = None

    async def begin(self) -> None:
        """Checkpoints and manifest of a new system, or where the store stands."""
        await create(self.store, self.manifest)
        prefix = self.settings.kafka.prefix
        for name, stage in self.stages.items():
            for topic in STAGES[name]:
                for p in range(self.counts[topic]):
                    slot = self.manifest.at(slot_stage(name, topic), p)
                    part = fold.Partition(stage, slot, Source(LOG, full(prefix, topic), p), self.counts)
                    if await fold.begin(part, self.store) is None:
                        await self.store.commit(slot, None, checkpoint_bytes(LOG, START), {}, {})
                        await fold.begin(part, self.store)
                    self.read[len(self.parts)] = part.offset
                    self.parts.append((self.logs[topic, p], part))
        if "intake" in self.stages:
            from streams.facts import FactsCache

            # Nothing else runs meanwhile: who is not known now will not be known in 100 ms.
            events = structs.replace(self.settings.events, unknown_note_wait_ms=0)
            self.resolve_facts = FactsCache(self.store, structs.replace(self.settings, events=events), self.manifest.slot)
            self.resolve = self.facts
        self.begun = True

    async def facts(self, hashes: Sequence[int]) -> Mapping[int, Any]:
        return await self.resolve_facts.resolve(hashes, self.now)

    async def send(self, records: list[packing.Outgoing]) -> None:
        for r in records:
            self.append(r.topic, r.value, r.key, r.partition or 0, r.headers)

    def append(self, topic: str, value: bytes | None, key: bytes | None = None, partition: int = 0, headers: Any = ()) -> int:
        """A record to the end of a log; returns its offset."""
        return self.logs[topic, partition].append_value(value, self.now, key, headers)

    async def pump(self) -> None:
        """Fold until every log is read to its end."""
        if not self.begun:
            await self.begin()
        moved = True
        while moved:
            moved = False
            for i, (log, part) in enumerate(self.parts):
                if len(log) - self.read[i] >= self.late.get(part.stage.name, 1):
                    part.feed(log[self.read[i] :])
                    if not self.keep:
                        log[self.read[i] :] = [FORGOTTEN] * (len(log) - self.read[i])
                    self.read[i] = len(log)
                    moved = True
                    while part.waiting:
                        await fold.step(part, self.store, self.resolve)
                        if part.full:
                            await fold.commit(part, self.store, self.send)
                    if part.uncut:
                        await fold.commit(part, self.store, self.send)


async def refold(
    stage: Stage, manifest: Manifest, topic: str, source: Source, records: Iterable[Record], store: Store, first: int = 0
) -> list[packing.Outgoing]:
    """Fold one recorded partition again into `store`; what it would have sent is returned instead."""
    sent: list[packing.Outgoing] = []

    async def keep(records: list[packing.Outgoing]) -> None:
        sent.extend(records)

    slot = manifest.at(slot_stage(stage.name, topic), source.partition)
    await store.commit(slot, None, checkpoint_bytes(source.log, Position(first)), {}, {})
    part = fold.Partition(stage, slot, source, manifest.partitions)
    await fold.begin(part, store)
    part.feed(records)
    while part.waiting:
        await fold.step(part, store)
        if part.full:
            await fold.commit(part, store, keep)
    if part.uncut:
        await fold.commit(part, store, keep)
    return sent
