"""With `channel=`: only what lies in that channel or below."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from config.keys import hash64
from serving.stages import Candidates, Mask, Query, Viewer


class ChannelFilter:
    """A record has the hash of the whole channel, which tells nothing of prefixes: a list of the channel vouches for the rest."""

    name: ClassVar[str] = "channel"

    def keeps(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void]) -> Mask:
        if not query.channel:
            return np.ones(notes.shape, np.bool_)
        keep: Mask = candidates.inside | (notes["channel"] == np.uint64(hash64(query.channel)))
        return keep
