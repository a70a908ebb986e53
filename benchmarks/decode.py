"""What it costs to decode and validate an event, against orjson with checks by hand and against pydantic; then intake's own share.

``python -m benchmarks.decode``. All in one run on the same events (the mix of the issue: 78 % impressions, 14 % clicks, the rest spread),
best of many short rounds, so that neighbours on the machine disturb little. Every contestant checks the same things of the fields that occur.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import orjson

from config import settings as configuration
from config.events import NEEDS, NOTE, SURFACES, TYPES, EventRules, decode_events
from config.keys import hash64
from config.records import Facts
from streams.intake import Intake
from streams.stage import Record

NOW = 1_700_000_000_000
EVENTS, ROUNDS = 2_000, 60
RULES = EventRules()


def mix(count: int) -> list[dict[str, Any]]:
    """Events as an app sends them."""
    rng = random.Random(1)
    rare = ["view", "like", "collect", "comment", "share", "hide"]
    events = []
    for i in range(count):
        draw = rng.random()
        kind = "impression" if draw < 0.78 else "click" if draw < 0.92 else rng.choice(rare)
        event = {
            "type": kind, "user_id": f"user-{rng.randrange(20_000)}", "note_id": f"note-{int(5_000 * rng.random() ** 3)}",
            "event_id": f"{rng.getrandbits(64):016x}", "timestamp": NOW - rng.randrange(10_000), "request_id": f"{rng.getrandbits(80):020x}",
            "position": i % 20, "surface": "feed",
        }  # fmt: skip
        if kind == "view":
            event |= {"dwell_ms": 4_000, "completion": 0.5}
        events.append(event)
    return events


KINDS = {name: index for index, name in enumerate(TYPES)}


def by_hand(raw: bytes) -> Any:
    """orjson, then the checks one by one."""
    event = orjson.loads(raw)
    if not isinstance(event, dict):
        raise TypeError("object")
    kind = KINDS[event["type"]]
    for name in ("user_id", "note_id", "event_id", "request_id"):
        value = event.get(name)
        if value is not None and not (
            isinstance(value, str) and 0 < len(value.encode()) <= 128 and (name == "request_id" or value[0] != "_")
        ):
            raise ValueError(name)
    if "user_id" not in event or (NEEDS[kind] == NOTE and "note_id" not in event):
        raise ValueError("missing")
    stamp = event.get("timestamp")
    if isinstance(stamp, str):
        stamp = int(datetime.fromisoformat(stamp).timestamp() * 1000)
    if stamp is not None and not (isinstance(stamp, int) and 0 <= stamp <= NOW + 86_400_000):
        raise ValueError("timestamp")
    for name in ("position", "dwell_ms"):
        value = event.get(name)
        if value is not None and not (type(value) is int and 0 <= value < 2**31):
            raise ValueError(name)
    completion = event.get("completion")
    if completion is not None and not (isinstance(completion, int | float) and 0 <= completion <= 1):
        raise ValueError("completion")
    if (surface := event.get("surface")) is not None and surface not in SURFACES:
        raise ValueError("surface")
    return event


def pydantic_reader() -> Callable[[bytes], Any] | None:
    """The same as a pydantic model; None where it is not installed."""
    try:
        from pydantic import Field, TypeAdapter, create_model
    except ImportError:
        return None
    own_id = Annotated[str, Field(min_length=1, max_length=128, pattern="^[^_]")] | None
    count = Annotated[int, Field(ge=0, lt=2**31)] | None
    model = create_model(
        "Event",
        type=(Literal[TYPES], ...),
        user_id=(own_id, ...),
        note_id=(own_id, None),
        event_id=(own_id, None),
        timestamp=(Annotated[int, Field(ge=0)] | datetime | None, None),
        request_id=(Annotated[str, Field(min_length=1, max_length=128)] | None, None),
        position=(count, None),
        surface=(Literal[SURFACES] | None, None),
        dwell_ms=(count, None),
        completion=(Annotated[float, Field(ge=0, le=1)] | None, None),
    )
    return TypeAdapter(model).validate_json


def best(work: Callable[[], Any], count: int) -> float:
    """Microseconds an event, the best of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times) * 1e6 / count


def each(read: Callable[[bytes], Any], raws: list[bytes]) -> Callable[[], None]:
    def work() -> None:
        for raw in raws:
            read(raw)

    return work


class Sink:
    """Takes what a fold tells, and does nothing with it."""

    def tell(self, topic: str, digest: int, signal: Any, note: Any = None) -> None:
        pass

    def count(self, type: str, outcome: str) -> None:
        pass


def folded(stage: Intake, batches: list[Any], part: Any) -> Callable[[], None]:
    sink: Any = Sink()

    def work() -> None:
        fold = stage.fold
        for batch in batches:
            for signal in batch.signals:
                fold(part, sink, signal, None)

    return work


def main() -> None:
    events = mix(EVENTS)
    raws = [json.dumps(event, separators=(",", ":")).encode() for event in events]
    arrays = [b"[" + b",".join(raws[i : i + 50]) + b"]" for i in range(0, EVENTS, 50)]
    ours = best(each(lambda raw: decode_events(raw, NOW, RULES), raws), EVENTS)
    rows = [
        ("ours, one event a record", ours),
        ("ours, 50 events a record", best(each(lambda raw: decode_events(raw, NOW, RULES), arrays), EVENTS)),
        ("orjson and checks by hand", best(each(by_hand, raws), EVENTS)),
        ("orjson alone, nothing checked", best(each(orjson.loads, raws), EVENTS)),
    ]
    if reader := pydantic_reader():
        rows.append(("pydantic", best(each(reader, raws), EVENTS)))
    stage = Intake(configuration.load(environ={}))
    records = [Record("events", 0, i, NOW, None, raw) for i, raw in enumerate(raws)]
    batches = [stage.decode(record) for record in records]
    part: Any = SimpleNamespace(facts={hash64(name): Facts(name, True) for name in {event["note_id"] for event in events}})

    def routed() -> None:
        for record in records:
            stage.decode(record)

    def looked_up() -> None:
        for batch in batches:
            stage.lookups(batch)

    rows += [
        ("intake: decode, with the act built", best(routed, EVENTS)),
        ("intake: look-ups", best(looked_up, EVENTS)),
        ("intake: fold, without the runner's part", best(folded(stage, batches, part), EVENTS)),
    ]
    print(f"{'':42}{'µs/event':>10}{'ratio':>8}")
    for name, cost in rows:
        print(f"{name:42}{cost:10.2f}{cost / ours:8.2f}")


if __name__ == "__main__":
    main()
