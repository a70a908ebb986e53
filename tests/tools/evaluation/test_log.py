"""A log by time, and which of its events are tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools.evaluation.logs import event, note, written
from tools.evaluation.log import engagements, lines
from tools.mistake import Mistake


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
