"""The whole job, intake to lists: our worker against its twin in plain Faust (`benchmarks/plain_faust.py`), on the same broker, store and mix.

``python -m benchmarks.whole_job [events] [events of the twin] [rounds]``. A backlog is written, then a worker is started and watched from its first
checkpoint to its last; CPU is /proc's, of all threads. By-pair and examples are written as well; the stages that read them do not run.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from typing import Any

from benchmarks.rig import NOTES, Process, Rig, Stretch, cpu, events, machine, notes, yardstick
from config.keys import hash64, note_key
from models.note import decode
from store.manifest import decode as manifest_of


def exact(rig: Rig, sent: list[dict[str, Any]]) -> bool:
    """Every note's count of impressions is its number of distinct users.

    Of a user who saw more different notes than his ring of exposures holds, a repeat may count again: his may number up to his events.
    """
    saw: dict[str, set[str]] = defaultdict(set)
    times: dict[str, Counter[str]] = defaultdict(Counter)
    for event in sent:
        if event["type"] == "impression":
            saw[event["user_id"]].add(event["note_id"])
            times[event["note_id"]][event["user_id"]] += 1
    horizon = rig.settings.users.exposures
    least = {note: len(by_user) for note, by_user in times.items()}
    most = {note: sum(n if len(saw[user]) > horizon else 1 for user, n in by_user.items()) for note, by_user in times.items()}
    manifest = manifest_of(rig.redis.get("upwell:manifest"), "upwell")
    names = sorted(least)
    values = rig.redis.mget([manifest.slot("notes", hash64(name)).key("state", note_key(hash64(name))) for name in names])
    return all(v is not None and least[name] <= decode(v).counts[0] <= most[name] for name, v in zip(names, values, strict=True))


def twin(rig: Rig, count: int, quiet_s: float = 4.0) -> Stretch:
    """The plain worker on the first `count` events."""
    rig.create_topics(UPWELL_KAFKA__PREFIX="plain")
    rig.publish("events", events(count), "user_id", "plain")
    with rig.process("benchmarks.plain_faust", [], {"UPWELL_KAFKA__PREFIX": "plain"}) as worker:
        pids = {"worker": worker.pid, "broker": rig.broker.pid, "store": rig.store.pid}
        begun: Any = None
        before: Any = None
        last = ended = (time.monotonic(), {name: cpu(pid) for name, pid in pids.items()})
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if not worker.alive:
                raise SystemExit(f"the twin ended: {worker.last_words()}")
            value = rig.redis.get("plain:progress")
            done = json.loads(value) if value else {}
            here = (time.monotonic(), {name: cpu(pid) for name, pid in pids.items()})
            if any(done.values()) and done != before:
                begun, ended, before = begun or last, here, done
            elif begun is not None and done["events"] >= count and here[0] - ended[0] > quiet_s:
                break
            last = here
        used = {name: ended[1][name] - begun[1][name] for name in pids}
        return Stretch(ended[0] - begun[0], used, {("plain", topic, 0): n for topic, n in before.items()})


def ours(rig: Rig, count: int) -> Stretch:
    with rig.worker() as worker:
        return rig.watch(worker, least=NOTES + count)


def catalogue(rig: Rig) -> None:
    """Notes are published and known before the first event."""
    with rig.worker() as worker:
        worker.wait_for("upwell worker:")
        rig.publish("notes", notes(), "note_id")
        rig.watch(worker, least=NOTES)
        stop(worker)


def stop(worker: Process) -> None:
    worker.stop(10)


def measure(count: int = 100_000, plain: int = 4_000) -> dict[str, float]:
    """One round."""
    with Rig() as rig:
        catalogue(rig)
        before = yardstick()
        other = twin(rig, plain)
        sent = list(events(count))
        rig.publish("events", sent, "user_id")
        mine = ours(rig, count)
        found: dict[str, float] = {"events": count, "exact": float(exact(rig, sent)), "yardstick ms": (before + yardstick()) / 2}
        for name in ("worker", "broker", "store"):
            found[f"{name} µs"] = mine.cpu[name] / count * 1e6
            found[f"twin {name} µs"] = other.cpu[name] / plain * 1e6
        found["events/s"] = count / mine.seconds
        found["twin events/s"] = plain / other.seconds
        found["ratio CPU"] = found["twin worker µs"] / found["worker µs"]
        found["ratio wall"] = found["events/s"] / found["twin events/s"]
        found["events/s per core"] = 1e6 / found["worker µs"]
        return found


def table(rounds: list[dict[str, float]]) -> list[str]:
    m = {name: statistics.median([r[name] for r in rounds]) for name in rounds[0]}
    lines = [
        "| | ours | plain Faust | ratio |",
        "|---|---|---|---|",
        f"| worker CPU, µs an event | {m['worker µs']:.0f} | {m['twin worker µs']:.0f} | {m['ratio CPU']:.1f} |",
        f"| broker CPU, µs an event | {m['broker µs']:.0f} | {m['twin broker µs']:.0f} | {m['twin broker µs'] / m['broker µs']:.1f} |",
        f"| store CPU, µs an event | {m['store µs']:.0f} | {m['twin store µs']:.0f} | {m['twin store µs'] / max(m['store µs'], 0.1):.1f} |",
        f"| events/s on the wall's clock | {m['events/s']:.0f} | {m['twin events/s']:.0f} | {m['ratio wall']:.1f} |",
        f"| events/s per core of worker CPU | {m['events/s per core']:.0f} | {1e6 / m['twin worker µs']:.0f} | |",
    ]
    exactness = "all counts exact" if all(r["exact"] for r in rounds) else "COUNTS DIFFER"
    lines.append("")
    lines.append(f"{len(rounds)} rounds of {m['events']:.0f} events, medians; {exactness}; yardstick {m['yardstick ms']:.0f} ms.")
    return lines


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    count, plain, rounds = (*words, *(100_000, 4_000, 1)[len(words) :])
    print(f"{machine()}\n")
    print("\n".join(table([measure(count, plain) for _ in range(rounds)])))


if __name__ == "__main__":
    main()
