"""Surfaces whose order is not a question of taste: hot by heat, following by time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from serving.stages import Candidates, Floats, Query, Rows, Scored, Scorer, Viewer

Key = Callable[[Candidates, npt.NDArray[np.void]], npt.NDArray[Any]]


def listed(candidates: Candidates, notes: npt.NDArray[np.void]) -> npt.NDArray[Any]:
    """As the list has them."""
    return candidates.rank


def newest(candidates: Candidates, notes: npt.NDArray[np.void]) -> npt.NDArray[Any]:
    """By publication."""
    return -notes["published_at"]


class OrderedScorer:
    """Keeps what another scorer expects of each note, and orders by a key of the notes alone: scores are 1, 1/2, 1/3, …

    Parameters
    ----------
    scorer
        whose predictions and features are logged
    key
        ascending: best first
    """

    name: ClassVar[str] = "ordered"

    def __init__(self, scorer: Scorer, key: Key) -> None:
        self.scorer, self.key = scorer, key
        self.version, self.features, self.feature_set = scorer.version, scorer.features, scorer.feature_set
        self.parts: Sequence[str] = (key.__name__,)

    def expects(
        self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, rows: Rows
    ) -> Floats:
        return self.scorer.expects(query, viewer, candidates, notes, scored, rows)

    def score(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Scored:
        scored = self.scorer.score(query, viewer, candidates, notes)
        score = np.empty(notes.size, np.float32)
        score[np.argsort(self.key(candidates, notes), kind="stable")] = 1.0 / np.arange(1, notes.size + 1)
        return scored._replace(score=score, contributions=score[:, None])
