"""Whatever dies, whenever: every counter exact, every state a fold over its own log, every signal told once. See `tests/chaos.py`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from tests import chaos, parts

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
]

WORKERS = ["worker"] * 3


def run(folder: Path, *words: str) -> dict[str, Any]:
    arguments: argparse.Namespace = chaos.parser().parse_args(words)
    return chaos.Chaos(arguments, folder).run()


def exact(report: dict[str, Any]) -> bool:
    return not (report["wrong_counters"] or report["wrong_state"] or report["lost_events"])


def test_embedded_two_workers_killed_stalled_and_the_store_killed_and_put_back(tmp_path: Path) -> None:
    """Six kills of workers, one stalled beyond its session, the store killed twice and put back once: all exact."""
    parts.need(parts.broker_program)
    parts.need(parts.store_program)
    plan = [*WORKERS, "store", "stall", *WORKERS, "store", "rollback", "api"]
    report = run(tmp_path, "--seconds", "50", "--rate", "1000", "--pause", "1", "3", "--seed", "11", "--plan", *plan)
    assert exact(report), report
    assert (report["kills"]["worker"], report["ended_by_themselves"]) == (6, 0)


def test_embedded_rebuilt_while_events_flow_and_brought_back_from_nothing(tmp_path: Path) -> None:
    """Every stage is rebuilt beside the live one, the store loses everything and is rebuilt, rebuilt again with older data: all exact."""
    parts.need(parts.broker_program)
    parts.need(parts.store_program)
    plan = ["rebuild", "worker", "flush", "rebuild", "store", "rollback", "worker"]
    report = run(tmp_path, "--seconds", "30", "--rate", "1000", "--pause", "1", "3", "--seed", "14", "--plan", *plan)
    assert exact(report), report
    assert (report["rebuilds"], report["flushes"]) == (2, 1)


@pytest.mark.kafka
def test_apache_kafka_with_the_broker_killed_too(tmp_path: Path) -> None:
    """The same on Apache Kafka, with the broker killed twice."""
    parts.need(parts.kafka_jars)
    plan = ["worker", "broker", "worker", "store", "rollback", "worker", "broker", "scale"]
    report = run(tmp_path, "--kafka", "apache", "--seconds", "60", "--rate", "800", "--seed", "12", "--plan", *plan)
    assert exact(report), report
    assert report["kills"]["broker"] == 2


@pytest.mark.cluster
def test_a_redis_cluster_with_one_master_put_back(tmp_path: Path) -> None:
    """One of three masters comes back with older data: its partitions alone are folded again, and nothing counts twice."""
    parts.need(lambda: parts.program("redis-server", "redis-server"))
    plan = ["worker", "rollback", "store", "rollback", "worker"]
    report = run(tmp_path, "--cluster", "--seconds", "40", "--rate", "600", "--seed", "13", "--plan", *plan)
    assert exact(report), report
