"""Every Prometheus metric of Upwell: one place that names them, used by stages, API and tools.

Labels stand beside each metric. Whoever counts asks for the labelled child once (`EVENTS.labels("users", "like", "applied")`) and
keeps it: the look-up costs more than the increment.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Info

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)
"""Seconds from an event to something visible; holds .001, .005, .01, .03, .1 and 60 for the alert rules."""

REQUEST = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds of one HTTP answer."""

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
"""Records of a frame, candidates of a source."""

# ------------------------------------------------------------------------------------------------------------------- streams

EVENTS = Counter("upwell_events", "Signals by what became of them.", ("stage", "type", "outcome"))
DEAD = Counter("upwell_dead", "Records that could not be processed.", ("reason",))
EVENT_TO_STATE = Histogram(
    "upwell_event_to_state_seconds", "Append time of the public record until its effect is visible in the store.", ("stage",), buckets=QUICK
)
LAG_RECORDS = Gauge("upwell_stream_lag_records", "Records of the log that are not applied yet.", ("group", "topic", "partition"))
LAG_SECONDS = Gauge(
    "upwell_stream_lag_seconds", "Age of the oldest record that is not applied yet; 0 when there is none.", ("group", "topic", "partition")
)
CHECKPOINT_OFFSET = Gauge("upwell_checkpoint_offset", "Offset up to which the state is true.", ("group", "topic", "partition"))
LOG_END_OFFSET = Gauge("upwell_log_end_offset", "End of the log.", ("group", "topic", "partition"))
WATERMARK = Gauge("upwell_watermark_timestamp_seconds", "A partition's clock: the highest effective time seen.", ("stage", "partition"))
PROBE_AGE = Gauge(
    "upwell_probe_age_seconds",
    "Age of the newest probe that the store shows, of those sent once a second through every partition: how old what readers see is.",
    ("stage", "partition"),
)
FRAME_RECORDS = Histogram("upwell_frame_records", "Records of one frame.", buckets=SIZES)
FRAME_SECONDS = Histogram(
    "upwell_frame_seconds",
    "Time of one frame by what it was spent on: decode, read, fold, produce, commit.",
    ("stage", "part"),
    buckets=QUICK,
)
CHECKPOINT_CONFLICTS = Counter("upwell_checkpoint_conflicts", "Writes refused since the checkpoint was another's.")
REWINDS = Counter("upwell_rewinds", "Seeks back to the store's checkpoint after a hole or a conflict.")
REBALANCES = Counter("upwell_rebalances", "Assignments of partitions to this process.")
STORE_ERRORS = Counter("upwell_store_errors", "Calls to the store that failed.", ("stage",))
RESTORE_REMAINING = Gauge("upwell_restore_remaining_records", "Records a rebuild still has to fold.")

# -------------------------------------------------------------------------------------------------------------------- models

POOL_NOTES = Gauge("upwell_pool_notes", "Notes in a tier of the traffic pools.", ("tier",))
POOL_MOVES = Counter("upwell_pool_moves", "Moves between tiers.", ("from", "to", "verdict"))
POOL_SHORTFALL = Gauge("upwell_pool_promise_shortfall", "Guaranteed exposures that are overdue, over all notes.")
MODEL_LOGLOSS = Gauge("upwell_model_logloss", "Progressive log loss of the served model.", ("action",))
MODEL_CALIBRATION = Gauge(
    "upwell_model_calibration", "Actions that happened over those that were expected, lately: 1 is right.", ("action",)
)
MODEL_REFUSED = Counter("upwell_model_refused", "Looks at a model that is missing or cannot be used: feeds are ranked by the prior.")
MODEL_AGE = Gauge("upwell_model_age_seconds", "Stream time since the served model last learned; NaN where none is served.")
MODEL_EXAMPLES = Counter("upwell_model_examples", "Examples learned from.")

# --------------------------------------------------------------------------------------------------------------------- serving

FEED_SECONDS = Histogram("upwell_feed_seconds", "Time to decide and write one feed.", ("surface",), buckets=REQUEST)
FEED_CANDIDATES = Counter("upwell_feed_candidates", "Candidates a source brought, before any filter.", ("source",))
FEED_DROPPED = Counter("upwell_feed_dropped", "Candidates a filter took out.", ("filter",))
FEED_DEGRADED = Counter("upwell_feed_degraded", "Feeds served without something they should have had.", ("reason",))
FEED_COMPONENT_ERRORS = Counter("upwell_feed_component_errors", "Errors of one source, filter or scorer.", ("component",))
FEED_STATE_AGE = Gauge("upwell_feed_state_age_seconds", "Age of the state the last feed was decided on, against its stream's clock.")
SLATES_LOST = Counter("upwell_slates_lost", "Slates the broker did not acknowledge: their feed was shown, and is not learned from.")
HTTP_REQUESTS = Counter("upwell_http_requests", "Requests answered.", ("route", "status"))
HTTP_SHED = Counter(
    "upwell_http_shed", "Requests turned away with 503 since there was no room: reads, writes, bodies; and connections closed.", ("what",)
)
BUILD = Info("upwell_build", "What runs here.")


def observe(histogram: Histogram, value: float, times: int) -> None:
    """`histogram.observe(value)` so many times; the client has only the one at a time, which costs as much as a stage's work."""
    child: Any = histogram
    child._sum.inc(value * times)
    child._buckets[bisect_left(child._upper_bounds, value)].inc(times)
