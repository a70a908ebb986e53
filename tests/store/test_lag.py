"""Lag from what is known: trails of log ends, checkpoints, and both together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.records import Position
from store.lag import POINTS, Standing, Trail, inputs, slot_stage, stages, standing
from store.layout import PartitionState, checkpoint_bytes, encode_partition
from store.manifest import Manifest


def test_a_log_that_is_applied_to_its_end_has_no_lag_however_long_it_was_idle() -> None:
    """The age of the last record is not a lag."""
    trail = Trail()
    trail.saw(10, 0.0)
    assert trail.age(10, 86_400.0) == 0.0
    trail.saw(11, 86_400.0)
    assert trail.age(10, 86_405.0) == 5.0
    assert trail.age(11, 86_405.0) == 0.0


def test_what_was_there_before_the_first_look_has_to_be_read_once() -> None:
    """A record's stamp is exact; as long as the checkpoint does not move it is not asked for again."""
    trail = Trail()
    trail.saw(100, 1_000.0)
    assert trail.age(40, 1_000.0) is None
    trail.knows(40, 400.0)
    assert trail.age(40, 1_010.0) == 610.0
    assert trail.age(50, 1_010.0) is None
    assert trail.oldest(50, 1_010.0) == 610.0, "at most as old as the one before it"
    trail.saw(110, 1_020.0)
    assert trail.age(100, 1_021.0) == 1.0


def test_an_end_that_is_told_short_takes_nothing_back() -> None:
    """The embedded broker's ends fall short by the last batch; a worker's own knowledge is added to them."""
    trail = Trail()
    trail.saw(10, 0.0)
    trail.saw(20, 1.0)
    trail.saw(11, 2.0)
    assert trail.end == 20
    assert trail.age(10, 3.0) == 2.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3 * POINTS), st.integers(0, 4_000))
def test_ages_never_grow_along_the_log_and_never_exceed_the_truth(steps: list[int], place: int) -> None:
    """One look a second: a record is dated by the look that saw it first, or, in a long trail, by a look before that one at most as far back
    as the trail was thinned; nothing is younger than what follows it."""
    trail, end, born = Trail(), 0, []
    trail.saw(0, 0.0)
    for second, more in enumerate(steps, 1):
        end += more
        born += [float(second)] * more
        trail.saw(end, float(second))
    assert len(trail.offsets) <= POINTS
    now = float(len(steps))
    ages = [trail.age(offset, now) for offset in range(end + 1)]
    known = [age for age in ages if age is not None]
    assert len(known) == len(ages)
    assert known == sorted(known, reverse=True)
    if born and len(steps) <= POINTS:
        offset = place % end
        assert known[offset] == now - born[offset]


def test_what_is_applied_leaves_the_trail() -> None:
    """A trail is as long as the backlog."""
    trail = Trail()
    for second in range(100):
        trail.saw(10 * second, float(second))
    trail.applied(985)
    assert len(trail.offsets) == 1
    assert trail.age(985, 100.0) == 1.0


def test_every_input_of_every_stage_has_its_slot_and_its_names() -> None:
    """Intake has two logs and so two checkpoints a partition."""
    manifest = Manifest.new("up", {"events": 2, "notes": 3, "by-user": 2, "by-note": 2, "by-list": 2, "by-pair": 2, "examples": 1})
    every = list(inputs(manifest))
    assert {one.stage for one in every} == set(stages())
    assert [(one.topic, one.partition) for one in every if one.stage == "intake"] == [
        ("events", 0),
        ("events", 1),
        *[("notes", p) for p in range(3)],
    ]
    assert every[0].labels == ("up.intake", "up.events", "0")
    assert every[0].slot.stage == slot_stage("intake", "events") == "intake.events"
    assert slot_stage("users", "by-user") == "users"


def test_a_slot_says_where_it_stands() -> None:
    """No checkpoint is not offset 0."""
    assert standing(None, None) == Standing(None)
    checkpoint = checkpoint_bytes("log", Position(7, 3, 1))
    assert standing(checkpoint, None) == Standing(7)
    assert standing(checkpoint, encode_partition(PartitionState(clock=5, probed=9))) == Standing(7, 5, 9)
