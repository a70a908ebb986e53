"""A decided page as the JSON that the contract names."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from config.events import ACTIONS, PREDICTED
from config.records import SLOTS, SOURCES
from models.user import BIT
from serving.feed import Answer
from serving.reasons import reasons
from serving.scorers.prior import distance_km
from serving.stages import Floats, Page, Placed, lookup, member
from store.layout import MEDIA, POOL_STATES, taken

SPONSORED = SLOTS.index("sponsored")
POOL, RANKED = SLOTS.index("pool"), SLOTS.index("ranked")
RUNNING = POOL_STATES.index("running")
LIKE, COLLECT = BIT["like"], BIT["collect"]
COUNTED = ("impression", "click", "view", "like", "collect", "comment", "share")
_COUNTED = [ACTIONS.index(action) for action in COUNTED]


@lru_cache(65_536)
def iso(ms: int) -> str | None:
    """RFC 3339 in UTC with milliseconds; None for 0, which means never.

    >>> iso(1_577_836_800_123)
    '2020-01-01T00:00:00.123Z'
    """
    if ms <= 0:
        return None
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def source_of(sources: int, slot: int) -> str:
    """The one source that is named: the pool for a pool slot, else the first that brought it."""
    if slot == POOL or not sources:
        return "pool" if slot == POOL else "hot"
    return SOURCES[(sources & -sources).bit_length() - 1]


def feed_body(answer: Answer, next_cursor: str | None) -> dict[str, Any]:
    """The whole answer."""
    page = answer.page
    query = page.query
    return {
        "request_id": query.request_id,
        "user_id": query.user_id,
        "surface": query.surface,
        "took_ms": round(answer.took_ms, 2),
        "state_as_of": iso(answer.state_as_of),
        "model_version": page.scorer.version,
        "variants": {},
        "degraded": page.degraded or None,
        "items": items(answer),
        "next_cursor": next_cursor,
    }


def items(answer: Answer) -> list[dict[str, Any]]:
    page, facts, texts = answer.page, answer.facts, answer.texts
    query, viewer, scored = page.query, page.viewer, page.scored
    if not page.placed:
        return []
    rows = [placed.row for placed in page.placed]
    notes = taken(page.notes, rows)
    hashes: list[int] = notes["hash"].tolist()
    sources: list[int] = page.candidates.sources[rows].tolist()
    tiers: list[int] = np.where(notes["pool"] == RUNNING, notes["tier"], -1).tolist()
    counts: list[list[int]] = notes["counts"][:, _COUNTED].tolist()
    published: list[int] = notes["published_at"].tolist()
    media: list[int] = notes["media"].tolist()
    scores: list[float] = scored.score[rows].tolist() if scored is not None else [0.0] * len(rows)
    km = scored.km[rows] if scored is not None and scored.km is not None else distance_km(viewer.lat, viewer.lon, notes)
    distances = [round(one * 1000.0) if isfinite(one) else None for one in km.tolist()]
    done = ledger_bits(answer, hashes)
    taste = viewer.taste
    tags: list[list[float]] = lookup(notes["tags"], taste.tags, taste.tag_weights).tolist()
    authors: list[float] = lookup(notes["author"], taste.authors, taste.author_weights).tolist()
    channels: list[float] = lookup(notes["channel"], taste.channels, taste.channel_weights).tolist()
    followed: list[bool] = member(notes["author"], viewer.followed).tolist()
    found = []
    for i, placed in enumerate(page.placed):
        about, text, bits, tier = facts[i], texts[i], done[i], tiers[i]
        impressions, clicks, views, likes, collects, comments, shares = counts[i]
        item = {
            "note_id": about.id,
            "author_id": about.author,
            "title": text.title,
            "cover_url": text.cover_url or None,
            "media": MEDIA[media[i]] or None,
            "tags": about.tags,
            "channel": about.channel or None,
            "published_at": iso(published[i]),
            "position": query.start + i,
            "score": round(scores[i], 4),
            "source": source_of(sources[i], placed.slot),
            "pool": tier if tier >= 0 else None,
            "sponsored": placed.slot == SPONSORED,
            "liked": bool(bits & LIKE),
            "collected": bool(bits & COLLECT),
            "distance_m": distances[i],
            "counts": {
                "impression": impressions,
                "click": clicks,
                "view": views,
                "like": likes,
                "collect": collects,
                "comment": comments,
                "share": shares,
            },
            "reasons": reasons(
                about,
                placed.slot,
                sources[i],
                tier,
                distances[i],
                query,
                viewer,
                hashes[i],
                tags[i][: len(about.tags)],
                authors[i],
                channels[i],
                followed[i],
            ),
        }
        if query.explain:
            item["explain"] = explained(answer, i)
        found.append(item)
    return found


def ledger_bits(answer: Answer, hashes: list[int]) -> list[int]:
    """What the user has done with each note."""
    ledger = answer.page.viewer.ledger
    if not ledger.size:
        return [0] * len(hashes)
    at = np.flatnonzero(member(ledger["hash"], np.sort(np.array(hashes, np.uint64))))
    known = dict(zip(ledger["hash"][at].tolist(), ledger["bits"][at].tolist(), strict=True))
    return [known.get(h, 0) for h in hashes]


def explained(answer: Answer, i: int) -> dict[str, Any]:
    """The sources that brought a note, what each part adds to its score, what is expected of it, and how it got its place."""
    page = answer.page
    placed, scored = page.placed[i], page.scored
    bits = int(page.candidates.sources[placed.row])
    told: dict[str, Any] = {
        "sources": [name for k, name in enumerate(SOURCES) if bits >> k & 1],
        "slot": SLOTS[placed.slot],
        "propensity": round(placed.propensity, 6),
    }
    if scored is not None:
        if scored.contributions is not None:
            parts = zip(page.scorer.parts, scored.contributions[placed.row].tolist(), strict=True)
            told["contributions"] = {name: round(value, 5) for name, value in parts}
        told["predictions"] = {a: round(p, 6) for a, p in zip(PREDICTED, scored.predictions[placed.row].tolist(), strict=True)}
        told["features"] = {n: round(x, 4) for n, x in zip(page.scorer.features, scored.features[placed.row].tolist(), strict=True)}
        told["rank"] = int((scored.score > scored.score[placed.row]).sum())
        diversity, slots = moved(page, scored.score, i)
        told["moved"] = {"diversity": diversity, "slots": slots}
    return told


def moved(page: Page, score: Floats, i: int) -> tuple[int, int]:
    """How many places up from where its score would put it an item stands, below 0 down: by what keeps authors and tags apart, and by places that
    are reserved or given by chance, be it its own or those of others."""
    placed, row = page.placed, page.placed[i].row
    above = (score > score[row]) | ((score == score[row]) & (np.arange(score.size) < row))
    up = int(np.count_nonzero(above)) - i
    if by_chance(placed[i]):
        return 0, up
    elsewhere = [one.row for one in placed if by_chance(one)]
    mixed = sum(not by_chance(one) for one in placed[:i])
    diversity = int(np.count_nonzero(above)) - int(np.count_nonzero(above[elsewhere])) - mixed
    return diversity, up - diversity


def by_chance(placed: Placed) -> bool:
    """It was drawn for its place, and not put there by its score."""
    return placed.slot != RANKED or placed.propensity < 1.0
