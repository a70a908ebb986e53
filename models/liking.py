"""By how much a user likes a note beyond what its features say, as log-odds: b_note + b_user + q_note · p_user.

What features say is the same for all notes with the same features: how often a note was liked does not tell by whom, and how often
a user likes does not tell what. Learned from one example at a time, beside the features and on the same error, so that neither learns
what the other knows already.
"""

from __future__ import annotations

import numpy as np

from models.rows import Floats, Hashes, Rows, start

USER = 0x9E3779B97F4A7C15
"""A user's hash is told from that of a note of the same name by this."""
NOBODY = 0
"""The hash of a user of whom nothing may be used."""


class Liking:
    """Streaming matrix factorisation on top of whatever else predicts the like.

    Shines where some users have liked many notes and some notes were liked by many. Says 0 of users and notes that it has not met.

    Parameters
    ----------
    factors
        Length of q and p.
    rows
        Notes and users together, at least 2; when there are more, those leave that were longest in no example.
    rate
        AdaGrad step size.
    shrink
        L2, by the size of the error.

    Examples
    --------
    >>> liking = Liking(factors=2)
    >>> for _ in range(20):
    ...     liking.learn(1, 7, -0.5)
    >>> note, other = liking.beyond(1, np.array([7, 8], np.uint64))
    >>> bool(note > other > 0.0), liking.beyond(2, np.array([8], np.uint64)).tolist()
    (True, [0.0])

    References
    ----------
    G. Takács et al.: Scalable collaborative filtering approaches for large recommender systems (JMLR 2009).
    """

    def __init__(self, factors: int = 48, rows: int = 40_000, rate: float = 0.15, shrink: float = 0.03) -> None:
        if rows < 2:
            raise ValueError(f"likes = {rows}: wanted room for a note and a user")
        self.rows = Rows(rows, {"bias": (), "vector": (factors,)})
        self.rate, self.shrink = np.float32(rate), np.float32(shrink)
        self.bias_rates = self.rate * np.array([1.0, 0.5], np.float32)
        """of a note and a user: his examples come in a row, many of them before the first is served, so that he takes half steps"""

    def beyond(self, user: int, hashes: Hashes) -> Floats:
        """Log-odds for each note: shape [notes]. `user` is a hash, or NOBODY."""
        rows = self.rows
        at = rows.found(hashes)
        bias, vector = rows["bias"], rows["vector"]
        (of,) = rows.found(np.array([user ^ USER], np.uint64)) if user != NOBODY else (-1,)
        own = bias.take(at) if of < 0 else bias.take(at) + vector.take(at, 0) @ vector[of]
        found: Floats = np.where(at >= 0, own, np.float32(0.0)) + (bias[of] if of >= 0 else np.float32(0.0))
        return found

    def learn(self, user: int, h: int, error: float) -> None:
        """One example of this user and this note; `error` is what the log loss changes by with the log-odds."""
        rows, e = self.rows, np.float32(error)
        who = user ^ USER
        for one in rows.touch([h, who] if h != who else [h]):
            if one == h:  # a user begins at 0, a note anywhere: so both have a slope
                rows["vector"][rows.places[h]] = start(h, rows["vector"].shape[1])
        at = rows.known([h, who])
        pull = self.shrink * np.abs(e)
        bias, vector = rows["bias"][at], rows["vector"][at]
        rows.step("bias", at, e + pull * bias, self.bias_rates)
        rows.step("vector", at, e * vector[::-1] + pull * vector, self.rate)

    def forget(self, user: int) -> None:
        """The user's row leaves."""
        self.rows.drop(user ^ USER)
