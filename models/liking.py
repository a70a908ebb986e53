"""By how much a user likes a note beyond what its features say, as log-odds: b_note + b_user + q_note · p_user.

What features say is the same for all notes with the same features: how often a note was liked does not tell by whom, and how often
a user likes does not tell what. Learned from one example at a time, beside the features and on the same error, so that neither learns
what the other knows already.
"""

from __future__ import annotations

import numpy as np

from models.kernel import kernel
from models.rows import NOBODY, Floats, Hashes, Places, Rows, begin, dot

USER = 0x9E3779B97F4A7C15
"""A user's hash is told from that of a note of the same name by this."""


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

    def beyond(self, user: int, hashes: Hashes) -> Floats:
        """Log-odds for each note: shape [notes]. `user` is a hash, or NOBODY."""
        rows, found = self.rows, np.empty(len(hashes), np.float32)
        (of,) = rows.found(np.array([user ^ USER], np.uint64)) if user != NOBODY else (-1,)
        beyond(rows.found(hashes), of, rows["bias"], rows["vector"], found)
        return found

    def learn(self, user: int, h: int, error: float) -> None:
        """One example of this user and this note; `error` is what the log loss changes by with the log-odds."""
        rows, who = self.rows, user ^ USER
        at, first = rows.touch(np.array([h, who], np.uint64))
        if at[0] >= first:  # a user begins at 0, a note anywhere: so both have a slope
            begin(rows["vector"], rows.hashes, at[0], at[0] + 1)
        step(
            at[0],
            at[1],
            np.float32(error),
            rows["bias"],
            rows["vector"],
            rows.squares["bias"],
            rows.squares["vector"],
            self.rate,
            self.shrink,
        )

    def forget(self, user: int) -> None:
        """The user's row leaves."""
        self.rows.drop(user ^ USER)


@kernel("void(int32[:], int64, float32[::1], float32[:, ::1], float32[::1])")
def beyond(rows: Places, user: int, biases: Floats, vectors: Floats, found: Floats) -> None:
    """Log-odds of each row of a note, and of the user's."""
    own = biases[user] if user >= 0 else np.float32(0.0)
    for i in range(len(rows)):
        found[i] = own
        if rows[i] >= 0:
            found[i] += biases[rows[i]]
            if user >= 0:
                found[i] += dot(vectors[rows[i]], vectors[user])


@kernel("void(int64, int64, float32, float32[::1], float32[:, ::1], float32[::1], float32[:, ::1], float32, float32)")
def step(
    note: int, user: int, error: np.float32, biases: Floats, vectors: Floats, biases2: Floats, vectors2: Floats,
    rate: np.float32, shrink: np.float32,
) -> None:  # fmt: skip
    """One step of both rows; `…2` are the sums of squared gradients."""
    pull = shrink * abs(error)
    for row, share in ((note, np.float32(1.0)), (user, np.float32(0.5))):
        # A user's examples come in a row, many of them before the first is served, so that his bias takes half steps.
        slope = error + pull * biases[row]
        biases2[row] += slope * slope
        biases[row] -= share * rate * slope / np.sqrt(biases2[row])
    of_note, of_user, note2, user2 = vectors[note], vectors[user], vectors2[note], vectors2[user]
    for j in range(len(of_note)):
        to_note, to_user = error * of_user[j] + pull * of_note[j], error * of_note[j] + pull * of_user[j]
        note2[j] += to_note * to_note
        user2[j] += to_user * to_user
        of_note[j] -= rate * to_note / np.sqrt(note2[j])
        of_user[j] -= rate * to_user / np.sqrt(user2[j])
