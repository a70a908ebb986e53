"""From scores to places."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from config import settings as config
from serving.feed import nobody
from serving.slots import POOL, merge, passed_over, place, reserved_places
from serving.stages import Candidates, Query, Scored
from store.layout import NOTE, POOL_STATES

RULES = config.load(environ={}).feed
NOTHING = np.empty((0, 0), np.float32)


def pool_of(n: int, seed: int) -> tuple[Candidates, np.ndarray, Scored]:
    """n notes in a pool, of n authors, with random scores."""
    rng = np.random.default_rng(seed)
    notes = np.zeros(n, NOTE)
    notes["pool"], notes["quota"] = POOL_STATES.index("running"), 10
    notes["score"], notes["author"] = rng.normal(size=n), np.arange(n)
    score = rng.normal(size=n).astype(np.float32)
    candidates = Candidates(np.arange(n, dtype=np.uint64), np.full(n, 255, np.uint8), np.arange(n), np.zeros(n, np.bool_))
    return candidates, notes, Scored(score, score / 2, NOTHING, NOTHING, NOTHING, NOTHING)


@given(st.integers(1, 50), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=60)
def test_reserved_places_are_apart_and_as_many_as_the_share_says(n: int, share: float, seed: int) -> None:
    places = reserved_places(n, share, np.random.default_rng(seed))
    assert n * share - 1 <= len(places) <= n * share + 1
    assert places == sorted(set(places))
    assert all(0 <= p < n for p in places)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 10), st.integers(1, 30), st.integers(0, 2**32))
@settings(max_examples=100)
def test_merging_shows_each_note_once_and_keeps_authors_apart_while_it_can(authors: list[int], pools: int, n: int, seed: int) -> None:
    """A page is as long as there are notes; two of one author stand together only when nobody else is left."""
    rows = np.random.default_rng(seed).permutation(len(authors)).tolist()
    drawn, ranked = [(row, 0.5) for row in rows[:pools]], rows[pools:]
    placed = merge(list(ranked), list(drawn), {0, 3, 4}, n, authors)
    shown = [p.row for p in placed]
    assert len(shown) == len(set(shown)) == min(n, len(authors))
    assert {p.row for p in placed if p.slot == POOL} <= {row for row, _ in drawn}
    for i, (a, b) in enumerate(pairwise(shown)):
        if authors[a] == authors[b]:
            left = set(rows) - set(shown[: i + 1])
            assert {authors[row] for row in left} == {authors[b]}


@given(st.integers(0, 40), st.integers(0, 15), st.integers(0, 2**32))
@settings(max_examples=60)
def test_the_sample_of_what_was_passed_over_stands_for_all_of_it(n: int, count: int, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(n)
    sample = passed_over(order, [], count or 1, 30, np.random.default_rng(seed))
    assert len({row for row, _ in sample}) == len(sample) == min(count or 1, min(n, 30))
    assert abs(sum(weight for _, weight in sample) - min(n, 30)) < 1e-6


def test_places_run_best_first_where_nothing_is_reserved() -> None:
    candidates, notes, scored = pool_of(30, 5)
    query = Query("u", 1, "feed", 10, "r", 1)
    placed, order = place(query, nobody(0), candidates, notes, scored, RULES, np.random.default_rng(1), pools=None)
    assert [p.row for p in placed] == order[:10].tolist() == np.argsort(-scored.score, kind="stable")[:10].tolist()
