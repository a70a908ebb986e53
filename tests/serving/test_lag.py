"""Lag and freshness as the API tells them, with stages that stand still and stages that go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pytest
from prometheus_client import REGISTRY

from config.records import Probe
from serving.heart import Heart
from serving.lag import Lag, Place
from store.layout import PartitionState, decode_partition
from tests.serving.system import System, event, note


class LocalLogs:
    """The logs of a `Local` system, asked like a broker."""

    def __init__(self, system: System) -> None:
        self.logs, self.away, self.read, self.asked = system.local.logs, False, 0, 0

    async def ends(self, places: Iterable[Place]) -> Mapping[Place, int]:
        self.asked += 1
        if self.away:
            raise TimeoutError
        return {place: len(self.logs[place]) for place in places}

    async def dated(self, offsets: Mapping[Place, int]) -> Mapping[Place, float]:
        self.read += len(offsets)
        return {place: self.logs[place][offset].timestamp / 1000 for place, offset in offsets.items()}

    async def close(self) -> None: ...


class Watched:
    """A system with its lag and its heart, both moved by the test."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        self.system = System(environ)
        wall = lambda: self.system.clock / 1000  # noqa: E731
        self.logs = LocalLogs(self.system)
        self.lag = Lag(self.system.settings, self.system.local.store, self.system.service.snapshot, self.logs, wall)
        self.heart = Heart(1.0, self.system.producer, self.system.service.snapshot, self.lag.probed, wall)

    def look(self, seconds: float = 0.0) -> None:
        self.system.clock += int(seconds * 1000)
        self.system.local.now = self.system.clock
        self.system.run(self.lag.look())

    def beat(self) -> None:
        self.system.local.now = self.system.clock
        keys = self.system.service.snapshot.keys
        assert keys is not None
        self.system.run(self.heart.beat(keys))

    def worst(self, name: str, **labels: str) -> float:
        found = [
            sample.value for metric in REGISTRY.collect() if metric.name == name
            for sample in metric.samples if labels.items() <= sample.labels.items()
        ]  # fmt: skip
        assert found, name
        return max(found)

    def seconds(self, topic: str) -> float:
        return self.worst("upwell_stream_lag_seconds", topic=f"upwell.{topic}")


@pytest.fixture
def watched() -> Iterator[Watched]:
    one = Watched()
    yield one
    one.system.close()


def test_ends_are_asked_as_often_as_is_set_and_ages_go_on_meanwhile() -> None:
    """For a broker that reads whole logs to tell where they end."""
    one = Watched({"UPWELL_KAFKA__ENDS_S": "5"})
    one.system.publish(note("n1", "ann"))
    one.look()
    one.system.request("POST", "/v1/events", json=event("like", "u1", "n1"))
    for _ in range(5):
        one.look(1)
    assert one.logs.asked == 2
    for _ in range(4):
        one.look(1)
    assert (one.logs.asked, one.seconds("events")) == (2, 4.0)
    one.system.close()


def test_what_waits_ages_and_what_is_applied_does_not(watched: Watched) -> None:
    """An idle log has no lag; a record that nobody applies has one that grows, in its own log alone."""
    watched.system.publish(note("n1", "ann"))
    watched.look()
    watched.look(3_600)
    assert watched.seconds("events") == 0.0
    watched.system.request("POST", "/v1/events", json=event("like", "u1", "n1"))
    watched.look(1)
    watched.look(40)
    assert watched.seconds("events") == 40.0
    assert watched.worst("upwell_stream_lag_records", topic="upwell.events") == 1
    assert watched.seconds("by-user") == 0.0
    watched.system.pump()
    watched.look(1)
    assert watched.seconds("events") == 0.0


def test_a_backlog_from_before_the_start_is_dated_by_its_record(watched: Watched) -> None:
    """And read once, as long as nothing moves."""
    watched.system.local.now = watched.system.clock
    watched.system.request("POST", "/v1/events", json=event("like", "u1", "n1"))
    watched.look(100)
    assert watched.seconds("events") == 100.0
    watched.look(20)
    assert watched.seconds("events") == 120.0
    assert watched.logs.read == 1


def test_a_broker_that_is_away_lets_ages_grow(watched: Watched) -> None:
    """Nothing is known of new records, but the old ones get no younger."""
    watched.look()
    watched.system.request("POST", "/v1/events", json=event("like", "u1", "n1"))
    watched.look(1)
    watched.logs.away = True
    watched.look(60)
    assert watched.seconds("events") == 60.0


def test_a_probe_passes_every_partition_and_moves_no_clock(watched: Watched) -> None:
    """Neither does it make a quiet log look live: append times stay those of real events."""
    system = watched.system
    system.publish(note("n1", "ann"))
    system.send(event("like", "u1", "n1"))
    before = states(watched)
    system.clock += 600_000
    watched.look()
    watched.beat()
    system.pump()
    after = states(watched)
    assert [(s.clock, s.appended) for s in after] == [(s.clock, s.appended) for s in before]
    assert {state.probed for state in after} == {system.clock}
    watched.look(3)
    assert watched.worst("upwell_probe_age_seconds") == 3.0
    assert not any(isinstance(signal, Probe) and signal.t for record in system.logged() for signal in record.signals)
    assert system.get("/v1/notes/n1")["counts"]["like"] == 1


def states(watched: Watched) -> list[PartitionState]:
    """Of every partition of users and notes; of one that never had a record too."""
    keys = watched.system.service.snapshot.keys
    assert keys is not None
    values = watched.system.run(watched.system.local.store.read(keys.all_clocks))
    return [PartitionState() if value is None else decode_partition(value) for value in values]


def test_nobody_beats_for_a_partition_that_has_a_young_beat(watched: Watched) -> None:
    """So several API processes keep one heart."""
    watched.look()
    watched.beat()
    ends = [len(watched.logs.logs["events", p]) for p in range(2)]
    watched.system.pump()
    watched.look()
    watched.beat()
    assert [len(watched.logs.logs["events", p]) for p in range(2)] == ends
    watched.look(1)
    watched.beat()
    assert [len(watched.logs.logs["events", p]) for p in range(2)] == [end + 1 for end in ends]


def test_a_reader_is_told_when_nothing_is_applied_any_more(watched: Watched) -> None:
    """`/readyz` says degraded, and ready again when a probe comes through."""
    watched.look()
    watched.look(31)
    assert any("nothing sent in the last" in reason for reason in watched.system.get("/readyz")["reasons"])
    watched.beat()
    watched.system.pump()
    watched.look()
    assert watched.system.get("/readyz") == {"status": "ready", "reasons": []}


def test_a_probe_from_outside_is_refused(watched: Watched) -> None:
    """The reserved user cannot be spoken for over HTTP, and a record with the key but another form is an event like any."""
    answer = watched.system.request("POST", "/v1/events", json={"type": "like", "user_id": "_probe", "note_id": "n1"})
    assert answer.status_code == 422
    watched.system.local.append("events", b'{"type": "probe", "user_id": "_probe", "k": -4, "at": 1}', b"_probe", 0)
    watched.system.pump()
    assert len(watched.system.local.logs["dead", 0]) == 1
