"""Deleted notes, and those under review, rejected or not yet published."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from serving.stages import Candidates, Mask, Query, Viewer
from store.layout import STATUSES

DELETED, UNDER_REVIEW, PUBLISHED = STATUSES.index("deleted"), STATUSES.index("under_review"), STATUSES.index("published")


class DeletedFilter:
    """Lists may be a moment behind: the record is the truth."""

    name: ClassVar[str] = "deleted"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        keep: Mask = notes["status"] != DELETED
        return keep


class ReviewFilter:
    """What has not passed review, or failed it, or was never published."""

    name: ClassVar[str] = "review"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        keep: Mask = (notes["status"] == PUBLISHED) | (notes["status"] == DELETED)
        return keep
