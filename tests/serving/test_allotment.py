"""Who gets the places reserved for pools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import settings as config
from config.records import SOURCES
from models import pool
from models.pool import HOUR, PoolState, need
from serving.allotment import Allotment, Ladder
from serving.feed import nobody
from serving.stages import Candidates, Query, Scored
from serving.underway import Underway
from store.layout import NOTE, POOL_STATES

SETTINGS = config.load(environ={})
MADE = pool.configured(SETTINGS)
T0 = 1_800_000_000_000
NOTHING = np.empty((0, 0), np.float32)
QUERY = Query("u", 1, "feed", 10, "r", 1)
TOP = len(MADE.tiers) - 1


def ladder(base_share: float = 0.8) -> Ladder:
    made = Ladder(SETTINGS.pool, SETTINGS.feed.pool_ahead)
    made.base_share = base_share
    return made


def running(n: int, seed: int = 1) -> tuple[Candidates, np.ndarray[Any, Any], Scored]:
    """n notes fresh in the base tier, of random placement and match."""
    rng = np.random.default_rng(seed)
    notes = np.zeros(n, NOTE)
    notes["hash"] = np.arange(n)
    notes["pool"], notes["quota"], notes["tier_entered_at"] = POOL_STATES.index("running"), MADE.tiers[0].quota, T0
    notes["score"] = rng.normal(size=n)
    score = rng.normal(size=n).astype(np.float32)
    sources = np.full(n, 1 << SOURCES.index("pool"), np.uint8)
    candidates = Candidates(np.arange(n, dtype=np.uint64), sources, np.arange(n), np.zeros(n, np.bool_))
    return candidates, notes, Scored(score, score / 2, NOTHING, NOTHING, NOTHING, NOTHING)


@given(st.integers(0, TOP), st.integers(0, 90_000), st.integers(0, 60), st.integers(0, 5), st.floats(0.0, 100.0))
def test_needs_as_columns_are_the_needs_of_the_policy(tier: int, used: int, flying: int, own: int, hours: float) -> None:
    """The fast path says of a record what `models.pool.need` says of the state it was made from."""
    quota = MADE.tiers[tier].quota
    used %= quota
    start = 0 if tier == 0 else MADE.tiers[0].quota
    place = PoolState(tier, pool.OPEN, T0, T0, T0 + 24 * HOUR, float(start), float(MADE.tiers[0].quota))
    notes = np.zeros(1, NOTE)
    notes["tier"], notes["quota"], notes["organic"], notes["served"] = tier, quota - used, start + used, flying
    notes["tier_entered_at"] = T0
    now = T0 + int(hours * HOUR)
    found = ladder().wants(notes, np.array([own]), now)
    plain = need(place, float(start + used + flying + own), MADE, now)
    due = plain.due if tier == 0 else 0.0  # of a later tier the base is complete
    assert found.due[0] == pytest.approx(due)
    assert max(found.want[0], 0.0) == pytest.approx(max(plain.want, 0.0))


def test_propensities_are_what_redrawing_shows() -> None:
    """Over both kinds of place: the first draw's logged propensity is the frequency with which that note is drawn first."""
    due, score, pull = np.array([0.5, 0.1, 0.0, 0.0, 0.3]), np.linspace(-1, 1, 5), np.array([0.0, 1.0, -1.0, 0.5, 0.0])
    made, firsts, logged, draws = ladder(), np.zeros(5), np.zeros(5), 20_000
    for seed in range(draws):
        (at, propensity), *_ = made.draw(due, score, pull, 3, 1.0, np.random.Generator(np.random.PCG64(seed)))
        firsts[at] += 1
        logged[at] = propensity
    error = np.sqrt(logged * (1 - logged) / draws)
    assert (np.abs(firsts / draws - logged) < 5 * error + 1e-4).all()
    assert logged.sum() == pytest.approx(1.0)


@given(st.integers(1, 40), st.integers(1, 60), st.floats(0.0, 2.0), st.integers(0, 2**32))
@settings(max_examples=60)
def test_nobody_is_drawn_twice_and_every_place_is_filled_while_anybody_is_left(n: int, count: int, heat: float, seed: int) -> None:
    """Propensities are probabilities, however hard the weights lean."""
    rng = np.random.default_rng(seed)
    due, score, pull = np.maximum(0.0, rng.normal(size=n)), 30 * rng.normal(size=n), 10 * rng.normal(size=n)
    drawn = ladder().draw(due, score, pull, count, heat, rng)
    assert len({at for at, _ in drawn}) == len(drawn) == min(n, count)
    assert all(0.0 < propensity <= 1.0 for _, propensity in drawn)


def test_the_promise_takes_its_share_and_no_more() -> None:
    """While anybody is due, `base_share` of the places go by what is due, the rest by score; when nobody is, all go by score."""
    due, score, pull = np.array([0.5, 0.5, 0.0]), np.array([-20.0, -20.0, 20.0]), np.zeros(3)
    firsts = [ladder(0.8).draw(due, score, pull, 1, 0.5, np.random.default_rng(seed))[0][0] for seed in range(4_000)]
    assert np.bincount(firsts, minlength=3) / 4_000 == pytest.approx([0.4, 0.4, 0.2], abs=0.04)
    alone = [ladder(0.8).draw(np.zeros(3), score, pull, 1, 0.5, np.random.default_rng(seed))[0][0] for seed in range(50)]
    assert set(alone) == {2}


def test_a_promise_that_does_not_fit_is_shared_in_equal_parts() -> None:
    """Forty notes and half the places that are promised: each gets about half, whatever it would score."""
    candidates, notes, scored = running(40)
    scored = scored._replace(own=np.zeros(40, np.float32))
    given_ = np.zeros(40, np.int64)
    allotment = Allotment(SETTINGS.pool, SETTINGS.feed, Underway(SETTINGS))
    deliver = int(SETTINGS.pool.deliver_hours)
    for hour in range(deliver):
        for feed in range(25):
            notes["organic"], notes["quota"] = given_, MADE.tiers[0].quota - given_
            now = T0 + hour * HOUR + feed * HOUR // 25
            for row, _ in allotment.draw(QUERY, nobody(now), candidates, notes, scored, 5, np.random.default_rng([hour, feed])):
                given_[row] += 1
    assert given_.sum() == 25 * 5 * deliver
    assert given_.min() >= 0.6 * given_.mean()


def test_a_user_without_a_match_still_sees_a_few_and_a_note_meets_strangers() -> None:
    """Match leans the draw, it decides nothing alone."""
    candidates, notes, scored = running(10)
    own = np.zeros(10, np.float32)
    own[0] = 1.5
    allotment = Allotment(SETTINGS.pool, SETTINGS.feed, Underway(SETTINGS))
    times = np.zeros(10)
    notes["score"] = 0.0
    for seed in range(600):
        for row, _ in allotment.draw(QUERY, nobody(T0), candidates, notes, scored._replace(own=own), 2, np.random.default_rng(seed)):
            times[row] += 1
    assert times[0] > 5 * times[1:].mean()
    assert times[1:].min() > 0


@pytest.mark.parametrize("why", ["quota under way", "not in a pool", "own servings", "pace", "stalled", "another source"])
def test_what_may_not_be_given_now_is_not_drawn(why: str) -> None:
    """A quota that is under way, a share of it that this process holds unseen, a tier's pace, a stalled partition."""
    candidates, notes, scored = running(6)
    underway = Underway(SETTINGS)
    if why == "quota under way":
        notes["served"] = MADE.tiers[0].quota
    elif why == "not in a pool":
        notes["pool"] = 0
    elif why == "own servings":
        for seed in (2, 3):
            underway.hold(seed, [(h, True) for h in range(6)], 0.0)
    elif why == "pace":
        notes["tier"], notes["quota"], notes["served"] = 4, MADE.tiers[4].quota, MADE.tiers[4].pace
    elif why == "stalled":
        underway.stalled = frozenset([0])
    else:
        candidates = candidates._replace(sources=np.full(6, 1 << SOURCES.index("hot"), np.uint8))
    allotment = Allotment(SETTINGS.pool, SETTINGS.feed, underway)
    assert allotment.draw(QUERY, nobody(T0), candidates, notes, scored, 3, np.random.default_rng(1)) == []
