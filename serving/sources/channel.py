"""Popular notes of the channel that was asked for, or of those the user likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from config.settings import Feed
from models.lists import channels
from serving.stages import Ask, Query, Viewer, worn


class ChannelSource:
    """With `channel=` the list of that channel (sub-channels are in it), read deep; else those with the largest weights.

    What lies deeper than channels have lists is looked for in the deepest list there is.
    """

    name: ClassVar[str] = "channel"

    def __init__(self, rules: Feed) -> None:
        self.rules = rules

    def asks(self, query: Query, viewer: Viewer) -> Sequence[Ask]:
        rules = self.rules
        if query.channel:
            deepest = channels(query.channel)[-1]
            return [Ask(f"channel:{deepest}", 5 * rules.channel_places, inside=deepest == query.channel)]
        names = [f"channel:{channel}" for channel, _ in viewer.channels[: rules.interest_channels]]
        asks = [Ask(name, rules.channel_places) for name in names]
        if worn(query, viewer, rules.hot_places):
            asks += [Ask(name, rules.reserve_places, start=rules.channel_places, reserve=True) for name in names]
        return asks
