"""A note's state: counters, heats, what is evidence, and what catalogue records do to it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import settings as configuration
from config.events import ACTIONS, PREDICTED
from config.records import BOT, FOLLOWER, SELF, STRANGE, TEST
from models import catalogue, judgement, pool, quality
from models import note as notes
from models.note import GRID, PAID, Note, Text

DEFAULTS = configuration.load(environ={})
RULES = notes.rules(DEFAULTS.notes, DEFAULTS.lists, pool.rules(msgspec.to_builtins(DEFAULTS.pool)))
HOUR = 3_600_000
T = 1_750_000_000_000


def act(note: Note, action: str, t: int = T, d: int = 1, slot: int = 0, flags: int = 0, e: bytes = b"") -> bool:
    return notes.act(note, ACTIONS.index(action), t, d, slot, -1, e, flags, RULES)


@pytest.mark.parametrize(
    "action, slot, flags, evidence",
    [
        ("impression", 0, 0, True),
        ("impression", 1, FOLLOWER, True),
        ("like", 1, 0, True),
        ("like", PAID, 0, False),
        ("impression", PAID, 0, False),
        ("like", 0, STRANGE, False),
        ("like", 0, SELF, False),
        ("impression", 0, TEST, False),
        ("impression", 0, BOT, False),
        ("report", 0, 0, False),
        ("purchase", 0, 0, False),
    ],
)
def test_what_is_evidence(action: str, slot: int, flags: int, evidence: bool) -> None:
    """Organic exposures and the predicted actions that follow known ones; nothing that money, machines or the author did."""
    note = Note()
    assert act(note, action, slot=slot, flags=flags) is evidence
    assert any(note.counted) is evidence


@given(st.lists(st.tuples(st.integers(0, 200 * HOUR), st.sampled_from(["like", "comment", "click"])), min_size=1, max_size=30))
def test_heats_are_the_decayed_sums(acts: list[tuple[int, str]]) -> None:
    """Whatever the landmark did, a heat is Σ points · 2^(-age / half-life)."""
    note, now = Note(), T + 200 * HOUR
    for ahead, action in acts:
        act(note, action, T + ahead)
    for k, half in enumerate(RULES.half_lives):
        plain = sum(RULES.points[ACTIONS.index(action)] * 2.0 ** (-(now - T - ahead) / half) for ahead, action in acts)
        assert note.heats[k] * 2.0 ** ((note.base - now) / half) == pytest.approx(plain)


@given(st.integers(0, 4 * 10**12), st.integers(0, 4 * 10**12))
def test_no_clock_overflows_a_heat(first: int, then: int) -> None:
    """Signals of any two times, either order: landmarks move, old sums fade to nothing, nothing is infinite."""
    note = Note()
    act(note, "like", first)
    act(note, "like", then)
    assert all(0.0 <= heat < 1e300 for heat in note.heats)
    assert note.base % GRID == 0


@pytest.mark.parametrize("e", [b"", b"\x00", b"\x00\x7e" * 8, b"\x00\x7c" * 8, b"\x00\xbc" * 8])
def test_an_expectation_that_is_no_rate_counts_as_not_told(e: bytes) -> None:
    """Empty, cut, NaN, infinite, negative: the channel's usual rates stand in, and sums stay numbers."""
    note = Note()
    act(note, "impression", e=e)
    assert (note.plain, note.expected) == (1, [0.0] * len(PREDICTED))
    bars = pool.first_bars("", RULES.pool)
    assert judgement.evidence_of(note, bars, RULES) == quality.Evidence(1.0, (0.0,) * 6, bars.rate)


def test_looks_come_where_they_may_matter() -> None:
    """Every few exposures, at every rare action, and exactly where the promise ends; rarely for a note that has seen thousands."""
    note = Note(status=notes.PUBLISHED, published_at=T)
    bars = pool.first_bars("", RULES.pool)
    assert judgement.turn(note, T, bars, RULES) is not None
    at = []
    for i in range(1, 151):
        act(note, "impression")
        if judgement.looked(note, 0):
            at.append(i)
            judgement.look(note, bars, 0.0, RULES, T)
    assert 100 in at
    assert len(at) < 50
    note.counted[0] = 100_000
    judgement.rest(note, RULES)
    assert not judgement.looked(note, ACTIONS.index("like"))


@given(st.text(max_size=40), st.integers(0, 40))
def test_text_is_cut_at_whole_characters(text: str, limit: int) -> None:
    """At most so many bytes, and still UTF-8."""
    short = catalogue.cut(text, limit)
    assert text.startswith(short)
    assert len(short.encode()) <= limit or short == text


def test_text_is_bounded_and_null_clears() -> None:
    """Fields set and cleared one by one; too many images are cut."""
    text = Text()
    assert catalogue.rewrite(text, {"title": "a", "images": ["x"] * 100, "duration_s": 3}, DEFAULTS.notes)
    assert (text.title, len(text.images), text.duration_s) == ("a", DEFAULTS.notes.images, 3.0)
    assert not catalogue.rewrite(text, {"tags": ["b"]}, DEFAULTS.notes)
    assert catalogue.rewrite(text, {"title": None, "images": None, "duration_s": None}, DEFAULTS.notes)
    assert text == Text()


@pytest.mark.parametrize(
    "section, values, name",
    [
        ("notes", {"heat_half_lives_h": (1.0, 2.0)}, "notes.heat_half_lives_h"),
        ("notes", {"heat_half_lives_h": (0.1, 6.0, 48.0, 336.0)}, "notes.heat_half_lives_h"),
        ("notes", {"points": {"applause": 1.0}}, "notes.points.applause"),
        ("lists", {"popular_half_life_h": 5.0}, "lists.popular_half_life_h"),
        ("lists", {"hot_half_life_h": 0.1}, "lists.hot_half_life_h"),
    ],
)
def test_a_setting_that_cannot_be_used_names_itself(section: str, values: dict[str, object], name: str) -> None:
    """Half-lives that do not fit together, or points for an action nobody knows, stop the start."""
    changed = msgspec.structs.replace(DEFAULTS, **{section: msgspec.structs.replace(getattr(DEFAULTS, section), **values)})
    with pytest.raises(ValueError, match=f"setting {name}"):
        notes.rules(changed.notes, changed.lists, RULES.pool)
