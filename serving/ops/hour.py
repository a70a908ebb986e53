"""The last hour of a few numbers, a column a minute: small whatever the partitions, and the same for everybody who looks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MINUTES = 60

Rows = npt.NDArray[np.float32]


class Hour:
    """Named rows of numbers over the last 60 minutes. Of several numbers of one minute the largest stays: a short spike is seen."""

    def __init__(self) -> None:
        self._minute = 0
        self._rows: dict[str, Rows] = {}

    def turn(self, now: float) -> None:
        """Moves on to the minute of `now` (epoch seconds)."""
        minute = int(now // 60)
        gone = minute - self._minute
        if gone > 0:
            self._minute = minute
            for name, rows in self._rows.items():
                moved = np.full_like(rows, np.nan)
                if gone < MINUTES:
                    moved[:, :-gone] = rows[:, gone:]
                self._rows[name] = moved

    def put(self, name: str, values: npt.ArrayLike) -> None:
        """One number for each row; NaN is none."""
        column = np.atleast_1d(np.asarray(values, np.float32))
        rows = self._rows.get(name)
        if rows is None or len(rows) != len(column):
            rows = self._rows[name] = np.full((len(column), MINUTES), np.nan, np.float32)
        rows[:, -1] = np.fmax(rows[:, -1], column)

    def rows(self, name: str) -> Rows:
        """(rows, 60), oldest minute first, NaN where nothing is known; no rows for a name that was never put."""
        return self._rows.get(name, np.empty((0, MINUTES), np.float32))
