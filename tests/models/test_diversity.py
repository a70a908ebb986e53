"""Diversity."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyversity import ssd

import models.diversity
from models.diversity import Diversity, common

SEEDS = st.integers(0, 2**32)


def page(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 30))
    vectors = rng.normal(size=(m, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return (
        rng.normal(size=m).astype(np.float32),
        vectors,
        rng.integers(1, 8, m).astype(np.uint64),
        rng.integers(0, 6, (m, 3)).astype(np.uint64),
    )


def products(vectors: np.ndarray) -> np.ndarray:
    doubles = vectors.astype(np.float64)
    made: np.ndarray = doubles @ doubles.T
    return made


@settings(max_examples=60)
@given(SEEDS)
def test_what_notes_have_in_common_is_a_product_of_bags(seed: int) -> None:
    """A tag that stands twice in a note is one, and hashes that begin in one place are different tags."""
    rng = np.random.default_rng(seed)
    tags = rng.choice(np.array([0, 1, 2, 3, 3 << 20, 9 << 40], np.uint64), (int(rng.integers(0, 20)), 4))
    bags = (tags[:, :, None] == np.unique(tags[tags > 0])).any(1).astype(np.float64)
    assert common(tags) == pytest.approx(products(bags / np.sqrt(np.maximum(bags.sum(1, keepdims=True), 1.0))))


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.diversity).failed == 0


@given(SEEDS)
def test_diversity_permutes(seed: int) -> None:
    """All rows come once, whatever the rules forbid."""
    scores, vectors, authors, tags = page(seed)
    assert sorted(Diversity().order(scores, products(vectors), authors, tags, len(scores))) == list(range(len(scores)))


@given(SEEDS)
def test_no_two_of_one_author_are_neighbours_while_there_is_another(seed: int) -> None:
    """Where two stand together, no other author was left."""
    scores, vectors, authors, tags = page(seed)
    order = Diversity().order(scores, products(vectors), authors, tags, len(scores))
    for place in range(1, len(order)):
        if authors[order[place]] == authors[order[place - 1]]:
            assert set(authors[order[place:]].tolist()) == {int(authors[order[place]])}


@given(SEEDS)
def test_a_tag_has_its_share_while_there_is_another(seed: int) -> None:
    """A tag exceeds its share only where every note left of another author had a full tag."""
    scores, vectors, authors, tags = page(seed)
    n = max(1, len(scores) // 2)
    order, limit = Diversity(tag_share=0.4).order(scores, products(vectors), authors, tags, n), max(1, int(0.4 * n))
    for place, row in enumerate(order):
        shown = [set(tags[i].tolist()) - {0} for i in order[:place]]

        def full(i: int, shown: list[set[int]] = shown) -> bool:
            return any(sum(tag in other for other in shown) >= limit for tag in set(tags[i].tolist()) - {0})

        if full(row):
            above = authors[order[place - 1]] if place else 0
            assert all(full(i) for i in set(range(len(scores))) - set(order[:place].tolist()) if authors[i] != above)


@given(SEEDS, st.integers(0, 4), st.integers(0, 3))
def test_what_stands_on_the_page_anyway_counts_towards_a_tags_share(seed: int, k: int, chances: int) -> None:
    """With notes that are met, and some that will be, no tag has more of all places than its share, while there is another."""
    scores, vectors, authors, tags = page(seed)
    rng, n = np.random.default_rng(seed), max(1, len(scores) // 2)
    met, few = rng.integers(1, 6, (k, 3)).astype(np.uint64), Diversity(tag_share=0.5)
    limit = max(1, int(0.5 * n) - chances)
    authors = np.arange(1, len(scores) + 1, dtype=np.uint64)
    order = few.order(scores, products(vectors), authors, tags, n, met=met, chances=chances)
    sets = [set(row) - {0} for row in tags.tolist()]
    for place, row in enumerate(order.tolist()):
        above = [*(set(other) for other in met.tolist()), *(sets[i] for i in order[:place].tolist())]
        full = {tag for tag in range(1, 6) if sum(tag in other for other in above) >= limit}
        if sets[row] & full:
            assert all(sets[i] & full for i in set(range(len(scores))) - set(order[:place].tolist()))


@settings(max_examples=50)
@given(SEEDS, st.integers(1, 10))
def test_without_rules_it_is_pyversity(seed: int, window: int) -> None:
    """The oracle chooses the same rows."""
    scores, vectors, _, _ = page(seed)
    m = len(scores)
    ours = Diversity(spread=1.0, window=window, tag_share=1.0).order(
        scores, products(vectors), np.zeros(m, np.uint64), np.zeros((m, 1), np.uint64), min(m, 6)
    )
    theirs = ssd(vectors, scores, min(m, 6), diversity=0.5, window=window, append_bias=False)
    assert ours.tolist() == theirs.indices.tolist()


def test_nothing_to_order_is_an_empty_page() -> None:
    """No candidate, no place."""
    empty = np.empty(0, np.uint64)
    assert not len(Diversity().order(np.empty(0, np.float32), np.empty((0, 0)), empty, np.empty((0, 8), np.uint64), 5))


def test_the_author_above_the_page_counts() -> None:
    """Pages meet without two of one author."""
    scores, one = np.array([2.0, 1.0], np.float32), np.zeros((2, 2))
    order = Diversity().order(scores, one, np.array([5, 6], np.uint64), np.zeros((2, 1), np.uint64), 2, before=5)
    assert order.tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [{"spread": -1.0}, {"window": 0}, {"tag_share": 0.0}])
def test_a_rule_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    """Settings are checked where they are used."""
    with pytest.raises(ValueError, match="diversity"):
        Diversity(**wrong)  # type: ignore[arg-type]
