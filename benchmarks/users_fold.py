"""What one event costs the users stage: fold and dump, by kind of event and on the realistic mix. No input or output.

python -m benchmarks.users_fold [events] [--profile]
"""

from __future__ import annotations

import cProfile
import random
import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from config.events import TYPES
from config.keys import hash64
from config.records import Act, Extra, Facts, Signal
from config.settings import load
from models.user import PARTS, User
from streams.users import Users

MIX = {"impression": 78, "click": 14, "view": 3, "like": 2, "collect": 1, "comment": 0.5, "share": 0.5, "follow": 0.5, "hide": 0.5}
USERS, NOTES, TAGS, START = 20_000, 5_000, 200, 1_700_000_000_000


class Part:
    now = appended = partition = 0
    shared = None
    facts: Mapping[int, Any] = MappingProxyType({})


class Out:
    """As cheap as telling can be: what is measured is the fold."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def tell(self, topic: str, digest: int, signal: Signal, note: Any = None) -> None:
        self.told.append(signal)

    def spread(self, topic: str, digests: Sequence[int], signal: Any) -> None:
        self.told.append(signal)

    def everywhere(self, topic: str, signal: Signal) -> None: ...

    def publish(self, topic: str, key: bytes, value: bytes) -> None: ...

    def dead(self, reason: str, message: str, index: int | None = None) -> None: ...

    def timer(self, family: str, key: bytes, deadline: int | None) -> None: ...

    def count(self, type: str, outcome: str) -> None: ...


def notes(rng: random.Random) -> list[Facts]:
    zipf = [1 / (i + 1) for i in range(TAGS)]
    return [
        Facts(f"note-{i:05d}", True, f"author-{int(i**0.8):04d}", f"channel-{i % 12}", tuple(dict.fromkeys(f"tag-{t}" for t in rng.choices(range(TAGS), zipf, k=4))), i)
        for i in range(NOTES)
    ]  # fmt: skip


def events(count: int, rng: random.Random, table: list[Facts]) -> list[Act]:
    """The mix over Zipf users and notes; half of what follows an exposure is on a note of the user's last ones."""
    user_weights = np.cumsum(1 / np.arange(1, USERS + 1) ** 0.7)
    note_weights = np.cumsum(1 / np.arange(1, NOTES + 1) ** 0.8)
    generator = np.random.default_rng(rng.randrange(2**32))
    users = np.searchsorted(user_weights, generator.random(count) * user_weights[-1])
    picked = np.searchsorted(note_weights, generator.random(count) * note_weights[-1])
    kinds = rng.choices([TYPES.index(t) for t in MIX], list(MIX.values()), k=count)
    last: dict[int, list[int]] = {}
    acts = []
    for i, (user, note, kind) in enumerate(zip(users.tolist(), picked.tolist(), kinds, strict=True)):
        recent = last.setdefault(user, [])
        if kind == 0:
            recent.append(note)
        elif recent:
            note = rng.choice(recent[-10:])
        extra = (
            Extra(comment_id=str(i))
            if TYPES[kind] == "comment"
            else Extra(author_id=table[note].author)
            if TYPES[kind] == "follow"
            else None
        )
        acts.append(Act(0, 0, i, f"user-{user:05d}", kind, START + i * 20, hash64(str(i)), note, "", -1, 0, extra))
    return acts


def run(count: int, profile: bool) -> None:
    rng = random.Random(1)
    table = notes(rng)
    acts = events(count, rng, table)
    stage, part, out = Users(load(environ={})), Part(), Out()
    states: dict[str, User] = {}
    for act in acts:
        states.setdefault(act.u, User())
    spent: dict[str, tuple[list[float], list[float]]] = {}
    clock = time.perf_counter
    told = 0
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    begin = time.process_time()
    for i, act in enumerate(acts):
        state = states[act.u]
        t = clock()
        stage.fold(part, out, act, table, state)
        u = clock()
        state.dump()
        v = clock()
        folded, dumped = spent.setdefault(TYPES[act.k], ([], []))
        folded.append(u - t)
        dumped.append(v - u)
        if i % 1_000 == 0:
            told += len(out.told)
            out.told.clear()
    total = time.process_time() - begin
    if profile:
        profiler.disable()
        profiler.print_stats("tottime")
    print(f"{count} events, {len(states)} users, {told} signals told; {total / count * 1e6:.1f} µs of CPU an event with a dump after each")
    for kind, (folded, dumped) in sorted(spent.items(), key=lambda item: -len(item[1][0])):
        print(f"  {kind:12s} {len(folded):8d}  fold {np.median(folded) * 1e6:6.1f} µs  dump {np.median(dumped) * 1e6:6.1f} µs  (medians)")
    sizes = {p: np.array([len(state.part(i) or b"") for state in states.values()]) for i, p in enumerate(PARTS)}
    hot, whole = sizes["hot"], np.sum(list(sizes.values()), axis=0)
    print(
        f"bytes a user: hot p50 {np.median(hot):.0f} p99 {np.quantile(hot, 0.99):.0f} max {hot.max()}; all parts p50 {np.median(whole):.0f} mean {whole.mean():.0f}"
    )
    values = [state.values() for state in states.values()]
    t = clock()
    for value in values:
        User(value)
    print(f"load: {(clock() - t) / len(values) * 1e6:.1f} µs a user")


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:] if a.isdigit()]
    run(numbers[0] if numbers else 300_000, "--profile" in sys.argv)
