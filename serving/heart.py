"""The heartbeat: every `api.probe_s` a probe through every partition of `events`, and so through intake, users and notes.

Several API processes keep one beat together: who sees that a partition's newest probe is young does not send another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from config import probe
from serving.keys import Keys
from serving.producer import NotAcknowledged, Producer
from serving.snapshot import Snapshot


class Heart:
    """Sends probes; see the module's docstring.

    Parameters
    ----------
    every_s
        seconds between two beats; 0: none
    probed
        users partition -> sending time of the newest probe that the store shows, epoch ms; kept by somebody else
    """

    def __init__(
        self, every_s: float, producer: Producer, snapshot: Snapshot, probed: Mapping[int, int], wall: Callable[[], float]
    ) -> None:
        self.every_s, self.producer, self.snapshot, self.probed, self.wall = every_s, producer, snapshot, probed, wall

    async def run(self) -> None:
        """Beats for ever; a beat that is not acknowledged in time delays the next."""
        while self.every_s > 0:
            keys = self.snapshot.keys
            if keys is not None:
                await self.beat(keys)
            await asyncio.sleep(self.every_s)

    async def beat(self, keys: Keys) -> None:
        """A probe for every number whose last one is not young any more."""
        at = int(self.wall() * 1000)
        events = keys.manifest.partitions["events"]
        old = at - self.every_s * 500
        due = [k for k in range(max(events, keys.users, keys.notes)) if self.probed.get(k % keys.users, 0) <= old]
        sends = [self.producer.send("events", probe.USER, probe.beat(k, at), k % events) for k in due]
        for result in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, NotAcknowledged):
                raise result
