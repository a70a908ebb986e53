"""The scorer that is learned: a ranker over the slate, times what an engagement is worth.

    score = ranker(features, context) + log Σ weight · p(action | engage)

The ranker's scores are log-odds between the notes of a slate, so that the exponential of a score is, but for a factor that all notes
share, p(engage) · Σ weight · p(action | engage). Whatever ranks, the features are the learner's and are logged; until there is a model,
the prior ranks. A scorer holds one model for good: another model is another scorer, so that no request sees two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from config.events import PREDICTED
from config.settings import SettingsError
from models.features import FEATURE_SET, NAMES, Frame, matrix, unmet
from models.lists import EPOCH
from models.model import GIVEN, HIDE, Model
from models.rows import NOBODY
from serving.asker import asker_from
from serving.scorers.prior import PriorScorer
from serving.stages import Candidates, Floats, Query, Rows, Scored, Viewer

OWN = [NAMES.index(name) for name in ("tags", "author", "channel")]
LEAST = np.float32(0.05)
"""Of an engagement's worth: what is likely to be hidden ranks low, and has a logarithm."""


class LearnedScorer:
    """See the module's docstring.

    Parameters
    ----------
    prior
        ranks as long as there is no model
    worth
        ``[feed.value]``: what actions are worth
    half_lives_h
        of the four heats of a note record
    recent
        so many of the user's recent notes are logged with a slate
    model, version
        what ranks; None: the prior does
    """

    name: ClassVar[str] = "learned"

    def __init__(
        self,
        prior: PriorScorer,
        worth: Mapping[str, float],
        half_lives_h: Sequence[float],
        recent: int,
        model: Model | None = None,
        version: str = "",
    ) -> None:
        unknown = sorted(set(worth) - set(PREDICTED))
        if unknown:
            raise SettingsError(f"setting feed.value.{unknown[0]}: not one of {', '.join(PREDICTED)}")
        self.prior, self.model, self.recent = prior, model, recent
        self.half_lives_ms = tuple(hours * 3_600_000.0 for hours in half_lives_h)
        self.version = version if model is not None else prior.version
        self.features, self.feature_set = NAMES, FEATURE_SET
        self.parts = prior.parts if model is None else (*NAMES, "note", "taste", "worth")
        self.click, self.hide = np.float32(worth.get("click", 0.0)), np.float32(worth.get("hide", 0.0))
        self.given = np.array([worth.get(action, 0.0) for action in GIVEN], np.float32)

    def score(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Scored:
        asker = asker_from(viewer)
        frame = Frame(asker, notes, EPOCH, self.half_lives_ms)
        x = matrix(frame)
        context = asker.context(self.recent)
        if self.model is None:
            return self.prior.score(query, viewer, candidates, notes)._replace(features=x, context=context.encode())
        hashes = candidates.hashes
        user = query.user if viewer.personal else NOBODY
        predictions, given = self.model.predict(x, hashes, user)
        worth = np.log(np.maximum(self.click + given @ self.given + self.hide * predictions[:, HIDE], LEAST))
        own = x[:, OWN].sum(axis=1)
        km = frame.km.astype(np.float32) if viewer.lat is not None else None
        if not query.explain:
            score = self.model.ranker.score(hashes, x, context, user) + worth
            return Scored(score, own, predictions, x, context.encode(), None, frame.past, km)
        by = self.model.ranker.explain(hashes, x, context, user)
        contributions: Any = np.concatenate([by.features, np.stack([by.bias, by.factors, worth], axis=1)], axis=1)
        return Scored(contributions.sum(axis=1), own, predictions, x, context.encode(), contributions, frame.past, km)

    def expects(
        self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], scored: Scored, rows: Rows
    ) -> Floats:
        if self.model is None or scored.past is None:
            return self.prior.expects(query, viewer, candidates, notes, scored, rows)
        return self.model.predict(unmet(scored.features[rows], scored.past))[0]
