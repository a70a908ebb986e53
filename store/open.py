"""The store that the settings name."""

from __future__ import annotations

from config.settings import Settings
from store.base import Store
from store.memory import MemoryStore
from store.redis import RedisStore


def open_store(settings: Settings) -> Store:
    """A store that connects at its first use, in the event loop that uses it; ``memory://`` is one inside this process."""
    return MemoryStore() if settings.redis.url.startswith("memory://") else RedisStore(settings.redis)
