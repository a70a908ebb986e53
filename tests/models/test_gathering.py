"""The loops of the features against what numpy says in whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.gathering import LIMIT, SHRINK, SIMILARITIES, gather, halve, say
from models.neighbours import SUMS


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_sums_over_neighbours_are_those_of_a_dense_table(seed: int) -> None:
    """Every similarity of every recent note and candidate laid out, and multiplied by the weights."""
    rng = np.random.default_rng(seed)
    n, heads, neighbours = (int(most) for most in rng.integers(1, (12, 6, 30)))
    row, head = map(np.ascontiguousarray, np.nonzero(rng.random((neighbours, heads)) < 0.5))
    candidate = np.full(neighbours, -1)
    some = min(n, neighbours)
    candidate[rng.choice(neighbours, some, replace=False)] = rng.permutation(n)[:some]
    sums = np.where(rng.random((len(row), len(SUMS))) < 0.2, 0.0, rng.random((len(row), len(SUMS)))).astype(np.float32)
    key, lately, reach = (rng.uniform(0, 9, size).astype(np.float32) for size in (heads, heads, n))
    of = rng.integers(0, len(SIMILARITIES), 9)
    weights = rng.normal(size=(heads, 9)).astype(np.float32)

    similar = np.zeros((len(SIMILARITIES), n, heads))
    for at, (r, h) in enumerate(zip(row.tolist(), head.tolist(), strict=True)):
        if (c := candidate[r]) >= 0:
            four = sums[at].astype(np.float64) / (float(key[h]) * float(reach[c]) + float(SHRINK))
            together = four[0]
            similar[:, c, h] = [*four[:3], four[3] * lately[h], np.log(1 + 1000 * together), together**2, together > 0]
    total, closest = np.zeros((n, 9), np.float32), np.zeros(n, np.float32)
    gather(candidate, row, head, sums, key, lately, reach, weights, of, total, closest)

    assert total == pytest.approx(np.stack([similar[which] @ weights[:, i] for i, which in enumerate(of)], axis=1), rel=1e-4, abs=1e-4)
    assert closest == pytest.approx(similar[0].max(1), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_what_tags_add_is_a_product_of_bags(seed: int) -> None:
    """Bags of tags as rows of a matrix, of unit length; a tag that is nobody's counts for the length alone."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 9, (int(rng.integers(0, 12)), 8)).astype(np.uint64)
    names = np.flatnonzero(rng.random(9) < 0.5).astype(np.uint64)
    names = names[names > 0]
    table = rng.normal(size=(len(names) + 1, 3))
    bags = (tags[:, :, None] == names).sum(1)
    said = np.zeros((len(tags), 3))
    say(tags, names, table, said)
    assert said == pytest.approx(bags @ table[:-1] / np.sqrt(np.maximum((tags != 0).sum(1), 1))[:, None])


@given(st.floats(width=32, allow_nan=False))
def test_whatever_is_beyond_float16_is_its_limit(value: float) -> None:
    """Clipped, then rounded: to the bit what numpy gives."""
    x = np.array([value], np.float32)
    plain = x.clip(-LIMIT, LIMIT).astype(np.float16).astype(np.float32)
    result = np.empty_like(x)
    halve(x, result)
    assert result.tobytes() == plain.tobytes()
