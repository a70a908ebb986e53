"""Who may ask for what: keys with names and roles.

Compared are digests of fixed length, all of them at every request, in constant time: timing tells neither how far a guess was right, nor
which key it was, nor how long one is. The keys themselves are not kept.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from config.settings import ApiKey, Role, SettingsError

OPEN = frozenset(("/", "/ops", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"))
"""Paths that need no key: probes and scrapers have none, and the documents and pages are no secret."""
OPEN_BELOW = "/web/"


class Guard:
    """The keys of an API.

    Parameters
    ----------
    keys
        none: nobody is asked for one. Raises `SettingsError` for one that cannot be used.
    """

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        for key in keys:
            if not key.key or not key.key.isascii() or not key.key.isprintable() or key.key != key.key.strip():
                raise SettingsError(f"setting api.keys: the key {key.name!r} must be printable ASCII without spaces around it")
            if not key.name or not key.roles:
                raise SettingsError(f"setting api.keys: the key {key.name!r} needs a name and at least one role")
        for what, values in (("name", [key.name for key in keys]), ("key", [key.key for key in keys])):
            if len(set(values)) < len(values):
                raise SettingsError(f"setting api.keys: the same {what} twice")
        self._digests = [(digest(key.key.encode()), key.name, frozenset(key.roles)) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def who(self, given: bytes) -> tuple[str, frozenset[Role]] | None:
        """Name and roles of a key; None for one that is not ours."""
        tried = digest(given)
        found = None
        for known, name, roles in self._digests:
            if hmac.compare_digest(tried, known):
                found = name, roles
        return found


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def needed(method: str, path: str) -> Role | None:
    """The role that a request takes; None: no key."""
    if path in OPEN or path.startswith(OPEN_BELOW):
        return None
    if path.startswith("/ops"):
        return "operate"
    return "read" if method in ("GET", "HEAD", "OPTIONS") else "produce"
