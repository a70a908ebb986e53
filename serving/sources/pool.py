"""Notes in the traffic pools that still want exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from serving.stages import Ask, Query, Viewer


class PoolSource:
    """Each tier's list over all channels, and those of the user's channels, so that a match has a chance to be found.

    Parameters
    ----------
    tiers
        how many tiers the ladder has
    """

    name: ClassVar[str] = "pool"

    def __init__(self, rules: Feed, tiers: int) -> None:
        self.rules, self.tiers = rules, tiers

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        places = self.rules.pool_places
        if query.channel:
            top = query.channel.partition("/")[0]
            return [Ask(f"pool:{tier}:{top}", 2 * places, inside=top == query.channel) for tier in range(self.tiers)]
        tops = list(dict.fromkeys(channel.partition("/")[0] for channel, _ in viewer.channels))[: self.rules.interest_channels]
        asks = [Ask(f"pool:{tier}", places) for tier in range(self.tiers)]
        # The base tier is where the many are: higher tiers are short enough to be read whole.
        asks += [Ask(f"pool:0:{top}", places) for top in tops]
        return asks
