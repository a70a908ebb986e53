"""What it costs to be watched: the whole job with metrics, their scrape and the heartbeat, and the same without them, turn and turn about.

``python -m benchmarks.watched [events a turn] [pairs]``. One system; each turn a backlog is written and a new worker applies it, with and without
in the order 1 0 0 1 1 0 …, so that what grows or drifts meets both. Figures are the worker's CPU, of all its threads, and the ratio is the median
of the pairs' ratios. *Without* is a worker in whose process every metric is an object that does nothing, that counts no outcomes and asks no log
for its end, beside which no API sends probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import threading
import time
import urllib.request
from typing import Any

from benchmarks.latency import wait_ready
from benchmarks.rig import NOTES, Process, Rig, events, notes, printed, yardstick
from config.settings import load
from tools.parts import free_port

STAGES = "intake,users,notes,lists"
SCRAPE_S = 5.0


class Nothing:
    """A metric that takes everything and keeps nothing."""

    def labels(self, *_: object, **__: object) -> Nothing:
        return self

    def inc(self, *_: object) -> None: ...

    set = observe = remove = inc


def bare_worker() -> None:
    """`upwell worker` without what watches it."""
    from prometheus_client.metrics import MetricWrapperBase

    from config import metrics
    from streams import engine, owner, packing

    for name, value in list(vars(metrics).items()):
        if isinstance(value, MetricWrapperBase):
            setattr(metrics, name, Nothing())
    metrics.observe = lambda *_: None

    async def never(_: engine.Worker) -> None:
        await asyncio.Event().wait()

    engine.StageApp.measure = lambda _: None  # type: ignore[method-assign]
    engine.Worker.watch_ends = never  # type: ignore[method-assign]
    owner.Owner.export_counts = lambda _: None  # type: ignore[method-assign]
    packing.Collector.count = lambda *_: None  # type: ignore[method-assign]
    engine.run(load(), STAGES.split(","))


class Watching(threading.Thread):
    """What Prometheus does, while the API sends its probes: both until intake has taken `least` records, so that checkpoints come to rest."""

    def __init__(self, rig: Rig, api: Process, port: int, least: int) -> None:
        super().__init__(daemon=True)
        self.rig, self.api, self.port, self.least = rig, api, port, least

    def run(self) -> None:
        due = 0.0
        while taken(self.rig) < self.least:
            time.sleep(0.1)
            if time.monotonic() >= due:
                due = time.monotonic() + SCRAPE_S
                with contextlib.suppress(OSError):  # not up yet
                    urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read()
        self.api.stop(10)


def taken(rig: Rig) -> int:
    """Public records that intake has taken."""
    return sum(offset for (stage, _, _), offset in rig.checkpoints(["intake"]).items())


def turn(rig: Rig, count: int, seed: int, *, watched: bool) -> float:
    """CPU of one worker on `count` events, µs an event."""
    least = taken(rig) + rig.publish("events", events(count, seed), "user_id")
    port = free_port()
    variables = {"UPWELL_ENGINE__METRICS_PORT": str(port)}
    if not watched:
        with rig.process("benchmarks.watched", ["worker"], variables) as worker:
            return applied(rig, worker, least, count)
    api_port = free_port()
    with rig.process("upwell", ["api", "--port", str(api_port)], port=api_port) as api:
        wait_ready(api_port, 60)
        with rig.process("upwell", ["worker", "--stages", STAGES], variables) as worker:
            Watching(rig, api, port, least).start()
            return applied(rig, worker, least, count)


def applied(rig: Rig, worker: Process, least: int, count: int) -> float:
    used = rig.watch(worker, least).cpu["worker"]
    worker.stop(10)
    return used / count * 1e6


def measure(count: int, pairs: int) -> list[str]:
    with Rig() as rig:
        rig.publish("notes", notes(), "note_id")
        with rig.worker() as first:
            rig.watch(first, NOTES)
            first.stop(10)
        turn(rig, count, 100, watched=True)  # users and notes are met for the first time: not counted
        found: list[dict[bool, float]] = []
        for pair in range(pairs):
            order = (True, False) if pair % 2 == 0 else (False, True)
            found.append({watched: turn(rig, count, 2 * pair + i, watched=watched) for i, watched in enumerate(order)})
        ratios = sorted(one[True] / one[False] for one in found)
        told: dict[str, Any] = {
            name: statistics.median(one[watched] for one in found) for name, watched in (("with", True), ("without", False))
        }
        return [
            "| | µs of worker CPU an event |",
            "|---|---|",
            f"| with metrics, scrape and heartbeat | {told['with']:.1f} |",
            f"| without | {told['without']:.1f} |",
            "",
            (
                f"Cost {100 * (statistics.median(ratios) - 1):+.1f} % (median of {pairs} pairs from {100 * (ratios[0] - 1):+.1f} to "
                f"{100 * (ratios[-1] - 1):+.1f} %; wanted: at most 3 %), {count} events a turn, yardstick {yardstick():.0f} ms."
            ),
        ]


def main() -> None:
    if sys.argv[1:] == ["worker"]:
        bare_worker()
        return
    printed(measure, 60_000, 4)


if __name__ == "__main__":
    main()
