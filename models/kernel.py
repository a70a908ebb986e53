"""Loops over arrays as machine code: for what numpy says only in many small calls, of which a feed has time for few.

    @kernel("void(float32[:, ::1], float32[::1])")
    def centred(x, mean): ...

A kernel is a function of arrays and numbers with its types declared, so that it is compiled when its module is imported and never
inside a request; where the machine code lies beside the source already, an import only loads it
(`python -m models.kernel` makes it, as `make setup` does). Arithmetic is
IEEE 754 in the order the source has it: nothing is reordered, so that a replay finds the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar, cast

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def kernel(signature: str | list[str]) -> Callable[[Loop], Loop]:
    """Compiled for these types of numba's; called with others, it raises `TypeError`. Division by zero is numpy's: inf or nan."""
    return cast(Callable[[Loop], Loop], numba.njit(signature, cache=True, nogil=True, fastmath=False, error_model="numpy"))


if __name__ == "__main__":
    import models

    for module in iter_modules(models.__path__, "models."):
        import_module(module.name)
