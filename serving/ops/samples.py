"""Samples of metrics: this process's own, and those that workers answer with."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

Labels = tuple[tuple[str, str], ...]
"""(name, value) pairs by name"""
Series = tuple[str, Labels]
Samples = Mapping[Series, float]

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

WANTED = (
    "upwell_events_total",
    "upwell_dead_total",
    "upwell_frame_seconds_bucket",
    "upwell_event_to_state_seconds_bucket",
    "upwell_pool_moves_total",
    "upwell_model_logloss",
    "upwell_model_examples_total",
    "upwell_store_errors_total",
    "upwell_rewinds_total",
    "upwell_checkpoint_conflicts_total",
    "upwell_rebalances_total",
)
"""Of a worker. Lag is not among them: the API measures it itself, so that it is there when no worker is."""

GAUGES = frozenset({"upwell_model_logloss"})


def parsed(text: str) -> dict[Series, float]:
    """Prometheus's text format, without the times of creation.

    >>> parsed('# HELP a\\na_total{b="x"} 2.0\\na_created 1.7\\n')
    {('a_total', (('b', 'x'),)): 2.0}
    """
    return {
        (name, tuple(sorted(_LABEL.findall(labels)))): float(value)
        for name, labels, value in _SAMPLE.findall(text)
        if not name.endswith("_created")
    }


def own(metrics: Iterable[Any]) -> dict[Series, float]:
    """Samples of metrics of this process."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for family in metric.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def fetched(url: str, timeout_s: float) -> dict[Series, float]:
    """A worker's samples, only those that are wanted. Raises `OSError`, `ValueError`. Blocks: for a thread."""
    query = "&".join(f"name[]={name}" for name in WANTED)
    with urllib.request.urlopen(f"{url}?{query}", timeout=timeout_s) as answer:
        return parsed(answer.read().decode("utf-8", "replace"))


def by_label(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Sums of one metric by some of its labels, in the order of the values.

    >>> by_label({("a", (("x", "1"), ("y", "2"))): 3.0, ("a", (("x", "1"), ("y", "3"))): 4.0}, "a", "x")
    {('1',): 7.0}
    """
    sums: dict[tuple[str, ...], float] = {}
    for (found, pairs), value in samples.items():
        if found == name:
            of = dict(pairs)
            key = tuple([of.get(label, "") for label in labels])
            sums[key] = sums.get(key, 0.0) + value
    return dict(sorted(sums.items()))


def histograms(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], dict[float, float]]:
    """Cumulative buckets of one histogram by some of its labels: upper bound -> count."""
    found: dict[tuple[str, ...], dict[float, float]] = {}
    for (*key, bound), count in by_label(samples, f"{name}_bucket", *labels, "le").items():
        found.setdefault(tuple(key), {})[float(bound)] = count
    return found


def quantile(buckets: Mapping[float, float], q: float) -> float | None:
    """Of cumulative buckets, interpolated; None of nothing. Beyond the last finite bound it is that bound.

    >>> quantile({1.0: 5.0, 2.0: 10.0, float("inf"): 10.0}, 0.75)
    1.5
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0.0:
        return None
    want, low, below = q * total, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= want:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((want - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low
