"""What the user hid: notes, authors, tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from config.keys import hash64
from serving.stages import Candidates, Hashes, Mask, Query, Viewer


class HiddenFilter:
    """A wish, not a profile: it holds without personalisation too. Hidden tags match a note's first eight."""

    name: ClassVar[str] = "hidden"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        hot = viewer.hot
        keep = np.ones(notes.shape, np.bool_)
        if hot.hidden_notes:
            keep &= ~np.isin(notes["hash"], hashes(hot.hidden_notes))
        if hot.hidden_authors:
            keep &= ~np.isin(notes["author"], hashes(map(hash64, hot.hidden_authors)))
        if hot.hidden_tags:
            keep &= ~np.isin(notes["tags"], hashes(map(hash64, hot.hidden_tags))).any(axis=1)
        return keep


def hashes(values: Iterable[Any]) -> Hashes:
    return np.fromiter(values, np.uint64)
