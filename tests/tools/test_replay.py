"""Replay: the order of lines, notes ahead of the events that need them, identities that survive a repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.events import Event, EventRules, decode_events, id_of
from tools import replay
from tools.replay import Entry, arrays, body_of, chunks, entries, merged, spread, survey, warning


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def event(t: int | None, note: str = "n", user: str = "u", **more: Any) -> bytes:
    return line(type="like", user_id=user, note_id=note, **({} if t is None else {"timestamp": t}), **more)


def note(t: int | None, note_id: str = "n") -> bytes:
    return line(note_id=note_id, author_id="a", **({} if t is None else {"timestamp": t}))


def ids(batch: list[Entry]) -> list[str]:
    return [one.needs[0] for one in batch]


def test_files_are_merged_by_time_and_notes_come_first() -> None:
    """At the same time a note goes before the event that may need it, whatever the order of the files."""
    files = [[event(5, "b"), event(7, "c")], [note(5, "b"), note(6, "c")]]
    assert [(one.note, one.time) for one in merged(files)] == [(True, 5), (False, 5), (True, 6), (False, 7)]


def test_a_file_keeps_its_own_order() -> None:
    """A line without a time, or with an earlier one, goes right behind the line before it."""
    file = [event(5, "a"), event(None, "b"), event(3, "c"), event(9, "d")]
    assert [one.needs[0] for one in merged([file, [note(4, "x"), note(6, "y")]])] == ["x", "a", "b", "c", "y", "d"]


def test_times_are_read_in_both_forms() -> None:
    """RFC 3339 and epoch milliseconds are the same to the merge; an offset counts."""
    file = [
        line(type="like", user_id="u", note_id="n", timestamp=stamp)
        for stamp in ("1970-01-01T00:00:05Z", 5000, "1970-01-01T01:00:05+01:00")
    ]
    assert [one.own for one in entries(file)] == [5000, 5000, 5000]


def test_a_line_that_is_an_array_is_many_lines() -> None:
    """What may stand in one message may stand in one line."""
    found = list(entries([b"[" + event(1, "a").strip() + b"," + event(2, "b").strip() + b"]\n", b"\n", event(3, "c")]))
    assert [(one.needs[0], one.place) for one in found] == [("a", (0, 1, 0)), ("b", (0, 1, 1)), ("c", (0, 3, 0))]
    assert [json.loads(one.body)["note_id"] for one in found] == ["a", "b", "c"]


@pytest.mark.parametrize("garbage", [b"{", b"\xff\xfe", b"null", b"[1]", b'{"type": 5}', b'{"type":"like","note_id":7}', b"[" * 3000])
def test_what_cannot_be_read_passes_through_as_it_stands(garbage: bytes) -> None:
    """It is for intake to dead-letter it with a reason; nothing around it is lost."""
    found = list(entries([event(1, "a"), garbage, event(2, "b")]))
    sent = list(arrays(body_of(one, 0) for one in found))
    assert b"".join(sent).count(b'"like"') >= 2
    kept = garbage if garbage[:1] != b"[" or garbage == b"[" * 3000 else garbage[1:-1]
    assert any(kept in record for record in sent)


def test_notes_go_ahead_of_the_events_that_need_them() -> None:
    """A note that stands later in the files is sent ahead, once; one that no event needs goes at its own time."""
    files = [[event(1, "late"), event(2, "late"), event(3, "other")], [note(4, "late"), note(5, "idle")]]
    found = survey(merged(files))
    assert (found.events, found.notes, found.first, found.last) == (3, 2, 1, 5)
    [chunk] = chunks(merged(files), found.catalogue)
    assert ids(chunk.notes) == ["late", "idle"]
    assert ids(chunk.events) == ["late", "late", "other"]


def test_items_of_a_batched_impression_need_their_notes_too() -> None:
    """An impression may name fifty notes."""
    batched = line(type="impression", user_id="u", items=[{"note_id": "a"}, {"note_id": "b"}], timestamp=1)
    files = [[batched], [note(9, "b"), note(9, "a")]]
    first = next(chunks(merged(files), survey(merged(files)).catalogue))
    assert ids(first.notes) == ["a", "b"]


def test_notes_move_the_clock_ahead_of_events_by_ten_minutes_at_most() -> None:
    """Traffic pools live by the clock of the log: a whole catalogue sent first would end every window."""
    hour = 3_600_000
    files = [[event(t * hour + 2, f"n{t}") for t in range(5)], [note(t * hour + 1, f"n{t}") for t in range(5)]]
    cut = list(chunks(merged(files), survey(merged(files)).catalogue))
    assert [(ids(chunk.notes), ids(chunk.events)) for chunk in cut] == [([f"n{t}"], [f"n{t}"]) for t in range(5)]


lines = st.lists(
    st.one_of(
        st.builds(event, st.none() | st.integers(0, 3_000_000), st.sampled_from("abcdef"), st.sampled_from("uvw")),
        st.builds(note, st.none() | st.integers(0, 3_000_000), st.sampled_from("abcdef")),
    ),
    max_size=30,
)


@given(st.lists(lines, min_size=1, max_size=3))
def test_every_line_goes_once_and_no_event_before_its_note(files: list[list[bytes]]) -> None:
    """Whatever the files: nothing lost, nothing twice; of each file's events the order stays."""
    found = survey(merged(files))
    sent: set[str] = set()
    places: list[tuple[int, int, int]] = []
    events: dict[int, list[int]] = {}
    for chunk in chunks(merged(files), found.catalogue):
        sent.update(one.key for one in chunk.notes)
        places += [one.place for one in (*chunk.notes, *chunk.events)]
        for one in chunk.events:
            events.setdefault(one.place[0], []).append(one.place[1])
            assert all(need in sent for need in one.needs if need in found.catalogue)
    assert sorted(places) == sorted(one.place for file, rows in enumerate(files) for one in entries(rows, file))
    assert all(order == sorted(order) for order in events.values())


@given(lines, st.sampled_from([0, 5, -7]))
def test_each_key_keeps_its_order_in_one_partition(rows: list[bytes], shift: int) -> None:
    """Records of arrays over partitions: a user's events stand in one partition, in the file's order."""
    events = [one for one in entries(rows) if not one.note]
    where: dict[str, list[tuple[int, Any]]] = {}
    for partition, record in spread(((one.key, body_of(one, shift)) for one in events), 4):
        found = json.loads(record)
        for body in found if isinstance(found, list) else [found]:
            where.setdefault(body["user_id"], []).append((partition, body))
    for user, got in where.items():
        own = [json.loads(body_of(one, shift)) for one in events if one.key == user]
        assert [body for _, body in got] == own
        assert len({partition for partition, _ in got}) == 1


def test_records_stay_within_their_bounds() -> None:
    """500 events and 256 KB a record; what is larger alone goes alone."""
    small, large = b'{"type": "like"}', b'{"type": "' + b"x" * 200_000 + b'"}'
    assert [record.count(b"type") for record in arrays([small] * 1_001)] == [500, 500, 1]
    assert [len(json.loads(record)) for record in arrays([large, large, large, small])] == [1, 1, 2]


def derived(body: bytes, place: str) -> str:
    [found] = decode_events(body, 10_000, EventRules())
    assert isinstance(found, Event)
    return id_of(found, place)


@pytest.mark.parametrize("shift", [0, 1_000])
@pytest.mark.parametrize("t", [5, None])
def test_a_repeat_has_the_same_identity(shift: int, t: int | None) -> None:
    """Sent again, with other shifts and to other offsets, an event is recognised; two lines are two events."""
    rows = [event(t, "a"), event(t if t is None else t + 1, "a"), event(t, "a", event_id="mine")]
    first = [derived(body_of(one, shift), "log/0/1") for one in entries(rows)]
    again = [derived(body_of(one, shift and shift + 60_000), "log/0/99") for one in entries(rows)]
    assert first == again
    assert len(set(first)) == 3
    assert first[2] == "mine"


def test_a_shift_moves_both_times_of_an_event() -> None:
    """The device's clock is corrected by their difference, which a shift must not change."""
    one = next(entries([event(1_000, sent_at="1970-01-01T00:00:03Z")]))
    moved = json.loads(body_of(one, 500))
    assert (moved["timestamp"], moved["sent_at"]) == (1_500, 3_500)
    assert body_of(one, 0) == one.body


def test_a_file_far_from_the_stream_is_warned_of() -> None:
    """Old, far ahead of the stream, ahead of the clock on the wall: three warnings; near it none."""
    day, now = 86_400_000, 100 * 86_400_000
    assert warning(now - day, now, now, now) is None
    assert warning(0, day, None, now) is None
    assert "--shift-to now" in (warning(0, day, now, now) or "")
    assert "it will jump" in (warning(now - 5 * day, now, 2 * day, now) or "")
    assert "future_timestamp" in (warning(0, now + 3 * day, None, now) or "")


def test_with_a_speed_events_go_when_they_are_due() -> None:
    """Twice as fast: an event of second 10 goes in second 5; what falls within 20 ms goes together."""
    rows = list(entries([event(t) for t in (0, 10, 50, 10_000)]))
    pace = replay.Pace(2.0, 1_000.0, 0)
    assert [[one.time for one in batch] for batch in replay.paced(rows, pace)] == [[0, 10], [50], [10_000]]
    assert [len(batch) for batch in replay.paced(rows, pace._replace(speed=None))] == [4]


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """One line, not a traceback."""
    with pytest.raises(replay.Mistake, match="No such file"):
        list(replay.read(tmp_path / "nothing"))
