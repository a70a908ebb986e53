"""What one signal costs in the notes and lists stages, by part: fold, dump, list update. Run: ``python -m benchmarks.notes_fold``.

The mix of `make bench`: 78 % exposures, 14 % clicks, the rest spread; 5,000 notes drawn by Zipf, 2 million signals a simulated hour. Pieces are cut
every 1,000 signals. The collector is the real one's shape without packing, so figures are the stages' own code. On shared cores compare
with the first line: 100 additions take 2.2 µs on the quiet machine.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import time
from typing import Any

import numpy as np

from config import settings as configuration
from config.events import ACTIONS
from config.records import NoteAct, NoteChange, NoteServed, Score
from streams.lists import Lists
from streams.notes import Notes

START = 1_750_000_000_000
RATES = np.array([0.16, 0.05, 0.006, 0.0035, 0.001, 0.0008, 0.0005, 0.0], np.float16).tobytes()


class Quiet:
    """Part and Out: keeps what is told, counts nothing."""

    def __init__(self, stage: Any) -> None:
        self.told: list[tuple[int, Any]] = []
        self.now = self.appended = self.partition = self.public = 0
        self.facts: dict[int, Any] = {}
        self.shared = stage.families[stage.shared].load(b"", [None, None]) if stage.shared else None

    def tell(self, topic: str, digest: int, signal: Any, note: Any = None) -> None:
        self.told.append((digest, signal))

    def everywhere(self, topic: str, signal: Any) -> None:
        self.told.append((-1, signal))

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        self.public += 1

    def timer(self, family: str, key: bytes, deadline: int | None) -> None: ...

    def count(self, type: str, outcome: str) -> None: ...


def signals(n: int, notes: int, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    ranks = rng.permutation(notes)[np.minimum(rng.zipf(1.2, n) - 1, notes - 1)]
    kinds = rng.choice(
        len(ACTIONS), n, p=[0.78, 0.14, 0.03, 0.015, 0.015, 0.008, 0.003, 0.002, 0.002, 0.002, 0.0005, 0.0015, 0.0005, 0.0005]
    )
    step = 3_600_000 / 2_000_000
    out: list[Any] = []
    for i, (note, kind) in enumerate(zip(ranks.tolist(), kinds.tolist(), strict=True)):
        t = START + int(i * step)
        out.append(NoteAct(n=note, a=kind, t=t, slot=i % 2, src=i % 8, e=RATES if kind == 0 else b""))
        if kind == 0:
            out.append(NoteServed(n=note, t=t, d=-1))
        out.append(NoteServed(n=int(ranks[i - i % 7]), t=t, d=1))
    return out


def additions() -> float:
    """Seconds for a fixed bit of Python, over the same kind of clock: what the machine is worth just now."""
    begun, total = time.thread_time(), 0
    for _ in range(2_000):
        for i in range(100):
            total += i
    return (time.thread_time() - begun) / 2_000


def main() -> None:
    gc.freeze()
    gc.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100_000)
    parser.add_argument("--notes", type=int, default=5_000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    settings = configuration.load(environ={})
    stage, lists = Notes(settings), Lists(settings)
    part, below = Quiet(stage), Quiet(lists)
    table = [f"note-{i}" for i in range(given.notes)]
    objects: dict[Any, Any] = {}
    heads: dict[Any, Any] = {}

    pieces: dict[str, list[float]] = {"fold": [], "dump": [], "lists": []}

    def run(batch: list[Any], spent: dict[str, float]) -> None:
        clock = time.thread_time
        for at in range(0, len(batch), 1_000):
            piece = batch[at : at + 1_000]
            begun = clock()
            wanted = [stage.reads(signal, table) for signal in piece]
            spent["reads"] += clock() - begun
            states = []
            for wants in wanted:
                for want in wants:
                    if want not in objects:
                        objects[want] = stage.families[want[0]].load(want[1], [None] * 4)
                states.append([objects[want] for want in wants])
            begun = clock()
            for signal, state in zip(piece, states, strict=True):
                if signal.t > part.now:
                    part.now = signal.t
                stage.fold(part, part, signal, table, *state)
            took = clock() - begun
            spent["fold"] += took
            pieces["fold"].append(took / len(piece))
            touched = dict.fromkeys(want for wants in wanted for want in wants)
            begun = clock()
            size = 0
            for want in touched:
                for value in stage.families[want[0]].dump(want[1], objects[want]).values():
                    size += len(value or b"")
            took = clock() - begun
            spent["dump"] += took
            pieces["dump"].append(took / len(touched))
            spent["dumps"] += len(touched)
            spent["bytes"] += size
            told, part.told = part.told, []
            begun = clock()
            for _, signal in told:
                for want in lists.reads(signal, ()):
                    if want not in heads:
                        heads[want] = lists.families[want[0]].load(want[1], [None, None])
                    lists.fold(below, below, signal, (), heads[want])
            took = clock() - begun
            spent["lists"] += took
            pieces["lists"].append(took / max(len(told), 1))
            spent["scores"] += sum(isinstance(signal, Score) for _, signal in told)
            touched = dict.fromkeys(want for _, signal in told for want in lists.reads(signal, ()))
            begun = clock()
            for want in touched:
                lists.families[want[0]].dump(want[1], heads[want])
            spent["heads"] += clock() - begun
            spent["heads written"] += len(touched)

    def fresh() -> dict[str, float]:
        return dict.fromkeys(("reads", "fold", "dump", "dumps", "bytes", "lists", "scores", "heads", "heads written"), 0.0)

    changes = [
        NoteChange(
            n=i, t=START, id=i, patch={
                "author_id": f"a{i % 500}", "title": "t" * 30, "tags": [f"t{i % 97}", f"t{i % 31}", f"t{i % 7}"],
                "channel": f"c{i % 10}/s{i % 40}", "city": f"city{i % 20}", "lat": 30 + i % 100 / 50, "lon": 120 + i % 100 / 50,
            },
        )
        for i in range(given.notes)
    ]  # fmt: skip
    spent = fresh()
    run(changes, spent)
    print(f"publish: fold {1e6 * spent['fold'] / len(changes):.1f} µs, {spent['scores'] / len(changes):.1f} scores")
    batch = signals(given.n, given.notes, 7)
    run(batch[: len(batch) // 2], fresh())
    spent = fresh()
    for name in pieces:
        pieces[name].clear()
    half = batch[len(batch) // 2 :]
    profile = cProfile.Profile() if given.profile else None
    if profile:
        profile.enable()
    run(half, spent)
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    n = len(half)
    print(f"100 additions take {1e6 * additions():.1f} µs")
    print(f"signals {n:,}, notes {given.notes:,}, moves {part.public:,}")
    print(f"reads {1e6 * spent['reads'] / n:6.2f} µs a signal")
    print(f"fold  {1e6 * spent['fold'] / n:6.2f} µs a signal")
    print(
        f"dump  {1e6 * spent['dump'] / spent['dumps']:6.2f} µs a note, {spent['dumps'] / n:.2f} notes a signal, {spent['bytes'] / spent['dumps']:.0f} bytes"
    )
    print(f"lists {1e6 * spent['lists'] / max(spent['scores'], 1):6.2f} µs a score, {spent['scores'] / n:.2f} scores a signal")
    for name, times in pieces.items():
        times.sort()
        quiet, middle = times[len(times) // 10], times[len(times) // 2]
        print(f"{name}: quietest tenth of pieces {1e6 * quiet:.2f} µs, median {1e6 * middle:.2f} µs")
    print(f"heads {1e6 * spent['heads'] / max(spent['heads written'], 1):6.2f} µs a head, {spent['heads written'] / n:.2f} heads a signal")


if __name__ == "__main__":
    main()
