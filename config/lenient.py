"""Header names that are no UTF-8: any client may send them, no broker minds, and both Kafka clients raise on them.

What this system reads of headers is a name or two of its own, so names are read leniently (U+FFFD for what is none). How each client is
brought to it: `config/headers.py` (aiokafka), `streams/logs.py` (kafka-python).
"""

from __future__ import annotations

from typing import Any


class Lenient(bytearray):
    """Bytes whose slices decode whatever they are."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return Lenient(found) if isinstance(at, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
