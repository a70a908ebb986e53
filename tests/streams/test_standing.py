"""What ends a worker that stands for no reason, and what does not."""

from __future__ import annotations

from streams.standing import Standing


def looked(*marks: object, times: int = 1) -> Standing[str]:
    standing: Standing[str] = Standing()
    for mark in marks:
        for _ in range(times):
            standing.look({"p": mark})
    return standing


def test_what_shows_the_same_mark_look_after_look_stands() -> None:
    assert looked(b"a", times=4).stood(3) == ["p"]
    assert looked(b"a", times=3).stood(3) == []


def test_what_moves_or_has_nothing_to_do_does_not_stand() -> None:
    assert looked(*(b"%d" % i for i in range(9))).stood(1) == []
    assert looked(None, times=9).stood(1) == []
    assert looked(b"a", b"b", times=3).stood(3) == []


def test_waiting_for_what_is_away_is_no_standing() -> None:
    """An outage explains it; the count begins anew when it is over."""
    standing = looked(b"a", times=9)
    standing.excuse("p")
    assert standing.stood(1) == []
    standing.look({"p": b"a"})
    assert standing.stood(1) == ["p"]


def test_what_went_elsewhere_is_forgotten() -> None:
    standing = looked(b"a", times=9)
    standing.look({})
    standing.look({"p": b"a"})
    assert standing.stood(1) == []
