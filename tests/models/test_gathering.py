"""The loops of the features against what numpy says in whole arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.asker import join
from models.gathering import COLD, LIMIT, PRIOR, SHRINK, SIMILARITIES, gather, halve, look, odds, recall, reckon, say, score, tell
from models.neighbours import SUMS, Around, Neighbours, read


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_sums_over_neighbours_are_those_of_a_dense_table(seed: int) -> None:
    """Every similarity of every recent note and candidate laid out, and multiplied by the weights."""
    rng = np.random.default_rng(seed)
    n, heads, neighbours = (int(most) for most in rng.integers(1, (12, 6, 30)))
    row, head = map(np.ascontiguousarray, np.nonzero(rng.random((neighbours, heads)) < 0.5))
    hashes = np.unique(rng.integers(0, 2**63, n + neighbours).astype(np.uint64))[: n + neighbours]
    names = np.sort(rng.choice(hashes, neighbours, replace=False))
    candidates = rng.choice(hashes, n, replace=False)
    candidate = np.array([np.flatnonzero(candidates == name)[0] if name in candidates else -1 for name in names])
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
    gather(candidates, names, row, head, sums, key, lately, reach, weights, of, total, closest)

    assert total == pytest.approx(np.stack([similar[which] @ weights[:, i] for i, which in enumerate(of)], axis=1), rel=1e-4, abs=1e-4)
    assert closest == pytest.approx(similar[0].max(1), rel=1e-5)


@settings(max_examples=60)
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


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_heads_as_one_table_say_what_they_say_one_by_one(seed: int) -> None:
    """Rows by neighbour, of equals the newest head's first; heads that are absent, cut or of another version have none."""
    rng, rules, heads = np.random.default_rng(seed), Neighbours(), []
    for _ in range(int(rng.integers(0, 6))):
        around = Around()
        for other in rng.choice(12, int(rng.integers(0, 8)), replace=False).tolist():
            rules.learn(
                around, other << 60, int(rng.integers(1, 9)), 9_000_000_000, 1_000, int(rng.integers(0, 9)), int(rng.integers(0, 4))
            )
        whole = rules.head(around)
        heads.append(
            [whole, None, b"", whole[:-1], whole[:-4], b"\0" + whole[1:], whole + b"\0\0\0\0"][int(rng.choice(7, p=[0.7] + [0.05] * 6))]
        )
    joined, fronts = join(heads), [read(head) for head in heads]
    rows = sorted(
        (h, head, tuple(front.sums[:, at].tolist()), front.counts[at])
        for head, front in enumerate(fronts)
        for at, h in enumerate(front.hashes.tolist())
    )
    assert joined.hashes.tolist() == sorted({h for h, *_ in rows})
    told = zip(joined.hashes[joined.place].tolist(), joined.owner.tolist(), map(tuple, joined.sums.tolist()), joined.counts, strict=True)
    assert list(told) == rows
    assert joined.engaged.tolist() == [max(front.engaged, 1) for front in fronts]
    assert joined.landmark.tolist() == [front.landmark for front in fronts]
    assert joined.half_life_ms.tolist() == [front.half_life_ms for front in fronts]

    scores = np.empty(len(joined.hashes), np.float32)
    score(joined.place, joined.owner, joined.sums, joined.counts, joined.engaged, 0.8, 10.0, scores)
    plain = dict.fromkeys(joined.hashes.tolist(), 0.0)
    for h, head, sums, count in rows:
        plain[h] += 0.8**head * sums[0] / (np.sqrt(max(fronts[head].engaged, 1) * max(int(count), 1)) + 10.0)
    assert scores.tolist() == pytest.approx(list(plain.values()), rel=1e-6)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_what_records_say_is_what_whole_arrays_say(seed: int) -> None:
    """Odds of a like, weights by name, heat and ages, each laid out in numpy."""
    rng = np.random.default_rng(seed)
    n, engaged, like = int(rng.integers(1, 12)), np.array([1, 3, 4]), 3
    counts = rng.integers(0, 50, (n, 6)).astype(np.uint32)
    result = np.empty(n)
    odds(counts, engaged, like, 0.2, result)
    taken = counts[:, engaged].max(1).astype(np.float64)
    p = (np.minimum(counts[:, like], taken) + PRIOR * 0.2) / (taken + PRIOR)
    assert result == pytest.approx(p / (1 - p))

    keys, values = np.flatnonzero(rng.random(9) < 0.5).astype(np.uint64), rng.integers(0, 9, n).astype(np.uint64)
    weights, found = rng.normal(size=len(keys)).astype(np.float32), np.empty(n, np.float32)
    look(values, keys, weights, found)
    assert found.tolist() == [dict(zip(keys.tolist(), weights.tolist(), strict=True)).get(value, 0.0) for value in values.tolist()]

    heat = np.where(rng.random((n, 2)) < 0.3, -np.inf, rng.normal(0, 80, (n, 2))).astype(np.float32)
    passed, published, engaged_at = rng.normal(size=2), rng.integers(0, 99, n), rng.integers(0, 99, n)
    left, warm, ages = np.empty((2, n)), np.empty((2, n)), np.empty((2, n))
    reckon(heat, passed, published, engaged_at, 50, 10.0, left, warm, ages)
    plain = heat.T.astype(np.float64) - passed[:, None]
    hottest = plain.max(1, keepdims=True)
    plain -= np.where(np.isfinite(hottest), hottest, 0.0)
    assert warm.tolist() == (plain >= COLD).tolist()
    assert left.tolist() == np.maximum(plain, COLD).tolist()
    assert ages.tolist() == [(np.maximum(50 - at, 0) / 10.0).tolist() for at in (published, np.maximum(engaged_at, published))]


def test_of_recent_notes_the_user_himself_is_taken_out() -> None:
    """What others did to a note is told without his engagement and his like; what came within a second is one step."""
    counts = np.array([[9, 4, 2], [9, 0, 0]], np.uint32)  # impressions, clicks, likes
    step, praised, surplus, taken = np.empty(2, np.intp), np.empty(2), np.empty(2), np.empty(2)
    praise, engaged = np.array([False, False, True]), np.array([1, 2])
    recall(counts, np.array([5_000, 4_000]), np.array([2, 1]), praise, engaged, 2, 1_000, 0.5, step, praised, surplus, taken)
    assert step.tolist() == [0, 1]
    assert praised.tolist() == [1.0, 0.0]
    assert surplus.tolist() == pytest.approx([1.0 - (1 + PRIOR / 2) / (3 + PRIOR), -0.5])
    assert taken.tolist() == [6.0, 0.0]


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_a_tag_tells_what_the_notes_that_have_it_share_among_their_tags(seed: int) -> None:
    """Bags of the recent notes' tags, of unit length, times what each note adds; beside it the user's own weights."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 9, (int(rng.integers(0, 5)), 8)).astype(np.uint64)
    chosen = np.flatnonzero(rng.random(12) < 0.4).astype(np.uint64)
    chosen, by_note = chosen[chosen > 0], rng.normal(size=(2, len(tags)))
    weights = rng.normal(size=len(chosen)).astype(np.float32)
    names, table = np.empty(tags.size + len(chosen), np.uint64), np.zeros((tags.size + len(chosen), 3))
    known = tell(tags, chosen, weights, by_note, names, table)
    every = np.union1d(tags[tags != 0], chosen)
    assert names[:known].tolist() == every.tolist()
    bags = (tags[:, :, None] == every).any(1) / np.sqrt(np.maximum((tags != 0).sum(1), 1))[:, None]
    assert table[:known, 1:] == pytest.approx((by_note @ bags).T)
    own = dict(zip(chosen.tolist(), weights.tolist(), strict=True))
    assert table[:known, 0].tolist() == [own.get(tag, 0.0) for tag in every.tolist()]
