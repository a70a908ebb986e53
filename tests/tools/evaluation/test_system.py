"""What the system in process is asked, and what it learns of what nobody saw."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from config.events import ACTIONS
from config.keys import hash64
from store.layout import notes_from
from tests.tools.evaluation.logs import SETTINGS, START, chain, written
from tools.evaluation.log import lines
from tools.evaluation.run import Run
from tools.evaluation.system import System


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
