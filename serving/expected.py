"""What is expected of an exposure that is evidence: it may know the user, the place and the kind of note, and nothing of the note itself.

A pool holds what a note earned against what was expected of those exposures. A scorer that has seen the note do well expects more of it, so
its expectation would explain the evidence away, and the best notes would look average. For notes that run in a pool the slate therefore logs
what the scorer expects of a note of the same author, subjects, place and age of which nothing else is known.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.stages import Floats, Page
from store.layout import POOL_STATES

RUNNING = POOL_STATES.index("running")
EARNED = ("hash", "engaged_at", "counts", "organic", "paid", "served", "quality", "score", "rate")
"""Columns of `store.layout.NOTE` that say what a note has earned, and how much it was shown; 0: nothing yet. By its hash it is known as a
neighbour of others."""


def unknown(notes: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The same notes, as if they had been published a moment ago and nobody had met them: only what their authors said is left, and their age."""
    fresh = notes.copy()
    for column in EARNED:
        fresh[column] = 0
    fresh["heat"] = -np.inf
    return fresh


def expected(page: Page) -> Floats:
    """[places, actions]: what the slate logs of each place of a page that was scored."""
    assert page.scored is not None
    rows = [placed.row for placed in page.placed]
    predictions = page.scored.predictions[rows]
    running = np.flatnonzero(page.notes["pool"][rows] == RUNNING)
    if running.size:
        at = np.array(rows)[running]
        predictions[running] = page.scorer.expects(page.query, page.viewer, page.candidates, page.notes, page.scored, at)
    return predictions
