"""The collector: what is accepted is in Kafka, what is not is named."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.decode import MAX_ELEMENTS
from config.keys import hash64
from serving.position import BadPosition, Place, position_from, position_text
from serving.routes.collect import RECORD_BYTES, parcels
from tests.config.test_events import BAD, BAD_NOTES
from tests.serving.system import START, System, event, note

NAMES = [f"n{i}" for i in range(20)]


def test_an_event_is_in_the_log_when_the_answer_is_202(system: System) -> None:
    """One object under its user's key, with an id and a timestamp from then on."""
    response = system.request("POST", "/v1/events", json={"type": "like", "user_id": "u1", "note_id": "n1"})
    assert response.status_code == 202
    assert response.json()["accepted"] == 1
    (record,) = [r for p in range(2) for r in system.local.logs["events", p]]
    assert record.key == b"u1"
    sent = msgspec.json.decode(record.value or b"")
    assert sent["timestamp"] == system.clock
    assert sent["event_id"]


def test_one_bad_event_neither_sinks_nor_silences_the_others(system: System) -> None:
    batch = [event("like", "u1", "n1"), {"type": "like"}, event("fly", "u1"), 7, event("click", "u2", "n1"), event("served", "u1")]
    response = system.request("POST", "/v1/events", json=batch)
    assert response.status_code == 202
    body = response.json()
    assert body["accepted"] == 2
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (1, "missing_field"),
        (2, "unknown_type"),
        (3, "not_object"),
        (5, "reserved_type"),
    ]


def test_nothing_accepted_is_a_422_with_the_same_body(system: System) -> None:
    for raw, code in ((b"{", "not_json"), (b"\xff", "not_utf8"), (b'{"type": "like"}', "missing_field"), (b"", "not_json")):
        response = system.request("POST", "/v1/events", content=raw)
        assert response.status_code == 422
        body = response.json()
        assert (body["accepted"], body["rejected"][0]["code"]) == (0, code)
    response = system.request("POST", "/v1/events", json=[event("click", "u1", "n1")] * (MAX_ELEMENTS + 1))
    assert (response.status_code, response.json()["rejected"][0]["code"]) == (422, "too_many")


CASES = [("events", row) for row in BAD] + [("notes", row) for row in BAD_NOTES]


@pytest.mark.parametrize(("path", "row"), CASES, ids=[f"{path}: {row[0]}" for path, row in CASES])
def test_every_bad_body_has_the_code_it_has_in_the_log_and_the_next_one_counts(
    system: System, path: str, row: tuple[str, bytes, str, str]
) -> None:
    """Over HTTP as over Kafka (tests/streams/test_intake.py), and nothing of it reaches a log."""
    _, body, code, message = row
    system.clock = START
    before = logged(system)
    response = system.request("POST", f"/v1/{path}", content=body)
    assert response.status_code == 422
    told = response.json()
    assert (told["accepted"], [one["code"] for one in told["rejected"]]) == (0, [code])
    assert message in told["rejected"][0]["message"]
    assert logged(system) == before
    good = {"events": event("like", "u1", "n1"), "notes": note("n1", "ann")}[path]
    assert system.request("POST", f"/v1/{path}", json=good).status_code == 202


def logged(system: System) -> int:
    """Public records."""
    return sum(len(system.local.logs[topic, p]) for topic in ("events", "notes") for p in range(2))


def test_a_device_23_hours_ahead_is_accepted_and_moves_the_clock_by_a_minute_at_most(system: System) -> None:
    """Over HTTP too; what follows is dated by its own time."""
    system.publish(note("n1", "ann"))
    system.clock += 1000
    now = system.clock
    system.send(event("like", "u1", "n1", timestamp=now + 23 * 3_600_000))
    assert system.get("/v1/notes/n1")["counts"]["like"] == 1
    assert system.service.snapshot.clock.stamp() <= now + 60_000 + 500


def test_without_an_acknowledgement_the_answer_is_503(system: System) -> None:
    """And sending again is safe: the id makes the second one a repeat."""
    system.producer.away = True
    like = event("like", "u1", "n1", event_id="e1", timestamp=system.clock)
    for method, path, body in (
        ("POST", "/v1/events", like),
        ("POST", "/v1/notes", note("n1", "a1")),
        ("PUT", "/v1/users/u1/settings", {"personalized": True}),
        ("DELETE", "/v1/users/u1", None),
        ("DELETE", "/v1/users/u1/interests/coffee", None),
    ):
        response = system.request(method, path, json=body)
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == "not_acknowledged"
    system.producer.away = False
    system.publish(note("n1", "a1"))
    system.send(like, like)
    assert system.get("/v1/notes/n1")["counts"]["like"] == 1


def test_a_batch_counts_as_its_events_do(system: System) -> None:
    """Of any users, in one request; a repeat of it changes nothing."""
    system.publish(note("n1", "a1"), note("n2", "a1"))
    batch = [event("impression", f"u{i % 7}", f"n{1 + i % 2}", timestamp=system.clock + i) for i in range(60)]
    batch += [event("like", f"u{i}", "n1", timestamp=system.clock + 100 + i) for i in range(5)]
    system.send(*batch)
    system.send(*batch)
    assert system.get("/v1/notes/n1")["counts"]["impression"] == 7
    assert system.get("/v1/notes/n1")["counts"]["like"] == 5


def test_traceparent_goes_on_into_the_log(system: System) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    response = system.request("POST", "/v1/events", json=event("click", "u1", "n1"), headers={"traceparent": parent})
    assert response.headers["traceparent"] == parent
    assert list(system.producer.headers[-1]) == [("traceparent", parent.encode())]


def test_after_waits_until_the_state_contains_the_event(system: System) -> None:
    """An answer with after= is never older than its position; when the time is over it is given anyway."""
    system.publish(note("n1", "a1", ["coffee"]))
    system.clock += 1000
    position = system.request("POST", "/v1/events", json=event("like", "u1", "n1")).json()["position"]

    async def later() -> None:
        await asyncio.sleep(0.05)
        await system.local.pump()

    async def both() -> list[int]:
        reading = asyncio.gather(
            system.client.get("/v1/users/u1/interests", params={"after": position}),
            system.client.get("/v1/notes/n1", params={"after": position}),
        )
        await later()
        interests, counted = await reading
        return [len(interests.json()["interests"]), counted.json()["counts"]["like"]]

    assert system.run(both()) == [2, 1]
    position = system.request("POST", "/v1/events", json=event("like", "u1", "n2")).json()["position"]
    assert system.request("GET", "/v1/feed/u1", params={"after": position}).status_code == 200


def test_after_does_not_wait_for_what_was_told_to_others() -> None:
    """However late the reader comes, and whatever the user has done since: what concerns the note is there at the first look."""
    system = System({"UPWELL_FEED__AFTER_MS": "0"})
    try:
        one, other = next(n for n in NAMES if hash64(n) % 2 == 0), next(n for n in NAMES if hash64(n) % 2)
        system.publish(note(one, "a1", ["coffee"]), note(other, "a1", ["coffee"]))
        position = system.send(event("like", "u1", one))
        keys = system.service.snapshot.keys
        for _ in range(3):
            system.send(event("click", "u1", other))
        waits = system.service.waiter.wait(keys, "notes", hash64(one), position_from(position))
        assert system.run(waits)
        behind = system.request("POST", "/v1/events", json=event("collect", "u1", one)).json()["position"]
        assert not system.run(system.service.waiter.wait(keys, "notes", hash64(one), position_from(behind)))
    finally:
        system.close()


def test_after_waits_for_the_users_own_word(system: System) -> None:
    system.publish(note("n1", "a1", ["coffee"]))
    system.send(event("like", "u1", "n1"))
    position = system.request("DELETE", "/v1/users/u1").json()["position"]
    system.pump()
    assert system.get("/v1/users/u1/interests", after=position)["interests"] == []


def test_a_position_that_is_none_is_a_422(system: System) -> None:
    for bad in ("x", "AAAA", "é", "kQ"):
        response = system.request("GET", "/v1/users/u1/interests", params={"after": bad})
        assert (response.status_code, response.json()["code"]) == (422, "bad_position")


places = st.builds(
    Place,
    st.sampled_from(["users", "notes"]),
    st.integers(0, 63),
    st.sampled_from(["events", "notes"]),
    st.integers(0, 63),
    st.integers(0, 2**50),
)


@given(st.lists(places, max_size=20))
@settings(max_examples=50)
def test_a_position_holds_the_newest_place_of_each_partition(given: list[Place]) -> None:
    read = position_from(position_text(given))
    assert {p[:4] for p in map(tuple_of, read)} == {p[:4] for p in map(tuple_of, given)}
    for place in read:
        assert place.offset == max(p.offset for p in given if tuple_of(p)[:4] == tuple_of(place)[:4])


def tuple_of(place: Place) -> tuple:
    return msgspec.structs.astuple(place)


@given(st.binary(max_size=60))
@settings(max_examples=100)
def test_arbitrary_positions_are_refused_or_read(raw: bytes) -> None:
    with contextlib.suppress(BadPosition):
        position_from(base64.urlsafe_b64encode(raw).decode())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, RECORD_BYTES)), max_size=20))
@settings(max_examples=50)
def test_parcels_keep_the_order_of_each_key_and_stay_small(keyed: list[tuple[str, int]]) -> None:
    values = [(key, b"%d" % i + b" " * size) for i, (key, size) in enumerate(keyed)]
    sent = parcels(values)
    assert all(len(p.value) <= 2 * RECORD_BYTES for p in sent)
    for key in "abc":
        joined = b"".join(p.value.strip(b"[]") for p in sent if p.key == key).replace(b" ", b"").replace(b",", b"")
        assert joined == b"".join(b"%d" % i for i, (k, _) in enumerate(keyed) if k == key)
