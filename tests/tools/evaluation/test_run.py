"""What is tested, when, and that what comes later is never known."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from models.context import Context
from tests.tools.evaluation.logs import SETTINGS, chain, event, note, ran, written
from tools.evaluation.log import lines
from tools.evaluation.run import Run
from tools.evaluation.system import System


def test_what_everybody_takes_next_is_found(tmp_path: Path) -> None:
    """Ten notes, all within the first ten: every test hits, and is served; a user's own last event makes the gap."""
    found, run = ran([written(tmp_path, *chain(4, 8))], 8)
    assert (found["events"], found["tested"]) == (64, 24)
    assert found["hr_at_10"] == found["hr_at_10_served"] == 1.0
    assert {t.gap for t in run.tests} == {-1, 1000}
    assert [t.history for t in run.tests[:8]] == list(range(8))
    assert found["hr_at_10_gap60"] is None


def test_a_note_never_seen_is_a_miss(tmp_path: Path) -> None:
    """An event with a note that nobody published counts as tested, and is no candidate."""
    rows = [*chain(2, 4), event("like", "u9", "new", 1000)]
    found, run = ran([written(tmp_path, *rows)], 8)
    assert (found["tested"], found["hr_at_10"]) == (1, 0.0)
    assert run.tests[0].rank == float("inf")


def test_a_note_published_for_its_first_event_is_a_miss_and_teaches_nothing(tmp_path: Path) -> None:
    """Catalogues made from logs publish a note just before somebody takes it: its age would give it away."""
    rows = chain(4, 8)
    for i in range(30):
        rows += [note(f"fresh{i}", 1000 + i), event("like", f"u{i % 4}", f"fresh{i}", 1001 + i)]
    found, run = ran([written(tmp_path, *rows)], 32)
    assert (found["tested"], found["hr_at_10"], found["hr_at_10_served"], found["hr_at_10_known"]) == (30, 0.0, 0.0, None)
    slot = run.system.local.manifest.at("learner", 0)
    learned = run.system.local.stages["learner"].families["model"]
    values = [run.system.local.store.values.get(slot.key(part)) for part in learned.parts]  # type: ignore[attr-defined]
    assert learned.load(b"", values).model.ranker.steps <= 3 * 8


def test_two_runs_are_the_same(tmp_path: Path) -> None:
    """Seeds come from how many were asked: nothing is left to chance."""
    file = written(tmp_path, *chain(6, 15))
    (one, first), (two, second) = ran([file], 10), ran([file], 10)
    timed = ("events_per_second", "query_ms_p50", "query_ms_p99")
    assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in two.items() if k not in timed}
    assert [t[:7] for t in first.tests] == [t[:7] for t in second.tests]


def test_the_future_is_not_known(tmp_path: Path) -> None:
    """What comes after a test cannot change it: a log cut behind it gives the same ranks."""
    rows = chain(6, 15)
    _, whole = ran([written(tmp_path, *rows)], 10)
    _, cut = ran([written(tmp_path, *rows[:-30])], 10)
    assert [t[:6] for t in cut.tests] == [t[:6] for t in whole.tests[: len(cut.tests)]]


def test_a_feed_is_asked_in_its_own_time(tmp_path: Path) -> None:
    """However long nobody did anything: what is known of the asker then is the gap since his last event, as in a stream that ticks."""
    rows = [note("late"), *chain(2, 4), event("like", "u0", "late", 7 * 3600)]
    gaps: list[int] = []

    class Watched(System):
        async def ask(self, user: str, at: int) -> Any:
            page = await super().ask(user, at)
            if page.scored is not None and page.scored.context:
                gaps.append(Context.decode(page.scored.context).gap)
            return page

    asyncio.run(Run(Watched(SETTINGS, "feed"), 0).over(lines([written(tmp_path, *rows)])))
    assert gaps[-1] == (7 * 3600 - 13) * 1000
