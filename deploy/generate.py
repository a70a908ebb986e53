"""Prometheus's files and Grafana's dashboard, from the names in `config/metrics.py` and the bounds of `[ops]` in the settings.

    python -m deploy.generate            writes them
    python -m deploy.generate --check    exit 1 when one is not what it would write

What is red on `/ops` and what wakes somebody is the same: the alerts have the page's names and bounds, and each a section in docs/operations.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from config import metrics as m
from config import settings

ROOT = Path(__file__).resolve().parent
HEADER = "# Written by `python -m deploy.generate`; change that.\n"
BOUNDS = settings.load(environ={}).ops
WINDOW = "5m"


def name(metric: Any) -> str:
    """As it is scraped: counters end in _total, histograms are asked by bucket."""
    (found,) = metric.describe()
    return f"{found.name}_{'total' if found.type == 'counter' else 'bucket' if found.type == 'histogram' else ''}".rstrip("_")


def rate(metric: Any, by: str = "", where: str = "", window: str = WINDOW) -> str:
    """Of a counter, a second, summed."""
    return f"sum{f' by ({by})' if by else ''} (rate({name(metric)}{where}[{window}]))"


def quantile(q: float, metric: Any, by: str = "", window: str = WINDOW) -> str:
    """Of a histogram."""
    return f"histogram_quantile({q}, sum by ({f'{by}, ' if by else ''}le) (rate({name(metric)}[{window}])))"


def count(metric: Any, by: str = "", window: str = WINDOW) -> str:
    """Observations of a histogram, a second."""
    return f"sum{f' by ({by})' if by else ''} (rate({name(metric).removesuffix('_bucket')}_count[{window}]))"


def either(metric: Any, by: str) -> str:
    """Workers and API tell of the same partitions; the larger value is right (docs/decisions/0008)."""
    return f"max by ({by}) ({name(metric)})"


class Alert(NamedTuple):
    name: str
    expr: str
    lasts: str
    severity: str
    """page: wakes somebody; ticket: in the morning"""
    text: str


ALERTS = (
    Alert("UpwellLag", f"{either(m.LAG_SECONDS, 'group, topic')} > {BOUNDS.lag_s:g}", "1m", "page",
          "{{ $labels.group }} is {{ $value | humanizeDuration }} behind on {{ $labels.topic }}"),
    Alert("UpwellStale", f"{either(m.PROBE_AGE, 'stage')} > {BOUNDS.fresh_s:g}", "1m", "page",
          "what is sent now does not reach {{ $labels.stage }}: the newest heartbeat is {{ $value | humanizeDuration }} old"),
    Alert("UpwellNoWorker", f'count by (group, topic) (max by (group, topic, partition) ({name(m.CHECKPOINT_OFFSET)}{{job="upwell-api"}}) '
          f'unless on (group, topic, partition) {name(m.CHECKPOINT_OFFSET)}{{job="upwell-worker"}})', "1m", "page",
          "no worker holds {{ $value }} partitions of {{ $labels.topic }} for {{ $labels.group }}"),
    Alert("UpwellWorkerMetrics", 'up{job="upwell-worker"} == 0', "1m", "ticket", "the worker {{ $labels.instance }} does not answer"),
    Alert("UpwellApiDown", 'up{job="upwell-api"} == 0', "1m", "page", "the API {{ $labels.instance }} does not answer"),
    Alert("UpwellFoldError", f'sum by (reason) (increase({name(m.DEAD)}{{reason="fold_error"}}[1h])) > 0', "0m", "page",
          "a stage raised an error on {{ $value | humanize }} records in the last hour and passed them over"),
    Alert("UpwellDeadLetters", f"{rate(m.DEAD)} > {BOUNDS.dead_rate:g}", WINDOW, "ticket", "{{ $value | humanize }} dead letters a second"),
    Alert("UpwellStoreErrors", f"{rate(m.STORE_ERRORS, 'stage')} > 0", "1m", "page", "{{ $labels.stage }} cannot reach the store"),
    Alert("UpwellConflicts", f"sum (increase({name(m.CHECKPOINT_CONFLICTS)}[10m])) > 50", "0m", "ticket",
          "{{ $value | humanize }} writes were refused in ten minutes: two workers believe they own a partition"),
    Alert("UpwellSlatesLost", f"sum (increase({name(m.SLATES_LOST)}[10m])) > 0", "0m", "ticket",
          "{{ $value | humanize }} slates were not acknowledged by Kafka"),
    Alert("UpwellPromise", f"max ({name(m.POOL_SHORTFALL)}) > {BOUNDS.overdue:g}", "10m", "ticket",
          "{{ $value | humanize }} promised exposures are overdue: the feeds have too few places for the pools"),
    Alert("UpwellFeedSlow", f"{quantile(0.99, m.FEED_SECONDS, 'surface')} > {BOUNDS.feed_p99_ms / 1000:g} and {count(m.FEED_SECONDS, 'surface')} > 0.3",
          WINDOW, "page", "{{ $labels.surface }}: 1 feed in 100 takes over {{ $value | humanizeDuration }}"),
    Alert("UpwellFeedDegraded", f"{rate(m.FEED_DEGRADED)} / {count(m.FEED_SECONDS)} > {BOUNDS.degraded_share:g}", WINDOW, "page",
          "{{ $value | humanizePercentage }} of feeds are degraded"),
    Alert("UpwellErrors", f"""{rate(m.HTTP_REQUESTS, where='{status=~"5.."}')} / {rate(m.HTTP_REQUESTS)} > {BOUNDS.error_share:g}""", WINDOW, "page",
          "{{ $value | humanizePercentage }} of requests end with an error of ours"),
    Alert("UpwellModelOld", f"max ({name(m.MODEL_AGE)}) > {BOUNDS.model_age_s:g}", WINDOW, "ticket",
          "the model last learned {{ $value | humanizeDuration }} of stream time ago"),
)  # fmt: skip


class Panel(NamedTuple):
    title: str
    exprs: tuple[tuple[str, str], ...]
    """(expression, legend)"""
    unit: str = "short"
    bound: float | None = None
    """red from here on"""
    help: str = ""


def zero(expr: str) -> str:
    """A line at zero, where a counter has not been touched yet."""
    return f"{expr} or vector(0)"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Is what happens now visible?", (
        Panel("Lag", ((either(m.LAG_SECONDS, "group, topic"), "{{group}} {{topic}}"),), "s", BOUNDS.lag_s, "Age of the oldest record not applied"),
        Panel("Newest heartbeat", ((either(m.PROBE_AGE, "stage"), "{{stage}}"),), "s", BOUNDS.fresh_s, "Age of the newest probe the store shows"),
        Panel("Event to state, p50 and p99", (
            (quantile(0.5, m.EVENT_TO_STATE, "stage"), "{{stage}} p50"), (quantile(0.99, m.EVENT_TO_STATE, "stage"), "{{stage}} p99")), "s"),
        Panel("Records not applied", ((f"sum by (group, topic) ({either(m.LAG_RECORDS, 'group, topic, partition')})", "{{group}} {{topic}}"),)),
    )),
    ("Streams", (
        Panel("Signals a second", ((rate(m.EVENTS, "stage"), "{{stage}}"),), "ops"),
        Panel("Events by type", ((rate(m.EVENTS, "type", '{stage="users"}'), "{{type}}"),), "ops"),
        Panel("Outcomes that are not `applied`", ((zero(rate(m.EVENTS, "outcome", '{outcome!="applied"}')), "{{outcome}}"),), "ops"),
        Panel("Dead letters", ((zero(rate(m.DEAD, "reason")), "{{reason}}"),), "ops", BOUNDS.dead_rate),
        Panel("Time of a frame, p99", ((quantile(0.99, m.FRAME_SECONDS, "stage, part"), "{{stage}} {{part}}"),), "s"),
        Panel("Records of a frame, p50", ((quantile(0.5, m.FRAME_RECORDS), "records"),)),
        Panel("Conflicts, rewinds, rebalances", (
            (f"sum (increase({name(m.CHECKPOINT_CONFLICTS)}[{WINDOW}]))", "conflicts"), (f"sum (increase({name(m.REWINDS)}[{WINDOW}]))", "rewinds"),
            (f"sum (increase({name(m.REBALANCES)}[{WINDOW}]))", "rebalances"))),
        Panel("Store errors", ((zero(rate(m.STORE_ERRORS, "stage")), "{{stage}}"),), "ops", 0.01),
        Panel("Stream clock behind the wall", ((f"time() - max by (stage) ({name(m.WATERMARK)} > 0)", "{{stage}}"),), "s"),
        Panel("Rebuild: records left", ((zero(f"sum ({name(m.RESTORE_REMAINING)})"), "records"),)),
    )),
    ("Feed", (
        Panel("Feeds a second", ((count(m.FEED_SECONDS, "surface"), "{{surface}}"),), "ops"),
        Panel("Time of a feed", (
            (quantile(0.5, m.FEED_SECONDS, "surface"), "{{surface}} p50"), (quantile(0.99, m.FEED_SECONDS, "surface"), "{{surface}} p99")),
            "s", BOUNDS.feed_p99_ms / 1000),
        Panel("Candidates by source", ((rate(m.FEED_CANDIDATES, "source"), "{{source}}"),), "ops"),
        Panel("Degraded", ((zero(rate(m.FEED_DEGRADED, "reason")), "{{reason}}"),), "ops"),
        Panel("Requests", ((rate(m.HTTP_REQUESTS, "route, status"), "{{route}} {{status}}"),), "ops"),
        Panel("Turned away", ((zero(rate(m.HTTP_SHED, "what")), "{{what}}"),), "ops"),
        Panel("Slates lost", ((zero(f"sum (increase({name(m.SLATES_LOST)}[{WINDOW}]))"), "slates"),), "short", 1),
    )),
    ("Pools and model", (
        Panel("Notes in a tier", ((f"max by (tier) ({name(m.POOL_NOTES)})", "tier {{tier}}"),)),
        Panel("Moves", ((rate(m.POOL_MOVES, "from, to, verdict"), "{{from}} → {{to}} {{verdict}}"),), "ops"),
        Panel("Promised exposures overdue", ((f"max ({name(m.POOL_SHORTFALL)})", "exposures"),), "short", BOUNDS.overdue),
        Panel("Log loss", ((zero(f"max by (action) ({name(m.MODEL_LOGLOSS)})"), "{{action}}"),)),
        Panel("Model age", ((f"max ({name(m.MODEL_AGE)})", "age"),), "s", BOUNDS.model_age_s),
        Panel("Happened over expected", ((f"max by (action) ({name(m.MODEL_CALIBRATION)})", "{{action}}"),), "short", 1),
        Panel("Models refused", ((zero(f"sum (increase({name(m.MODEL_REFUSED)}[{WINDOW}]))"), "looks"),), "short", 1),
        Panel("Examples a second", ((rate(m.MODEL_EXAMPLES), "examples"),), "ops"),
    )),
)  # fmt: skip


def scrape() -> str:
    """Addresses are examples: one API, one worker (its port is `engine.metrics_port`)."""
    return (
        HEADER
        + """
global:
  scrape_interval: 5s
  evaluation_interval: 15s

rule_files:
  - alerts.yml

scrape_configs:
  - job_name: upwell-api
    static_configs:
      - targets: ["api:8780"]
  # Every worker process has a port of its own: UPWELL_ENGINE__METRICS_PORT=9464, UPWELL_ENGINE__METRICS_HOST=0.0.0.0.
  - job_name: upwell-worker
    dns_sd_configs:
      - names: ["worker"]
        type: A
        port: 9464
        refresh_interval: 5s
"""
    )


def alerts() -> str:
    text = HEADER + "groups:\n  - name: upwell\n    rules:\n"
    for one in ALERTS:
        text += f"""      - alert: {one.name}
        expr: {json.dumps(one.expr)}
        for: {one.lasts}
        labels:
          severity: {one.severity}
        annotations:
          summary: {json.dumps(one.text)}
          runbook: docs/operations.md#{one.name.lower()}
"""
    return text


def dashboard() -> str:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "collapsed": False}
        )
        for place, panel in enumerate(row):
            spot = {"h": 8, "w": 8, "x": place % 3 * 8, "y": y + 1 + place // 3 * 8}
            panels.append(drawn(panel, len(panels) + 1, spot))
        y += 1 + (len(row) + 2) // 3 * 8
    told = {
        "title": "Upwell", "uid": "upwell", "tags": ["upwell"], "schemaVersion": 39, "version": 1, "editable": True, "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "", "panels": panels,
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]},
    }  # fmt: skip
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def drawn(panel: Panel, number: int, spot: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bound is not None:
        steps.append({"color": "red", "value": panel.bound})
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number, "type": "timeseries", "title": panel.title, "description": panel.help, "gridPos": spot, "datasource": source,
        "targets": [{"refId": chr(65 + i), "expr": expr, "legendFormat": legend, "datasource": source} for i, (expr, legend) in enumerate(panel.exprs)],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if panel.bound is not None else "off"}},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }  # fmt: skip


FILES = {"prometheus/scrape.yml": scrape, "prometheus/alerts.yml": alerts, "grafana/upwell.json": dashboard}


def main(words: list[str]) -> int:
    old = 0
    for place, made in FILES.items():
        path, text = ROOT / place, made()
        if "--check" in words:
            if not path.exists() or path.read_text("utf-8") != text:
                print(f"{path} is old: python -m deploy.generate")
                old = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    return old


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
