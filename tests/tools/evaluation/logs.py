"""Logs of a few lines for evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from config.settings import load
from tools.evaluate import evaluate
from tools.evaluation.run import Run

START = 1_700_000_000_000
SETTINGS = load(environ={})


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "log.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def event(type: str, user: str, note: str, second: int) -> dict[str, Any]:
    return {"type": type, "user_id": user, "note_id": note, "timestamp": START + second * 1000}


def note(name: str, second: int = 0) -> dict[str, Any]:
    return {"note_id": name, "author_id": f"by-{name}", "timestamp": START + second * 1000, "status": "published"}


def chain(users: int, notes: int) -> list[dict[str, Any]]:
    """Everybody takes n0, n1, n2 … in this order."""
    rows = [note(f"n{i}") for i in range(notes)]
    for u in range(users):
        for i in range(notes):
            rows += [event("impression", f"u{u}", f"n{i}", 10 + u * notes + i), event("like", f"u{u}", f"n{i}", 10 + u * notes + i)]
    return rows


def ran(files: list[Path], warmup: int) -> tuple[dict[str, Any], Run]:
    return evaluate(SETTINGS, files, warmup)
