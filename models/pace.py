"""How many things come a second of the log's own time, of late: what a bound on work per second is held against, the same in every replay."""

from __future__ import annotations

from math import exp

MEMORY_MS = 60_000.0
"""By which what came is forgotten: a bundle that an app sends late is no pace, a busy minute is one."""


class Pace:
    """Exponentially weighted. Times may come out of order.

    Examples
    --------
    >>> pace = Pace()
    >>> for t in range(0, 600_000, 100):
    ...     pace.saw(t)
    >>> round(pace.per_second, 1)
    10.0
    >>> pace.saw(10_000_000)
    >>> round(pace.per_second, 3)
    0.017
    """

    __slots__ = ("at", "per_second")

    def __init__(self, per_second: float = 0.0, at: int = 0) -> None:
        """`at`: the newest time seen, ms."""
        self.per_second, self.at = per_second, at

    def saw(self, t: int) -> None:
        """Another one, at `t` ms."""
        if t > self.at:
            self.per_second *= exp((self.at - t) / MEMORY_MS)
            self.at = t
        self.per_second += 1_000.0 / MEMORY_MS
