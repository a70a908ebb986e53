"""Forward decay: what fades is kept as if it grew, so that adding is all there is to do and order does not matter.

A value v that came at time t weighs ``v · 2^(-(now-t)/h)``. Kept as ``S = Σ v · 2^(t/h - L)`` with a landmark L, nothing has to be
touched as time passes: adding is one multiplication, reading is one division by ``2^(now/h - L)``. Landmarks are whole numbers, so
that moving one (`rebase`) multiplies by a power of two, which floats do exactly.

References
----------
G. Cormode, V. Shkapenyuk, D. Srivastava, B. Xu: Forward Decay (ICDE 2009).
"""

from __future__ import annotations

from math import floor, log2

ROOM = 64
"""A landmark moves when growth passes 2^ROOM; far from the 2^1023 of a double, even for sums."""


def fade(elapsed: float, half_life: float) -> float:
    """What is left of 1 after `elapsed`; times in any one unit.

    >>> fade(20, 10)
    0.25
    """
    return float(2.0 ** (-elapsed / half_life))


def bits_of(keep: float) -> float:
    """Halvings per step of a decay that keeps `keep` of a value each step.

    >>> bits_of(0.5)
    1.0
    """
    return -log2(keep)


def rebase(age: float, landmark: int) -> int:
    """By how many halvings the landmark must move so that growth at `age` (in halvings) has room again; 0 when it has.

    >>> rebase(10.0, 0), rebase(100.5, 10)
    (0, 90)
    """
    return floor(age) - landmark if age - landmark > ROOM else 0
