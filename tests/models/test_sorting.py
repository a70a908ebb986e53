"""The order of hashes."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import models.sorting
from models.sorting import ascending


def test_the_example_holds() -> None:
    """The docstring's example is true."""
    assert doctest.testmod(models.sorting).failed == 0


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 9), st.integers(2**64 - 9, 2**64 - 1))))
def test_hashes_ascend_and_equals_keep_their_order(values: list[int]) -> None:
    """numpy's stable order, of whatever numbers."""
    hashes = np.array(values, np.uint64)
    assert ascending(hashes).tolist() == np.argsort(hashes, kind="stable").tolist()
