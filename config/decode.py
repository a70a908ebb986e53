"""How bytes from outside become valid structs, place by place: one bad element of an array never sinks the others.

Two ways lead to the same answer. The fast one decodes the whole record with one typed decoder; where that fails, the slow one takes
the record apart and decodes each element with the same decoder, so that both agree by construction, and only then asks what is
wrong with what failed. `config/events.py` and `config/notes.py` say what is valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec
from msgspec import Meta

CODES = (
    "not_utf8", "not_json", "not_object", "too_large", "too_many", "missing_field", "bad_field", "unknown_type", "reserved_type",
    "future_timestamp", "hash_collision", "bad_example", "fold_error",
)  # fmt: skip
"""Why something is dead-lettered or refused."""

MAX_ELEMENTS = 500
"""Of an array in one record."""

DAY_MS = 86_400_000
AHEAD_MS = 60_000
"""An effective time lies at most so far past append time."""

MAX_TIME = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z"""

NOT_RESERVED = {"pattern": "^[^_]"}
Id = Annotated[str, Meta(min_length=1, max_length=128, description="1-128 bytes of UTF-8")]
"""Characters are counted here and bytes where a record holds other than ASCII: never a wrong answer, and free for most."""
OwnId = Annotated[
    str, Meta(min_length=1, max_length=128, description="1-128 bytes of UTF-8, not beginning with _", extra_json_schema=NOT_RESERVED)
]
"""An id that names something here: a user, a note, an author, an event. A leading ``_`` is reserved."""
Tag = Annotated[str, Meta(min_length=1, max_length=64, description="1-64 characters, at most 128 bytes of UTF-8")]
Time = Annotated[int, Meta(ge=0, le=MAX_TIME)] | Annotated[datetime, Meta(tz=True)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]

BYTES = 128
"""Of an id or a tag."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")
Fault = tuple[str, str]
"""(code, message)"""


class Rejected(msgspec.Struct):
    """A place of a record that is not valid, or (with `index` None) the record as a whole."""

    t: ClassVar[None] = None
    """moves no clock"""
    code: str
    message: str
    """names the field"""
    index: int | None = None
    """place in the array; 0 for a lone object"""
    event_id: str | None = None
    type: str = ""
    """of the event, as given; may be anything"""


class Reader(Generic[T]):
    """Bytes to structs of one model."""

    def __init__(self, model: type[T]) -> None:
        self.model = model
        self.whole = msgspec.json.Decoder(model | list[model]).decode  # type: ignore[valid-type]
        self.one = msgspec.json.Decoder(model).decode

    def read(self, raw: bytes, max_bytes: int) -> tuple[list[T | Rejected], bool]:
        """The places of a record in order, and whether all its text is ASCII, so that characters are bytes."""
        if len(raw) > max_bytes:
            return [Rejected("too_large", f"{len(raw)} bytes, at most {max_bytes}")], True
        if raw.isascii():
            plain = _BACKSLASH not in raw
        else:
            plain = False
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                return [Rejected("not_utf8", f"byte {error.start}: {error.reason}")], True
        try:
            got = self.whole(raw)
        except (ValueError, RecursionError):
            return self.apart(raw), plain
        if type(got) is not list:
            return [got], plain
        if len(got) > MAX_ELEMENTS:
            return [too_many(len(got))], plain
        return got, plain

    def apart(self, raw: bytes) -> list[T | Rejected]:
        """The slow way, element by element."""
        elements: Sequence[msgspec.Raw | bytes] | None
        try:
            elements = _elements(raw)
        except msgspec.ValidationError:
            return [self.alone(raw, 0)]
        except RecursionError:
            return [Rejected("not_json", "nested too deeply")]
        except ValueError as error:
            elements = laxly(raw)
            if elements is None:
                return [Rejected("not_json", str(error))]
        if len(elements) > MAX_ELEMENTS:
            return [too_many(len(elements))]
        return [self.alone(bytes(element), index) for index, element in enumerate(elements)]

    def alone(self, raw: bytes, index: int) -> T | Rejected:
        """One element: the struct, or what is wrong with it."""
        try:
            return self.one(raw)
        except RecursionError:
            return Rejected("not_json", "nested too deeply", index)
        except ValueError as error:
            return diagnosis(raw, error, index)


_BACKSLASH = ord("\\")
"""As a number: searched for in a twentieth of the time that bytes take. Escapes may spell what is not ASCII."""
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_anything = msgspec.json.Decoder().decode
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(.+)`")


def laxly(raw: bytes) -> list[bytes] | None:
    """The elements of an array that is JSON but for what some writers put into it: NaN, Infinity, halves of surrogate pairs.

    Only the elements that hold such things are refused then, by the decoder that reads each. None when it is no array even so.
    """
    try:
        value = json.loads(raw)
        return [json.dumps(element).encode() for element in value] if isinstance(value, list) else None
    except (ValueError, RecursionError):
        return None


def too_many(count: int) -> Rejected:
    return Rejected("too_many", f"an array of {count}, at most {MAX_ELEMENTS}")


def diagnosis(raw: bytes, error: ValueError, index: int) -> Rejected:
    """Why a typed decoder refused `raw`."""
    try:
        value = _anything(raw)
    except msgspec.ValidationError:
        value = {}  # well-formed, but no Python number can hold one of its numbers
    except RecursionError:
        return Rejected("not_json", "nested too deeply", index)
    except ValueError as malformed:
        return Rejected("not_json", str(malformed), index)
    if not isinstance(value, dict):
        return Rejected("not_object", f"expected an object, got {_NAMES.get(type(value), 'a number')}", index)
    event_id, kind = value.get("event_id"), value.get("type")
    event_id = event_id[:BYTES] if isinstance(event_id, str) else None
    kind = kind if isinstance(kind, str) else ""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    path = path.removeprefix(".")
    missing = _MISSING.search(what)
    if missing:
        return Rejected("missing_field", f"{path}.{missing[1]}".removeprefix("."), index, event_id, kind)
    what = what.replace(" | null", "").replace("`", "").replace("datetime", "RFC 3339 time")
    return Rejected("bad_field", f"{path}: {what[:1].lower()}{what[1:]}", index, event_id, kind)


_NAMES = {str: "a string", list: "an array", bool: "a boolean", type(None): "null"}


def milliseconds(time: int | datetime) -> int:
    """Epoch milliseconds, exact: a float of seconds would round."""
    return time if type(time) is int else (time - _EPOCH) // _MILLISECOND  # type: ignore[operator]


def oversize(struct: Any, names: tuple[str, ...]) -> Fault | None:
    """The first of the named strings that is longer than `BYTES` in UTF-8 though not in characters."""
    for name in names:
        text = getattr(struct, name)
        if type(text) is str and len(text.encode()) > BYTES:
            return "bad_field", f"{name}: longer than {BYTES} bytes"
    return None


def reserved(name: str) -> Fault:
    return "bad_field", f"{name}: ids that begin with _ are reserved"
