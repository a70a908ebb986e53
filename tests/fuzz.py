"""Bytes from outside, by the million: `python -m tests.fuzz --inputs N --seed S --json`.

An input is a record of the topics `events` or `notes`: an object, an array, or what was one before some bytes of it were changed. Of every one
of them these rules are asked, and the first input that breaks one ends the run with its bytes:

- the decoder raises nothing, and refuses with a code of the contract and a message that can be written down;
- none is lost: as many places come out as elements went in, in their order, and a good element comes out whole whatever stands beside it;
- what is accepted is accepted again after it went through Kafka, and says the same (intake reads what the collector wrote).

How many elements a broken record holds is asked of Python's own JSON parser, which shares no code with the decoder. Inputs follow from the
seed, ten thousand at a time, so that a failure is found again without what came before it (`--first`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from config.decode import CODES, MAX_ELEMENTS, Rejected
from config.events import TYPES, Event, EventRules, decode_events, encode_event
from config.notes import FIELDS, decode_notes, encode_note

NOW = 1_700_000_000_000
BLOCK = 10_000
"""Inputs that one seed makes."""
MAX_BYTES = 1_048_576

EVENTS: list[dict[str, Any]] = [
    {"type": name, "user_id": "u1", "note_id": "n1", "author_id": "a1", "lat": 31.2, "lon": 121.5} for name in TYPES
] + [
    {"type": "impression", "user_id": "u1", "items": [{"note_id": "n1", "position": 0, "visible_ms": 900}, {"note_id": "n2"}]},
    {"type": "read", "anonymous_id": "d1", "note_id": "n1", "timestamp": NOW, "sent_at": "2023-11-14T22:13:20Z", "event_id": "e1"},
    {"type": "purchase", "user_id": "ü", "product_id": "p", "order_id": "o", "quantity": 2, "value": 9.5, "currency": "CNY"},
    {"type": "like", "user_id": "u1", "note_id": "n1", "properties": {"a": [1, {"b": None}]}, "device": {"os": "x"}, "traffic": "bot"},
    {
        "type": "hide",
        "user_id": "u1",
        "note_id": "n1",
        "scope": "author",
        "reason": "…",
        "surface": "feed",
        "request_id": "r",
        "position": 3,
    },
]
NOTES: list[dict[str, Any]] = [
    {"note_id": "n1", "author_id": "a1", "title": "Soup", "tags": ["soup", "汤"], "channel": "food/soup", "lat": 1, "lon": 2},
    {"note_id": "n1", "status": "deleted", "timestamp": "2023-11-14T22:13:20.5+08:00"},
    {"note_id": "n1", "event_id": "e1", "title": None, "images": ["http://x/1.jpg"], "duration_s": 3.5, "products": ["p"]},
    {"note_id": "n1", "visibility": "private", "city": "上海", "place": "x", "language": "zh", "author_followers": 7, "media": "video"},
]
NAMES = sorted({*Event.__struct_fields__, *FIELDS, "note_id", "unknown", "", "a.b", "type"})
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, -0.0, 1e308, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, 10**30, NOW, NOW + 10**9, 10**15, "", " ", "u1",
    "_x", "ü" * 64, "漢" * 65, "a" * 128, "a" * 129, "\x00", "\ud83d\ude00", "\u2028", "like", "served", "erase", "read", "note", "feed", "1e3",
    "2023-11-14T22:13:20Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2023-02-30T00:00:00Z", [], {}, [None], ["a"] * 65, [[[[]]]],
    {"note_id": "n"}, [{"note_id": "n"}] * 51, [{"note_id": "_n"}], {"id": 5}, {"a": "b" * 5_000}, 91, -181.0,
]  # fmt: skip
TOKENS = [
    b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\u0000", b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"\x00", b"\xff",
    b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" ", b"\n", b"\xe2\x80\xa8", b"0" * 30, b"[" * 2_000, b'{"x":' * 600, b'"type":"like"', b"//",
]  # fmt: skip


class Kind(NamedTuple):
    """One of the two public schemas."""

    name: str
    bases: list[dict[str, Any]]
    decode: Callable[[bytes, bool], list[Any]]
    encode: Callable[[Any], bytes]
    good: bytes
    """an element that must come out wherever it stands"""


RULES = EventRules({"read": "view"}, MAX_BYTES)
KINDS = (
    Kind(
        "events",
        EVENTS,
        lambda raw, collect: decode_events(raw, NOW, RULES, collect),
        encode_event,
        b'{"type":"like","user_id":"good","note_id":"n"}',
    ),
    Kind("notes", NOTES, lambda raw, collect: decode_notes(raw, NOW, MAX_BYTES, collect), encode_note, b'{"note_id":"good","title":"t"}'),
)


class Broken(AssertionError):
    """A rule does not hold."""


class Input(NamedTuple):
    kind: Kind
    raw: bytes
    elements: int | None
    """that went in; None: bytes were changed, so that nobody knows"""
    good: tuple[int, ...]
    """places of elements that nothing was done to"""


def changed(base: dict[str, Any], rng: random.Random) -> Any:
    """A valid body with some fields changed, added, taken away or renamed; seldom something else altogether."""
    if rng.random() < 0.02:
        return rng.choice(VALUES)
    body = dict(base)
    for _ in range(rng.randint(0, 3)):
        what = rng.random()
        if what < 0.6 or not body:
            body[rng.choice(NAMES)] = rng.choice(VALUES)
        elif what < 0.8:
            del body[rng.choice(list(body))]
        else:
            body[rng.choice(list(body))] = rng.choice(VALUES)
    return body


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Some bytes flipped, cut, doubled, or replaced by what parsers stumble over."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        what = rng.random()
        if what < 0.3 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif what < 0.5:
            del out[at : at + rng.randint(1, 12)]
        elif what < 0.6:
            del out[at:]
        elif what < 0.7:
            out[at:at] = out[max(0, at - 20) : at]
        else:
            out[at:at] = rng.choice(TOKENS)
    return bytes(out)


def written(value: Any, rng: random.Random) -> bytes:
    """As JSON, escaped or not."""
    return json.dumps(value, ensure_ascii=rng.random() < 0.3).encode("utf-8", "surrogatepass")


def inputs(seed: int, block: int) -> Iterator[Input]:
    """The inputs of one block."""
    rng = random.Random(f"{seed}/{block}")
    for _ in range(BLOCK):
        kind = KINDS[rng.random() < 0.25]
        shape = rng.random()
        if shape < 0.5:
            body = changed(rng.choice(kind.bases), rng)
            raw, elements, good = written(body, rng), (len(body) if isinstance(body, list) else 1), ()
        elif shape < 0.998:
            parts = [
                kind.good if rng.random() < 0.4 else written(changed(rng.choice(kind.bases), rng), rng) for _ in range(rng.randint(0, 4))
            ]
            raw, elements = b"[%s]" % b",".join(parts), len(parts)
            good = tuple(place for place, part in enumerate(parts) if part is kind.good)
        else:  # seldom: they are large
            count = rng.choice((MAX_ELEMENTS - 1, MAX_ELEMENTS, MAX_ELEMENTS + 1))
            raw, elements, good = b"[%s]" % b",".join([kind.good] * count), count, tuple(range(count))
        if rng.random() < 0.4:
            raw, elements, good = damaged(raw, rng), None, ()
        yield Input(kind, raw, elements, good)


def elements_of(raw: bytes) -> int | None:
    """By Python's own parser; None when it does not read the record either, or as no array."""
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    return len(value) if isinstance(value, list) else 1


def check(one: Input, counts: Counter[str]) -> None:
    """Raises `Broken`; counts what came out."""
    kind = one.kind
    collect = len(one.raw) % 2 == 0
    try:
        places = kind.decode(one.raw, collect)
    except Exception as error:
        raise Broken(f"the decoder raised {error!r}") from error
    whole = len(places) == 1 and isinstance(places[0], Rejected) and places[0].index is None
    elements = one.elements if one.elements is not None else elements_of(one.raw)
    if elements is not None and elements <= MAX_ELEMENTS and not whole and len(places) != elements:
        raise Broken(f"{elements} elements went in, {len(places)} places came out")
    if whole and one.elements is not None and places[0].code != ("too_many" if one.elements > MAX_ELEMENTS else "not_utf8"):
        raise Broken(f"a well-formed record was refused as a whole: {places[0]}")
    if not places and elements:
        raise Broken("nothing came out")
    for at in one.good if not whole else ():
        if isinstance(places[at], Rejected):
            raise Broken(f"a good element at {at} was refused: {places[at]}")
    for index, place in enumerate(places):
        if isinstance(place, Rejected):
            if place.code not in CODES or not place.message or place.index not in (None, index):
                raise Broken(f"refused without a good reason: {place}")
            orjson.dumps([place.message, place.event_id, place.type])
            counts[place.code] += 1
            continue
        counts["accepted"] += 1
        again = kind.decode(kind.encode(place), False)
        if again != [place]:
            raise Broken(f"accepted as {place}, and read again as {again}")


def fuzz(count: int, seed: int, first: int = 0, told: Callable[[int, Counter[str]], None] | None = None) -> Counter[str]:
    """Checks so many inputs from block `first` on. Raises `Broken` with the input."""
    counts: Counter[str] = Counter()
    done, block = 0, first
    while done < count:
        for one in inputs(seed, block):
            try:
                check(one, counts)
            except Broken as error:
                raise Broken(f"seed {seed}, block {block}, {one.kind.name}: {error}\n{one.raw[:2_000]!r}") from error.__cause__
            done += 1
            counts[f"{one.kind.name} records"] += 1
            if done == count:
                break
        block += 1
        if told is not None and block % 50 == 0:
            told(done, counts)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="block to begin with")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    began = time.monotonic()

    def told(done: int, counts: Counter[str]) -> None:
        print(f"{done:,} inputs, {counts['accepted']:,} accepted, {time.monotonic() - began:.0f} s", file=sys.stderr)

    try:
        counts = fuzz(asked.inputs, asked.seed, asked.first, told)
    except Broken as error:
        print(error, file=sys.stderr)
        return 1
    result = {
        "inputs": asked.inputs,
        "seed": asked.seed,
        "seconds": round(time.monotonic() - began),
        "broken": 0,
        **dict(sorted(counts.items())),
    }
    print(json.dumps(result) if asked.json else "\n".join(f"{name:20} {value:>12,}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
