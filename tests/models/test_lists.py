"""Lists: names, cells, scores, and bounded sorted lists against plain sorting."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from models import lists
from models.lists import EPOCH, HOUR, LEVELS, OnePerAuthor, Ranked, cell, covering, single
from store.layout import HEAD, head_bytes, head_from

LAT, LON = st.floats(-90, 90), st.floats(-180, 180)


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    (lat, lon), (lat2, lon2) = [tuple(map(math.radians, place)) for place in (a, b)]
    half = math.sin((lat2 - lat) / 2) ** 2 + math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(half)))


@settings(max_examples=400)
@given(LAT, LON, st.floats(0, 360), st.floats(0, 1), st.sampled_from(range(len(LEVELS))))
@example(89.99, 10.0, 0.0, 1.0, 1)
@example(-90.0, 180.0, 90.0, 1.0, 1)
@example(0.0, 179.999, 90.0, 1.0, 1)
def test_a_covering_holds_every_place_within_the_radius(lat: float, lon: float, bearing: float, share: float, level: int) -> None:
    """Whatever lies within the radius is in one of the cells: over the poles, over the date line, at any latitude."""
    radius = (1.0, 10.0, 60.0)[level]
    a, d, b = math.radians(lat), share * radius / 6371.0, math.radians(bearing)
    lat2 = math.asin(max(-1.0, min(1.0, math.sin(a) * math.cos(d) + math.cos(a) * math.sin(d) * math.cos(b))))
    turn = math.atan2(math.sin(b) * math.sin(d) * math.cos(a), math.cos(d) - math.sin(a) * math.sin(lat2))
    there = math.degrees(lat2), (lon + math.degrees(turn) + 540.0) % 360.0 - 180.0
    assume(distance_km((lat, lon), there) <= radius)
    assert cell(*there, level) in covering(lat, lon, radius, level)


@given(LAT, LON)
def test_a_covering_is_small_away_from_the_poles(lat: float, lon: float) -> None:
    """Ten kilometres are some 30 cells of 5 km, so a feed can read them all at once; each once, its own first row first."""
    assume(abs(lat) < 80)
    names = covering(lat, lon, 10.0)
    assert len(names) == len(set(names)) <= 49
    assert names[0].split(":")[2] == cell(lat, lon).split(":")[2]


@given(LAT, st.sampled_from(range(len(LEVELS))))
def test_both_sides_of_the_date_line_are_one(lat: float, level: int) -> None:
    """180° and -180° are the same place, so they are the same cell."""
    assert cell(lat, 180.0, level) == cell(lat, -180.0, level)


@given(LON, st.sampled_from(range(len(LEVELS))))
def test_the_poles_have_cells(lon: float, level: int) -> None:
    """No latitude falls out of the rows."""
    for lat in (90.0, -90.0):
        assert 0 <= int(cell(lat, lon, level).split(":")[2]) < math.ceil(180.0 / LEVELS[level])


@given(st.lists(st.text("ab/", max_size=6)))
def test_a_channel_is_in_its_prefixes(names: list[str]) -> None:
    """`a/b/c` has lists a, a/b and a/b/c, at most four."""
    for name in names:
        prefixes = lists.channels(name)
        assert all(name.startswith(prefix) for prefix in prefixes)
        assert len(prefixes) == (min(4, name.count("/") + 1) if name else 0)


SUM = st.floats(0, 1e6)


@given(SUM, SUM, st.integers(0, 400 * HOUR), st.integers(0, 3000))
def test_popularity_keeps_its_order_while_time_passes(a: float, b: float, later: int, weeks: int) -> None:
    """Forward decay: scores told at different landmarks compare like the decayed sums, and moving a landmark changes nothing."""
    half, base = 48.0 * HOUR, EPOCH + weeks * 7 * 24 * HOUR
    one = lists.popularity(a, base, base, 0.0, half, 2.0)
    moved = lists.popularity(a * 2.0 ** (-later / half), base + later, base, 0.0, half, 2.0)
    assert math.isclose(one, moved, abs_tol=1e-6)
    other = lists.popularity(b, base, base, 0.0, half, 2.0)
    assert a == b or abs(one - other) < 1e-9 or (one > other) == (a > b)


def test_a_hot_rate_cannot_be_bought_by_exposure() -> None:
    """More exposures at the usual rate leave a note where it is; at less than it, they cost."""
    half, base, rate = 6.0 * HOUR, EPOCH, 0.03
    usual = [lists.hot(rate * n, float(n), base, base, half, rate, 100.0) for n in (10, 1_000, 100_000)]
    assert max(usual) - min(usual) < 1e-9
    poor = [lists.hot(0.01 * n, float(n), base, base, half, rate, 100.0) for n in (10, 1_000, 100_000)]
    assert poor == sorted(poor, reverse=True)
    good = [lists.hot(0.1 * n, float(n), base, base, half, rate, 100.0) for n in (10, 1_000, 100_000)]
    assert good == sorted(good)


def test_what_is_shown_no_more_loses_a_bit_a_half_life() -> None:
    """Of two notes with the same rate the one shown later stands higher, by one per half-life."""
    half = 6.0 * HOUR
    early = lists.hot(5.0, 100.0, EPOCH, EPOCH + HOUR, half, 0.03, 100.0)
    late = lists.hot(5.0 * 2.0, 100.0 * 2.0, EPOCH, EPOCH + 7 * HOUR, half, 0.03, 100.0)
    assert math.isclose(late - early, 1.0)


@given(st.integers(0, 40 * 365 * 24 * HOUR), st.integers(0, 40 * 365 * 24 * HOUR), SUM, SUM)
def test_scores_are_finite_whatever_the_clocks(base: int, at: int, a: float, b: float) -> None:
    """A landmark of another decade than the note's times neither overflows nor divides by nothing."""
    for score in (lists.popularity(a, base, at, 0.0, HOUR / 2, 2.0), lists.hot(a, b, base, at, HOUR / 2, 0.0, 1e-9), lists.recency(at)):
        assert math.isfinite(score)


DIGEST = st.sampled_from([3, 7, 2**64 - 1, 0x0303030303030303, 256, 0, 5 * 2**32])
SCORE = st.none() | st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0, math.nan, 1e300]) | st.floats(-1e6, 1e6)
AUTHOR = st.sampled_from([0, 11, 12, 2**64 - 1])
PUTS = st.lists(st.tuples(DIGEST, SCORE, AUTHOR), max_size=40)


def truth(puts: list[tuple[int, float | None, int]]) -> list[tuple[int, float, int]]:
    held: dict[int, tuple[int, float, int]] = {}
    for digest, score, author in puts:
        held.pop(digest, None)
        if score is not None and score == score:
            held[digest] = (digest, single(score), author)
    return sorted(held.values(), key=lambda place: (-place[1], place[0]))


@settings(max_examples=300)
@given(PUTS)
def test_a_head_equals_the_sorted_truth_while_there_is_room(puts: list[Any]) -> None:
    """Set, moved, removed in any order: best first, ties by the smaller hash, each note once."""
    ranked = Ranked(b"", 100)
    for digest, score, author in puts:
        ranked.put(digest, score, author)
    assert list(ranked) == [(digest, score) for digest, score, _ in truth(puts)]
    assert head_from(bytes(ranked.head)).tobytes() == head_bytes(list(ranked))


@settings(max_examples=300)
@given(PUTS)
def test_a_hot_head_has_the_best_note_of_each_author(puts: list[Any]) -> None:
    """One note per author, the best first; the others wait behind it, and authors nobody knows stand in nobody's way."""
    ranked = OnePerAuthor(b"", b"", 100)
    for digest, score, author in puts:
        ranked.put(digest, score, author)
        ranked = OnePerAuthor(bytes(ranked.head), ranked.rest, 100)
    shown, hidden, seen = [], [], set()
    for digest, score, author in truth(puts):
        if author and author in seen:
            hidden.append((digest, score, author))
        else:
            shown.append((digest, score))
            seen.add(author)
    assert list(ranked) == shown
    assert list(lists.SHADOW.iter_unpack(ranked.shadow)) == hidden


@given(PUTS, st.integers(1, 4))
def test_beyond_the_bound_the_best_stay(puts: list[Any], bound: int) -> None:
    """Without removals and with scores that only rise, a bounded head is the head of the unbounded one."""
    rising = [(digest, score, author) for digest, score, author in puts if score is not None and score == score]
    rising.sort(key=lambda put: single(put[1]))
    small = Ranked(b"", bound)
    for digest, score, author in rising:
        small.put(digest, score, author)
    assert list(small) == [(digest, score) for digest, score, _ in truth(rising)][:bound]


def test_a_place_is_what_the_layout_says() -> None:
    """One format, here for lists in place and in the layout for readers."""
    assert lists.PLACE.size == HEAD.itemsize
    assert head_from(lists.PLACE.pack(2**63, 1.5)).tolist() == [(2**63, 1.5)]
