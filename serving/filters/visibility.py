"""Who may see a note: everybody, its author's followers, or nobody else."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from serving.stages import Candidates, Mask, Query, Viewer, member
from store.layout import VISIBILITIES

PUBLIC, FOLLOWERS = VISIBILITIES.index("public"), VISIBILITIES.index("followers")


class VisibilityFilter:
    name: ClassVar[str] = "visibility"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        visibility = notes["visibility"]
        keep: Mask = visibility == PUBLIC
        if not keep.all():
            keep |= (visibility == FOLLOWERS) & member(notes["author"], viewer.followed)
        return keep
