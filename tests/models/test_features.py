"""Features."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.features
from config.events import ACTIONS
from models.asker import Asker, join
from models.features import FEATURES, NAMES, RANKED, Frame, distance_km, halves, matrix, unmet, weights_of
from models.interest import Taste
from models.neighbours import Around, Neighbours
from store.layout import NOTE

DAY = 86_400_000
NOW = 1_750_000_000_000
EPOCH = 1_577_836_800_000
HALF_LIVES = [3.6e6, 2.16e7, 1.728e8, 1.2096e9]
NO_HASH, NO_WEIGHT = np.empty(0, np.uint64), np.empty(0, np.float32)
TASTE = Taste(NO_HASH, NO_WEIGHT, NO_HASH, NO_WEIGHT, NO_HASH, NO_WEIGHT)
LIKE, VIEW = ACTIONS.index("like"), ACTIONS.index("view")


def notes(n: int, rng: np.random.Generator) -> np.ndarray:
    made = np.zeros(n, NOTE)
    made["hash"] = rng.permutation(n).astype(np.uint64) * 7919 + 1
    made["tags"] = rng.integers(0, 6, (n, 8))
    made["counts"] = rng.integers(0, 50, (n, len(ACTIONS)))
    made["heat"] = np.where(rng.random((n, 4)) < 0.2, -np.inf, rng.normal(30, 5, (n, 4)))
    made["lat"], made["lon"] = rng.uniform(-90, 90, n), np.where(rng.random(n) < 0.3, np.nan, rng.uniform(-180, 180, n))
    made["published_at"] = NOW - rng.integers(-DAY, 100 * DAY, n)
    return made


def asker(recent: np.ndarray, rng: np.random.Generator, to: np.ndarray) -> Asker:
    rules, heads = Neighbours(), []
    for _ in recent:
        around = Around()
        for other in to["hash"][rng.random(len(to)) < 0.5].tolist():
            rules.learn(around, other, int(rng.integers(1, 9)) * int(rng.choice([-1, 1])), NOW - DAY, 1_000, 9, 4)
        heads.append(rules.head(around))
    m = len(recent)
    times = NOW - np.sort(rng.integers(0, 5_000, m)).astype(np.int64)
    return Asker(NOW, m, 2.0, recent["hash"].copy(), times, rng.choice([LIKE, VIEW], m), recent, join(heads), TASTE, 10.0, 179.9)


def drawn(seed: int) -> tuple[Asker, np.ndarray]:
    rng = np.random.default_rng(seed)
    every = notes(int(rng.integers(1, 25)), rng)
    recent = int(rng.integers(0, min(len(every), 6)))
    return asker(every[:recent], rng, every[recent:]), every[recent:]


def of(who: Asker, candidates: np.ndarray, name: str) -> list[float]:
    column: list[float] = matrix(Frame(who, candidates, EPOCH, HALF_LIVES))[:, NAMES.index(name)].tolist()
    return column


def test_the_examples_hold() -> None:
    """The docstrings' examples are true."""
    assert doctest.testmod(models.features).failed == 0


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_every_feature_is_a_number_that_the_log_holds(seed: int) -> None:
    """No candidate, no history, no place, no tags: still numbers, and the same in float16."""
    who, candidates = drawn(seed)
    x = matrix(Frame(who, candidates, EPOCH, HALF_LIVES))
    assert x.shape == (len(candidates), len(FEATURES))
    assert np.isfinite(x).all()
    assert (x == x.astype(np.float16).astype(np.float32)).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_features_do_not_depend_on_the_order_of_the_candidates(seed: int) -> None:
    """A candidate's row is its own, up to rounding."""
    who, candidates = drawn(seed)
    turn = np.random.default_rng(seed).permutation(len(candidates))
    there, back = (matrix(Frame(who, some, EPOCH, HALF_LIVES)) for some in (candidates, candidates[turn]))
    assert back == pytest.approx(there[turn], rel=2e-3, abs=2e-3)


def test_a_stranger_gets_features_without_any_history() -> None:
    """All neighbours are equal to somebody with no recent notes."""
    candidates = notes(5, np.random.default_rng(0))
    nobody = asker(candidates[:0], np.random.default_rng(0), candidates)
    assert len(set(of(nobody, candidates, "together"))) == 1
    assert set(of(nobody, candidates, "lenient")) == {0.0}


def test_an_empty_page_is_an_empty_matrix() -> None:
    """No candidate is no error."""
    who, candidates = drawn(5)
    assert matrix(Frame(who, candidates[:0], EPOCH, HALF_LIVES)).shape == (0, len(NAMES))


def test_records_may_lie_in_bytes_that_cannot_be_written() -> None:
    """As few as one: its columns are not copied by the way."""
    who, candidates = drawn(5)
    one = candidates[:1]
    x, read_only = (matrix(Frame(who, some, EPOCH, HALF_LIVES)) for some in (one, np.frombuffer(one.tobytes(), NOTE)))
    assert (x == read_only).all()


def test_the_neighbour_of_the_newest_note_leads() -> None:
    """What was taken last weighs most, as long as there was a second between."""
    rng, rules = np.random.default_rng(1), Neighbours()
    every = notes(4, rng)
    heads = []
    for other in every["hash"][2:].tolist():
        around = Around()
        rules.learn(around, other, 1, NOW - DAY, 0, 9, 9)
        heads.append(rules.head(around))
    every["counts"] = 3
    who = Asker(NOW, 2, 2.0, every["hash"][:2], np.array([NOW, NOW - 9_000]), np.array([VIEW, VIEW]), every[:2], join(heads), TASTE)
    for name in ("together", "together_steps", "together_last"):
        new, old = of(who, every[2:], name)
        assert new > old


def test_what_is_taken_by_one_who_likes_much_is_liked_more() -> None:
    """Leniency is the surplus over what others thought of the same notes."""
    every = notes(6, np.random.default_rng(2))
    recent, candidates = every[:3], every[3:]
    heads = [None] * 3
    times = np.array([NOW - 1, NOW - 2, NOW - 3])

    def lenient(action: int) -> float:
        who = Asker(NOW, 3, 2.0, recent["hash"], times, np.full(3, action), recent, join(heads), TASTE)
        return of(who, candidates, "lenient")[0]

    assert lenient(LIKE) > lenient(VIEW)


@pytest.mark.parametrize(("a", "b", "km"), [((90, 0), (90, 135), 0), ((0, 180), (0, -180), 0), ((-90, 0), (90, 0), 20_015)])
def test_the_poles_and_the_date_line_are_places_like_others(a: tuple[int, int], b: tuple[int, int], km: float) -> None:
    """Distances go the short way round."""
    assert distance_km(*a, np.array([b[0]]), np.array([b[1]]))[0] == pytest.approx(km, abs=1)


def test_weights_are_given_by_the_names_of_features() -> None:
    """A name that is none is refused."""
    assert weights_of(RANKED).sum() == 1.0
    with pytest.raises(KeyError, match="nothing"):
        weights_of({"nothing": 1.0})


@settings(max_examples=60)
@given(st.lists(st.floats(-60_000, 60_000, width=32), min_size=1))
def test_values_are_rounded_as_float16_rounds_them(values: list[float]) -> None:
    """The fast way and the plain one, to the bit."""
    x = np.array([values], np.float32)
    assert (halves(x).view(np.uint32) == x.astype(np.float16).astype(np.float32).view(np.uint32)).all()


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_what_nobody_has_met_is_known_from_what_its_author_said(seed: int) -> None:
    """The fast way, from rows that are there, and the plain one, from records in which nothing was earned."""
    who, candidates = drawn(seed)
    frame = Frame(who, candidates, EPOCH, HALF_LIVES)
    fresh = candidates.copy()
    for column in ("hash", "engaged_at", "counts"):
        fresh[column] = 0
    fresh["heat"] = -np.inf
    again = Frame(who, fresh, EPOCH, HALF_LIVES)
    again.past = frame.past
    assert unmet(matrix(frame), frame.past) == pytest.approx(matrix(again), rel=1e-3, abs=1e-6)
