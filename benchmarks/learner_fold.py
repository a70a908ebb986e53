"""What the learner carries: examples a second on one core, by kind, and what a commit of the model costs.

python -m benchmarks.learner_fold [examples]
"""

from __future__ import annotations

import sys
import time

import numpy as np

from config.records import Engaged, Shown
from config.settings import load
from models.context import Context
from models.features import FEATURE_SET, NAMES
from streams.learner import Learner

START, NOTES, SLATE, ENGAGED = 1_700_000_000_000, 15_000, 30, 0.16
"""A slate is 20 shown and 10 passed over; so many exposures are engaged with."""


class Out:
    def dead(self, reason: str, message: str, index: int | None = None) -> None:
        raise AssertionError(f"{reason}: {message}")

    def count(self, type: str, outcome: str) -> None: ...


class Part:
    partition = now = appended = 0


def run(count: int) -> None:
    rng = np.random.default_rng(1)
    stage, part, out = Learner(load(environ={})), Part(), Out()
    family = stage.families["model"]
    part.shared = family.load(b"", [None] * len(family.parts))  # type: ignore[attr-defined]
    width, spent = len(NAMES), {"an exposure": [0.0, 0], "an engagement with its slate": [0.0, 0]}
    seconds = time.process_time
    for i in range(count):
        x = rng.normal(0.0, 1.0, (SLATE, width)).astype("<f2").tobytes()
        hs = tuple((rng.choice(NOTES, SLATE, replace=False) + 1).tolist())
        shown = Shown(u=i, h=hs[0], t=START + i, set=FEATURE_SET, x=x[: 2 * width])
        recent = tuple((rng.choice(NOTES, 40, replace=False) + 1).tolist())
        slate = Engaged(
            u=i, h=hs[0], t=START + i, a=4, set=FEATURE_SET, x=x[: 2 * width],
            c=Context(40, 1_000, 2.0, recent).encode(), at=0, hs=hs, xs=x, w=(1.0,) * 20 + (18.0,) * 10,
        )  # fmt: skip
        for name, signal in (("an exposure", shown), ("an engagement with its slate", slate)):
            if name == "an exposure" or rng.random() < ENGAGED:
                begin = seconds()
                stage.fold(part, out, signal, ())  # type: ignore[arg-type]
                spent[name][0] += seconds() - begin
                spent[name][1] += 1
    begin = seconds()
    written = family.dump(b"", part.shared)  # type: ignore[attr-defined]
    commit = seconds() - begin
    total, examples = sum(s for s, _ in spent.values()), sum(n for _, n in spent.values())
    print("| the learner's fold | CPU | |\n|---|---|---|")
    for name, (s, n) in spent.items():
        print(f"| {name} | {s / n * 1e6:.0f} µs | {n:,.0f} measured |")
    print(f"| **examples/s per core** | **{examples / total:,.0f}** | exposures, {ENGAGED:.0%} of them engaged with |")
    rows, size = len(part.shared.model.ranker.items), sum(len(value or b"") for value in written.values())  # type: ignore[attr-defined]
    print(f"| a commit of a model of {rows:,} notes, all of it changed | {commit * 1e3:.0f} ms | {size / 1e6:.1f} MB |")
    print("\nAbove `learner.capacity` exposures a second it learns from a share of them that is drawn by a hash, each with its weight.")


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)
