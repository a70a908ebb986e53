"""Facts and text of the notes shown, from their bytes."""

from __future__ import annotations

import msgspec

from config.records import Facts
from models.note import Text

_facts = msgspec.msgpack.Decoder(Facts).decode
_text = msgspec.msgpack.Decoder(Text).decode


def facts_from(value: bytes | None) -> Facts | None:
    """None when there are none: a note without facts has no id to show."""
    if value is None:
        return None
    try:
        return _facts(value)
    except msgspec.DecodeError:
        return None


def text_from(value: bytes | None) -> Text:
    """Empty when there is none."""
    if value is None:
        return Text()
    try:
        return _text(value)
    except msgspec.DecodeError:
        return Text()
