"""What `upwell up` tells while it runs: a line for each promotion, and a summary every few seconds."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from config.settings import Kafka
from streams.logs import BrokerError
from tools import broker


class Moves:
    """Promotions, read from the public log of pool moves by a thread of its own."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self._found: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="moves", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def lines(self) -> Iterator[str]:
        while not self._found.empty():
            yield self._found.get()

    def _read(self) -> None:
        while not self._ended.is_set():
            try:
                self._follow()
            except BrokerError:
                self._ended.wait(1.0)

    def _follow(self) -> None:
        # A line may come half a second late: the embedded broker takes CPU for every fetch that waits.
        with broker.consumer(msgspec.structs.replace(self.kafka, fetch_wait_ms=1_000)) as consumer:
            logs = list(broker.places(consumer, self.kafka, ["transitions"]))
            consumer.assign(logs)
            consumer.seek_to_end(*logs)
            while not self._ended.is_set():
                for records in consumer.poll(1_000).values():
                    for record in records:
                        line = promotion(record.value)
                        if line:
                            self._found.put(line)


def promotion(value: bytes) -> str | None:
    """A move as a line, if it leads upwards; pure."""
    try:
        move = json.loads(value)
        if move["verdict"] not in ("promoted", "graduated"):
            return None
        evidence = move.get("evidence") or {}
    except (ValueError, KeyError, TypeError):
        return None
    seen = evidence.get("exposures")
    words = f"  ↑ {move['note_id']}: tier {move['from']} → {move['to']}"
    if seen is not None:
        words += f" after {seen:,.0f} exposures"
    actions = ", ".join(f"{number:,.0f} {name}" for name, number in actions_of(evidence).items() if number)
    return words + (f" ({actions})" if actions else "")


def actions_of(evidence: dict[str, Any]) -> dict[str, float]:
    """The counts by action, wherever the evidence keeps them."""
    for name in ("counts", "actions", "observed"):
        counts = evidence.get(name)
        if isinstance(counts, dict):
            return {key: value for key, value in counts.items() if isinstance(value, int | float)}
    return {}


SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """The samples of one metric in Prometheus's text format."""
    for found, labels, value in SAMPLE.findall(text):
        if found == name:
            yield dict(LABEL.findall(labels)), float(value)


class Summary:
    """Rates and latencies since the summary before, from the worker's and the API's metrics."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._at = time.monotonic()
        self._totals: dict[str, float] | None = None
        self._buckets: dict[float, float] = {}

    @staticmethod
    def total(text: str, name: str, **labels: str) -> float:
        return sum(value for found, value in samples(text, name) if labels.items() <= found.items())

    def line(self, worker: str, api: str) -> str | None:
        """One line; None the first time, when there is nothing to compare with."""
        now = time.monotonic()
        totals = {
            "events": self.total(worker, "upwell_events_total", stage="users"),
            "feeds": self.total(api, "upwell_feed_seconds_count"),
            "moves": self.total(worker, "upwell_pool_moves_total"),
            "dead": self.total(worker, "upwell_dead_total"),
        }
        buckets: dict[float, float] = {}
        for labels, value in samples(worker, "upwell_event_to_state_seconds_bucket"):
            if labels.get("stage") in ("users", "notes"):
                edge = float(labels["le"])
                buckets[edge] = buckets.get(edge, 0.0) + value
        before, seconds, old = self._totals, now - self._at, self._buckets
        self._totals, self._at, self._buckets = totals, now, buckets
        if before is None or not worker:
            return None
        rate = {name: max(0.0, totals[name] - before[name]) / seconds for name in totals}
        words = [time.strftime("%H:%M:%S"), f"{rate['events']:.0f} events/s", f"{rate['feeds']:.1f} feeds/s"]
        fresh = {edge: value - old.get(edge, 0.0) for edge, value in buckets.items()}
        if fresh.get(float("inf"), 0.0) > 0:
            words.append(f"visible after {shown(quantile(fresh, 0.5))} (p50), {shown(quantile(fresh, 0.99))} (p99)")
        if totals["dead"] > before["dead"]:
            words.append(f"{totals['dead'] - before['dead']:.0f} dead letters (`upwell dead list`)")
        return " · ".join(words)


def quantile(buckets: dict[float, float], q: float) -> float:
    """Of a cumulative histogram, interpolated within its bucket."""
    edges = sorted(buckets)
    want = q * buckets[edges[-1]]
    low, below = 0.0, 0.0
    for edge in edges:
        if buckets[edge] >= want:
            if edge == float("inf"):
                return low
            inside = buckets[edge] - below
            return low + (edge - low) * ((want - below) / inside if inside else 1.0)
        low, below = edge, buckets[edge]
    return low


def shown(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
