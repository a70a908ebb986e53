"""What those whom the user follows liked, collected and shared: from their public actions, never from the rest of their records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
import numpy as np

from config.events import ACTIONS
from config.keys import hash64
from config.settings import Feed
from models.user import public_actions
from serving.keys import Keys
from serving.stages import NO_HASHES, Friend, Hashes, Query, Viewer


class FriendsSource:
    """The newest public actions of the newest follows, newest first; of several friends with one note the last to act is named. Whoever was
    blocked or hidden since is none."""

    name: ClassVar[str] = "friends"

    def __init__(self, rules: Feed) -> None:
        self.users, self.places = rules.friend_users, rules.friend_places

    def friends(self, query: Query, viewer: Viewer) -> Sequence[str]:
        unwanted = {query.user_id, *viewer.hot.blocks, *viewer.hot.hidden_authors}
        return [friend for friend in viewer.follows[: self.users + len(unwanted)] if friend not in unwanted][: self.users]

    def wants(self, query: Query, viewer: Viewer, keys: Keys) -> Sequence[bytes]:
        wanted: list[bytes] = []
        for friend in self.friends(query, viewer):
            wanted += keys.user(friend, hash64(friend), ("public",))
        return wanted

    def finds(self, query: Query, viewer: Viewer, values: Sequence[bytes | None]) -> tuple[Viewer, Hashes]:
        acts = [
            (-at, h, action, friend)
            for friend, value in zip(self.friends(query, viewer), values, strict=True)
            if value is not None
            for h, at, action in public_actions(value).tolist()
        ]
        told: dict[int, Friend] = {}
        for _, h, action, friend in sorted(acts):
            if h not in told:
                if len(told) == self.places:
                    break
                told[h] = Friend(friend, ACTIONS[action])
        if not told:
            return viewer, NO_HASHES
        return msgspec.structs.replace(viewer, friends=told), np.fromiter(told, np.uint64, len(told))
