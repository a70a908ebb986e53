"""What the page shows, as plain data: pure functions of samples. Seconds are seconds, rates are per second."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.ops.samples import Samples, by_label, histograms, quantile
from store.workers import Present

Table = list[dict[str, Any]]


def rounded(value: float | None, places: int = 4) -> float | None:
    """None for what is no number: JSON has no NaN."""
    return None if value is None or not math.isfinite(value) else round(value, places)


def rate(grown: float, seconds: float) -> float:
    return round(grown / seconds, 3) if seconds > 0 else 0.0


def events(total: Samples, lately: Samples, seconds: float) -> Table:
    """By stage, type and outcome."""
    name, labels = "upwell_events_total", ("stage", "type", "outcome")
    now = by_label(lately, name, *labels)
    return [
        {"stage": stage, "type": type, "outcome": outcome, "total": int(count), "rate": rate(now.get((stage, type, outcome), 0.0), seconds)}
        for (stage, type, outcome), count in by_label(total, name, *labels).items()
        if count
    ]


def dead(total: Samples, hour: Samples, lately: Samples, seconds: float) -> Table:
    """Dead letters by reason."""
    name = "upwell_dead_total"
    this_hour, now = by_label(hour, name, "reason"), by_label(lately, name, "reason")
    return [
        {
            "reason": reason,
            "total": int(count),
            "hour": int(this_hour.get((reason,), 0.0)),
            "rate": rate(now.get((reason,), 0.0), seconds),
        }
        for (reason,), count in by_label(total, name, "reason").items()
        if count
    ]


def spread(buckets: Mapping[float, float]) -> dict[str, Any]:
    """Count, median and 99th percentile of a histogram."""
    return {
        "count": int(max(buckets.values(), default=0.0)),
        "p50": rounded(quantile(buckets, 0.5), 5),
        "p99": rounded(quantile(buckets, 0.99), 5),
    }


def spreads(samples: Samples, name: str, *labels: str) -> Table:
    """A histogram's spread by labels; what did not happen is left out."""
    found = [
        {**dict(zip(labels, key, strict=True)), **spread(buckets)} for key, buckets in sorted(histograms(samples, name, *labels).items())
    ]
    return [row for row in found if row["count"]]


def merged(samples: Samples, name: str, label: str, values: Iterable[str]) -> dict[float, float]:
    """One histogram of several label values."""
    sums: dict[float, float] = {}
    wanted = set(values)
    for (value,), buckets in sorted(histograms(samples, name, label).items()):
        if value in wanted:
            for bound, count in buckets.items():
                sums[bound] = sums.get(bound, 0.0) + count
    return sums


def moves(total: Samples, lately: Samples, seconds: float) -> Table:
    """Pool moves."""
    name, labels = "upwell_pool_moves_total", ("from", "to", "verdict")
    now = by_label(lately, name, *labels)
    return [
        {"from": a, "to": b, "verdict": verdict, "total": int(count), "rate": rate(now.get((a, b, verdict), 0.0), seconds)}
        for (a, b, verdict), count in by_label(total, name, *labels).items()
        if count
    ]


def model(age_s: float | None, gauges: Sequence[Samples], lately: Samples, seconds: float) -> dict[str, Any]:
    """The model that this process serves, and what the learner says of it; `age_s` is None without one."""
    losses = {k[0]: v for samples in gauges for k, v in by_label(samples, "upwell_model_logloss", "action").items()}
    examples = sum(by_label(lately, "upwell_model_examples_total").values())
    return {
        "age_s": rounded(age_s, 1),
        "examples_rate": rate(examples, seconds),
        "loss": [{"action": action, "logloss": rounded(loss)} for action, loss in losses.items()],
    }


def degraded(total: Samples, lately: Samples, seconds: float) -> Table:
    """Feeds served without something they should have had."""
    now = by_label(lately, "upwell_feed_degraded_total", "reason")
    return [
        {"reason": reason, "total": int(count), "rate": rate(now.get((reason,), 0.0), seconds)}
        for (reason,), count in by_label(total, "upwell_feed_degraded_total", "reason").items()
        if count
    ]


FAULTS = (
    # name on the page, metric, label
    ("store errors", "upwell_store_errors_total", "stage"),
    ("rewinds", "upwell_rewinds_total", ""),
    ("checkpoint conflicts", "upwell_checkpoint_conflicts_total", ""),
    ("rebalances", "upwell_rebalances_total", ""),
    ("slates lost", "upwell_slates_lost_total", ""),
    ("errors of feed components", "upwell_feed_component_errors_total", "component"),
)


def faults(total: Samples, recent: Samples, lately: Samples, seconds: float) -> Table:
    """What went wrong and was dealt with; `recent` is of the last ten minutes."""
    found = []
    for fault, name, label in FAULTS:
        soon, now = by_label(recent, name, label), by_label(lately, name, label)
        for (where,), count in by_label(total, name, label).items():
            if count:
                row = {"fault": fault, "where": where or None, "total": int(count)}
                found.append(row | {"recent": int(soon.get((where,), 0.0)), "rate": rate(now.get((where,), 0.0), seconds)})
    return found


def http(total: Samples, lately: Samples, seconds: float) -> Table:
    """Requests by route and status."""
    now = by_label(lately, "upwell_http_requests_total", "route", "status")
    return [
        {"route": route, "status": int(status), "total": int(count), "rate": rate(now.get((route, status), 0.0), seconds)}
        for (route, status), count in by_label(total, "upwell_http_requests_total", "route", "status").items()
        if count
    ]


def workers(lines: Iterable[Present], now: float, silent_s: float, wrong: Mapping[str, str]) -> Table:
    """`wrong`: id -> why its metrics could not be read."""
    return [
        {
            "id": line.id,
            "host": line.host,
            "pid": line.pid,
            "release": line.release,
            "metrics": line.metrics,
            "up_s": round(max(0.0, now - line.started)),
            "silent_s": round(max(0.0, now - line.at), 1),
            "alive": now - line.at < silent_s,
            "partitions": line.partitions,
            "wrong": wrong.get(line.id),
        }
        for line in lines
    ]


def owners(lines: Iterable[Present], now: float, silent_s: float) -> dict[tuple[str, int], str]:
    """(stage, partition) -> the worker that holds it, of those who live."""
    return {
        (stage, partition): line.id
        for line in sorted(lines, key=lambda line: line.at)
        if now - line.at < silent_s
        for stage, partitions in line.partitions.items()
        for partition in partitions
    }
