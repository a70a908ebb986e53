"""Evaluation: what it asks, what it counts, and that what comes later is never known."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.events import ACTIONS
from config.keys import hash64
from config.settings import load
from models.ranker import Context
from models.user import recent_engagements
from store.layout import notes_from
from tools import evaluate
from tools.evaluate import Run, System, auc, engagements, figures, lines, lives, logloss
from tools.mistake import Mistake

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
    return evaluate.evaluate(SETTINGS, files, warmup)


def test_lines_go_by_time_then_by_file(tmp_path: Path) -> None:
    """Equal times keep the order of the files; a line without a time, or of no JSON, is named by its place."""
    (tmp_path / "a").mkdir()
    first = written(tmp_path / "a", event("like", "u", "b", 2), event("like", "u", "a", 1))
    second = written(tmp_path, note("x", 1))
    assert [one.note_id for one in lines([first, second])] == ["a", "x", "b"]
    with pytest.raises(Mistake, match=r"log\.jsonl:1.*no timestamp"):
        lines([written(tmp_path, {"type": "like", "user_id": "u", "note_id": "n"})])
    (tmp_path / "log.jsonl").write_text("{}\n{")
    with pytest.raises(Mistake, match=r"log\.jsonl:"):
        lines([tmp_path / "log.jsonl"])
    with pytest.raises(Mistake, match="cannot read"):
        lines([tmp_path / "nothing"])


def test_asked_before_the_first_event_of_any_type(tmp_path: Path) -> None:
    """An impression an hour before the like is when the feed is asked; a note that is only seen is no test."""
    log = lines([written(tmp_path, event("impression", "u", "a", 1), event("impression", "u", "b", 2), event("like", "u", "a", 3600))])
    due, engaged = engagements(log)
    assert due == {0: True}
    assert engaged == {("u", "a"): 2}


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


def test_what_is_expected_of_a_note_that_is_no_candidate(tmp_path: Path) -> None:
    """It is told beside the candidates; of a candidate it is what stands on the page, either way the same."""
    log = lines([written(tmp_path, *chain(20, 12))])
    system = System(SETTINGS, "feed")

    async def both() -> tuple[float, float, float]:
        await Run(system, len(log)).over(log)
        page = await system.ask("somebody", START + 10_000_000)
        at = 3
        note_hash = int(page.candidates.hashes[at])
        fewer = page._replace(candidates=page.candidates.take(np.delete(np.arange(page.notes.size), at)), notes=np.delete(page.notes, at))
        nan = await system.expected(page, hash64("nobody published this"), -1)
        return await system.expected(page, note_hash, at), await system.expected(fewer, note_hash, -1), nan

    inside, beside, nan = asyncio.run(both())
    assert inside == pytest.approx(beside, rel=1e-6)
    assert np.isnan(nan)


def test_a_shift_grafts_one_life_onto_another(tmp_path: Path) -> None:
    """Both ways; chosen users teach nothing global; what was already taken is skipped; all are tested in the stream's own time."""
    rows = [note(f"n{i}") for i in range(120)]
    for u in range(6):
        for i in range(55):
            rows.append(event("like", f"u{u}", f"n{(u % 2) * 60 + i}", 100 + u * 60 + i))
    file = written(tmp_path, *rows)
    rest, chosen = lives(lines([file]), 2, 1)
    assert len(chosen) == 2
    assert {len(life.events) for life in chosen} == {50}
    assert not {life.user for life in chosen} & {one.user for one in rest if not one.note}
    found = asyncio.run(evaluate.shifted(System(SETTINGS, "feed"), lines([file]), 2, 1))
    assert set(found) == {"0", "1-2", "3-5", "6-9", "10-19", "20-49"}
    with pytest.raises(Mistake, match="only 6 users"):
        lives(lines([file]), 8, 1)


def test_what_he_took_in_his_old_life_is_no_test_in_the_new_one_and_is_lived_all_the_same(tmp_path: Path) -> None:
    """Engagements since the graft count it, and it is his latest: else he would follow a shift later than the protocol lets him."""
    rows = [note(f"n{i}") for i in range(20)]
    rows += [event("like", "old", f"n{i}", 100 + i) for i in range(6)]
    rows += [event("like", "new", f"n{n}", 200 + i) for i, n in enumerate((1, 7, 2, 8, 9))]
    log = lines([written(tmp_path, *rows)])
    latest: list[int] = []

    class Watched(System):
        async def ask(self, user: str, at: int) -> Any:
            page = await super().ask(user, at)
            latest.extend(recent_engagements(page.viewer.hot)["hash"][-1:].tolist())
            return page

    async def lived() -> list[tuple[int, bool]]:
        system = Watched(SETTINGS, "feed")
        await Run(system, 0).over([one for one in log if one.note])
        old, new = ([one for one in log if one.user == user] for user in ("old", "new"))
        return await evaluate.grafted(system, "graft", old, new, set())

    hits = asyncio.run(lived())
    assert [age for age, _ in hits] == [1, 3, 4]
    assert latest[-3:] == [hash64(name) for name in ("n1", "n2", "n8")]


def test_figures_by_hand() -> None:
    """AUC with ties one half, log loss; None where there is nothing to tell apart."""
    assert auc(np.array([0.2, 0.5, 0.5, 0.7]), np.array([False, True, False, True])) == 0.875
    assert auc(np.array([0.2, 0.5]), np.array([True, True])) is None
    assert logloss(np.array([0.5, 0.5]), np.array([True, False])) == round(float(np.log(2)), 4)


def test_what_nobody_saw_teaches_and_is_no_exposure(tmp_path: Path) -> None:
    """Shadow slates reach the learner by users and examples; a note's exposures are those of the log; a frozen model stands still."""
    log = lines([written(tmp_path, *chain(20, 12))])
    system = System(SETTINGS, "feed")
    run = Run(system, 8)
    asyncio.run(run.over(log))
    learned = system.local.stages["learner"].families["model"]
    slot = system.local.manifest.at("learner", 0)
    values = [system.local.store.values.get(slot.key(part)) for part in learned.parts]  # type: ignore[attr-defined]
    model = learned.load(b"", values).model
    assert model.ranker.steps > 150
    keys = system.snapshot.keys
    assert keys is not None
    hashes = [hash64(f"n{i}") for i in range(12)]
    notes, _ = notes_from(asyncio.run(system.local.store.read(keys.note("note", hashes))))
    assert notes["counts"][:, ACTIONS.index("impression")].tolist() == [20] * 12
    assert notes["served"].sum() == 0


def test_nothing_tested_is_no_error(tmp_path: Path) -> None:
    """A warm-up longer than the log: figures are None."""
    found, _ = ran([written(tmp_path, *chain(1, 3))], 100)
    assert (found["tested"], found["hr_at_10"], found["query_ms_p50"]) == (0, None, None)
    assert figures(Run(System(SETTINGS, "feed"), 0))["coverage"] is None
