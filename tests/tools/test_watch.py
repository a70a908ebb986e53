"""What `upwell up` tells: promotions and summaries."""

from __future__ import annotations

import json

from tools.watch import Summary, promotion, quantile, samples


def metrics(events: int, fast: int, slow: int) -> str:
    total = fast + slow
    return f"""# HELP upwell_events_total Signals.
upwell_events_total{{stage="users",type="like",outcome="applied"}} {events}.0
upwell_events_total{{stage="notes",type="like",outcome="applied"}} 7.0
upwell_event_to_state_seconds_bucket{{stage="users",le="0.005"}} {fast}.0
upwell_event_to_state_seconds_bucket{{stage="users",le="0.01"}} {total}.0
upwell_event_to_state_seconds_bucket{{stage="users",le="+Inf"}} {total}.0
"""


def test_a_metric_is_summed_over_the_labels_that_fit() -> None:
    """Escaped quotes in a label do not end it."""
    text = 'a_total{x="1",y="q\\"u"} 2.0\na_total{x="2",y="z"} 3.5\nab_total 9\n'
    assert list(samples(text, "a_total")) == [({"x": "1", "y": 'q\\"u'}, 2.0), ({"x": "2", "y": "z"}, 3.5)]
    assert Summary.total(text, "a_total") == 5.5
    assert Summary.total(text, "a_total", x="2") == 3.5


def test_a_summary_tells_rates_since_the_one_before() -> None:
    """The first has nothing to compare with; a worker that is away gives none."""
    summary = Summary("upwell")
    assert summary.line(metrics(100, 0, 0), "") is None
    summary._at -= 2.0
    told = summary.line(metrics(200, 90, 10), "") or ""
    assert " 50 events/s" in told
    assert "3 ms (p50)" in told
    assert "10 ms (p99)" in told
    assert summary.line("", "") is None


def test_a_quantile_lies_in_its_bucket() -> None:
    """Beyond the last edge the last edge is told."""
    infinity = float("inf")
    assert quantile({1.0: 50.0, 2.0: 100.0, infinity: 100.0}, 0.75) == 1.5
    assert quantile({1.0: 50.0, infinity: 100.0}, 0.99) == 1.0


def test_only_a_way_up_is_told() -> None:
    """Every move stands in the log; a line for each would be a flood."""
    move = {"note_id": "ramen-0", "seq": 2, "at": 5, "from": 0, "to": 1, "verdict": "promoted", "evidence": {"exposures": 61.0}}
    assert promotion(json.dumps(move).encode()) == "  ↑ ramen-0: tier 0 → 1 after 61 exposures"
    assert promotion(json.dumps(move | {"verdict": "held"}).encode()) is None
    assert promotion(b"{") is None
    assert promotion(b"[]") is None
