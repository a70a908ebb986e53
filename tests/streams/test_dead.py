"""Dead letters: what they keep, and what may be sent again."""

from __future__ import annotations

import json

import msgspec
import pytest

from config.records import ExampleRecord, ExampleSignal, Shown, encode
from streams import dead
from streams.stage import Record

ARRAY = json.dumps([{"type": "like"}, 5, {"type": "x"}]).encode()


def written(value: bytes | None, reason: str = "bad_field", index: int | None = 0, key: bytes | None = b"k", topic: str = "up.events", **headers: bytes) -> dead.Letter:  # fmt: skip
    """The letter of a record, as a reader finds it."""
    record = Record("events", 3, 7, 1_000, key, value, tuple(headers.items()))
    key, value, found = dead.letter(record, topic, index, reason, "user_id: é")
    return dead.parse(Record("dead", 0, 0, 2_000, key, value, found))


def test_a_letter_reads_back() -> None:
    """Original bytes and key, and all headers of the contract."""
    letter = written(ARRAY, index=1)
    assert letter == dead.Letter("bad_field", "up.events", 3, 7, 1, "user_id: é", b"k", ARRAY)


def test_the_headers_are_the_contracts() -> None:
    """Names and texts, for readers in any language."""
    _, _, headers = dead.letter(Record("events", 3, 7, 1_000, None, b"5"), "up.events", None, "not_object", "m" * 9_999)
    assert headers[:5] == (("reason", b"not_object"), ("topic", b"up.events"), ("partition", b"3"), ("offset", b"7"), ("index", b"0"))
    assert headers[5] == ("message", b"m" * dead.MESSAGE_CHARS)


def test_a_large_array_is_not_repeated_for_each_bad_element() -> None:
    """500 bad elements of 1 MB would be 500 MB: beyond a few KB only the element is kept."""
    elements = [{"type": "x", "pad": "p" * 100}] * 400
    letter = written(json.dumps(elements).encode(), index=399)
    assert (letter.part, json.loads(letter.value or b"")) == ("element", elements[399])


def test_an_array_with_numbers_that_are_no_json_is_not_repeated_either() -> None:
    """Intake takes such an array apart leniently; so do its letters, and a retry sends the bad element, not its neighbours again."""
    elements = [{"type": "like", "value": float("nan"), "pad": "p" * 1_900}] * 500
    letters = [written(json.dumps(elements).encode(), "not_json", index=index) for index in range(500)]
    assert {letter.part for letter in letters} == {"element"}
    assert sum(len(letter.value or b"") for letter in letters) < 1_100_000
    assert dead.retry(letters[7]).headers == (("retry", b"events/3/7/7"),)


def test_a_large_internal_record_is_not_repeated_for_each_bad_signal() -> None:
    """After a change of the features' list every example under way is bad: a letter holds its signal, not the thousand beside it."""
    signals: list[ExampleSignal] = [Shown(o=i, u=i, x=bytes(100)) for i in range(1_000)]
    value = encode(ExampleRecord(1, None, 0, (0, 0, 0), (1, 0, 0), 5, [], signals))
    _, kept, headers = dead.letter(Record("examples", 0, 7, 1_000, None, value), "up.examples", 999, "bad_example", "features")
    assert msgspec.msgpack.decode(kept or b"", type=Shown) == signals[999]
    assert dict(headers)["part"] == b"element"


@pytest.mark.parametrize("header", [None, b"", b"x" * 1_000_000])
def test_what_anybody_writes_into_the_retry_header_stops_nothing(header: bytes | None) -> None:
    """A letter that is too large to send, or cannot be made, would stop the partition for good."""
    record = Record("events", 3, 7, 1_000, b"k", b"5", (("retry", header),))
    _, value, headers = dead.letter(record, "up.events", 0, "not_object", "m")
    assert (value, sum(len(text) for _, text in headers) < 1_000) == (b"5", True)
    assert dead.first_try(record) is None


def test_what_is_too_large_to_send_is_cut_and_says_so() -> None:
    """The broker takes no more than a megabyte; the whole record still is in its log."""
    letter = written(b"x" * 1_048_576, "not_json", key=b"k" * 9_999)
    assert letter.part == "head"
    assert len(letter.value or b"") + len(letter.key or b"") < dead.LETTER_BYTES
    assert written(b"x" * 1_000_000, "not_json").part == ""
    with pytest.raises(dead.NotRetriable, match=r"up\.events/3/7"):
        dead.retry(letter)


def test_a_retry_sends_the_dead_element_alone_and_says_where_it_was() -> None:
    """The good neighbours were applied; the place of the first try keeps derived ids the same."""
    again = dead.retry(written(ARRAY, "unknown_type", index=2))
    assert again == dead.Again("up.events", b"k", b'{"type": "x"}', (("retry", b"events/3/7/2"),))


@pytest.mark.parametrize("reason", dead.OF_THE_RECORD)
def test_a_retry_of_a_whole_record_sends_all_of_it(reason: str) -> None:
    """Where the record as a whole was refused."""
    again = dead.retry(written(ARRAY, reason))
    assert (again.value, again.headers) == (ARRAY, (("retry", b"events/3/7"),))


def test_a_lone_object_and_a_tombstone_are_sent_as_they_were() -> None:
    """There is no array to take apart."""
    assert dead.retry(written(b'{"type":"x"}', "unknown_type")).value == b'{"type":"x"}'
    assert dead.retry(written(None, "missing_field", key=None)).value is None


def test_a_letter_is_retried_once() -> None:
    """What came back dead carries the header of its first try."""
    letter = written(b"5", "not_object", retry=b"up.events/0/1")
    assert letter.retried == "up.events/0/1"
    with pytest.raises(dead.NotRetriable, match="before"):
        dead.retry(letter)


def test_internal_logs_are_not_retried() -> None:
    """A signal below the marks would be dropped anyway: the way out is a rebuild."""
    with pytest.raises(dead.NotRetriable, match="rebuild"):
        dead.retry(written(b"5", "fold_error", topic="up.by-user"))


def test_what_is_no_letter_says_so() -> None:
    """Anybody can write to a topic."""
    for headers in ((), (("reason", b"x"), ("topic", b"t"), ("partition", b"?"), ("offset", b"1"), ("index", b"0"))):
        with pytest.raises(ValueError, match="no dead letter"):
            dead.parse(Record("dead", 0, 5, 0, None, b"", headers))
