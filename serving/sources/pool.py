"""Notes in the traffic pools that still want exposures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from serving.stages import Ask, Query, Viewer, worn


class PoolSource:
    """Each tier's list over all channels, and those of the user's channels, so that a match has a chance to be found.

    Parameters
    ----------
    tiers
        how many tiers the ladder has
    depth
        places of a pool list at most
    """

    name: ClassVar[str] = "pool"

    def __init__(self, rules: Feed, tiers: int, depth: int) -> None:
        self.rules, self.tiers, self.depth = rules, tiers, depth

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        places = self.rules.pool_places
        if query.channel:
            top = query.channel.partition("/")[0]
            return [Ask(f"pool:{tier}:{top}", 2 * places, inside=top == query.channel) for tier in range(self.tiers)]
        tops = list(dict.fromkeys(channel.partition("/")[0] for channel, _ in viewer.channels))[: self.rules.interest_channels]
        asks = [Ask(f"pool:{tier}", places) for tier in range(1, self.tiers)]
        # The base tier is where the many are: higher tiers are short enough to be read whole. Its front is what is due the longest; were
        # every feed to read that alone, a few notes would be all that a second can give.
        half = max(1, places // 2)
        asks += [Ask("pool:0", half), Ask("pool:0", half, start=deeper(half, self.depth, query.seed))]
        asks += [Ask(f"pool:0:{top}", places) for top in tops]
        if query.n > half or worn(query, viewer, self.rules.hot_places):  # what lies deeper may be too deep for the list
            asks.append(Ask("pool:0", self.rules.reserve_places, start=half, reserve=True))
        return asks


def deeper(first: int, depth: int, seed: int) -> int:
    """A place between `first` and `depth`, by the request's seed: each doubling of the distance from the front is as likely as the one before."""
    return int(first * max(1.0, depth / first) ** ((seed & 0xFFFF_FFFF) / 2**32))
