"""What is wrong, by the same bounds as the alert rules: what `/ops` shows in red is what somebody is woken up for.

Pure functions of the tables. How long something must last before it counts is in the rule; `Lasting` keeps since when it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from config.settings import Ops

Told = Mapping[str, Any]
LEAST_FEEDS = 20
"""Fewer feeds in the window say nothing about a percentile or a share."""


CONFLICTS = 50
"""Of checkpoints in ten minutes: a few come with every rebalance."""


class Wrong(NamedTuple):
    """One thing that is wrong."""

    name: str
    section: str
    """of the page"""
    rows: tuple[str, ...]
    """keys of the rows that are red; none: the whole section"""
    text: str
    for_s: float
    """how long it must last"""


def lag(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Somebody's records are not applied."""
    behind = [
        (f"{s['stage']}/{s['topic']}/{p['p']}", p["seconds"]) for s in told["lag"] for p in s["partitions"] if p["seconds"] is not None
    ]
    late = [(key, seconds) for key, seconds in behind if seconds > bounds.lag_s]
    if late:
        worst = max(seconds for _, seconds in late)
        where = f"{len(late)} partitions are" if len(late) > 1 else f"{late[0][0]} is"
        yield Wrong("UpwellLag", "lag", tuple([key for key, _ in late]), f"{where} up to {worst:.0f} s behind", 0.0)


def fresh(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """The heartbeat does not come through."""
    ages = [(f"{s['stage']}/{s['topic']}/{p['p']}", p["fresh"]) for s in told["lag"] for p in s["partitions"] if p["fresh"] is not None]
    old = [(key, age) for key, age in ages if age > bounds.fresh_s]
    if old:
        worst = max(age for _, age in old)
        where = f"{len(old)} partitions" if len(old) > 1 else old[0][0]
        yield Wrong("UpwellStale", "lag", tuple([key for key, _ in old]), f"the newest heartbeat seen in {where} is {worst:.0f} s old", 0.0)


def unowned(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Partitions that no living worker holds."""
    lost = [f"{s['stage']}/{s['topic']}/{p['p']}" for s in told["lag"] for p in s["partitions"] if p["owner"] is None]
    if lost:
        stages = sorted({key.partition("/")[0] for key in lost})
        text = f"no living worker holds {len(lost)} partitions of {', '.join(stages)}"
        yield Wrong("UpwellNoWorker", "lag", tuple(lost), text, bounds.worker_silent_s)


def unreadable(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """A worker lives, and its metrics cannot be read."""
    for worker in told["workers"]:
        if worker["alive"] and worker["wrong"]:
            yield Wrong("UpwellWorkerMetrics", "workers", (worker["id"],), f"metrics of {worker['id']}: {worker['wrong']}", 30.0)


def letters(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Records that cannot be processed."""
    poison = [row for row in told["dead"] if row["reason"] == "fold_error" and row["hour"]]
    if poison:
        yield Wrong("UpwellFoldError", "dead", ("fold_error",), f"{poison[0]['hour']} records could not be folded in the last hour", 0.0)
    rate = sum(row["rate"] for row in told["dead"])
    if rate > bounds.dead_rate:
        yield Wrong("UpwellDeadLetters", "dead", (), f"{rate:.2f} dead letters a second", 0.0)


def feeds(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Feeds that are slow, degraded, or errors."""
    asked = sum(row["count"] for row in told["feed"]["surfaces"])
    slow = [row for row in told["feed"]["surfaces"] if row["count"] >= LEAST_FEEDS and row["p99"] > bounds.feed_p99_ms / 1000.0]
    for row in slow:
        yield Wrong("UpwellFeedSlow", "feed", (row["surface"],), f"{row['surface']}: 1 in 100 takes over {row['p99'] * 1000:.0f} ms", 0.0)
    without = sum(row["rate"] for row in told["feed"]["degraded"]) * told["window_s"]
    if asked >= LEAST_FEEDS and without / asked > bounds.degraded_share:
        rows = tuple([row["reason"] for row in told["feed"]["degraded"] if row["rate"]])
        yield Wrong("UpwellFeedDegraded", "feed", rows, f"{without / asked:.0%} of feeds are degraded", 0.0)
    answers = sum(row["rate"] for row in told["http"])
    errors = [row for row in told["http"] if row["status"] >= 500 and row["rate"]]
    failed = sum(row["rate"] for row in errors)
    if answers * told["window_s"] >= LEAST_FEEDS and failed / answers > bounds.error_share:
        rows = tuple([f"{row['route']} {row['status']}" for row in errors])
        yield Wrong("UpwellErrors", "http", rows, f"{failed / answers:.0%} of requests end with an error of ours", 0.0)


def dealt_with(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """What heals by itself, and happens too often."""
    for row in told["faults"]:
        if row["fault"] == "store errors" and row["rate"]:
            yield Wrong("UpwellStoreErrors", "faults", (f"store errors {row['where']}",), f"{row['where']} cannot reach the store", 0.0)
        if row["fault"] == "checkpoint conflicts" and row["recent"] > CONFLICTS:
            text = f"{row['recent']} writes were refused in ten minutes: two workers believe they own a partition"
            yield Wrong("UpwellConflicts", "faults", ("checkpoint conflicts",), text, 0.0)
        if row["fault"] == "slates lost" and row["recent"]:
            yield Wrong("UpwellSlatesLost", "faults", ("slates lost",), f"{row['recent']} slates were not acknowledged by Kafka", 0.0)


def model(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Learning stands still."""
    age = told["model"]["age_s"]
    if age is not None and age > bounds.model_age_s:
        yield Wrong("UpwellModelOld", "model", (), f"the model last learned {age / 60:.0f} minutes ago", 0.0)


def promise(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """Feeds have too few places for what pools promise."""
    missing = told["promise_shortfall"]
    if missing > bounds.overdue:
        yield Wrong("UpwellPromise", "pools", (), f"{missing:,.0f} promised exposures are overdue: the feeds have too few places", 600.0)


def parts(told: Told, bounds: Ops) -> Iterator[Wrong]:
    """What the API itself misses."""
    for reason in told["reasons"]:
        yield Wrong("UpwellDegraded", "top", (), reason, 0.0)


RULES: tuple[Callable[[Told, Ops], Iterator[Wrong]], ...] = (
    parts,
    lag,
    fresh,
    unowned,
    unreadable,
    letters,
    dealt_with,
    promise,
    feeds,
    model,
)


class Lasting:
    """Since when each thing is wrong."""

    def __init__(self) -> None:
        self.since: dict[tuple[str, str], float] = {}

    def told(self, found: Iterable[Wrong], now: float) -> list[dict[str, Any]]:
        """Those that have lasted long enough, oldest first."""
        by_key = {(wrong.name, wrong.section + (wrong.rows[0] if wrong.section in ("workers", "faults") else "")): wrong for wrong in found}
        self.since = {key: self.since.get(key, now) for key in by_key}
        lasting = [(self.since[key], wrong) for key, wrong in by_key.items() if now - self.since[key] >= wrong.for_s]
        return [
            {"name": w.name, "section": w.section, "rows": list(w.rows), "text": w.text, "since": since, "lasts_s": round(now - since)}
            for since, w in sorted(lasting, key=lambda one: (one[0], one[1].name))
        ]
