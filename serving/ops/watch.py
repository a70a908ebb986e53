"""Looks at everything every few seconds, so that `/ops` answers at once whatever the partitions: the answer lies ready.

What the API knows itself (feeds, requests, lag and freshness of every partition, which are right when no worker lives) is joined with
what the workers' own metrics say; the last hour is kept in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog

from config import metrics
from config.topics import STAGES, full, group
from serving.ops import tables
from serving.ops.alerts import RULES, Lasting
from serving.ops.hour import Hour
from serving.ops.samples import GAUGES, Samples, fetched, own, quantile
from serving.ops.tally import Tally
from serving.problems import Problem
from serving.response import iso
from serving.routes.pools import totals
from store.base import StoreError
from store.lag import inputs
from store.workers import Present, present

if TYPE_CHECKING:
    from serving.service import Service

log = structlog.get_logger("serving.ops")

WINDOW_S = 60.0
"""Rates and percentiles are of the last minute."""
SCRAPE_S = 2.0
OWN = (metrics.FEED_SECONDS, metrics.FEED_DEGRADED, metrics.HTTP_REQUESTS, metrics.SLATES_LOST, metrics.FEED_COMPONENT_ERRORS)
NAN = float("nan")


class Watch:
    """`body` is the answer of `/ops/data`."""

    def __init__(self, service: Service, release: str) -> None:
        self.service, self.release, self.bounds = service, release, service.settings.ops
        self.hour, self.lasting, self.rates = Hour(), Lasting(), Speeds()
        self.tally = Tally(3600.0, 15.0)
        self.started = service.wall()
        self.lines: list[Present] = []
        self.heard = 0.0
        """when the store last told the lines, epoch seconds: their age counts from there, since who cannot write his line may well live"""
        self.known: set[str] = set()
        self.wrong: dict[str, str] = {}
        self.gauges: dict[str, Samples] = {}
        self.pools: list[dict[str, Any]] = []
        self.body = b""
        self.took_ms = 0.0

    async def run(self) -> None:
        """Looks for ever. An error of one look is told, and the next one follows."""
        while True:
            try:
                await self.look()
            except Exception as error:
                log.error("a look failed", exc_info=error)
            await asyncio.sleep(self.bounds.sample_s)

    async def look(self) -> None:
        began = time.perf_counter()
        now = self.service.wall()
        await self.read()
        await self.scrape()
        # In a thread: with many partitions this takes tens of milliseconds, for which no feed should wait.
        self.body = await asyncio.to_thread(self.composed, now)
        self.took_ms = (time.perf_counter() - began) * 1000.0

    def composed(self, now: float) -> bytes:
        self.tally.saw("api", own(OWN), born=True)
        self.tally.mark(now)
        return orjson.dumps(self.told(now), option=orjson.OPT_SERIALIZE_NUMPY)

    # --------------------------------------------------------------------------------------------------------- looking

    async def read(self) -> None:
        """Workers and pools. A store that does not answer leaves what was known."""
        service = self.service
        if service.snapshot.keys is None:
            return
        with contextlib.suppress(StoreError, Problem, TimeoutError):
            async with asyncio.timeout(service.settings.redis.timeout_s):
                self.lines = await present(service.store, service.settings.kafka.prefix)
                self.heard = service.wall()
                self.pools = await totals(service)
                for row in self.pools:
                    metrics.POOL_NOTES.labels(str(row["tier"])).set(row["notes"])
                metrics.POOL_SHORTFALL.set(sum(row["owed"] for row in self.pools))

    async def scrape(self) -> None:
        """What the living workers' metrics say, all at once."""
        living = [line for line in self.lines if self.heard - line.at < self.bounds.worker_silent_s]
        answers = await asyncio.gather(*(asyncio.to_thread(fetched, line.metrics, SCRAPE_S) for line in living), return_exceptions=True)
        self.wrong = {}
        gauges: dict[str, Samples] = {}
        for line, answer in zip(living, answers, strict=True):
            if isinstance(answer, (OSError, ValueError)):
                self.wrong[line.id] = f"{type(answer).__name__}: {answer}"
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self.tally.saw(line.id, {s: v for s, v in answer.items() if s[0] not in GAUGES}, born=line.started >= self.started)
                gauges[line.id] = {s: v for s, v in answer.items() if s[0] in GAUGES}
        self.gauges = gauges
        for gone in self.known - {line.id for line in self.lines}:
            self.tally.forget(gone)
        self.known = {line.id for line in self.lines}

    # ---------------------------------------------------------------------------------------------------------- telling

    def told(self, now: float) -> dict[str, Any]:
        service, bounds = self.service, self.bounds
        total = self.tally.total
        lately, seconds = self.tally.since(now, WINDOW_S)
        hour, _ = self.tally.since(now, 3600.0)
        lag = self.lag()
        surfaces = tables.spreads(lately, "upwell_feed_seconds", "surface")
        to_state = tables.spreads(lately, "upwell_event_to_state_seconds", "stage")
        state = service.snapshot.state()
        reasons = [*state["reasons"], *([f"kafka: {service.producer.reason}"] if service.producer.reason is not None else [])]
        told: dict[str, Any] = {
            "at": iso(int(now * 1000)),
            "now": now,
            "release": self.release,
            "prefix": service.settings.kafka.prefix,
            "sample_s": bounds.sample_s,
            "window_s": round(seconds, 1),
            "watching_s": round(now - self.started),
            "reasons": reasons,
            "lag": lag,
            "events": tables.events(total, lately, seconds),
            "dead": tables.dead(total, hour, lately, seconds),
            "timings": tables.spreads(lately, "upwell_frame_seconds", "stage", "part"),
            "event_to_state": to_state,
            "pools": self.pools,
            "moves": tables.moves(total, lately, seconds),
            "promise_shortfall": sum(row["owed"] for row in self.pools),
            "model": tables.model(service.snapshot.model_age_s, list(self.gauges.values()), lately, seconds),
            "faults": tables.faults(total, self.tally.since(now, 600.0)[0], lately, seconds),
            "feed": {"surfaces": surfaces, "degraded": tables.degraded(total, lately, seconds)},
            "http": tables.http(total, lately, seconds),
            "workers": tables.workers(self.lines, self.heard, bounds.worker_silent_s, self.wrong),
            "bounds": {"lag_s": bounds.lag_s, "fresh_s": bounds.fresh_s, "feed_p99_ms": bounds.feed_p99_ms},
        }
        told["alerts"] = self.lasting.told([wrong for rule in RULES for wrong in rule(told, bounds)], now)
        told["hour"] = self.remember(now, told, lately, seconds)
        return told

    def lag(self) -> list[dict[str, Any]]:
        """Every input of every stage: lag as this process measures it, and the age of the newest heartbeat applied."""
        service = self.service
        keys, prefix = service.snapshot.keys, service.settings.kafka.prefix
        if keys is None:
            return []
        age, records = gauge(metrics.LAG_SECONDS), gauge(metrics.LAG_RECORDS)
        ends, applied = gauge(metrics.LOG_END_OFFSET), gauge(metrics.CHECKPOINT_OFFSET)
        probed = gauge(metrics.PROBE_AGE, "stage", "partition") if service.settings.api.probe_s > 0 else {}
        held = tables.owners(self.lines, self.heard, self.bounds.worker_silent_s)
        told: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in inputs(keys.manifest):
            told.setdefault((one.stage, one.topic), []).append(
                {
                    "p": one.partition,
                    "seconds": tables.rounded(age.get(one.labels), 2),
                    "records": tables.rounded(records.get(one.labels), 0),
                    "end": tables.rounded(ends.get(one.labels), 0),
                    "applied": tables.rounded(applied.get(one.labels), 0),
                    "fresh": tables.rounded(probed.get((one.stage, str(one.partition))), 1),
                    "owner": held.get((one.stage, one.partition)),
                }
            )
        return [self.stage_row(stage, topic, partitions, prefix) for (stage, topic), partitions in told.items()]

    def stage_row(self, stage: str, topic: str, partitions: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
        """One input, summed up. The rate is how fast checkpoints grow; what is left takes so long at this rate."""
        name = f"{stage}/{topic}"
        left = sum(p["records"] or 0.0 for p in partitions)
        self.rates.saw(name, self.service.wall(), sum(p["applied"] or 0.0 for p in partitions))
        speed = self.rates.speed(name)
        return {
            "stage": stage,
            "topic": topic,
            "group": group(prefix, stage),
            "log": full(prefix, topic),
            "seconds": max((p["seconds"] for p in partitions if p["seconds"] is not None), default=None),
            "records": int(left),
            "fresh": max((p["fresh"] for p in partitions if p["fresh"] is not None), default=None),
            "rate": round(speed, 1),
            "drain_s": round(left / speed, 1) if left and speed > 0 else None,
            "partitions": partitions,
        }

    def remember(self, now: float, told: Mapping[str, Any], lately: Samples, seconds: float) -> dict[str, Any]:
        """This look's numbers into the hour; the hour as plain data."""
        hour = self.hour
        hour.turn(now)
        for row in told["lag"]:
            name = f"{row['stage']}/{row['topic']}"
            hour.put(f"lag:{name}", column(row["partitions"], "seconds"))
            hour.put(f"fresh:{name}", column(row["partitions"], "fresh"))
        feed = tables.merged(lately, "upwell_feed_seconds", "surface", [row["surface"] for row in told["feed"]["surfaces"]])
        visible = tables.merged(lately, "upwell_event_to_state_seconds", "stage", ["users", "notes"])
        events = sum(row["rate"] for row in told["events"] if row["stage"] == "users")
        numbers = {
            "feed_p99": quantile(feed, 0.99),
            "visible_p99": quantile(visible, 0.99),
            "visible_p50": quantile(visible, 0.5),
            "events": events,
            "feeds": tables.rate(max(feed.values(), default=0.0), seconds),
            "dead": sum(row["rate"] for row in told["dead"]),
        }
        for name, value in numbers.items():
            hour.put(name, NAN if value is None else value)
        series = {name: listed(hour.rows(name)[0]) for name in numbers}
        inputs_of = [f"{stage}/{topic}" for stage, topics in STAGES.items() for topic in topics]
        return {
            "numbers": {name: tables.rounded(value, 5) for name, value in numbers.items()},
            "series": series,
            "lag": {name: hour.rows(f"lag:{name}").round(1) for name in inputs_of if len(hour.rows(f"lag:{name}"))},
            "fresh": {name: hour.rows(f"fresh:{name}").round(1) for name in inputs_of if len(hour.rows(f"fresh:{name}"))},
        }


class Speeds:
    """How fast numbers grow, over the last few looks."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[float, float]]] = {}

    def saw(self, name: str, now: float, value: float) -> None:
        self.seen.setdefault(name, []).append((now, value))
        while now - self.seen[name][0][0] > WINDOW_S:
            self.seen[name].pop(0)

    def speed(self, name: str) -> float:
        """Per second; 0 when it fell, since then it began anew."""
        (since, before), (now, value) = self.seen[name][0], self.seen[name][-1]
        return max(0.0, value - before) / (now - since) if now > since else 0.0


def gauge(metric: Any, *labels: str) -> dict[tuple[str, ...], float]:
    """Children of a gauge as they stand in this process, by (group, topic, partition) unless other labels are named."""
    names = labels or ("group", "topic", "partition")
    return {tuple([sample.labels[name] for name in names]): sample.value for family in metric.collect() for sample in family.samples}


def column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [NAN if row[name] is None else row[name] for row in rows]


def listed(row: Any) -> list[float | None]:
    return [None if value != value else round(float(value), 5) for value in np.asarray(row)]
