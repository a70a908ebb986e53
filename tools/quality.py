"""`make eval`: the tables of docs/evaluation.md, from real data: all figures, and what each component is worth when it is switched off.

python -m tools.quality [--lines N] [--warmup N] [--only NAME …] [--write]     --lines: of each log only the first N, to look quickly
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from config.settings import Settings, load
from models.model import Model
from serving.build import build
from serving.feed import Pipeline
from tools import checkins, films
from tools.evaluate import evaluate

CACHE = Path(".cache/data")
PAGE = Path("docs/evaluation.md")
BEGIN, END = "<!-- make eval: begin -->", "<!-- make eval: end -->"
COLUMNS = ("tested", "hr_at_10", "hr_at_10_served", "ndcg_at_10", "hr_at_10_cold", "hr_at_10_gap60", "coverage", "like_auc")

Build = Callable[[Settings, Model | None, str], Mapping[str, Pipeline]]


class Variant(NamedTuple):
    """The system with one thing changed."""

    name: str
    change: Callable[[Settings], Settings] = lambda settings: settings
    pipelines: Build = build


def without(source: str) -> Build:
    """Every surface without that source."""

    def made(settings: Settings, model: Model | None = None, version: str = "") -> Mapping[str, Pipeline]:
        return {
            surface: pipeline._replace(
                sources=[one for one in pipeline.sources if one.name != source],
                readers=[one for one in pipeline.readers if one.name != source],
            )
            for surface, pipeline in build(settings, model, version).items()
        }

    return made


def weighed(**weights: float) -> Callable[[Settings], Settings]:
    """Other weights of the prior scorer."""

    def changed(settings: Settings) -> Settings:
        feed = msgspec.structs.replace(settings.feed, prior={**settings.feed.prior, **weights})
        return msgspec.structs.replace(settings, feed=feed)

    return changed


def undecayed(settings: Settings) -> Settings:
    """All of a user's engagements count alike: in interest weights and among recent notes."""
    interest = msgspec.structs.replace(settings.interest, short_keep=1.0, long_keep=1.0)
    return msgspec.structs.replace(settings, interest=interest, feed=msgspec.structs.replace(settings.feed, behaviour_keep=1.0))


VARIANTS = (
    Variant("everything"),
    *(Variant(f"without the source {name}", pipelines=without(name)) for name in ("interest", "channel", "behaviour", "pool", "hot")),
    Variant("without the feature beside", weighed(beside=0.0)),
    Variant("without interest weights in the score", weighed(tags=0.0, author=0.0, channel=0.0)),
    Variant("without popularity in the score", weighed(popularity=0.0, trend=0.0)),
    Variant("without decay", undecayed),
)


def row(name: str, found: Mapping[str, Any]) -> str:
    cells = ["–" if found[column] is None else f"{found[column]:,}" if column == "tested" else f"{found[column]:.3f}" for column in COLUMNS]
    return f"| {name} | {' | '.join(cells)} |"


def table(title: str, rows: Sequence[str]) -> list[str]:
    head = ["", *(column.replace("_at_", "@").replace("_", " ") for column in COLUMNS)]
    return [f"**{title}**", "", f"| {' | '.join(head)} |", "|---" + "|--:" * len(COLUMNS) + "|", *rows, ""]


def written(page: str, tables: str) -> str:
    """The page with its tables exchanged."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} does not say where its tables stand")
    return f"{before}{BEGIN}\n\n{tables}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=0)
    parser.add_argument("--warmup", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=[], help="variants by name; default: all")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    chosen = parser.parse_args(arguments)
    settings = load(environ={})
    with tempfile.TemporaryDirectory() as folder:
        rated = films.write(Path(folder), films.fetch(CACHE))
        rows = []
        for variant in VARIANTS:
            if not chosen.only or variant.name in chosen.only:
                found, _ = evaluate(variant.change(settings), rated, chosen.warmup, limit=chosen.lines, pipelines=variant.pipelines)
                rows.append(row(variant.name, found))
                print(rows[-1], flush=True)
        tables = table("Films: the feed", rows)
        if not chosen.only:
            places = checkins.write(Path(folder), checkins.fetch(CACHE))
            found, _ = evaluate(settings, places, chosen.warmup, "nearby", limit=chosen.lines)
            tables += table("Check-ins: nearby, first visits", [row("everything", found)])
    part = f"The first {chosen.lines:,} lines of each log" if chosen.lines else "All lines of each log"
    tables = [f"{part}, of which {chosen.warmup:,} engagements only train.", "", *tables]
    text = "\n".join(tables)
    if chosen.write:
        PAGE.write_text(written(PAGE.read_text("utf-8"), text), "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
