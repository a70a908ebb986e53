"""Bytes to events and notes: every way to be wrong has its code, and nobody's mistake is somebody else's loss."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import events, notes
from config.decode import CODES, DAY_MS, Rejected
from config.events import TYPES, Event, EventRules, decode_events, encode_event, id_of, schema_event
from config.notes import Note, decode_notes, deleted_note, patch_of, schema_note
from config.settings import SettingsError

NOW = 1_700_000_000_000
RULES = EventRules({"read": "view"})
LIKE = {"type": "like", "user_id": "u1", "note_id": "n1"}
GOOD = b'{"type":"like","user_id":"good","note_id":"n1"}'


def raw(**fields: Any) -> bytes:
    """A like with some fields changed, or (given as ...) left out."""
    return json.dumps({k: v for k, v in {**LIKE, **fields}.items() if v is not ...}, ensure_ascii=False).encode()


def text(field: str, value: str) -> bytes:
    """A like with `value`, as JSON text, in `field`."""
    return b'{"type":"like","user_id":"u1","note_id":"n1","%s":%s}' % (field.encode(), value.encode())


BAD = [
    ("a record of bytes that are not UTF-8", b'{"type":"like","user_id":"\xff","note_id":"n"}', "not_utf8", "byte 26"),
    ("bytes that are not UTF-8 in a field nobody reads", b'{"type":"like","user_id":"u","note_id":"n","x":"\xc3("}', "not_utf8", ""),
    ("a truncated record", GOOD[:-9], "not_json", ""),
    ("a truncated record with an ill-typed field", b'{"type": 5, "user_id": "u', "not_json", ""),
    ("an empty record", b"", "not_json", ""),
    ("a truncated array", b"[" + GOOD, "not_json", ""),
    ("two objects", GOOD + GOOD, "not_json", ""),
    ("half a surrogate pair", text("query", r'"\ud800"'), "not_json", ""),
    ("NaN", text("value", "NaN"), "not_json", ""),
    ("Infinity", text("value", "-Infinity"), "not_json", ""),
    ("a number that is infinite", text("value", "1e999"), "bad_field", "value"),
    ("depth without end", b'{"x":' + b"[" * 400_000, "not_json", ""),
    ("an array of depth without end", b"[" * 400_000, "not_json", ""),
    ("a number", b"7", "not_object", "number"),
    ("a string", b'"like"', "not_object", "string"),
    ("null", b"null", "not_object", "null"),
    ("true", b" true ", "not_object", "boolean"),
    ("1 MB of garbage", bytes(range(256)) * 4_097, "too_large", "1048832"),
    ("almost 1 MB of garbage", b"\x00garbage" * 131_072, "not_json", ""),
    ("a batch of 501", b"[" + b",".join([GOOD] * 501) + b"]", "too_many", "501"),
    ("a batch of 501, all bad", b"[" + b",".join([b"7"] * 501) + b"]", "too_many", "501"),
    ("no type", raw(type=...), "missing_field", "type"),
    ("a null type", raw(type=None), "missing_field", "type"),
    ("no user", raw(user_id=...), "missing_field", "user_id"),
    ("a null user", raw(user_id=None), "missing_field", "user_id"),
    ("an unknown type", raw(type="teleport"), "unknown_type", "teleport"),
    ("a type in capitals", raw(type="LIKE"), "unknown_type", "LIKE"),
    ("an alias that nobody set", raw(type="lesen"), "unknown_type", "lesen"),
    *[(f"the reserved type {name}", raw(type=name), "reserved_type", name) for name in ("served", "forget", "erase")],
    *[(f"{name} without a note", raw(type=name, note_id=...), "missing_field", "note_id") for name in events._NEEDS if events._NEEDS[name] in (1, 2)],
    *[(f"{name} without an author", raw(type=name), "missing_field", "author_id") for name in ("follow", "unfollow", "block", "unblock", "profile_view")],
    ("locate without a place", raw(type="locate"), "missing_field", "lat"),
    ("latitude alone", raw(lat=1.5), "missing_field", "lon"),
    ("longitude alone", raw(lon=1.5), "missing_field", "lat"),
    ("impression with an empty list of items", raw(type="impression", note_id=..., items=[]), "missing_field", "note_id"),
    ("an item without a note", raw(type="impression", items=[{"position": 1}]), "missing_field", "items[0].note_id"),
    ("an item of 129 bytes", raw(type="impression", items=[{"note_id": "n" * 129}]), "bad_field", "items[0].note_id"),
    ("an item of 65 umlauts", raw(type="impression", items=[{"note_id": "ü" * 65}]), "bad_field", "items[0].note_id"),
    ("an item with a reserved id", raw(type="impression", items=[{"note_id": "a"}, {"note_id": "_a"}]), "bad_field", "items[1].note_id"),
    ("an item that is no object", raw(type="impression", items=["n"]), "bad_field", "items[0]"),
    ("51 items", raw(type="impression", items=[{"note_id": "n"}] * 51), "bad_field", "items"),
    ("items that are no list", raw(type="impression", items={}), "bad_field", "items"),
    *[(f"{name} of 129 bytes", raw(**{name: "a" * 129}), "bad_field", name) for name in events._IN_BYTES],
    *[(f"{name} of 65 two-byte characters", raw(**{name: "ü" * 65}), "bad_field", name) for name in events._IN_BYTES],
    ("65 two-byte characters, escaped", text("event_id", '"' + r"\u00fc" * 65 + '"'), "bad_field", "event_id"),
    *[(f"an empty {name}", raw(**{name: ""}), "bad_field", name) for name in events._IN_BYTES],
    *[(f"{name} a number", raw(**{name: 5}), "bad_field", name) for name in (*events._IN_BYTES, "type", "surface", "scope", "reason", "city", "query")],
    *[(f"a reserved {name}", raw(**{name: "_x"}), "bad_field", name) for name in ("user_id", "note_id", "event_id", "author_id")],
    ("a reserved anonymous id", raw(user_id=..., anonymous_id="_x"), "bad_field", "anonymous_id"),
    *[
        (f"{name} = {value!r}", raw(**{name: value}), "bad_field", name)
        for name in ("position", "dwell_ms", "quantity")
        for value in (-1, 1.5, "1", True, [], 2**31, 10**30)
    ],
    *[(f"completion = {value!r}", raw(completion=value), "bad_field", "completion") for value in (-0.1, 1.1, "1", True)],
    *[(f"lat = {value!r}", raw(lat=value, lon=0), "bad_field", "lat") for value in (-91, 90.1, "1")],
    *[(f"lon = {value!r}", raw(lat=0, lon=value), "bad_field", "lon") for value in (-181, 180.1, "1")],
    ("an enormous value", raw(value=1e16), "bad_field", "value"),
    ("a number of 5,000 digits", text("value", "1" + "0" * 5_000), "bad_field", "value"),
    ("an unknown surface", raw(surface="moon"), "bad_field", "surface"),
    ("an unknown scope", raw(scope="planet"), "bad_field", "scope"),
    ("an unknown traffic", raw(traffic="ads"), "bad_field", "traffic"),
    ("a device that is no object", raw(device="phone"), "bad_field", "device"),
    ("a device with an ill-typed field", raw(device={"os": 5}), "bad_field", "device.os"),
    ("tags that are no list", raw(type="signup", tags="a"), "bad_field", "tags"),
    ("65 tags", raw(type="signup", tags=["a"] * 65), "bad_field", "tags"),
    ("a tag of 65 characters", raw(type="signup", tags=["a", "a" * 65]), "bad_field", "tags"),
    ("a tag of 132 bytes", raw(type="signup", tags=["a", "漢" * 44]), "bad_field", "tags[1]"),
    ("an empty tag", raw(type="signup", tags=[""]), "bad_field", "tags"),
    ("properties that are no object", raw(properties=[1]), "bad_field", "properties"),
    ("properties of more than 4 KB", raw(properties={"a": "b" * 4_090}), "bad_field", "properties"),
    *[
        (f"{name} = {value!r}", raw(**{name: value}), "bad_field", name)
        for name in ("timestamp", "sent_at")
        for value in (-1, 1.5, True, [], "yesterday", "", "2023-11-14", "2023-11-14T22:13:20", "1969-12-31T23:59:59Z", 10**15, 10**30)
    ],
    ("two days ahead", raw(timestamp=NOW + 2 * DAY_MS), "future_timestamp", "timestamp"),
    ("a millisecond more than a day ahead", raw(timestamp=NOW + DAY_MS + 1), "future_timestamp", "timestamp"),
    ("two days ahead, as text", raw(timestamp="2023-11-16T22:13:20Z"), "future_timestamp", "timestamp"),
]  # fmt: skip

BAD_NOTES = [
    ("no id", b'{"title":"a"}', "missing_field", "note_id"),
    ("a null id", b'{"note_id":null}', "missing_field", "note_id"),
    ("a reserved id", b'{"note_id":"_a"}', "bad_field", "note_id"),
    ("a reserved author", b'{"note_id":"a","author_id":"_a"}', "bad_field", "author_id"),
    ("an author cleared", b'{"note_id":"a","author_id":null}', "bad_field", "author_id"),
    ("an id of 129 bytes", b'{"note_id":"%s"}' % (b"a" * 129), "bad_field", "note_id"),
    ("an id of 65 umlauts", '{"note_id":"%s"}'.replace("%s", "ü" * 65).encode(), "bad_field", "note_id"),
    ("an unknown status", b'{"note_id":"a","status":"lost"}', "bad_field", "status"),
    ("an unknown visibility", b'{"note_id":"a","visibility":"some"}', "bad_field", "visibility"),
    ("an unknown medium", b'{"note_id":"a","media":"smell"}', "bad_field", "media"),
    ("tags that are no list", b'{"note_id":"a","tags":"b"}', "bad_field", "tags"),
    ("a tag of 132 bytes", '{"note_id":"a","tags":["%s"]}'.replace("%s", "漢" * 44).encode(), "bad_field", "tags[0]"),
    ("a channel with an empty name", b'{"note_id":"a","channel":"beauty//skin"}', "bad_field", "channel"),
    ("a channel that begins with a slash", b'{"note_id":"a","channel":"/beauty"}', "bad_field", "channel"),
    ("latitude alone", b'{"note_id":"a","lat":1}', "missing_field", "lon"),
    ("longitude alone", b'{"note_id":"a","lon":1}', "missing_field", "lat"),
    ("latitude cleared alone", b'{"note_id":"a","lat":null,"lon":3}', "missing_field", "lat"),
    ("a negative duration", b'{"note_id":"a","duration_s":-1}', "bad_field", "duration_s"),
    ("an infinite duration", b'{"note_id":"a","duration_s":1e999}', "bad_field", "duration_s"),
    ("two days ahead", b'{"note_id":"a","timestamp":%d}' % (NOW + 2 * DAY_MS), "future_timestamp", "timestamp"),
    ("before 1970", b'{"note_id":"a","timestamp":"1960-01-01T00:00:00Z"}', "bad_field", "timestamp"),
    ("followers below zero", b'{"note_id":"a","author_followers":-1}', "bad_field", "author_followers"),
    ("a title of a thousand characters", b'{"note_id":"a","title":"%s"}' % (b"a" * 1_000), "bad_field", "title"),
    ("a number", b"5", "not_object", "number"),
    ("a truncated record", b'{"note_id":', "not_json", ""),
    ("no UTF-8", b'{"note_id":"\xff"}', "not_utf8", ""),
]  # fmt: skip

WHOLE = {"not_utf8", "not_json", "too_large", "too_many"}


def is_element(value: bytes) -> bool:
    """Whether it can stand in an array."""
    try:
        value.decode()
        return not isinstance(json.loads(value), list)
    except (ValueError, RecursionError):
        return False


class TestBadInput:
    @pytest.mark.parametrize(("value", "code", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
    def test_an_event_that_is_wrong_has_its_code_and_names_the_field(self, value: bytes, code: str, message: str) -> None:
        """Every bad input has one reason code, and its message names what is wrong."""
        (place,) = decode_events(value, NOW, RULES)
        assert isinstance(place, Rejected)
        assert place.code == code
        assert message in place.message
        assert place.code in CODES

    @pytest.mark.parametrize(("value", "code", "message"), [row[1:] for row in BAD_NOTES], ids=[row[0] for row in BAD_NOTES])
    def test_a_note_that_is_wrong_has_its_code_and_names_the_field(self, value: bytes, code: str, message: str) -> None:
        """The catalogue's schema is as strict, with the same codes."""
        (place,) = decode_notes(value, NOW, 1_048_576)
        assert isinstance(place, Rejected)
        assert (place.code, message in place.message) == (code, True)

    @pytest.mark.parametrize(
        ("value", "code", "message"), [row[1:] for row in BAD if is_element(row[1])], ids=[row[0] for row in BAD if is_element(row[1])]
    )
    def test_a_bad_element_has_good_neighbours(self, value: bytes, code: str, message: str) -> None:
        """One bad element of an array is rejected in its place, with the code it has alone; the others count."""
        before, place, after = decode_events(b"[" + GOOD + b"," + value + b"," + GOOD + b"]", NOW, RULES)
        assert isinstance(place, Rejected)
        assert (place.code, place.index, message in place.message) == (code, 1, True)
        assert isinstance(before, Event)
        assert isinstance(after, Event)

    def test_a_rejected_event_can_be_recognised_by_its_id_and_type(self) -> None:
        """What was readable of a rejected event comes back with it."""
        (place,) = decode_events(raw(event_id="e1", position="x"), NOW, RULES)
        assert isinstance(place, Rejected)
        assert (place.event_id, place.type, place.index) == ("e1", "like", 0)

    def test_a_record_as_a_whole_has_no_index(self) -> None:
        """What concerns the whole record names no place in it."""
        for value in (b"\xff", b"[1,", b"[" + b",".join([GOOD] * 501) + b"]"):
            (place,) = decode_events(value, NOW, RULES)
            assert isinstance(place, Rejected)
            assert place.index is None

    def test_a_setting_may_only_name_public_types(self) -> None:
        """An alias of or for a reserved or unknown type stops the start and names itself."""
        for aliases in ({"read": "vieuw"}, {"read": "erase"}, {"served": "view"}):
            with pytest.raises(SettingsError, match=r"events\.aliases"):
                EventRules(aliases)


class TestGoodInput:
    def test_three_fields_are_enough(self) -> None:
        """The quickstart's event is valid, with everything else absent."""
        (event,) = decode_events(b'{"type": "like", "user_id": "u1", "note_id": "n1"}', NOW, RULES)
        assert event == Event(type="like", user_id="u1", note_id="n1")

    def test_every_type_has_a_smallest_event(self) -> None:
        """Each public type is accepted with the fields it cannot do without."""
        for name in TYPES:
            extra = {"author_id": "a"} if events._NEEDS.get(name) == events.AUTHOR else {"city": "Köln"} if name == "locate" else {}
            (event,) = decode_events(raw(type=name, **extra), NOW, RULES)
            assert isinstance(event, Event), (name, event)

    def test_an_alias_becomes_its_type(self) -> None:
        """An app's own name is replaced, so that later readers know one name only."""
        (event,) = decode_events(raw(type="read"), NOW, RULES)
        assert isinstance(event, Event)
        assert event.type == "view"

    def test_unknown_fields_are_ignored_and_null_is_absent(self) -> None:
        """A newer app may send more; many clients send null for nothing."""
        value = raw(
            colour="red",
            properties=None,
            deep={"a": [1, {"b": None}]},
            **dict.fromkeys(("position", "items", "tags", "lat", "lon", "event_id")),
        )
        assert decode_events(value, NOW, RULES) == [Event(type="like", user_id="u1", note_id="n1")]

    @pytest.mark.parametrize("given", [NOW + 123, "2023-11-14T22:13:20.123Z", "2023-11-14T23:13:20.123999+01:00"])
    def test_times_are_milliseconds_afterwards(self, given: int | str) -> None:
        """Text and integer say the same time; what is finer than a millisecond is cut."""
        (event,) = decode_events(raw(timestamp=given, sent_at=given), NOW, RULES)
        assert isinstance(event, Event)
        assert event.timestamp == event.sent_at == NOW + 123

    def test_a_day_ahead_is_accepted(self) -> None:
        """23 hours, and exactly a day, are a clock that is off; only more is refused."""
        for ahead in (23 * 3_600_000, DAY_MS):
            (event,) = decode_events(raw(timestamp=NOW + ahead), NOW, RULES)
            assert isinstance(event, Event)

    def test_128_bytes_are_an_id(self) -> None:
        """The bound is inclusive, and counts bytes."""
        for name in ("a" * 128, "ü" * 64, "😀" * 32):
            (event,) = decode_events(raw(user_id=name), NOW, RULES)
            assert isinstance(event, Event)
            assert event.user_id == name

    def test_500_events_and_none_are_arrays(self) -> None:
        """The bound is inclusive; an empty array holds nothing wrong."""
        assert len(decode_events(b"[" + b",".join([GOOD] * 500) + b"]", NOW, RULES)) == 500
        assert decode_events(b" [ ] ", NOW, RULES) == []

    def test_properties_of_4_kb_come_through_verbatim(self) -> None:
        """The app's own object is kept as it was written."""
        body = b'{"a" :  1e5, "b":"%s"}' % (b"x" * (4_096 - 20))
        assert len(body) == 4_096 - 20 + 20
        (event,) = decode_events(b'{"type":"like","user_id":"u","note_id":"n","properties":' + body + b"}", NOW, RULES)
        assert isinstance(event, Event)
        assert body in encode_event(event)

    def test_a_patch_says_what_changes_and_what_is_cleared(self) -> None:
        """RFC 7396: absent is unchanged, null is cleared."""
        (note,) = decode_notes(b'{"note_id":"n","title":null,"tags":["a"],"lat":1,"lon":2,"new":"ignored"}', NOW, 1_000)
        assert isinstance(note, Note)
        assert patch_of(note) == {"title": None, "tags": ["a"], "lat": 1.0, "lon": 2.0}

    def test_a_tombstone_is_its_key(self) -> None:
        """The key of a tombstone is the note to delete, under the same rules as any id."""
        assert deleted_note("nö".encode()) == "nö"
        wrong = [deleted_note(key) for key in (None, b"", b"\xff", b"_a", b"a" * 129)]
        assert [fault[0] for fault in wrong] == ["missing_field", "missing_field", "not_utf8", "bad_field", "bad_field"]


class TestCollector:
    def collected(self, value: bytes, now: int = NOW) -> Event:
        (event,) = decode_events(value, now, RULES, collect=True)
        assert isinstance(event, Event)
        return event

    def test_it_fills_what_is_absent(self) -> None:
        """What leaves the collector has a timestamp and an id, and reads back as the same event."""
        event = self.collected(raw())
        assert event.timestamp == NOW
        assert event.event_id
        assert decode_events(encode_event(event), NOW + 5, RULES) == [event]

    def test_it_corrects_a_device_clock_that_is_off(self) -> None:
        """An event 10 s before sending happened 10 s before receiving, whatever the device's clock says."""
        for off in (-400 * DAY_MS, -5_000, 0, 3 * DAY_MS):
            event = self.collected(raw(timestamp=NOW + off - 10_000, sent_at=NOW + off))
            assert event.timestamp == NOW - 10_000
            assert event.sent_at is None

    def test_sending_again_gives_the_same_id(self) -> None:
        """Another `sent_at` and another time of receiving do not make another event."""
        first = self.collected(raw(timestamp=NOW - 10, sent_at=NOW))
        again = self.collected(raw(timestamp=NOW - 10, sent_at=NOW + 700), NOW + 900)
        assert first.event_id == again.event_id

    def test_both_ways_derive_the_same_id(self) -> None:
        """An event sent to the collector and one sent to Kafka by itself are the same event."""
        (direct,) = decode_events(raw(timestamp=NOW), NOW, RULES)
        assert isinstance(direct, Event)
        assert self.collected(raw(timestamp=NOW)).event_id == id_of(direct, "elsewhere")

    def test_what_is_distinct_stays_distinct(self) -> None:
        """Derived ids differ where the events do, and without a timestamp wherever they stand."""
        variants = [raw(timestamp=NOW), raw(timestamp=NOW + 1), raw(timestamp=NOW, type="share"), raw(timestamp=NOW, user_id="u2")]
        variants += [raw(timestamp=NOW, note_id="n2"), raw(timestamp=NOW, request_id="r"), raw(timestamp=NOW, comment_id="c")]
        variants += [raw(type="follow", author_id=name, timestamp=NOW) for name in "ab"]
        ids = [self.collected(value).event_id for value in variants]
        two = decode_events(b"[" + raw() + b"," + raw() + b"]", NOW, RULES, collect=True)
        ids += [event.event_id for event in two]
        assert len(set(ids)) == len(ids)

    def test_a_correction_is_made_before_the_future_is_judged(self) -> None:
        """A device two days ahead that says so is corrected; one that does not is refused."""
        assert self.collected(raw(timestamp=NOW + 2 * DAY_MS, sent_at=NOW + 2 * DAY_MS)).timestamp == NOW
        (place,) = decode_events(raw(timestamp=NOW + 2 * DAY_MS), NOW, RULES, collect=True)
        assert isinstance(place, Rejected)
        assert place.code == "future_timestamp"


# ------------------------------------------------------------------------------------------------------------ properties

names = st.text('ab_ä漢😀"\\ \n', min_size=1, max_size=6).filter(lambda name: name[0] != "_")
values = st.sampled_from([None, True, 0, -1, 7, 2**40, 10**30, 0.5, -0.0, 1e300, float("nan"), float("inf"), "", "_", "a", "ä" * 70, "\ud800", [], [1], {}, {"a": 1}])  # fmt: skip
times = st.sampled_from(
    [0, 1, NOW, NOW + DAY_MS, "2023-11-14T22:13:20Z", "1970-01-01T00:00:00.999999+00:00", "2023-11-14t22:13:20.1+14:00"]
)
good_events = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "user_id": names, "note_id": names, "author_id": names, "lat": st.sampled_from([-90, 0.5, 90]), "lon": st.just(-180.0)},
    optional={
        "event_id": names, "timestamp": times, "request_id": names, "position": st.integers(0, 1000), "completion": st.floats(0, 1),
        "items": st.lists(st.fixed_dictionaries({"note_id": names}, optional={"position": st.integers(0, 9)}), max_size=3),
        "tags": st.lists(names, max_size=3), "traffic": st.sampled_from(["user", "test", "bot"]),
    },
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good event, with a field replaced or taken away, or with its bytes disturbed."""
    event = dict(draw(good_events))
    fields = sorted(Event.__struct_fields__)
    for _ in range(draw(st.integers(0, 2))):
        event[draw(st.sampled_from(fields))] = draw(values)
    if draw(st.booleans()):
        event.pop(draw(st.sampled_from(sorted(event))))
    body = bytearray(json.dumps(event, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    if draw(st.booleans()):
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


def checked(value: bytes) -> list[Event | Rejected]:
    """Places, each either valid (and again itself when encoded and read) or rejected with a known code."""
    places = decode_events(value, NOW, RULES)
    for place in places:
        if isinstance(place, Rejected):
            assert place.code in CODES
            place.message.encode()
        else:
            assert place.type in TYPES
            (again,) = decode_events(encode_event(place), NOW, RULES)
            if place.properties is msgspec.UNSET:
                assert again == place
    return places


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
@settings(max_examples=300)
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    """Whatever comes is valid or has a code."""
    checked(value)
    decode_notes(value, NOW, 1_000)


@given(st.lists(mutated(), min_size=1, max_size=3))
@settings(max_examples=100)
def test_mutated_events_never_raise_and_harm_no_neighbour(bodies: list[bytes]) -> None:
    """Alone and as elements they get the same answer, and good events between them count."""
    alone = [checked(body) for body in bodies]
    elements = [body for body in bodies if is_element(body)]
    answers = [places for body, places in zip(bodies, alone, strict=True) if is_element(body)]
    array = b"[" + b",".join([GOOD, *[part for body in elements for part in (body, GOOD)]]) + b"]"
    places = decode_events(array, NOW, RULES)
    assert [isinstance(place, Event) for place in places[::2]] == [True] * (len(elements) + 1)
    for place, (answer,) in zip(places[1::2], answers, strict=True):
        if isinstance(answer, Rejected):
            assert isinstance(place, Rejected)
            # Beside a NaN, what it costs to read the array laxly is the wording (and 1e999 is an Infinity).
            assert place.code == answer.code or place.code == "not_json"
        elif answer.properties is msgspec.UNSET:
            assert place == answer


@given(good_events)
@settings(max_examples=100)
def test_good_events_are_accepted_and_survive_the_collector(event: dict[str, Any]) -> None:
    """decode(encode(e)) = e, also of what the collector completed."""
    (place,) = checked(json.dumps(event).encode())
    assert isinstance(place, Event), place
    (collected,) = decode_events(json.dumps(event).encode(), NOW, RULES, collect=True)
    assert isinstance(collected, Event)
    assert decode_events(encode_event(collected), NOW, RULES) == [collected]


@given(st.lists(mutated(), min_size=1, max_size=3))
@settings(max_examples=60)
def test_the_fast_way_and_the_slow_way_agree(bodies: list[bytes]) -> None:
    """Parity: taking a record apart gives what one typed decoder gives, wherever that succeeds."""
    reader = events._reader
    for value in (*bodies, b"[" + b",".join(bodies) + b"]"):
        try:
            fast = reader.whole(value)
        except (ValueError, RecursionError):
            continue
        slow = reader.apart(value)
        for a, b in zip(fast if isinstance(fast, list) else [fast], slow, strict=True):
            assert msgspec.json.encode(a) == msgspec.json.encode(b)


class TestSchema:
    def test_it_says_what_the_decoder_does(self) -> None:
        """Fields and types stand in the schema, because it is generated from what decodes."""
        schema = schema_event(["read"])
        assert set(schema["properties"]) == set(Event.__struct_fields__)
        assert schema["properties"]["type"]["enum"] == [*TYPES, "read"]
        assert schema["required"] == ["type"]
        assert set(schema_note()["properties"]) == set(Note.__struct_fields__)
        assert schema_note()["required"] == ["note_id"]

    def test_a_validator_agrees_with_the_decoder(self) -> None:
        """Of the table of bad events a validator refuses those that a schema can express, and no good one."""
        jsonschema = pytest.importorskip("jsonschema_rs")
        validator = jsonschema.Draft202012Validator(schema_event(["read"]))
        assert jsonschema.Draft202012Validator(schema_note()).is_valid({"note_id": "n", "title": None})
        beyond = {"future_timestamp", *WHOLE}
        for name, value, code, _message in BAD:
            if code in beyond or not is_element(value):
                continue
            # Bytes, the size of properties and the text of times are beyond JSON Schema.
            if "two-byte" in name or "umlaut" in name or "bytes" in name or "4 KB" in name or "timestamp" in name or "sent_at" in name:
                continue
            assert not validator.is_valid(json.loads(value)), name
        for good in (GOOD, raw(timestamp=NOW), raw(type="read"), raw(user_id=None, anonymous_id="a"), raw(type="locate", city="Köln")):
            assert validator.is_valid(json.loads(good)), good
        assert notes.FIELDS
