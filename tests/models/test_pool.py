"""The ladder: one step at a time, by evidence alone, and the promise kept."""

from __future__ import annotations

import random
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import DEFAULTS
from models import pool
from models.pool import HOUR, PoolState, decide, enter, first_bars, need, next_deadline, score
from models.quality import ACTIONS, Evidence, assess
from tools.simulate import configured

RULES = configured()
BARS = first_bars("", RULES)
RATES = tuple(RULES.prior.rates[name] for name in ACTIONS)
BASE = RULES.tiers[0].quota
TOP = len(RULES.tiers) - 1
T0 = 1_800_000_000_000


def evidence(exposures: float, times: float) -> Evidence:
    expected = tuple(exposures * rate for rate in RATES)
    return Evidence(exposures, tuple(times * e for e in expected), expected)


def section() -> dict[str, Any]:
    return tomllib.loads(DEFAULTS.read_text("utf-8"))["pool"]


states = st.builds(
    lambda tier, state, start: PoolState(tier, state, T0, T0, T0 + 24 * HOUR, start if tier else 0.0, float(BASE)),
    st.integers(0, TOP),
    st.sampled_from([pool.OPEN, pool.HELD, pool.STOPPED, pool.EXPIRED, pool.PAUSED, pool.DELETED]),
    st.floats(100.0, 500.0),
)


@given(states, st.floats(0.0, 200_000.0), st.floats(0.0, 20.0), st.integers(0, 600))
def test_a_pool_moves_at_most_one_tier_a_step_and_never_down(place: PoolState, exposures: float, times: float, hours: int) -> None:
    """However strong the evidence; every move has the next number and says what it was held against."""
    move = decide(place, evidence(exposures, times), BARS, RULES, T0 + hours * HOUR)
    if move is None:
        return
    assert move.origin == place.tier
    assert move.state.tier == move.target in (place.tier, place.tier + 1)
    assert move.seq == move.state.seq == place.seq + 1
    assert 0.0 <= move.probability <= 1.0
    assert move.bar in BARS.cuts


@given(states, st.floats(0.0, 5_000.0), st.floats(0.0, 10.0), st.integers(0, 600))
def test_deciding_again_on_the_same_evidence_comes_to_rest(place: PoolState, exposures: float, times: float, hours: int) -> None:
    """No note swings between two verdicts: after at most one move a tier, and one more, nothing is left to do."""
    found, now = evidence(exposures, times), T0 + hours * HOUR
    for _ in range(2 * TOP + 3):
        move = decide(place, found, BARS, RULES, now)
        if move is None:
            return
        place = move.state
    raise AssertionError("still moving")


@given(st.floats(0.0, BASE - 1.0), st.floats(0.0, 20.0), st.integers(0, 100))
def test_nobody_is_stopped_or_lifted_before_the_base_is_complete(exposures: float, times: float, hours: int) -> None:
    """The promise holds for the weakest, and what base tiers teach is not chosen by luck; a late base is told as `short`."""
    move = decide(enter(T0, RULES), evidence(exposures, times), BARS, RULES, T0 + hours * HOUR)
    assert (move is None) == (hours < RULES.tiers[0].window_hours)
    if move is not None:
        assert move.verdict == "short"
        assert need(move.state, exposures, RULES, move.at).due == pytest.approx(BASE - exposures)


def test_the_good_rise_and_the_hopeless_stop() -> None:
    """At the end of the base."""
    place = enter(T0, RULES)
    good, bad = decide(place, evidence(BASE, 6.0), BARS, RULES, T0 + HOUR), decide(place, evidence(BASE, 0.0), BARS, RULES, T0 + HOUR)
    assert good is not None
    assert (good.verdict, good.target) == ("promoted", 1)
    assert bad is not None
    assert bad.verdict in ("stopped", "held")
    assert bad.state.state != pool.OPEN


def test_a_stopped_note_comes_back_upon_late_evidence_at_any_age() -> None:
    """A comment storm or a search wave after the end: old notes fade in the order, they do not end."""
    stopped = decide(enter(T0, RULES), evidence(BASE, 0.0), BARS, RULES, T0 + HOUR)
    assert stopped is not None
    for hours in (90, 5_000):
        late = decide(stopped.state, evidence(3.0 * BASE, 6.0), BARS, RULES, T0 + hours * HOUR)
        assert late is not None
        assert (late.verdict, late.target, late.state.state) == ("reopened", 1, pool.OPEN)
    best = assess(evidence(3.0 * BASE, 6.0), BARS, RULES.worth)
    young = enter(T0 + 5_000 * HOUR, RULES)
    assert score(late.state, best, RULES) < score(young, assess(evidence(0.0, 0.0), BARS, RULES.worth), RULES)


def test_a_window_that_ended_is_not_reopened_by_the_evidence_it_ended_with() -> None:
    """A good note that was not shown enough expires; only evidence that halves the doubt it left with brings it back."""
    tier = RULES.tiers[1]
    place = PoolState(1, pool.OPEN, T0, T0, T0 + int(tier.window_hours * HOUR), float(BASE), float(BASE))
    found = next(
        e for e in (evidence(BASE + 50.0, t / 20.0) for t in range(20, 80)) if assess(e, BARS, RULES.worth).above(BARS.cuts[1]) > 0.6
    )
    ended = decide(place, found, BARS, RULES, place.deadline)
    assert ended is not None
    assert ended.verdict == "expired"
    assert ended.state.stood == pytest.approx(ended.probability)
    again = place.deadline + HOUR
    more = msgspec.structs.replace(found, exposures=found.exposures + 1.0)
    for same in (found, more):
        assert decide(ended.state, same, BARS, RULES, again) is None
    moves = [decide(ended.state, evidence(BASE + 50.0 + k, 1.0 + k / 20.0), BARS, RULES, again) for k in range(120)]
    back = next(move for move in moves if move is not None)
    assert back.verdict == "reopened"


def test_a_base_that_is_short_keeps_its_exposures_and_is_judged_when_it_is_complete() -> None:
    """Told once; owed on, behind those whose window still runs; complete after days, decided as any other."""
    place, window = enter(T0, RULES), int(RULES.tiers[0].window_hours) * HOUR
    told = decide(place, evidence(60.0, 1.0), BARS, RULES, T0 + window)
    assert told is not None
    assert told.verdict == "short"
    assert pool.short(told.state, RULES)
    assert decide(told.state, evidence(60.0, 1.0), BARS, RULES, T0 + 5 * window) is None
    assert need(told.state, 60.0, RULES, T0 + 5 * window).due == BASE - 60.0
    assert pool.queue(told.state, 60.0, RULES) < pool.queue(enter(T0 + window, RULES), 0.0, RULES)
    done = decide(told.state, evidence(BASE, 6.0), BARS, RULES, T0 + 5 * window)
    assert done is not None
    assert (done.verdict, done.target) == ("promoted", 1)


def test_what_is_still_missing_of_a_promise_after_its_life_is_owed_no_longer() -> None:
    """Where a hundred people do not exist, a hundred exposures cannot be owed for ever."""
    place, end = enter(T0, RULES), T0 + int(RULES.life_hours * HOUR)
    late = decide(place, evidence(60.0, 1.0), BARS, RULES, T0 + 30 * HOUR)
    assert late is not None
    assert next_deadline(late.state) == end
    gone = decide(late.state, evidence(60.0, 1.0), BARS, RULES, end)
    assert gone is not None
    assert gone.verdict == "lapsed"
    assert need(gone.state, 60.0, RULES, end) == pool.NOTHING
    assert pool.owed(gone.state, 60.0, RULES, end) == 0.0
    assert decide(gone.state, evidence(60.0, 1.0), BARS, RULES, 2 * end) is None
    verdicts = [decide(gone.state, evidence(BASE, times), BARS, RULES, 2 * end) for times in (0.0, 6.0)]
    assert [move.verdict for move in verdicts if move is not None] == ["stopped", "promoted"]  # complete after all, it is judged


def test_the_base_list_stands_in_the_order_in_which_exposures_are_due() -> None:
    """An exposure more is later due by its part of the pace; an hour older is an hour earlier; the newest of those who were short is first."""
    one, older = enter(T0, RULES), enter(T0 - HOUR, RULES)
    assert pool.queue(older, 10.0, RULES) - pool.queue(one, 10.0, RULES) == pytest.approx(1.0)
    assert pool.queue(one, 10.0, RULES) - pool.queue(one, 11.0, RULES) == pytest.approx(RULES.deliver_hours / BASE)
    late = [decide(enter(T0 - age * HOUR, RULES), evidence(9.0, 1.0), BARS, RULES, T0) for age in (30, 40)]
    newer, elder = (pool.queue(move.state, 9.0, RULES) for move in late if move is not None)
    assert elder < newer < pool.queue(one, float(BASE), RULES)


def test_overdue_is_what_a_base_misses_once_it_was_to_be_delivered() -> None:
    """Hours before the window ends; nothing before, nothing of a complete base."""
    place, due = enter(T0, RULES), T0 + int(RULES.deliver_hours * HOUR)
    assert [pool.owed(place, 60.0, RULES, now) for now in (due - 1, due)] == [0.0, BASE - 60.0]
    assert pool.owed(place, BASE + 1.0, RULES, due) == 0.0


def test_a_tier_ends_with_its_quota_or_its_window() -> None:
    """Between promotion and stop: held at the quota, expired at the deadline."""
    tier = RULES.tiers[1]
    place = PoolState(1, pool.OPEN, T0, T0, T0 + int(tier.window_hours * HOUR), float(BASE), float(BASE))
    found = evidence(BASE + tier.quota, 1.8)
    held = decide(place, found, BARS, RULES, T0 + HOUR)
    assert held is not None
    assert held.verdict == "held"
    assert next_deadline(held.state) == place.deadline
    early = msgspec.structs.replace(found, exposures=BASE + 1.0)
    assert decide(place, early, BARS, RULES, place.deadline - 1) is None
    expired = decide(place, early, BARS, RULES, place.deadline)
    assert expired is not None
    assert expired.verdict == "expired"
    assert next_deadline(expired.state) is None


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_a_decision_does_not_depend_on_how_counts_were_split_into_signals(parts: list[tuple[int, int]], rng: random.Random) -> None:
    """The same sums, the same verdict, the same bits."""
    step = tuple(2.0**-9 for _ in ACTIONS)
    one, other = Evidence(), Evidence()
    for exposures, likes in parts:
        one = one.exposed(step, exposures).acted("like", likes)
    rng.shuffle(parts)
    for exposures, likes in parts:
        other = other.acted("like", likes)
        for _ in range(exposures):
            other = other.exposed(step)
    place = enter(T0, RULES)
    assert decide(place, one, BARS, RULES, T0) == decide(place, other, BARS, RULES, T0)


def test_likes_without_exposures_buy_nothing() -> None:
    """Forged likes that no exposure stands behind are no evidence: even a thousand leave a note where it is."""
    assert decide(enter(T0, RULES), Evidence().acted("like", 1_000), BARS, RULES, T0) is None


@given(states, st.floats(0.0, 2_000.0), st.integers(0, 600))
def test_the_need_is_never_negative_and_never_beyond_the_tier(place: PoolState, exposures: float, hours: int) -> None:
    """Due is part of want, and both stay within what the tier still has, or the promise still owes."""
    wanted = need(place, exposures, RULES, T0 + hours * HOUR)
    assert 0.0 <= wanted.due <= wanted.want
    quota = RULES.tiers[place.tier].quota if place.tier else BASE
    assert wanted.want <= max(quota - (exposures - place.start), BASE - exposures, 0.0)


def test_the_promise_is_paced_over_its_hours_and_survives_every_verdict() -> None:
    """An even share an hour, all of it by `deliver_hours`; a note that left the base tier is still owed the rest."""
    place = enter(T0, RULES)
    owed = [need(place, 0.0, RULES, T0 + hour * HOUR).due for hour in range(24)]
    assert owed == sorted(owed)
    assert owed[0] == pytest.approx(BASE / RULES.deliver_hours)
    assert owed[-1] == BASE
    assert need(msgspec.structs.replace(place, state=pool.STOPPED), 40.0, RULES, T0 + 20 * HOUR).want == BASE - 40.0


def test_new_creators_are_promised_more() -> None:
    """By notes or by followers; what is not told gives no bonus."""
    bases = [enter(T0, RULES, notes, followers).base for notes, followers in ((None, None), (1, None), (None, 2), (500, 9_000))]
    assert bases == [BASE, BASE + RULES.creator_bonus, BASE + RULES.creator_bonus, BASE]


def test_a_note_under_review_stands_still_and_goes_on_where_it_stood() -> None:
    """Nothing decided, nothing shown, and the window is longer by the time away; deleted is for good."""
    place = enter(T0, RULES)
    away = pool.pause(place, T0 + HOUR)
    assert decide(away, evidence(500.0, 6.0), BARS, RULES, T0 + 2 * HOUR) is None
    assert need(away, 0.0, RULES, T0 + 40 * HOUR) == pool.NOTHING
    assert next_deadline(away) is None
    back = pool.resume(away, T0 + 31 * HOUR)
    assert (back.deadline, back.state, back.seq) == (place.deadline + 30 * HOUR, pool.OPEN, 2)
    gone = pool.delete(back)
    assert pool.resume(gone, T0) is gone
    assert decide(gone, evidence(500.0, 6.0), BARS, RULES, T0) is None


def test_scores_fade_by_half_life_without_a_sweep() -> None:
    """One half-life older is half the score; the order of two notes never changes with the clock."""
    quality = assess(evidence(200.0, 1.5), BARS, RULES.worth)
    young = enter(T0 + int(RULES.half_life_hours * HOUR), RULES)
    assert score(young, quality, RULES) - score(enter(T0, RULES), quality, RULES) == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize(
    "path, value, word",
    [
        ("tiers.1.quota", 0, r"pool.tiers\[1\].quota"),
        ("tiers.2.bar", 0.5, r"pool.tiers\[2\].bar"),
        ("tiers.0.bar", 0.1, r"pool.tiers\[0\].bar"),
        ("tiers.1.stop", 0.9, r"pool.tiers\[1\].stop"),
        ("tiers.1.pace", 0.5, r"pool.tiers\[1\].pace"),
        ("deliver_hours", 25.0, "pool.deliver_hours"),
        ("life_hours", 24.0, "pool.life_hours"),
        ("half_life_hours", 0.0, "pool.half_life_hours"),
        ("weights.like", -1.0, "pool.weights"),
        ("weights.likes", 1.0, "pool.weights"),
        ("prior.rates.follow", 0.0, "pool.prior.rates.follow"),
        ("prior.window", 0, "pool.prior.window"),
        ("tiers.1.quota", "many", "quota"),
    ],
)
def test_settings_that_make_no_ladder_stop_the_start_and_are_named(path: str, value: Any, word: str) -> None:
    """Quotas of zero, falling bars, windows that overlap."""
    made = section()
    *names, last = path.split(".")
    inner: Any = made
    for name in names:
        inner = inner[int(name)] if name.isdigit() else inner[name]
    inner[last] = value
    with pytest.raises(ValueError, match=word):
        pool.rules(made)


@pytest.mark.parametrize("seed", range(3))
def test_average_notes_are_seldom_taken_for_the_best_though_looked_at_after_every_signal(seed: int) -> None:
    """A posterior may be looked at always: of 40 notes drawn average, at most one in ten passes the bar of the best 5 %."""
    rng, reached = random.Random(seed), 0
    for _ in range(40):
        place, found = enter(T0, RULES), Evidence()
        for _ in range(480):
            before, found = found.observed, found.exposed(RATES)
            for action, rate in zip(ACTIONS, RATES, strict=True):
                if rng.random() < 0.8 * rate:
                    found = found.acted(action)
            if found.exposures >= BASE and (found.observed != before or found.exposures % 20 == 0):
                move = decide(place, found, BARS, RULES, T0 + HOUR)
                place = move.state if move else place
        reached += place.tier > 1
    assert reached <= 4
