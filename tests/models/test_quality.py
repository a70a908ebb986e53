"""Quality: what a note earned against what was expected, and what recent notes teach about the next one."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import PoolPrior
from models import pool, quality
from models.quality import ACTIONS, Bars, Evidence, Quality, Recent, assess
from tools.simulate import configured

RULES = configured()
BARS = pool.first_bars("", RULES)
RATES = tuple(RULES.prior.rates[name] for name in ACTIONS)


def evidence(exposures: float, times: float) -> Evidence:
    """So many exposures, each action `times` what was expected."""
    expected = tuple(exposures * rate for rate in RATES)
    return Evidence(exposures, (expected[0], *(times * e for e in expected[1:])), expected)


def judged(found: Evidence, bars: Bars = BARS) -> Quality:
    return assess(found, bars, RULES.worth)


@pytest.mark.parametrize("clicks", [5_000.0, 1e5])
@pytest.mark.parametrize("expected", [1e-6, 1e-3, 0.1])
def test_clicks_where_next_to_none_were_expected_are_no_error(clicks: float, expected: float) -> None:
    """A scorer may be wrong by orders of magnitude: the note is good, and is judged."""
    found = judged(Evidence(1e6, (clicks, 0.0, 0.0, 0.0, 0.0, 0.0), (expected, *(expected * rate for rate in RATES[1:]))))
    assert 0.0 < found.low < found.mean < math.inf


@given(times=st.floats(0.0, 5.0), exposures=st.floats(0.0, 1e5))
def test_an_interval_holds_its_mean_and_everything_is_finite(times: float, exposures: float) -> None:
    """Whatever the counts."""
    found = judged(evidence(exposures, times))
    assert 0.0 < found.low < math.exp(found.log) < found.high < math.inf
    assert 0.0 <= found.above(BARS.cuts[1]) <= 1.0


@given(exposures=st.floats(10.0, 1e5), times=st.floats(0.0, 4.0), more=st.floats(0.05, 1.0))
def test_more_actions_for_the_same_exposures_never_make_a_note_worse(exposures: float, times: float, more: float) -> None:
    """Every action counts upwards."""
    assert judged(evidence(exposures, times + more)).log >= judged(evidence(exposures, times)).log - 1e-9


def test_the_same_counts_from_a_warmer_audience_are_worth_less() -> None:
    """An audience that likes everything is expected to like this too: observed is held against expected."""
    plain = evidence(300.0, 1.5)
    warm = msgspec.structs.replace(plain, expected=(plain.expected[0], *(2.0 * e for e in plain.expected[1:])))
    assert judged(warm).log < judged(plain).log - 0.2


def test_exposures_narrow_the_interval() -> None:
    """With ten times the evidence a note is known better."""
    widths = [judged(evidence(n, 1.5)).sd for n in (0.0, 100.0, 1_000.0, 10_000.0)]
    assert widths == sorted(widths, reverse=True)


def test_two_newton_steps_are_as_good_as_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is close enough that the speed costs less than 1 % of the posterior's width."""
    rng = random.Random(7)
    for _ in range(300):
        found = evidence(10 ** rng.uniform(0, 5), math.exp(rng.gauss(0.0, 0.8)))
        quick = judged(found)
        with monkeypatch.context() as patch:
            patch.setattr(quality, "NEWTON_STEPS", 20)
            assert abs(judged(found).log - quick.log) < 0.01 * quick.sd


def test_the_posterior_agrees_with_the_whole_integral() -> None:
    """Laplace and the smoother against a grid over both factors and the Gamma tastes drawn exactly."""
    found = Evidence(400.0, (80.0, 6.0, 3.0, 1.0, 0.0, 0.0), tuple(400.0 * rate for rate in RATES))
    total = first = second = 0.0
    opened, a = 80.0 / found.expected[0], BARS.shape
    for i in range(-60, 61):
        for j in range(-60, 61):
            u, z = i / 15, j / 15
            mean = found.expected[0] * BARS.lift[0] * math.exp(BARS.slope[0] * u)
            log = -0.5 * u * u + 80.0 * math.log(mean) - mean - 0.5 * (z - BARS.rho * u) ** 2 / (1 - BARS.rho**2)
            value = 0.0
            for k in range(1, len(ACTIONS)):
                base = opened * found.expected[k] * BARS.lift[k] * math.exp(BARS.slope[k] * z)
                log += found.observed[k] * math.log(base) - (found.observed[k] + a) * math.log(base + a)
                rate = RATES[k] * BARS.lift[0] * BARS.lift[k] * math.exp(BARS.slope[0] * u + BARS.slope[k] * z)
                value += RULES.worth[k] * rate * (found.observed[k] + a) / (base + a)
            weight = math.exp(log - 150.0)
            total, first, second = total + weight, first + weight * math.log(value), second + weight * math.log(value) ** 2
    mean, sd = first / total, math.sqrt(second / total - (first / total) ** 2)
    quick = judged(found)
    assert abs(quick.log - mean) < 0.2 * sd
    assert 0.9 * sd < quick.sd < 1.3 * sd  # the grid leaves the actions' own tastes at their means


@given(st.lists(st.sampled_from(["exposed", *ACTIONS]), max_size=40), st.randoms(use_true_random=False))
def test_evidence_does_not_depend_on_order_nor_on_how_it_was_split(signals: list[str], rng: random.Random) -> None:
    """Counts add up; binary fractions, so that even the bits agree."""
    step = tuple(2.0**-k for k in range(len(ACTIONS)))

    def add(one: Evidence, name: str) -> Evidence:
        return one.exposed(step) if name == "exposed" else one.acted(name)

    total = Evidence()
    for name in signals:
        total = add(total, name)
    again = Evidence().exposed(step, signals.count("exposed"))
    for name in rng.sample([s for s in signals if s != "exposed"], len([s for s in signals if s != "exposed"])):
        again = again.acted(name)
    assert again == total
    assert judged(again) == judged(total)


def test_an_action_taken_back_leaves_no_trace() -> None:
    """Unlike is like backwards."""
    before = Evidence().exposed(RATES)
    assert before.acted("like").acted("like", -1) == before


def world(rng: random.Random, notes: int, slope: float, exposures: int = 400) -> list[Evidence]:
    """Base tiers of a channel in which quality moves every action by `slope`; a scorer that is off by a fifth."""
    rows = []
    for _ in range(notes):
        z = rng.gauss(0.0, 1.0)
        expected = (0.0, *(exposures * rate for rate in (0.03, 0.015, 0.005, 0.004, 0.0025)))
        observed = tuple(float(poisson(rng, 1.2 * e * math.exp(slope * z))) for e in expected)
        rows.append(Evidence(float(exposures), observed, expected))
    return rows


def poisson(rng: random.Random, mean: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


@pytest.mark.parametrize("slope", [0.3, 0.55, 0.8])
def test_how_far_quality_moves_actions_is_learned_from_recent_notes(slope: float) -> None:
    """The settings say .55; the channel knows better."""
    recent = learned(world(random.Random(3), 512, slope))
    bars = pool.publish(recent, RULES)
    assert abs(bars.slope[1] - slope) < 0.1
    assert bars.number == 1
    assert bars.rate[0] == 0.0  # no clicks are logged here


def learned(rows: list[Evidence], prior: PoolPrior = RULES.prior) -> Recent:
    recent = Recent("food")
    for note, row in enumerate(rows):
        recent.add(note, 0, row, prior)
    return recent


def test_an_app_that_tells_no_clicks_has_the_bars_of_one_where_whoever_acts_has_clicked() -> None:
    """The scorer expects clicks all the same; without them told, no bar may fall to where every note passes it."""
    rows = [
        msgspec.structs.replace(row, expected=(0.16 * row.exposures, *row.expected[1:])) for row in world(random.Random(5), 300, 0.55, 100)
    ]
    told = [msgspec.structs.replace(row, observed=(max(row.observed), *row.observed[1:])) for row in rows]
    silent, other = pool.publish(learned(rows), RULES), pool.publish(learned(told), RULES)
    assert silent.lift == other.lift
    assert silent.cuts == other.cuts
    average = sum(worth * rate for worth, rate in zip(RULES.worth, (0.0, 0.03, 0.015, 0.005, 0.004, 0.0025), strict=True))
    assert all(cut > average for cut in silent.cuts[1:])


def test_bars_rise_and_follow_the_competition() -> None:
    """When recent notes are better, the same quantile is a higher bar."""
    rows = world(random.Random(5), 300, 0.55)
    better = [msgspec.structs.replace(row, observed=tuple(2.0 * o for o in row.observed)) for row in rows]
    usual, strong = pool.publish(learned(rows), RULES), pool.publish(learned(better), RULES)
    assert list(usual.cuts) == sorted(usual.cuts)
    assert all(high > 1.5 * low for low, high in zip(usual.cuts[1:], strong.cuts[1:], strict=True))


def test_recent_notes_are_bounded_and_a_note_that_climbs_keeps_one_row() -> None:
    """The window's size, whatever comes; later tiers replace a row and teach no moments."""
    prior = msgspec.structs.replace(RULES.prior, window=50)
    rows = world(random.Random(1), 120, 0.5, 100)
    recent = learned(rows, prior)
    assert list(recent.rows) == list(range(70, 120))
    moments = recent.excess
    recent.add(119, 1, rows[0], prior)
    recent.add(3, 2, rows[0], prior)  # long gone: not a recent note
    assert len(recent.rows) == 50
    assert recent.rows[119] == rows[0]
    assert recent.excess == moments


def test_what_is_learned_is_the_same_after_decoding() -> None:
    """The lists stage keeps bytes: nothing may get lost in them."""
    rows = world(random.Random(2), 40, 0.5)
    whole = learned(rows)
    parts = Recent("food")
    for note, row in enumerate(rows):
        parts.add(note, 0, quality.decode_evidence(quality.encode(row)), RULES.prior)
        parts = quality.decode_recent(quality.encode(parts))
    assert quality.encode(parts) == quality.encode(whole)
    bars = pool.publish(whole, RULES)
    assert quality.decode_bars(quality.encode(bars)) == bars


def test_judging_and_publishing_change_nothing_but_the_number() -> None:
    """Reading is free of effects."""
    found, recent = evidence(200.0, 1.3), learned(world(random.Random(2), 20, 0.5))
    bytes_before = quality.encode(found), quality.encode(recent)
    judged(found)
    first, second = pool.publish(recent, RULES), pool.publish(recent, RULES)
    assert msgspec.structs.replace(second, number=1) == first
    recent.number = 0
    assert (quality.encode(found), quality.encode(recent)) == bytes_before
