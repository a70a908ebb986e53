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
``nearby``             distance_m       {distance} away
``pool``               tier             New here (tier 0); on its way up (higher tiers)
``hot``                                 Popular now
``sponsored``                           Sponsored
=====================  ===============  ====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.records import SLOTS, SOURCES, Facts
from serving.stages import Query, Viewer

MOST = 3
POOL, SPONSORED = SLOTS.index("pool"), SLOTS.index("sponsored")
BITS = {name: 1 << i for i, name in enumerate(SOURCES)}

Weights = Mapping[tuple[str, str], float]


def weights_of(viewer: Viewer) -> Weights:
    """Positive weights by kind and value; built once per feed."""
    return {(i.kind, i.value): i.weight for i in viewer.interests if i.weight > 0.0}


def reasons(
    facts: Facts, slot: int, sources: int, tier: int, distance_m: int | None, query: Query, viewer: Viewer, weights: Weights
) -> list[dict[str, Any]]:
    """Codes for one note."""
    found: list[dict[str, Any]] = []
    if slot == SPONSORED:
        found.append({"code": "sponsored"})
    if slot == POOL:
        found.append({"code": "pool", "tier": tier})
    if facts.author in viewer.hot.follows:
        found.append({"code": "follow", "author_id": facts.author})
    if query.surface == "nearby" and distance_m is not None:
        found.append({"code": "nearby", "distance_m": distance_m})
    if viewer.personal:
        signup = viewer.hot.signup
        liked = [(weights.get(("tag", tag), 0.0), "interest_tag", "tag", tag) for tag in facts.tags]
        liked.append((weights.get(("author", facts.author), 0.0), "interest_author", "author_id", facts.author))
        liked.append((weights.get(("channel", facts.channel), 0.0), "interest_channel", "channel", facts.channel))
        liked.sort(key=lambda line: (-line[0], line[1:]))
        for weight, code, field, value in liked[:2]:
            if weight > 0.0:
                chosen = code == "interest_tag" and value in signup and value not in viewer.hot.tags
                found.append({"code": "signup_tag" if chosen else code, field: value})
    if query.channel:
        found.append({"code": "channel", "channel": query.channel})
    if sources & BITS["hot"]:
        found.append({"code": "hot"})
    if not found and sources & BITS["channel"]:
        found.append({"code": "channel", "channel": facts.channel})
    if not found and sources & BITS["pool"]:
        found.append({"code": "pool", "tier": tier})
    return found[:MOST]
