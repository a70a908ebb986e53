"""Exploration."""

from __future__ import annotations

import doctest
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.explore
from models.explore import Explore

SCORES = st.lists(st.floats(-20, 20), min_size=1, max_size=12).map(np.array)


def test_the_example_holds() -> None:
    """The docstring's example is true."""
    assert doctest.testmod(models.explore).failed == 0


@given(SCORES, st.integers(0, 15), st.integers(0, 2**32), st.sampled_from([0.0, 0.2, 1.0]))
def test_a_draw_takes_each_note_once_with_a_chance(scores: np.ndarray, n: int, seed: int, even: float) -> None:
    """Distinct rows, propensities in (0, 1], and the same again from the same seed."""
    rows, chances = Explore(even=even).draw(scores, n, np.random.default_rng(seed))
    again, _ = Explore(even=even).draw(scores, n, np.random.default_rng(seed))
    assert len(set(rows.tolist())) == len(rows) == min(n, len(scores))
    assert ((chances > 0) & (chances <= 1)).all()
    assert rows.tolist() == again.tolist()


@pytest.mark.parametrize("even", [0.0, 0.3])
def test_logged_propensities_are_the_frequencies_of_slates_drawn_again(even: float) -> None:
    """Over 20,000 draws each ordered pair comes as often as the product of its propensities says, within 5 standard errors."""
    explore, scores, rng = Explore(temperature=0.7, even=even), np.array([0.0, 0.5, 1.0, -1.0]), np.random.default_rng(7)
    draws, seen, said = 20_000, dict.fromkeys(permutations(range(4), 2), 0), {}
    for _ in range(draws):
        rows, chances = explore.draw(scores, 2, rng)
        pair = tuple(rows.tolist())
        seen[pair] += 1
        said[pair] = float(chances.prod())
    assert sum(said.values()) == pytest.approx(1.0)
    for pair, times in seen.items():
        p = said[pair]
        assert abs(times / draws - p) < 5 * (p * (1 - p) / draws) ** 0.5


def test_an_even_share_bounds_chances_from_below() -> None:
    """The worst of ten still has a hundredth."""
    scores = np.array([0.0] * 9 + [-500.0])
    assert Explore(even=0.1).chances(np.exp(scores)).min() == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"even": 2.0}])
def test_a_rule_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    """Settings are checked where they are used."""
    with pytest.raises(ValueError, match="exploration"):
        Explore(**wrong)
