"""Counters of many processes, which come, go and start again at 0, as one that only grows."""

from __future__ import annotations

from collections import deque

from serving.ops.samples import Samples, Series


class Tally:
    """See the module's docstring.

    Parameters
    ----------
    keep_s
        how far back `since` can look
    step_s
        marks are at least so far apart
    """

    def __init__(self, keep_s: float, step_s: float) -> None:
        self.keep_s, self.step_s = keep_s, step_s
        self.total: dict[Series, float] = {}
        """everything that was told"""
        self._last: dict[str, dict[Series, float]] = {}
        self._marks: deque[tuple[float, dict[Series, float]]] = deque()
        self._earlier: dict[Series, float] = {}
        """of `total`, what was counted before the first look at a process that ran already: not of this hour"""

    def saw(self, source: str, samples: Samples, *, born: bool) -> None:
        """What a process says now. `born`: it started while we were looking, so that all it counted is new."""
        last = self._last.get(source)
        for series, value in samples.items():
            before = last.get(series, 0.0) if last is not None else 0.0
            grown = value - before if value >= before else value
            if grown:
                self.total[series] = self.total.get(series, 0.0) + grown
                if last is None and not born:
                    self._earlier[series] = self._earlier.get(series, 0.0) + grown
        self._last[source] = dict(samples)

    def forget(self, source: str) -> None:
        """A process that is gone; what it counted stays."""
        self._last.pop(source, None)

    def mark(self, now: float) -> None:
        """Remembers where everything stands."""
        if not self._marks or now - self._marks[-1][0] >= self.step_s:
            self._marks.append((now, {series: value - self._earlier.get(series, 0.0) for series, value in self.total.items()}))
        while self._marks and now - self._marks[0][0] > self.keep_s + self.step_s:
            self._marks.popleft()

    def since(self, now: float, seconds: float) -> tuple[dict[Series, float], float]:
        """What came in the last `seconds` or a little more, and how long that is; from the first mark on, when there is none so old."""
        at, then = now, {}
        for marked, values in reversed(self._marks):
            at, then = marked, values
            if now - marked >= seconds:
                break
        grown = {series: value - self._earlier.get(series, 0.0) - then.get(series, 0.0) for series, value in self.total.items()}
        return grown, max(now - at, 0.0)
