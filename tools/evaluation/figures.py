"""What a run says, as numbers: docs/evaluation.md names each."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tools.evaluation.run import Run
from tools.evaluation.system import HITS

COLD = 5
"""Users with fewer earlier engagements are cold."""
GAP_MS = 60_000


def figures(run: Run) -> dict[str, Any]:
    """The JSON of a run."""
    tests = run.tests
    rank = np.array([t.rank for t in tests])
    hit = rank < HITS
    gain = np.where(hit, 1.0 / np.log2(2.0 + np.where(hit, rank, 0.0)), 0.0)
    history, gap = np.array([t.history for t in tests], np.int64), np.array([t.gap for t in tests], np.int64)
    like, liked = np.array([t.like for t in tests]), np.array([t.liked for t in tests], np.bool_)
    ms = np.array([t.ms for t in tests])
    told = ~np.isnan(like)
    return {
        "events": run.events,
        "tested": len(tests),
        "hr_at_10": mean(hit),
        "hr_at_10_served": mean(np.array([t.served for t in tests])),
        "hr_at_10_known": mean(hit[np.array([t.known for t in tests], np.bool_)]) if tests else None,
        "ndcg_at_10": mean(gain),
        "hr_at_10_cold": mean(hit[history < COLD]) if tests else None,
        "hr_at_10_gap60": mean(hit[gap > GAP_MS]) if tests else None,
        "coverage": round(len(run.shown) / len(run.known), 4) if run.known else None,
        "like_auc": auc(like[told], liked[told]) if tests else None,
        "like_logloss": logloss(like[told], liked[told]) if tests else None,
        "events_per_second": round(run.events / run.seconds, 1) if run.seconds else None,
        "query_ms_p50": quantile(ms, 0.5),
        "query_ms_p99": quantile(ms, 0.99),
    }


def mean(values: npt.NDArray[Any]) -> float | None:
    return round(float(np.mean(values)), 4) if values.size else None


def quantile(values: npt.NDArray[np.float64], q: float) -> float | None:
    return round(float(np.quantile(values, q)), 3) if values.size else None


def auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """Probability that a positive scores above a negative, ties one half; None without both.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    n = int(positive.sum())
    if not 0 < n < positive.size:
        return None
    _, at, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[at]
    return round(float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (positive.size - n))), 4)


def logloss(p: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    if not p.size:
        return None
    inside = np.clip(p, 1e-6, 1.0 - 1e-6)
    return round(float(-np.mean(np.where(positive, np.log(inside), np.log1p(-inside)))), 4)
