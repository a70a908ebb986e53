"""The model that feeds are ranked by, read in the background: whole or not at all, swapped between two requests.

The head names the parts by their hashes, and all lie in one slot, so that one read shows one commit of the learner. Only what changed is read.
"""

from __future__ import annotations

from config import metrics
from config.keys import Slot
from config.settings import Settings
from models.model import Head, Model, Refused, head_from, names_of
from store.base import Store
from store.layout import checkpoint_from

TRIES = 3
"""Reads in which the learner's commits may come between, before the next look."""


class Models:
    """The newest model that could be read.

    `model` is None before the first one that has learned enough; `wrong` says why a model that should be there is not used, empty when all is well.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: Model | None = None
        self.version = ""
        self.wrong = ""
        self._value: bytes | None = None
        """the head of `model`, as stored"""
        self._parts: dict[str, tuple[int, bytes]] = {}
        """part -> (hash, value)"""

    async def refresh(self, store: Store, slot: Slot) -> bool:
        """Look for another model; says whether there is another one now, or none any more. Raises `StoreError`."""
        value, checkpoint = await store.read([slot.key("head"), slot.checkpoint])
        if value is not None and value == self._value:
            return False
        try:
            if value is None:
                learned = checkpoint is not None and checkpoint_from(checkpoint)[1] > (0, 0, 0)
                if self._value is None and not learned:
                    return False  # a system that has not learned anything yet
                raise Refused("there is no model in the store, though the learner has read examples")
            head, model = await self._read(store, slot, value)
        except Refused as error:
            metrics.MODEL_REFUSED.inc()
            self.wrong = f"{error}: feeds are ranked by the prior"
            had, self.model, self.version, self._value = self.model is not None, None, "", None
            return had
        self.wrong = ""
        if model.ranker.steps < self.settings.learner.trusted:
            return False  # too young to know better than the prior
        self.model, self.version = model, head.version
        return True

    async def _read(self, store: Store, slot: Slot, value: bytes) -> tuple[Head, Model]:
        """Head and model of one commit. Raises `Refused`."""
        for _ in range(TRIES):
            head = head_from(value)
            wanted = names_of(head, learning=False)
            missing = [name for name, digest in wanted if self._parts.get(name, (0,))[0] != digest]
            again, *read = await store.read([slot.key("head"), *map(slot.key, missing)])
            if again == value:
                values = {name: part for name, (_, part) in self._parts.items()} | dict(zip(missing, read, strict=True))
                model = Model(self.settings).take(head, values, learning=False)
                self._parts = {name: (digest, values[name] or b"") for name, digest in wanted}
                self._value = value
                return head, model
            if again is None:
                break
            value = again
        raise Refused("the model changes faster than it can be read")
