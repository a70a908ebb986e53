"""The cursor: where the next page begins, and what the earlier ones showed. Opaque to clients, and signed.

It holds the lower halves of the hashes shown so far, since impressions of the last page may still be on their way when the next one is
asked for. It is bound to user, surface and channel: another one's cursor is as bad as a forged one. Keys of the API sign it; without
keys (loopback) the signature only guards against accidents.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from struct import Struct

import numpy as np
import numpy.typing as npt

VERSION = 1
HEAD = Struct("<BqH")
"""version, stream time at which it was made, position of the next item"""
SIGNATURE = 12


class BadCursor(ValueError):
    """Forged, cut, another request's, or too old."""


class Cursors:
    """Makes and reads cursors.

    Parameters
    ----------
    secret
        what signs; the same in every API process of a system
    life_ms
        of the stream's time, after which a cursor is too old
    remembered
        notes of earlier pages kept in it
    """

    def __init__(self, secret: bytes, life_ms: int, remembered: int) -> None:
        self._key = hashlib.sha256(b"upwell cursor\0" + secret).digest()
        self.life_ms, self.remembered = life_ms, remembered

    def sign(self, body: bytes, scope: Sequence[str]) -> bytes:
        return hmac.digest(self._key, body + "\0".join(scope).encode(), "sha256")[:SIGNATURE]

    def make(self, scope: Sequence[str], now: int, start: int, shown: Iterable[int]) -> str:
        """`scope`: user, surface and whatever else must not change between pages."""
        low = np.array([h & 0xFFFFFFFF for h in shown][-self.remembered :], "<u4")
        body = HEAD.pack(VERSION, now, min(start, 0xFFFF)) + low.tobytes()
        return base64.urlsafe_b64encode(self.sign(body, scope) + body).rstrip(b"=").decode()

    def read(self, text: str, scope: Sequence[str], now: int) -> tuple[int, npt.NDArray[np.uint32]]:
        """(position of the next item, what was shown, oldest first). Raises `BadCursor`."""
        try:
            raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise BadCursor("the cursor is not one of ours") from None
        signature, body = raw[:SIGNATURE], raw[SIGNATURE:]
        if len(body) < HEAD.size or (len(body) - HEAD.size) % 4 or not hmac.compare_digest(signature, self.sign(body, scope)):
            raise BadCursor("the cursor is not one of ours, or belongs to another request")
        version, made, start = HEAD.unpack_from(body)
        if version != VERSION or now - made > self.life_ms:
            raise BadCursor("the cursor is too old: begin again without one")
        return start, np.frombuffer(body, "<u4", offset=HEAD.size)
