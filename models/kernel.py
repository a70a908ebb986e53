"""Loops over arrays as machine code: for what numpy says only in many small calls, of which a feed has time for few.

    @kernel("void(float32[:, ::1], float32[::1])")
    def centred(x, mean): ...

A kernel is a function of arrays and numbers with its types declared, so that it is compiled when its module is imported and never
inside a request; where the machine code lies beside the source already, an import only loads it (`python -m models.kernel` makes it, as
`make setup` does). Arithmetic is IEEE 754 in the order the source has it: nothing is reordered, so that a replay finds the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar, cast

import numba
from numba.core import caching

import config

Loop = TypeVar("Loop", bound=Callable[..., Any])


def kernel(signature: Any) -> Callable[[Loop], Loop]:
    """Compiled for these types of numba's, one signature or a list; called with others, it raises `TypeError`. Division by zero is numpy's:
    inf or nan."""

    def compiled(loop: Loop) -> Loop:
        made: Any = numba.njit(nogil=True, fastmath=False, error_model="numpy")(loop)
        made._cache = Stored(loop)  # type: ignore[no-untyped-call]
        for one in signature if isinstance(signature, list) else [signature]:
            made.compile(one)
        made.disable_compile()
        return cast(Loop, made)

    return compiled


@cache
def sources() -> bytes:
    """Hash of every source a kernel may be made of: it has other kernels and constants inlined, which numba's own stamp (the age of the one
    file) knows nothing of. By content, so that files may be copied after they were compiled."""
    folders = (Path(__file__).parent, *map(Path, config.__path__))
    return sha256(b"".join(path.read_bytes() for folder in folders for path in sorted(folder.glob("*.py")))).digest()


class Beside(caching.InTreeCacheLocator):
    """Machine code lies in the `__pycache__` beside its source, and is read there also by who may not write there."""

    def get_source_stamp(self) -> bytes:
        return sources()

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Beside:
        return cls(py_func, py_file)


class Results(caching.CompileResultCacheImpl):
    _locator_classes = [Beside]  # noqa: RUF012 - as the class above has it


class Stored(caching.FunctionCache):
    """What cannot be written is compiled again by the next process."""

    _impl_class = Results

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(OSError):
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    import models

    for module in iter_modules(models.__path__, "models."):
        import_module(module.name)
