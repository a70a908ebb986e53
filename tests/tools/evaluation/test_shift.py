"""Lives that are grafted onto another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from config.keys import hash64
from models.user import recent_engagements
from tests.tools.evaluation.logs import SETTINGS, event, note, written
from tools.evaluation.log import lines
from tools.evaluation.run import Run
from tools.evaluation.shift import grafted, lives, shifted
from tools.evaluation.system import System
from tools.mistake import Mistake


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
    found = asyncio.run(shifted(System(SETTINGS, "feed"), lines([file]), 2, 1))
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
        return await grafted(system, "graft", old, new, set())

    hits = asyncio.run(lived())
    assert [age for age, _ in hits] == [1, 3, 4]
    assert latest[-3:] == [hash64(name) for name in ("n1", "n2", "n8")]
