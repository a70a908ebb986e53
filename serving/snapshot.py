"""What the API knows without asking for each request: manifest, clocks, own servings, the model, and hot notes for when the store is away.

Read in the background. A reader sees one generation whole: everything hangs on attributes that are set together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import nan
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from config import metrics
from config.records import Facts
from config.settings import Settings
from models.note import Text
from serving.clock import StreamClock
from serving.keys import Keys
from serving.model import Models
from serving.text import facts_from, text_from
from serving.underway import Underway
from store.base import Store, StoreError
from store.layout import HEAD, NOTE, STATUSES, VISIBILITIES, head_from, notes_from
from store.manifest import Manifest, ManifestError, load

log = structlog.get_logger("serving.snapshot")

PUBLISHED, PUBLIC = STATUSES.index("published"), VISIBILITIES.index("public")


class Fallback:
    """The last good hot notes: all that is left to show while the store is away."""

    def __init__(self, notes: npt.NDArray[np.void], facts: list[Facts], texts: list[Text]) -> None:
        self.notes, self.facts, self.texts = notes, facts, texts


class Snapshot:
    """See the module's docstring. `ready` is false before the first one was read."""

    def __init__(self, store: Store, settings: Settings, clock: StreamClock) -> None:
        self.store, self.settings, self.clock = store, settings, clock
        self.keys: Keys | None = None
        self.underway = Underway(settings)
        self.fallback: Fallback | None = None
        self.models = Models(settings)
        self.swapped: Callable[[Models], None] = lambda models: None
        """called when another model was read"""
        self.reasons: dict[str, str] = {"store": "nothing was read yet"}
        """what is wrong now, by part; empty: all is well"""
        self._fallback_due = 0.0

    @property
    def ready(self) -> bool:
        return self.keys is not None

    async def refresh(self) -> None:
        """One round: the manifest, the clocks, now and then the hot notes. What fails is named in `reasons`, and the last good stays."""
        try:
            async with asyncio.timeout(self.settings.redis.timeout_s):
                await self._manifest()
                if self.keys is not None:
                    ledgers = await self.store.read(self.keys.all_clocks)
                    now = self.clock.wall()
                    self.clock.read(ledgers)
                    self.underway.saw(ledgers[self.keys.users :], now)
                    await self._model(self.keys)
                    if now >= self._fallback_due:
                        self.fallback = await self._hot(self.keys)
                        self._fallback_due = now + self.settings.feed.fallback_s
            self.reasons.pop("store", None)
        except (StoreError, TimeoutError) as error:
            self.wrong("store", str(error) or "the store does not answer")
        except ManifestError as error:
            self.wrong("manifest", str(error))

    async def _manifest(self) -> None:
        manifest: Manifest | None = await load(self.store, self.settings.kafka.prefix)
        if manifest is None:
            self.wrong("manifest", "there is no manifest yet: no worker has started on this store")
            return
        self.reasons.pop("manifest", None)
        if self.keys is None or self.keys.manifest != manifest:
            self.keys = Keys(manifest)
            log.info("manifest", partitions=dict(manifest.partitions), generations=dict(manifest.generations))

    async def _model(self, keys: Keys) -> None:
        models = self.models
        if await models.refresh(self.store, keys.manifest.at("learner", 0)):
            self.swapped(models)
        if models.wrong:
            self.wrong("model", models.wrong)
        else:
            self.reasons.pop("model", None)
        metrics.MODEL_AGE.set(nan if self.model_age_s is None else self.model_age_s)

    @property
    def model_age_s(self) -> float | None:
        """Stream time since the served model last learned; None without one."""
        model = self.models.model
        return max(self.clock.now - model.at, 0) / 1000.0 if model is not None else None

    async def _hot(self, keys: Keys) -> Fallback:
        places = self.settings.feed.fallback
        (value,) = await self.store.read((), [(keys.head("hot"), 0, places * HEAD.itemsize - 1)])
        hashes = head_from(value)["hash"].tolist()
        if not hashes:
            return Fallback(np.empty(0, NOTE), [], [])
        count = len(hashes)
        values = await self.store.read([*keys.note("note", hashes), *keys.note("facts", hashes), *keys.note("text", hashes)])
        notes, rows = notes_from(values[:count])
        keep = (notes["status"] == PUBLISHED) & (notes["visibility"] == PUBLIC)
        notes, rows = notes[keep], rows[keep]
        facts = [facts_from(values[count + row]) for row in rows.tolist()]
        texts = [text_from(values[2 * count + row]) for row in rows.tolist()]
        known = [i for i, f in enumerate(facts) if f is not None]
        return Fallback(notes[known], [f for f in facts if f is not None], [texts[i] for i in known])

    def wrong(self, part: str, reason: str) -> None:
        if self.reasons.get(part) != reason:
            log.warning("degraded", part=part, reason=reason)
        self.reasons[part] = reason

    async def run(self) -> None:
        """Refreshes for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(self.settings.feed.snapshot_s)

    def state(self) -> Mapping[str, Any]:
        """For `/readyz`."""
        return {"status": "degraded" if self.reasons else "ready", "reasons": sorted(f"{k}: {v}" for k, v in self.reasons.items())}
