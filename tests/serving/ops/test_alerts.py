"""What is red: by bounds, and only after it lasted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from config import settings as config
from serving.ops.alerts import RULES, Lasting, Wrong

BOUNDS = config.load(environ={}).ops


def partition(p: int, seconds: float | None = 0.0, fresh: float | None = 1.0, owner: str | None = "w") -> dict[str, Any]:
    return {"p": p, "seconds": seconds, "fresh": fresh, "owner": owner}


def told(*partitions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A system where all is well but for what is given."""
    well: dict[str, Any] = {
        "reasons": [],
        "window_s": 60.0,
        "lag": [{"stage": "users", "topic": "by-user", "partitions": list(partitions) or [partition(0)]}],
        "dead": [],
        "faults": [{"fault": "rebalances", "where": None, "total": 9, "recent": 9, "rate": 0.2}],
        "feed": {"surfaces": [{"surface": "feed", "count": 1000, "p50": 0.002, "p99": 0.01}], "degraded": []},
        "http": [{"route": "/v1/events", "status": 202, "rate": 10.0}],
        "model": {"age_s": 3.0},
        "promise_shortfall": 0,
        "workers": [{"id": "w", "alive": True, "wrong": None}],
    }
    return well | more


def names(given: dict[str, Any]) -> list[str]:
    return [wrong.name for rule in RULES for wrong in rule(given, BOUNDS)]


def test_nothing_is_red_when_all_is_well() -> None:
    """Also with what is not known: no learner, no heartbeat, a lag not measured yet."""
    assert names(told()) == []
    assert names(told(partition(0, None, None), model={"age_s": None})) == []


def test_each_fault_turns_its_own_part_red() -> None:
    above = BOUNDS.lag_s + 1
    assert names(told(partition(0, above))) == ["UpwellLag"]
    assert names(told(partition(0, fresh=BOUNDS.fresh_s + 1))) == ["UpwellStale"]
    assert names(told(partition(0, owner=None))) == ["UpwellNoWorker"]
    assert names(told(workers=[{"id": "w", "alive": True, "wrong": "refused"}])) == ["UpwellWorkerMetrics"]
    assert names(told(dead=[{"reason": "not_json", "rate": 2 * BOUNDS.dead_rate, "hour": 9}])) == ["UpwellDeadLetters"]
    assert names(told(dead=[{"reason": "fold_error", "rate": 0.0, "hour": 1}])) == ["UpwellFoldError"]
    for fault, where, name in (
        ("store errors", "users", "UpwellStoreErrors"),
        ("checkpoint conflicts", None, "UpwellConflicts"),
        ("slates lost", None, "UpwellSlatesLost"),
    ):
        assert names(told(faults=[{"fault": fault, "where": where, "total": 99, "recent": 99, "rate": 1.0}])) == [name]
    slow = [{"surface": "feed", "count": 100, "p50": 0.002, "p99": BOUNDS.feed_p99_ms / 1000 + 0.01}]
    assert names(told(feed={"surfaces": slow, "degraded": []})) == ["UpwellFeedSlow"]
    ill = {"surfaces": [{"surface": "feed", "count": 100, "p50": 0.002, "p99": 0.01}], "degraded": [{"reason": "store", "rate": 1.0}]}
    assert names(told(feed=ill)) == ["UpwellFeedDegraded"]
    assert names(told(http=[{"route": "/", "status": 200, "rate": 1.0}, {"route": "/", "status": 500, "rate": 1.0}])) == ["UpwellErrors"]
    assert names(told(model={"age_s": BOUNDS.model_age_s + 1})) == ["UpwellModelOld"]
    assert names(told(promise_shortfall=1)) == ["UpwellPromise"]
    assert names(told(reasons=["store: away"])) == ["UpwellDegraded"]


def test_the_page_and_prometheus_name_the_same_alerts() -> None:
    """But for an API that is down, which cannot say so, and what only the API knows of itself."""
    root = Path(__file__).parents[3]
    ours = set(re.findall(r'Wrong\(\s*"(\w+)"', (root / "serving/ops/alerts.py").read_text()))
    theirs = set(re.findall(r"alert: (\w+)", (root / "deploy/prometheus/alerts.yml").read_text()))
    assert ours ^ theirs == {"UpwellApiDown", "UpwellDegraded"}


def test_red_rows_are_those_beyond_the_bound() -> None:
    given = told(partition(0, 1.0), partition(1, 99.0), partition(2, 77.0))
    [wrong] = [wrong for rule in RULES for wrong in rule(given, BOUNDS)]
    assert wrong.rows == ("users/by-user/1", "users/by-user/2")
    assert "99 s" in wrong.text


def test_a_fault_counts_once_it_has_lasted_and_begins_anew_after_it_was_over() -> None:
    """A rebalance leaves partitions without a worker for a moment: nobody is woken up for that."""
    lasting, wrong = Lasting(), Wrong("UpwellNoWorker", "lag", ("users/by-user/0",), "nobody", 15.0)
    assert lasting.told([wrong], 0) == []
    assert lasting.told([wrong], 14) == []
    [one] = lasting.told([wrong], 15)
    assert (one["since"], one["lasts_s"]) == (0, 15)
    assert lasting.told([], 16) == []
    assert lasting.told([wrong], 17) == []
