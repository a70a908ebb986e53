"""Interest weights."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import settings as configuration
from config.events import TYPES
from config.keys import hash64
from config.records import Facts
from models.interest import DAY, FORGOTTEN, Interests
from models.user import Hot

RULES = configuration.load(environ={}).interest
INTERESTS = Interests(RULES)
LIKE = TYPES.index("like")


def note(*tags: str, author: str = "ann", channel: str = "food", id: str = "n") -> Facts:
    return Facts(id, True, author, channel, tags)


def engage(hot: Hot, facts: Facts, t: int, gain: float = 1.0, mark: int = 0) -> None:
    hot.last_seen = max(hot.last_seen, t)
    INTERESTS.engaged(hot, facts, t, None, gain, mark, LIKE, hash64(facts.id), True, True)


def weights(hot: Hot, now: int = 0) -> dict[tuple[str, str], float]:
    return {(i.kind, i.value): i.weight for i in INTERESTS.strengths(hot, now)}


@pytest.fixture
def hot() -> Hot:
    return Hot()


def test_an_exposure_moves_down_and_an_engagement_more_than_back_up(hot: Hot) -> None:
    """y = 0 enters at once; y = 1 takes it back and adds its own step."""
    facts = note("bread")
    mark = INTERESTS.shown(hot, facts, 1_000, 0.3, 7)
    down = weights(hot)["tag", "bread"]
    assert down == pytest.approx(-0.3 * (RULES.short_rate + RULES.long_rate), abs=0.01)
    INTERESTS.engaged(hot, facts, 1_000, 0.3, 1.0, mark, LIKE, 7, True, False)
    assert weights(hot)["tag", "bread"] == pytest.approx(
        down + (1 - 0.3 + (mark - 1) / 253) * (RULES.short_rate + RULES.long_rate), rel=1e-4
    )


def test_without_a_prediction_the_default_and_the_own_weights_say_what_was_expected(hot: Hot) -> None:
    """The same exposure is a smaller step for a user who was not expected to engage, a larger one for a fan."""
    fan, cold = Hot(), Hot()
    engage(fan, note("bread"), 1_000, 3.0)
    INTERESTS.pushed(cold, note("bread"), 1_000, -3.0, LIKE, 7)
    marks = [INTERESTS.shown(who, note("bread"), 1_000, None, 7) for who in (cold, hot, fan)]
    assert marks[0] < marks[1] < marks[2]
    assert (marks[1] - 1) / 253 == pytest.approx(RULES.default_rate, abs=0.002)


def test_the_same_actions_in_any_order_give_the_strongest_one(hot: Hot) -> None:
    """Gains add up to the strongest action's strength; a click before a like costs nothing and gives nothing twice."""
    once, twice = Hot(), Hot()
    facts = note("bread")
    INTERESTS.engaged(once, facts, 1_000, 0.2, 2.0, 0, LIKE, 7, True, True)
    INTERESTS.engaged(twice, facts, 1_000, 0.2, 1.0, 0, LIKE, 7, True, True)
    INTERESTS.engaged(twice, facts, 1_000, 0.2, 1.0, 0, LIKE, 7, False, False)
    assert weights(once) == pytest.approx(weights(twice))


def test_a_new_interest_takes_over_within_five_engagements(hot: Hot) -> None:
    """Fifty engagements with one thing, then a few with another: the other one leads after at most five."""
    for n in range(50):
        engage(hot, note("old", author="", channel=""), 1_000 + n)
    for n in range(1, 6):
        engage(hot, note("new", author="", channel=""), 2_000 + n)
        if weights(hot)["tag", "new"] > weights(hot)["tag", "old"]:
            break
    assert n <= 5
    assert weights(hot)["tag", "old"] > 0.2, "what was there for long is not forgotten"


def test_time_halves_the_short_memory(hot: Hot) -> None:
    """After the short half-life, without any event, half of the short component is left."""
    engage(hot, note("bread"), 1_000)
    now = 1_000 + int(RULES.short_half_life_d * DAY)
    early, late = INTERESTS.strengths(hot, 1_000)[0], INTERESTS.strengths(hot, now)[0]
    assert late.short == pytest.approx(early.short / 2)
    assert late.long == pytest.approx(early.long * 2 ** (-RULES.short_half_life_d / RULES.long_half_life_d))


@given(st.permutations([(0, "a"), (DAY, "b"), (3 * DAY, "a"), (9 * DAY, "c")]))
def test_late_steps_weigh_what_they_would_have_in_time(order: list[tuple[int, str]]) -> None:
    """Forward decay is additive: pushes of stated sizes give the same weights in any order of arrival."""
    hot, plain = Hot(), Hot()
    for target, steps in ((hot, order), (plain, sorted(order))):
        for t, tag in steps:
            target.last_seen = max(target.last_seen, t + 1)
            INTERESTS.pushed(target, note(tag), t + 1, 1.0, LIKE, 0)
    assert weights(hot, 9 * DAY) == pytest.approx(weights(plain, 9 * DAY))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("abc"), st.floats(-2, 2)), min_size=1, max_size=60))
def test_forward_decay_equals_the_plain_decayed_sum(steps: list[tuple[int, str, float]]) -> None:
    """Every weight is Σ rate · amount · keep^(engagements since) · 2^(-time since / half-life), for both memories."""
    hot, t, kept = Hot(), 1, []
    for days, tag, amount in steps:
        t += days * DAY
        hot.last_seen = t
        hot.n += 1
        INTERESTS.pushed(hot, note(tag, author="", channel=""), t, amount, LIKE, 0)
        kept.append((tag, t, hot.n, amount))
    for found in INTERESTS.strengths(hot, t):
        short = sum(a * RULES.short_keep ** (hot.n - n) * 2 ** ((at - t) / INTERESTS.short_ms) for g, at, n, a in kept if g == found.value)
        long = sum(a * RULES.long_keep ** (hot.n - n) * 2 ** ((at - t) / INTERESTS.long_ms) for g, at, n, a in kept if g == found.value)
        assert found.short == pytest.approx(RULES.short_rate * short, abs=1e-9)
        assert found.long == pytest.approx(RULES.long_rate * long, abs=1e-9)


def test_twenty_years_away_are_no_error(hot: Hot) -> None:
    """Ages beyond what a double holds leave nothing, without an error, for readers and for writers."""
    engage(hot, note("bread"), 1)
    later = 40 * 365 * DAY
    assert weights(hot, later)["tag", "bread"] == pytest.approx(0.0, abs=1e-6)
    engage(hot, note("jam"), later)
    assert weights(hot, later)["tag", "jam"] > 0.3


def test_signup_interests_fade_with_evidence(hot: Hot) -> None:
    """A chosen tag is a prior: there at once, halved after the stated number of engagements, never time-decayed."""
    hot.signup = {"tea": 5}
    assert weights(hot)["tag", "tea"] == RULES.signup_weight
    for n in range(int(RULES.signup_fade)):
        engage(hot, note("bread"), 1_000 + n)
    assert weights(hot, 400 * DAY)["tag", "tea"] == pytest.approx(RULES.signup_weight / 2)


def test_exposures_alone_bring_in_few_tags_and_no_authors(hot: Hot) -> None:
    """What was passed over cannot crowd out what was chosen."""
    for n in range(100):
        INTERESTS.shown(hot, note(f"t{n}", author=f"a{n}"), 1_000 + n, None, n)
    assert len(hot.tags) == RULES.passed_tags
    assert not len(hot.authors)


def test_the_weakest_leave_and_the_newest_stay(hot: Hot) -> None:
    """Tables are bounded; of more names than fit, the one just met is kept."""
    for n in range(400):
        engage(hot, note(f"t{n}", author=f"a{n}", channel=f"c{n}"), 1_000 + n)
        assert f"t{n}" in hot.tags
        assert f"a{n}" in hot.authors
        assert len(hot.tags) <= RULES.tags
        assert len(hot.authors) <= RULES.authors
        assert len(hot.channels) <= RULES.channels


def test_a_scorer_reads_the_same_own_part(hot: Hot) -> None:
    """`taste` by hash gives what `own` gives by name."""
    hot.signup = {"tea": 5, "jam": 5}
    for n, tags in enumerate([("bread", "jam"), ("bread",), ("oil", "fish", "salt")]):
        engage(hot, note(*tags, author=f"a{n}", channel=f"c{n}"), 1_000 + n)
    facts = note("jam", "salt", "never", author="a2", channel="c0")
    taste = INTERESTS.taste(hot, 2_000)

    def look(hashes: np.ndarray, values: np.ndarray, name: str) -> float:
        found = np.flatnonzero(hashes == np.uint64(hash64(name)))
        return float(values[found[0]]) if len(found) else 0.0

    of_tags = sum(look(taste.tags, taste.tag_weights, tag) for tag in facts.tags) / sqrt(3)
    author = look(taste.authors, taste.author_weights, "a2") * RULES.author_share
    channel = look(taste.channels, taste.channel_weights, "c0") * RULES.channel_share
    assert INTERESTS.own(hot, facts, 2_000) == pytest.approx(of_tags + author + channel, rel=1e-5)
    assert list(taste.tags) == sorted(taste.tags)


def test_what_moved_a_weight_is_what_was_done(hot: Hot) -> None:
    """A weight names the last act that moved it; an exposure stands there only until something was done."""

    def moved() -> tuple[int, int, int]:
        (bread,) = hot.tags
        return bread.by, bread.note, bread.at

    INTERESTS.shown(hot, note("bread"), 1_000, None, 7)
    assert moved() == (0, 7, 1_000)
    engage(hot, note("bread", id="m"), 2_000)
    INTERESTS.shown(hot, note("bread"), 3_000, None, 8)
    assert moved() == (LIKE, hash64("m"), 2_000)


def test_taking_back_at_once_restores_what_the_exposure_left(hot: Hot) -> None:
    """Engaged and taken back: what the exposure alone had left, since each step has its counterpart."""
    facts = note("bread")
    mark = INTERESTS.shown(hot, facts, 1_000, 0.4, 7)
    before = weights(hot)
    INTERESTS.engaged(hot, facts, 1_000, 0.4, 2.0, mark, LIKE, 7, True, False)
    INTERESTS.engaged(hot, facts, 1_000, 0.4, -2.0, mark, LIKE, 7, True, False)
    assert {k: w for k, w in weights(hot).items() if k in before} == pytest.approx(before)
    assert FORGOTTEN > mark > 0
