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
COLUMNS = (
    "tested",
    "hr_at_10",
    "hr_at_10_served",
    "hr_at_10_known",
    "ndcg_at_10",
    "hr_at_10_cold",
    "hr_at_10_gap60",
    "coverage",
    "like_auc",
)

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


def prior(settings: Settings, model: Model | None = None, version: str = "") -> Mapping[str, Pipeline]:
    """Every surface ranked by what is known before anything was learned."""
    return build(settings)


def feed(**rules: Any) -> Callable[[Settings], Settings]:
    """Other rules of the feed."""
    return lambda settings: msgspec.structs.replace(settings, feed=msgspec.structs.replace(settings.feed, **rules))


def learner(**rules: Any) -> Callable[[Settings], Settings]:
    """Other rules of the learner."""
    return lambda settings: msgspec.structs.replace(settings, learner=msgspec.structs.replace(settings.learner, **rules))


def indifferent(settings: Settings) -> Settings:
    """Nothing that a user does moves his interest weights."""
    interest = msgspec.structs.replace(settings.interest, short_rate=0.0, long_rate=0.0)
    return msgspec.structs.replace(settings, interest=interest)


def undecayed(settings: Settings) -> Settings:
    """All of a user's engagements count alike: in interest weights and in which neighbours become candidates."""
    interest = msgspec.structs.replace(settings.interest, short_keep=1.0, long_keep=1.0)
    return feed(behaviour_keep=1.0)(msgspec.structs.replace(settings, interest=interest))


VARIANTS = (
    Variant("everything"),
    Variant("the prior instead of the ranker", pipelines=prior),
    Variant("without what is learned of each note", learner(bias_rate=0.0, factor_rate=0.0, user_rate=0.0, like_rate=0.0)),
    Variant("without the ranker's vectors of users", learner(user_rate=0.0)),
    Variant("without the anchor", learner(anchor={})),
    *(Variant(f"without the source {name}", pipelines=without(name)) for name in ("interest", "channel", "behaviour", "pool", "hot")),
    Variant("without interest weights", indifferent),
    Variant("without decay", undecayed),
    Variant("without diversity", feed(spread=0.0, tag_share=1.0)),
    Variant("without chances", feed(explore_share=0.0)),
    Variant("without places for pool notes", feed(pool_share=0.0)),
)
"""What nobody in the films does (follow, have friends, be somewhere) has no row: switching it off changes nothing there."""
PLACES = (Variant("everything"), Variant("the prior instead of the ranker", pipelines=prior))


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
            rows = []
            for variant in PLACES:
                found, _ = evaluate(
                    variant.change(settings), places, chosen.warmup, "nearby", limit=chosen.lines, pipelines=variant.pipelines
                )
                rows.append(row(variant.name, found))
                print(rows[-1], flush=True)
            tables += table("Check-ins: nearby, first visits", rows)
    part = f"The first {chosen.lines:,} lines of each log" if chosen.lines else "All lines of each log"
    tables = [f"{part}, of which {chosen.warmup:,} engagements only train.", "", *tables]
    text = "\n".join(tables)
    if chosen.write:
        PAGE.write_text(written(PAGE.read_text("utf-8"), text), "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
