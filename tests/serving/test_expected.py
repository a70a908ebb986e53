"""What a slate logs as expected of notes in pools."""

from __future__ import annotations

import numpy as np

from serving.expected import EARNED, expected, unknown
from serving.slate import slate_of
from store.layout import NOTE, POOL_STATES
from tests.serving.system import System, event, note
from tests.serving.test_model import taught


def test_nothing_that_a_note_has_earned_is_left_of_it() -> None:
    """What its author said stays, and its age; what people did, how often it was shown and what was concluded goes."""
    notes = np.ones(3, NOTE)
    fresh = unknown(notes)
    assert all(not fresh[column].any() for column in EARNED)
    assert np.isneginf(fresh["heat"]).all()
    for column in ("author", "channel", "cell", "tags", "lat", "lon", "published_at", "media", "tier", "pool"):
        assert (fresh[column] == notes[column]).all()
    assert (notes["organic"] == 1).all()


def test_a_note_that_did_well_in_its_pool_is_not_expected_to_do_well() -> None:
    """Two notes of one author and subject, one liked by all: the ranking knows, the pools' expectation does not."""
    system = System()
    try:
        system.publish(*(note(f"n{i}", f"a{i}", ["tea"], "food") for i in range(6)))
        system.send(*(event(kind, f"u{k}", "n1") for k in range(30) for kind in ("impression", "click", "like")))
        query, _ = system.service.query("me", "feed", 6, None, "", "", None, None, (), False)
        page = system.run(system.service.answer(query)).page
        places = {int(page.candidates.hashes[p.row]): k for k, p in enumerate(page.placed)}
        assert page.scored is not None
        assert (page.notes["pool"][[p.row for p in page.placed]] == POOL_STATES.index("running")).all()
        ranked = page.scored.predictions[[p.row for p in page.placed]][:, 0]
        told = expected(page)[:, 0]
        assert ranked.max() > 1.2 * np.median(ranked)
        assert told.max() < 1.01 * told.min()
        logged = np.frombuffer(slate_of(page, "").predictions, "<f2").reshape(len(places), -1)[:, 0]
        assert np.allclose(logged, told, rtol=2e-3)
    finally:
        system.close()


def test_what_is_expected_does_not_depend_on_who_else_is_in_a_pool(young: System) -> None:
    """Features are told against the candidates; of all of them, not of those that are looked at again."""
    taught(young)
    young.publish(*(note(f"new{i}", f"new{i}", ["coffee"], "food/drinks") for i in range(12)))
    query, _ = young.service.query("r1", "feed", 20, None, "", "", None, None, (), False)
    page = young.run(young.service.answer(query)).page
    assert page.scorer.version.startswith("learned")
    rows = [placed.row for placed in page.placed]
    running = np.flatnonzero(page.notes["pool"][rows] == POOL_STATES.index("running"))
    assert len(running) > 5
    together = expected(page)
    held = page.notes.copy()
    for k in running.tolist():
        alone = held.copy()
        alone["pool"][[rows[j] for j in running.tolist() if j != k]] = POOL_STATES.index("held")
        assert np.allclose(expected(page._replace(notes=alone))[k], together[k], rtol=1e-3)


def test_a_note_outside_the_pools_is_expected_to_do_what_the_scorer_says() -> None:
    """Its slate teaches interest weights, which need the whole prediction."""
    system = System()
    try:
        system.publish(*(note(f"n{i}", f"a{i}", ["tea"], "food") for i in range(3)))
        query, _ = system.service.query("me", "feed", 3, None, "", "", None, None, (), False)
        page = system.run(system.service.answer(query)).page
        outside = page.notes.copy()
        outside["pool"] = POOL_STATES.index("held")
        page = page._replace(notes=outside)
        assert page.scored is not None
        assert (expected(page) == page.scored.predictions[[p.row for p in page.placed]]).all()
    finally:
        system.close()
