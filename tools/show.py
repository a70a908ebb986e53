"""How operators' commands look on a terminal: lag, replay, settings."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from config.settings import Settings
from tools import lag as lags
from tools.mistake import Mistake
from tools.replay import Replay, entries, read
from tools.valid import event_fault, note_fault

BEHIND_S = 30.0
"""A stage that is further behind is red."""


def lag(settings: Settings, *, watch: bool, as_json: bool, max_seconds: float) -> int:
    """Prints once, or every second; the exit code."""
    console = Console()
    if as_json:
        while True:
            rows = asyncio.run(lags.measure(settings))
            for row in rows:
                print(json.dumps({**row._asdict(), "drain": row.drain}), flush=True)
            if not watch:
                break
            time.sleep(1)
    elif watch:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                rows = asyncio.run(lags.measure(settings))
                live.update(lag_table(rows), refresh=True)
                time.sleep(1)
    else:
        rows = asyncio.run(lags.measure(settings))
        console.print(lag_table(rows))
    if 0 <= max_seconds < lags.worst(rows):
        print(f"upwell: the oldest unapplied record is {lags.worst(rows):.1f} s old, more than {max_seconds:g} s", file=sys.stderr)
        return 1
    return 0


def lag_table(rows: list[lags.Lag]) -> Table:
    """A line for each stage and topic; beneath one that is behind, its partitions."""
    names = ("stage", "topic", "partition", "end", "applied", "committed", "behind", "seconds", "a second", "drained in", "owner")
    table = Table(*names, box=None, pad_edge=False)
    for stage, topic, partitions, records, seconds in lags.by_stage(rows):
        own = [row for row in rows if (row.stage, row.topic) == (stage, topic)]
        end, applied = sum(row.end for row in own), sum(row.checkpoint or 0 for row in own)
        committed, rate = sum(row.committed or 0 for row in own), sum(row.rate for row in own)
        drains = [row.drain for row in own]
        drain = None if None in drains else max((one for one in drains if one is not None), default=0.0)
        without = sum(1 for row in own if not row.owner)
        workers = sorted({row.owner for row in own if row.owner})
        owner = ", ".join(workers) if not without else "nobody" if not workers else f"{', '.join(workers)}; {without} without"
        numbers = (f"{end:,}", f"{applied:,}", f"{committed:,}", f"{records:,}", f"{seconds:.1f}", f"{rate:,.0f}", lasting(drain, seconds))
        table.add_row(stage, topic, f"all {partitions}", *numbers, owner, style="red" if seconds > BEHIND_S or without == len(own) else "")
        for row in own:
            if row.records and partitions > 1:
                offsets = ("-" if value is None else f"{value:,}" for value in (row.end, row.checkpoint, row.committed, row.records))
                rest = (f"{row.seconds:.1f}", f"{row.rate:,.0f}", lasting(row.drain, row.seconds), row.owner or "nobody")
                table.add_row("", "", str(row.partition), *offsets, *rest, style="dim")
    return table


STUCK_S = 10.0
"""Rates are of the second that the measurement took: what is younger may only just have come."""


def lasting(seconds: float | None, age: float) -> str:
    """How long it takes until all is applied, for people; `age`: of the oldest record that is not, in seconds."""
    if seconds is None:
        return "never" if age > STUCK_S else ""
    return (
        ""
        if not seconds
        else f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7_200
        else f"{seconds / 3600:.1f} h"
    )


def checked(settings: Settings, files: Sequence[Path]) -> int:
    """`upwell replay --check`: every line that would be refused, with its reason; the exit code."""
    bad = good = 0
    now = int(time.time() * 1000)
    for path in files:
        for one in entries(read(path)):
            fault = (note_fault if one.note else event_fault)(one.body, now, settings)
            if fault is None:
                good += 1
            else:
                bad += 1
                print(f"{path}:{one.place[1]}: {fault}")
    print(f"{good:,} good, {bad:,} refused")
    return 1 if bad else 0


def replayed(settings: Settings, files: Sequence[Path], speed: float | None, *, to_now: bool) -> None:
    """`upwell replay`: a progress bar, and what was sent."""
    console = Console(stderr=True)
    replay = Replay(settings, files, speed, to_now)
    total = replay.found.events + replay.found.notes
    if not total:
        raise Mistake(f"nothing to replay in {', '.join(map(str, files))}")
    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    began = time.monotonic()

    async def go() -> tuple[int, int]:
        trouble = await replay.clock_warning()
        if trouble:
            console.print(f"upwell: {trouble}", style="yellow", highlight=False)
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("replay", total=total, rate="")

            def told(lines: int) -> None:
                done = progress.tasks[0].completed + lines
                progress.update(task, advance=lines, rate=f"{done / max(time.monotonic() - began, 1e-9):,.0f}/s")

            return await replay.run(told, lambda text: console.print(f"upwell: {text}", style="yellow", highlight=False))

    events, notes = asyncio.run(go())
    console.print(
        f"sent {events:,} events and {notes:,} notes in {time.monotonic() - began:.1f} s; `upwell lag` shows what is still to be applied"
    )


def toml(values: Mapping[str, Any], prefix: str = "") -> str:
    """Plain data as TOML."""
    own = [f"{name} = {scalar(value)}" for name, value in values.items() if not isinstance(value, Mapping) or not value]
    text = "\n".join(own)
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            text += f"\n\n[{prefix}{name}]\n" + toml(value, f"{prefix}{name}.").lstrip("\n")
    return text.strip("\n")


def scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {scalar(one)}" for name, one in value.items()) + "}"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(one) for one in value) + "]"
    return str(value)
