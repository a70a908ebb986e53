"""How the API's answers look to people."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import serving
from serving.reasons import CODES
from tools.people import REASONS, Asker, feed, feed_table, interests_table, pools_table, problem, when, words


@pytest.mark.parametrize(
    "reason, told",
    [
        ({"code": "interest_tag", "tag": "soup"}, "because you like soup"),
        ({"code": "pool", "tier": 0}, "new here"),
        ({"code": "pool", "tier": 2}, "on its way up (tier 2)"),
        ({"code": "hot"}, "popular now"),
        ({"code": "friend", "user_id": "ann", "action": "collect"}, "ann collected this"),
        ({"code": "nearby", "distance_m": 120}, "120 m away"),
        ({"code": "nearby", "city": "Paris"}, "in Paris"),
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


def test_every_reason_of_the_api_has_words() -> None:
    """None is told by its code alone, here or on the page."""
    page = (Path(serving.__file__).parent / "web" / "note.js").read_text()
    for code, parameters in CODES.items():
        values = {name: "x" if kind is str else 1 for name, kind in parameters.items()}
        assert code in REASONS or words({"code": code, **values}) != " ".join([code, *map(str, values.values())])
        assert f"  {code}: (" in page


def test_a_title_is_text_and_no_order_to_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither brackets nor control characters of what people wrote do anything."""
    item = {
        "note_id": "[/n]",
        "position": 0,
        "title": "[bold]\x1b[2Jhello[/x]",
        "tags": ["[/]"],
        "source": "hot",
        "pool": None,
        "reasons": [],
    }
    answer = {"items": [item], "took_ms": 1, "request_id": "r"}
    monkeypatch.setattr(Asker, "get", lambda self, path, **query: answer)
    feed(Asker("http://nowhere"), "u1", 1, "feed", "", as_json=False)
    told = capsys.readouterr().out
    assert "[/n]" in told
    assert "[bold]·[2Jhello[/x]" in told
    assert "\x1b[2J" not in told


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
