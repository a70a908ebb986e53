"""Why a note is there: short codes with parameters that an app can put into words. The strongest first, three at most.

=====================  ===============  ====================================================================
code                   parameters       an app may say
=====================  ===============  ====================================================================
``follow``             author_id        You follow {author}
``interest_tag``       tag              Because you like {tag}
``interest_author``    author_id        More from {author}
``interest_channel``   channel          Because you like {channel}
``signup_tag``         tag              You chose {tag}
``channel``            channel          Popular in {channel}
``nearby``             distance_m       {distance} away; without a distance `city`: in {city}
``friend``             user_id, action  {user} collected this
``behaviour``                           Like what you took lately
``similar``                             Taken together with the note that was asked for
``pool``               tier             New here (tier 0); on its way up (higher tiers)
``hot``                                 Popular now
``sponsored``                           Sponsored
=====================  ===============  ====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.records import SLOTS, SOURCES, Facts
from serving.stages import Query, Viewer

MOST = 3
POOL, SPONSORED = SLOTS.index("pool"), SLOTS.index("sponsored")
NEARBY, BEHAVIOUR, HOT = (1 << SOURCES.index(name) for name in ("nearby", "behaviour", "hot"))
"""Bits of sources."""

CODES: Mapping[str, Mapping[str, type]] = {
    "follow": {"author_id": str}, "interest_tag": {"tag": str}, "interest_author": {"author_id": str}, "interest_channel": {"channel": str},
    "signup_tag": {"tag": str}, "channel": {"channel": str}, "nearby": {"distance_m": int, "city": str},
    "friend": {"user_id": str, "action": str}, "behaviour": {}, "similar": {}, "pool": {"tier": int}, "hot": {}, "sponsored": {},
}  # fmt: skip
"""The codes, their parameters, and of what kind these are."""


def reasons(
    facts: Facts,
    slot: int,
    sources: int,
    tier: int,
    distance_m: int | None,
    query: Query,
    viewer: Viewer,
    note: int,
    tags: Sequence[float],
    author: float,
    channel: float,
    followed: bool,
) -> list[dict[str, Any]]:
    """Codes for one note, one at least. `tags`, `author` and `channel` are the user's weights on its first tags, its author and its channel;
    `followed`: he follows the author."""
    found: list[dict[str, Any]] = []
    if slot == SPONSORED:
        found.append({"code": "sponsored"})
    elif slot == POOL:
        found.append({"code": "pool", "tier": tier})
    hot = viewer.hot
    if followed:
        found.append({"code": "follow", "author_id": facts.author})
    if note in viewer.friends:
        friend = viewer.friends[note]
        found.append({"code": "friend", "user_id": friend.user_id, "action": friend.action})
    if query.surface == "nearby" and sources & NEARBY:
        found.append(here(distance_m, viewer))
    elif query.surface == "similar" and sources & BEHAVIOUR:
        found.append({"code": "similar"})
    best = max(tags, default=0.0)
    if best > 0.0 and best >= author:
        tag = facts.tags[tags.index(best)]
        found.append({"code": "signup_tag" if tag in hot.signup and tag not in hot.tags else "interest_tag", "tag": tag})
    elif author > 0.0:
        found.append({"code": "interest_author", "author_id": facts.author})
    if channel > 0.0 and not query.channel:
        found.append({"code": "interest_channel", "channel": facts.channel})
    if query.channel:
        found.append({"code": "channel", "channel": query.channel})
    if sources & BEHAVIOUR and query.surface != "similar":
        found.append({"code": "behaviour"})
    if sources & NEARBY and query.surface != "nearby":
        found.append(here(distance_m, viewer))
    if sources & HOT:
        found.append({"code": "hot"})
    if not found and tier >= 0:
        found.append({"code": "pool", "tier": tier})
    if not found:  # brought by what is not said of the note: a tag behind its first ones, an author's weight that faded since
        found.append({"code": "channel", "channel": facts.channel} if facts.channel else {"code": "hot"})
    return found[:MOST]


def here(distance_m: int | None, viewer: Viewer) -> dict[str, Any]:
    return {"code": "nearby", "distance_m": distance_m} if distance_m is not None else {"code": "nearby", "city": viewer.city}
