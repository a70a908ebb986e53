"""What a note's neighbours are worth at several sizes, against the bytes they take and the time they cost.

``python -m benchmarks.neighbours_sizes [tests] [--plot FILE.png]``. The films' engagements in their order (docs/evaluation.md), through the
`Neighbours` of the stage; every so often, before one is learned, its note is looked for among the best ten of what heads say beside the
user's last 30 notes, decay 0.8 a step: item-to-item alone, with nothing learned on top. Time is the processor's, of learning both ways of
all pairs of an engagement; bytes are of an average note, stored slots and the head that feeds read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from time import process_time
from typing import NamedTuple

import numpy as np

from benchmarks.rig import machine, yardstick
from config.keys import hash64
from config.settings import load
from models.neighbours import Around, Neighbours
from serving.beside import beside
from tools import films
from tools.evaluation.log import engagements, lines
from tools.evaluation.system import HITS

WARMUP = 10_000
RECENT = 30
KEEP = 0.8
CACHE = Path(".cache/data")


class Size(NamedTuple):
    slots: int
    head: int
    pair_with: int

    @property
    def name(self) -> str:
        return f"{self.slots} / {self.head} / {self.pair_with}"


SIZES = (
    Size(50, 25, 10), Size(100, 50, 10), Size(100, 50, 20), Size(200, 100, 20), Size(400, 50, 20), Size(400, 100, 10),
    Size(400, 100, 20), Size(400, 200, 20), Size(400, 100, 50), Size(800, 200, 50), Size(2000, 2000, 50),
)  # fmt: skip


class Found(NamedTuple):
    hits: float
    stored: float
    """bytes of a note"""
    head: float
    micros: float
    """of an engagement"""


def first_engagements() -> list[tuple[str, int, int]]:
    """User, note hash and epoch ms of each, by time."""
    with tempfile.TemporaryDirectory() as folder:
        log = lines(films.write(Path(folder), films.fetch(CACHE)))
    _, engaged = engagements(log)
    return [(log[i].user, hash64(log[i].note_id), log[i].at) for i in sorted(engaged.values())]


def tried(log: Sequence[tuple[str, int, int]], size: Size, tests: int) -> Found:
    rules = load(environ={}).neighbours
    model = Neighbours(size.slots, size.head, rules.batch, rules.youth, rules.shrink, int(rules.near_seconds * 1000))
    arounds: defaultdict[int, Around] = defaultdict(Around)
    count: defaultdict[int, int] = defaultdict(int)
    last: defaultdict[str, deque[tuple[int, int]]] = defaultdict(lambda: deque(maxlen=max(RECENT, size.pair_with)))
    taken: defaultdict[str, set[int]] = defaultdict(set)
    every = max(1, (len(log) - WARMUP) // tests)
    hits = tested = 0
    spent = 0.0
    for i, (user, note, at) in enumerate(log):
        before = last[user]
        if i >= WARMUP and i % every == 0:
            tested += 1
            heads = [model.head(arounds[h]) if h in arounds else None for h, _ in list(before)[:RECENT]]
            hits += standing(heads, note, taken[user], rules.shrink) < HITS
        count[note] += 1
        begun = process_time()
        for distance, (other, then) in enumerate(list(before)[: size.pair_with], 1):
            model.learn(arounds[note], other, distance, at, at - then, count[note], count[other])
            model.learn(arounds[other], note, -distance, at, at - then, count[other], count[note])
        spent += process_time() - begun
        before.appendleft((note, at))
        taken[user].add(note)
    stored = sum(len(around.encode()) for around in arounds.values()) / len(arounds)
    head = sum(len(model.head(around)) for around in arounds.values()) / len(arounds)
    return Found(hits / tested, stored, head, spent / len(log) * 1e6)


def standing(heads: Sequence[bytes | None], note: int, taken: set[int], shrink: float) -> float:
    """Place of the note among what the heads name and the user does not have, ties at mid-rank; infinite where none names it."""
    found = beside(heads, KEEP, shrink)
    if found is None:
        return float("inf")
    new = np.array([h not in taken for h in found.hashes.tolist()])
    own = found.scores[found.hashes == np.uint64(note)]
    if not own.size:
        return float("inf")
    score = found.scores[new]
    return float((score > own[0]).sum()) + 0.5 * (float((score == own[0]).sum()) - 1.0)


def draw(found: Sequence[tuple[Size, Found]], file: Path) -> None:
    """HR over bytes and over time, a point a size."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure((11.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    chosen = load(environ={})
    ours = Size(chosen.neighbours.slots, chosen.neighbours.head, chosen.users.pair_with)
    for axis, of in ((left, lambda f: (f.stored + f.head) / 1000.0), (right, lambda f: f.micros)):
        for letter, (size, one) in zip(ascii_uppercase, found, strict=False):
            colour = "#c0392b" if size == ours else "#34495e"
            label = f"{letter}  {size.name}{' (the settings)' if size == ours else ''}"
            axis.plot(of(one), one.hits, "o", markersize=13, color=colour, alpha=0.75, label=label)
            axis.annotate(letter, (of(one), one.hits), ha="center", va="center", color="white", fontsize=8)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    left.set(xlabel="kB of an average note, slots and head", ylabel="HR@10 of item-to-item alone", xticks=(2, 5, 10, 20, 40))
    right.set(xlabel="µs an engagement: learning all its pairs", xticks=(50, 100, 200, 400))
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside right upper", title="slots / head / pair_with", fontsize=8, markerscale=0.5
    )
    figure.savefig(file, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours_sizes")
    parser.add_argument("tests", nargs="?", type=int, default=9_000)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    log = first_engagements()
    print(f"{machine()}, yardstick {yardstick():.0f} ms\n")
    print("| slots / head / pair_with | HR@10 | stored kB | head kB | µs an engagement |\n|---|--:|--:|--:|--:|")
    found = []
    for size in SIZES:
        one = tried(log, size, chosen.tests)
        found.append((size, one))
        print(f"| {size.name} | {one.hits:.3f} | {one.stored / 1000:.1f} | {one.head / 1000:.1f} | {one.micros:.0f} |", flush=True)
    if chosen.plot is not None:
        draw(found, chosen.plot)


if __name__ == "__main__":
    main()
