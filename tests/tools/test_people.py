"""How the API's answers look to people."""

from __future__ import annotations

import pytest
from rich.console import Console

from tools.people import feed_table, interests_table, pools_table, problem, when, words


@pytest.mark.parametrize(
    "reason, told",
    [
        ({"code": "interest_tag", "tag": "soup"}, "because you like soup"),
        ({"code": "pool", "tier": 0}, "new here"),
        ({"code": "pool", "tier": 2}, "on its way up (tier 2)"),
        ({"code": "hot"}, "popular now"),
        ({"code": "moon_phase", "phase": "full"}, "moon_phase full"),
        ({"code": "follow"}, "follow"),
        ("as it was", "as it was"),
    ],
)
def test_a_reason_is_told_in_words(reason: object, told: str) -> None:
    """One that this version does not know is told as it stands."""
    assert words(reason) == told


def test_tables_stand_with_what_the_api_leaves_out() -> None:
    """Absent titles, empty lists, a last tier without quota."""
    console = Console(record=True, width=120)
    console.print(
        feed_table({"items": [{"note_id": "n1", "position": 0, "title": None, "tags": None, "source": "hot", "pool": None, "reasons": []}]})
    )
    console.print(
        pools_table({"tiers": [{"tier": 9, "quota": None, "notes": 1200, "exposures": 0, "promoted": 0, "held": 0, "stopped": 0}]})
    )
    row = {"kind": "tag", "value": "soup", "weight": 0.5, "short": 0.4, "long": -0.1, "moved_by": None}
    console.print(interests_table({"interests": [row]}))
    text = console.export_text()
    assert "n1" in text
    assert "1,200" in text
    assert "∞" in text
    assert "-0.10" in text


def test_an_error_answer_says_its_detail() -> None:
    """RFC 9457, or whatever stands in between."""
    assert problem(b'{"title": "Unprocessable", "detail": "n: at most 50"}') == "n: at most 50"
    assert problem(b"<html>bad gateway") == "<html>bad gateway"
    assert problem(b"") == "nothing"


def test_moments_are_told_in_utc() -> None:
    """Epoch milliseconds and RFC 3339 alike."""
    assert when(0) == "1970-01-01 00:00:00"
    assert when("2026-11-22T22:08:21.727Z") == "2026-11-22 22:08:21"
    assert when(None) == "-"
