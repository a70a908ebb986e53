"""Bytes in the store per active user and per note, and the worker's memory when it has seen 100,000 users.

``python -m benchmarks.memory [events] [users seen]``. The store's figures are lengths of values after a realistic mix, folded in this process; the user at
all bounds is folded too. The worker's memory is its resident set after a backlog in which every user occurs.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks.rig import NOTES, Rig, events, notes, printed, rss
from config.events import TYPES
from config.records import Act, Extra, Facts
from config.settings import load
from config.topics import STAGES
from models.slate import Standing
from models.user import PARTS, User
from streams.local import Local
from streams.users import Users

START = 1_700_000_000_000
FOUR = ("intake", "users", "notes", "lists")
"""Stages that need no ranker, and start without its kernels."""


def share(values: Sequence[int], part: float) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


async def mixed(count: int, users: int) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Bytes by user and part, and by note and part, after the mix."""
    local = Local(load(environ={}), ["intake", "users", "notes", "lists"], partitions=1)
    local.now = START
    for note in notes():
        local.append("notes", json.dumps(note).encode())
    await local.pump()
    for i, event in enumerate(events(count, users=users)):
        local.now += 500
        event["timestamp"] = local.now
        local.append("events", json.dumps(event).encode())
        if i % 4_000 == 3_999:
            await local.pump()
    await local.pump()
    sizes: dict[str, dict[str, dict[str, int]]] = {"users": defaultdict(dict), "notes": defaultdict(dict)}
    for key, value in local.store.values.items():  # type: ignore[attr-defined]
        tag, part, name = (*key.decode(errors="replace").split(":", 2), "", "")[:3]
        for stage, found in sizes.items():
            if f".{stage}" in tag and name:
                found[name][part] = len(value)
    return sizes["users"], sizes["notes"]


class Nowhere:
    """Takes what a fold tells."""

    def tell(self, *_: Any) -> None: ...
    def spread(self, *_: Any) -> None: ...
    def timer(self, *_: Any) -> None: ...
    def count(self, *_: Any) -> None: ...


def bounded() -> dict[str, int]:
    """Bytes by part of a user at every bound: ids of 16 bytes, tags of 12."""
    settings = load(environ={})
    stage, user, out, part = Users(settings), User(), Nowhere(), type("Part", (), {"now": 0, "appended": 0})()
    number = 0

    def say(kind: str, note: int, **extra: Any) -> None:
        nonlocal number
        number += 1
        tags = tuple(f"tag-{note * 8 + i:08d}" for i in range(8))
        facts = Facts(f"note-{note:011d}", True, f"author-{note:09d}", f"channel-{note % 40:04d}", tags, note)
        act = Act(
            0, 0, 0, "user-00000000001", TYPES.index(kind), START + number * 1_000, number, 0, "", -1, 0, Extra(**extra) if extra else None
        )
        stage.fold(part, out, act, [facts], user)  # type: ignore[arg-type]

    for i in range(settings.users.exposures + 100):
        say("impression", i)
    for i in range(settings.users.engaged + 100):
        say("click", 10_000 + i)
    for i in range(600):
        say("like", 20_000 + i)
        say("comment", 20_000 + i, comment_id=f"c{i}")
        say("follow", 30_000 + i, author_id=f"author-{i:09d}")
        say("block", 40_000 + i, author_id=f"bad-{i:012d}")
        say("hide", 50_000 + i, scope="note")
        say("hide", 60_000 + i, scope="author")
        say("hide", 70_000 + i, scope="tag")
    for i in range(200):
        say("click", 80_000 + i)
    user.hot.slates = [Standing(START, bytes(20), b"1234" * 4) for _ in range(settings.users.slates)]  # pages of 20, a fifth the pools'
    return {name: len(value) for name, value in zip(PARTS, user.values(), strict=True) if value}


def seen(users: int, stages: Sequence[str]) -> dict[str, float]:
    """Resident memory of a worker of these stages that has met so many users, one event each."""
    with Rig() as rig, rig.worker(",".join(stages)) as worker:
        worker.wait_for("upwell worker:")
        began = rss(worker.pid)
        rig.publish("notes", notes(), "note_id")
        rig.watch(worker, least=NOTES)

        def everybody() -> Any:
            for i, event in enumerate(events(users)):
                event["user_id"] = f"user{i}"
                yield event

        rig.publish("events", everybody(), "user_id")
        rig.watch(worker, least=NOTES + users)
        return {"at its start": began / 1e6, "after": rss(worker.pid) / 1e6}


def measure(count: int, users: int) -> list[str]:
    by_user, by_note = asyncio.run(mixed(count, max(100, count // 10)))
    hot = [parts.get("hot", 0) for parts in by_user.values()]
    every = [sum(parts.values()) for parts in by_user.values()]
    note = [sum(parts.get(p, 0) for p in ("state", "moves", "note", "facts", "text")) for parts in by_note.values()]
    most = bounded()
    lines = ["| bytes in the store | p50 | p99 | wanted |", "|---|---|---|---|"]
    lines.append(
        f"| hot part of a user, {len(hot)} users, {count / len(hot):.0f} events each | {statistics.median(hot):.0f} | {share(hot, 0.99)} | 2048 / 8192 |"
    )
    lines.append(f"| all parts of a user | {statistics.median(every):.0f} | {share(every, 0.99)} | |")
    lines.append(f"| a note, all parts | {statistics.median(note):.0f} | {share(note, 0.99)} | |")
    lines.append(f"| a user at all bounds: hot part | {most['hot']} | | 24576 |")
    lines.append(f"| a user at all bounds: all parts | {sum(most.values())} | | |")
    if users:
        lines += ["", f"| worker's resident memory, MB | at its start | {users} users seen | wanted |", "|---|---|---|---|"]
        for name, stages in (("of four stages: " + ", ".join(FOUR), FOUR), ("of all stages, which is the default", tuple(STAGES))):
            memory = seen(users, stages)
            lines.append(f"| {name} | {memory['at its start']:.0f} | {memory['after']:.0f} | 500 |")
    return lines


def main() -> None:
    printed(measure, 60_000, 100_000)


if __name__ == "__main__":
    main()
