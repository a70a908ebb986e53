"""`upwell simulate`: the production pool policy in a world of notes whose quality is hidden from it, beside the usual rules.

python -m tools.simulate --world tools/worlds/high.json --seeds 10
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from config import settings
from models import pool
from models.pool import Rules
from tools import simulate_live
from tools.mistake import Mistake
from tools.worlds import plot, usual, world
from tools.worlds.drawn import Drawn
from tools.worlds.upwell import Ladder

DRAWN = "upwell, drawn by feeds"
SHOWN = (*usual.RULES, "upwell")
POLICIES = (*SHOWN, DRAWN)
FIGURES = (
    "ces_per_exposure",
    "rounds_to_500_top5",
    "top5_ever_500",
    "wasted_below_median",
    "precision_promoted",
    "base_within_24",
    "capacity_used",
)
LIVE = ("overshoot_most", "overshoot_mean", "feeds_per_second", "counters_wrong")
"""what only a running system has: beyond quotas, at most and on average; notes whose counters are not what people did"""
NEVER = 99.0
"""stands for a note that never got there, in means of medians"""

Result = dict[str, Any]


def simulate(
    world_path: str | Path,
    seeds: int | Sequence[int] = 10,
    policy: str | None = None,
    made: Rules | None = None,
    processes: int = 2,
) -> list[Result]:
    """Each policy's figures, means over seeds, and their standard errors.

    Parameters
    ----------
    world_path
        A JSON file in the format of `tools/worlds/*.json`.
    seeds
        A number n (0 to n - 1), or the seeds themselves.
    policy
        One of `POLICIES`; None for `SHOWN`, the usual rules first.
    made
        Rules of the ladder; those of the settings when absent.

    Raises
    ------
    Mistake
        For an unknown policy, a file that is no world, or no seeds.
    """
    if policy is not None and policy not in POLICIES:
        raise Mistake(f"unknown policy {policy!r}; known: {', '.join(POLICIES)}")
    spec, chosen = read(world_path), list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not chosen:
        raise Mistake("--seeds wants at least 1")
    names = SHOWN if policy is None else (policy,)
    made = made or configured()
    jobs = [(spec, seed, name, made) for name in names for seed in chosen]
    if processes > 1 and len(jobs) > 1:
        with ProcessPoolExecutor(processes) as workers:
            reports = list(workers.map(one, jobs))
    else:
        reports = [one(job) for job in jobs]
    return [
        {"world": spec.name, "policy": name, "seeds": len(chosen)} | summary(reports[i * len(chosen) : (i + 1) * len(chosen)])
        for i, name in enumerate(names)
    ]


def lived(world_path: str | Path, seeds: int, notes: int, kill: int | None = None) -> list[Result]:
    """The production policy in production's own processes: one result a seed, each in a system of its own."""
    spec = read(world_path)
    small = simulate_live.smaller(spec, min(notes, spec.notes))
    return [
        {"world": spec.name, "policy": "upwell, live", "seeds": 1, "seed": seed}
        | {name: min(value, NEVER) for name, value in simulate_live.simulate(small, seed, kill).items()}
        for seed in range(seeds)
    ]


def one(job: tuple[world.Spec, int, str, Rules]) -> dict[str, float]:
    """One policy, one seed."""
    spec, seed, name, made = job
    run = world.World(spec, seed)
    if name == DRAWN:
        return Drawn(run, made, settings.load().feed, seed).run()
    return usual.RULES[name](run, usual.history(spec, seed)) if name in usual.RULES else Ladder(run, made).run()


def summary(reports: Sequence[dict[str, float]]) -> dict[str, Any]:
    found = {name: np.array([min(report[name], NEVER) for report in reports]) for name in FIGURES}
    errors = {name: float(seen.std(ddof=1) / np.sqrt(len(seen))) if len(seen) > 1 else None for name, seen in found.items()}
    return {name: float(seen.mean()) for name, seen in found.items()} | {"standard_errors": errors}


def read(path: str | Path) -> world.Spec:
    try:
        return world.read(path)
    except ValueError as error:
        raise Mistake(f"not a world: {error}") from None


def configured() -> Rules:
    """The rules of the settings, as the notes stage makes them."""
    return pool.configured(settings.load())


def table(results: Sequence[Result], figures: Sequence[str] = FIGURES) -> str:
    """For people: one line a policy."""
    wide = max(len(name) for name in POLICIES) + 2
    head = f"{results[0]['world']}, {results[0]['seeds']} seeds".ljust(wide) + "  ".join(figures)
    rows = [r["policy"].ljust(wide) + "  ".join(f"{r[name]:.3f}".rjust(len(name)) for name in figures) for r in results]
    return "\n".join([head, *rows])


def drawn(world_path: str | Path, made: Rules | None = None) -> str:
    """The picture of one run of the production policy, seed 0."""
    run = world.World(read(world_path), 0)
    Ladder(run, made or configured()).run()
    return plot.svg(run)


def command(
    world: Annotated[Path, typer.Option(help="JSON file in the format of tools/worlds/*.json.")],
    seeds: Annotated[int, typer.Option(min=1, help="Worlds drawn from it.")] = 10,
    policy: Annotated[str, typer.Option(help="Only this one, also `upwell, drawn by feeds`; default: the usual rules and upwell.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per policy and line.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write exposures over time of the best, median and worst notes (SVG).")] = None,
    live: Annotated[bool, typer.Option("--live", help="In a system that is started for it: broker, store, worker, two APIs.")] = False,
    notes: Annotated[int, typer.Option(min=20, help="With --live: so many notes, and exposures in proportion.")] = 500,
    kill: Annotated[int, typer.Option(help="With --live: kill -9 the worker in this hour of the world; -1: never.")] = -1,
) -> None:
    """The pool policy in a world of notes whose quality is hidden from it, beside the usual rules.

    Example: upwell simulate --world tools/worlds/high.json --seeds 10
    """
    if live:
        if policy not in ("", "upwell") or plot is not None:
            raise Mistake("--live runs the production policy, and draws nothing")
        results = lived(world, seeds, notes, kill if kill >= 0 else None)
        print("\n".join(json.dumps(result) for result in results) if as_json else table(results, (*FIGURES, *LIVE)))
        return
    results = simulate(world, seeds, policy or None)
    print("\n".join(json.dumps(result) for result in results) if as_json else table(results))
    if plot is not None:
        plot.write_text(drawn(world), "utf-8")


if __name__ == "__main__":
    try:
        typer.run(command)
    except Mistake as mistake:
        raise SystemExit(f"upwell simulate: {mistake}") from None
