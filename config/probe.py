"""The heartbeat among the public events: a record of a reserved user, which the collector takes from nobody.

The API appends it to `events`; intake, users and notes pass it on (`config.records.Probe`) and remember when the newest was sent. How old
the newest is that the store shows is how old everything is that the store shows.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from config.records import Probe

USER = b"_probe"
"""Key of the record, by which intake knows it."""


class Beat(msgspec.Struct, forbid_unknown_fields=True):
    """Reads like an event, for those who read the public log."""

    k: int
    at: int
    type: Literal["probe"] = "probe"
    user_id: Literal["_probe"] = "_probe"
    traffic: Literal["test"] = "test"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Beat).decode


def beat(k: int, at: int) -> bytes:
    """The record's value: the `k`-th probe, sent at `at` (epoch ms)."""
    return _encode(Beat(k, at))


def probe_of(value: bytes) -> Probe | None:
    """The probe; None for a record that is none, whatever its key says."""
    try:
        found = _decode(value)
    except msgspec.DecodeError:
        return None
    return Probe(0, 0, 0, 0, found.k, found.at) if found.k >= 0 and 0 <= found.at < 2**53 else None
