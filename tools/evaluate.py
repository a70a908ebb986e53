"""How good the feed is, on real logs: `upwell eval FILE…`. Test, then learn, one event after the other.

    files ─► events by time ─► before a user's first event with a note that he then engages with: ask his feed, see where the note stands
                               └─► intake ─► users ─► notes, lists, neighbours … (in process, on the memory store)

Stages and pipeline are those that production runs (`tools.evaluation`); the loop and the metrics are all that only evaluation has. The protocol in words:
docs/evaluation.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config.settings import Settings
from tools.evaluation.figures import figures
from tools.evaluation.log import lines
from tools.evaluation.run import Progress, Run, Test
from tools.evaluation.shift import shifted
from tools.evaluation.system import HITS, System
from tools.mistake import Mistake

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    settings: Settings,
    files: Sequence[Path],
    warmup: int = 10_000,
    surface: str = "feed",
    shift: int = 0,
    seed: int = 1,
    limit: int = 0,
    progress: Progress | None = None,
    pipelines: Any = None,
) -> tuple[dict[str, Any], Run]:
    """All figures, and the run they come from. `limit`: only the first so many lines; `pipelines`: instead of `serving.build.build`."""
    log = lines(files)
    if limit:
        log = log[:limit]
    run = Run(System(settings, surface, pipelines), warmup, progress)
    asyncio.run(run.over(log))
    found = figures(run)
    if shift:
        found["shift_hr"] = asyncio.run(shifted(System(settings, surface, pipelines), log, shift, seed, progress))
    return found, run


def show(
    settings: Settings,
    files: Sequence[Path],
    warmup: int,
    surface: str,
    shift: int,
    seed: int,
    limit: int,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """The command: progress on stderr, then a table or JSON."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if surface not in ("feed", "nearby"):
        raise Mistake(f"--surface {surface}: feed or nearby")
    if plot is not None:
        drawable(plot)
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def moved_on(done: int, total: int, tests: list[Test]) -> None:
            hits = sum(t.rank < HITS for t in tests[-5000:]) / min(5000, len(tests)) if tests else 0.0
            bar.update(task, completed=done, total=total, description=f"HR@10 of the last {min(5000, len(tests))}: {hits:.3f}")

        found, run = evaluate(settings, files, warmup, surface, shift, seed, limit, moved_on)
    if as_json:
        print(json.dumps(found))
    else:
        Console().print(table_of(found, f"{surface}: {', '.join(file.name for file in files)}"))
    if plot is not None:
        draw(run, plot)


def table_of(found: dict[str, Any], title: str) -> Table:
    """For people."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in found.items():
        if name != "shift_hr":
            table.add_row(name, "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    for ages, value in found.get("shift_hr", {}).items():
        table.add_row(f"hr_at_10, events {ages} after a shift", "–" if value is None else f"{value:.3f}")
    return table


def drawable(file: Path) -> None:
    """Before an evaluation that takes minutes: raises `Mistake` when there could be no picture at its end."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Mistake("--plot needs matplotlib: pip install 'upwell[plot]'") from None
    known = Figure().canvas.get_supported_filetypes()
    if file.suffix.lower().removeprefix(".") not in known:
        raise Mistake(f"--plot {file}: no kind of picture; there are {', '.join(sorted(known))}")
    try:
        file.open("ab").close()
    except OSError as error:
        raise Mistake(f"--plot {file}: {error.strerror}") from None


def draw(run: Run, file: Path) -> None:
    """HR over time and by user age."""
    from matplotlib.figure import Figure

    hit = np.array([t.rank < HITS for t in run.tests], np.float64)
    figure = Figure((11.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    step = max(1, hit.size // 40)
    left.plot(
        [i + step for i in range(0, hit.size - step + 1, step)], [hit[i : i + step].mean() for i in range(0, hit.size - step + 1, step)]
    )
    left.set(xlabel="tested engagements", ylabel="HR@10", ylim=(0, None), title="over time")
    history = np.array([t.history for t in run.tests])
    edges = [0, 1, 3, 6, 12, 25, 60, 150, 400]
    bins = [(low, high) for low, high in zip(edges, [*edges[1:], 10**9], strict=True) if ((history >= low) & (history < high)).any()]
    names = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" if high < 10**9 else f"{low}+" for low, high in bins]
    right.bar(names, [hit[(history >= low) & (history < high)].mean() for low, high in bins])
    right.set(xlabel="earlier engagements of the user", ylabel="HR@10", title="by user age")
    right.tick_params(axis="x", labelsize=8)
    figure.savefig(file, dpi=120)
