"""The slate: what one response showed and passed over, as the users stage and every later model will read it."""

from __future__ import annotations

from config.keys import hash64
from config.records import VERSION, Served, Signal, Slate, SlateItem, UserRecord, encode
from models.sorting import descending
from serving.expected import expected
from serving.stages import Page
from store.layout import POOL_STATES

RUNNING = POOL_STATES.index("running")


def slate_of(page: Page, settings_hash: str) -> Slate:
    """A page as it is logged. Without a scorer (degraded) it has neither features nor predictions, and nothing is learned from it."""
    query, candidates, notes, scored = page.query, page.candidates, page.notes, page.scored
    rows = [placed.row for placed in page.placed]
    passed = [row for row, _ in page.passed]
    all_rows = rows + passed
    hashes: list[int] = candidates.hashes[all_rows].tolist()
    sources: list[int] = candidates.sources[all_rows].tolist()
    told = zip(notes["pool"][all_rows].tolist(), notes["tier"][all_rows].tolist(), strict=True)
    tiers = [tier if pool == RUNNING else -1 for pool, tier in told]
    items = [
        SlateItem(h, query.start + place, p.slot, bits, tier, p.propensity)
        for place, (p, h, bits, tier) in enumerate(zip(page.placed, hashes, sources, tiers, strict=False))
    ]
    n = len(rows)
    others = [
        SlateItem(h, -1, 0, bits, tier, weight)
        for (_, weight), h, bits, tier in zip(page.passed, hashes[n:], sources[n:], tiers[n:], strict=True)
    ]
    slate = Slate(query.request_id, query.surface, items, others, page.scorer.feature_set, b"", b"")
    slate.session_id, slate.device, slate.degraded = query.session_id, query.device, page.degraded
    slate.settings_hash = settings_hash
    if scored is not None:
        slate.features = scored.features[all_rows].astype("<f2").tobytes()
        slate.predictions = expected(page).astype("<f2").tobytes()
        slate.context = scored.context
        slate.model_version = page.scorer.version
    return slate


def shadow_of(page: Page, most: int) -> Slate:
    """A slate that nobody saw: the best `most` candidates in ranked order, to be learned from when one of them is engaged with.

    It names no slot, no pool and no expectation, since what follows is neither evidence nor due to us.
    """
    assert page.scored is not None
    score = page.scored.score
    rows = descending(score)[:most]
    items = [SlateItem(h, place, 0, 0, -1, 1.0) for place, h in enumerate(page.candidates.hashes[rows].tolist())]
    slate = Slate(page.query.request_id, page.query.surface, items, [], page.scorer.feature_set, b"", b"")
    slate.features = page.scored.features[rows].astype("<f2").tobytes()
    slate.context, slate.shadow, slate.model_version = page.scored.context, True, page.scorer.version
    return slate


def packed(signal: Signal, now_ms: int) -> bytes:
    """A record of the API's own: no source, so its signal is deduplicated by id."""
    return encode(UserRecord(VERSION, None, 0, (0, 0, 0), (0, 0, 0), now_ms, [], [signal]))  # type: ignore[list-item]


def served(page: Page, settings_hash: str, stamp: int, now_ms: int) -> bytes:
    """The record that says a slate left the API."""
    return logged(page, slate_of(page, settings_hash), stamp, now_ms)


def logged(page: Page, slate: Slate, stamp: int, now_ms: int) -> bytes:
    query = page.query
    return packed(Served(u=query.user_id, t=stamp, id=hash64(query.request_id), slate=slate), now_ms)
