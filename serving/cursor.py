"""The cursor: where the next page begins, and what the earlier ones showed. Opaque to clients, and signed.

It holds the lower halves of the hashes shown so far, since impressions of the last page may still be on their way when the next one is
asked for; what the user's record holds by then need not stand in it. There is none that would forget what it cannot hold. It is bound to
user, surface and channel: another one's cursor is as bad as a forged one. Keys of the API sign it; without keys (loopback) the signature
only guards against accidents.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

VERSION = 2
HEAD = Struct("<BqHQ")
"""version, stream time at which it was made, position of the next item, hash of the author of the last one"""
SIGNATURE = 12

Halves = npt.NDArray[np.uint32]
"""Lower halves of note hashes."""


class Cursor(NamedTuple):
    """What a page needs to know of those before it."""

    start: int
    """position of the next item"""
    author: int
    """hash of the author of the last one"""
    shown: Halves
    """oldest first"""


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
        self._mac = hmac.new(hashlib.sha256(b"upwell cursor\0" + secret).digest(), digestmod="sha256")
        """copied for each cursor: making it takes four times as long"""
        self.life_ms, self.remembered = life_ms, remembered

    def sign(self, body: bytes, scope: Sequence[str]) -> bytes:
        # Packed with their lengths: the end of one must not pass for the beginning of the next.
        mac = self._mac.copy()
        mac.update(msgspec.msgpack.encode((body, *scope)))
        return mac.digest()[:SIGNATURE]

    def make(self, scope: Sequence[str], now: int, page: Cursor) -> str | None:
        """`scope`: user, surface and whatever else must not change between pages. None when there is more than one can hold."""
        if page.shown.size > self.remembered:
            return None
        body = HEAD.pack(VERSION, now, min(page.start, 0xFFFF), page.author) + page.shown.astype("<u4").tobytes()
        return base64.urlsafe_b64encode(self.sign(body, scope) + body).rstrip(b"=").decode()

    def read(self, text: str, scope: Sequence[str], now: int) -> Cursor:
        """Raises `BadCursor`."""
        try:
            raw = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise BadCursor("the cursor is not one of ours") from None
        signature, body = raw[:SIGNATURE], raw[SIGNATURE:]
        if len(body) < HEAD.size or (len(body) - HEAD.size) % 4 or not hmac.compare_digest(signature, self.sign(body, scope)):
            raise BadCursor("the cursor is not one of ours, or belongs to another request")
        version, made, start, author = HEAD.unpack_from(body)
        if version != VERSION or now - made > self.life_ms:
            raise BadCursor("the cursor is too old: begin again without one")
        return Cursor(start, author, np.frombuffer(body, "<u4", offset=HEAD.size))
