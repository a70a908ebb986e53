"""Kernels: compiled once, found by content, run where nothing can be written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]

TWICE = """
import numpy as np
from models.kernel import kernel
@kernel("void(float64[::1])")
def twice(x):
    for i in range(len(x)):
        x[i] *= 2.0
x = np.ones(3)
twice(x)
print(x.tolist(), sum(twice._cache_hits.values()))
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for folder in ("models", "config"):
        (tmp_path / folder).mkdir()
        for name in ("__init__.py", "kernel.py"):
            if (ROOT / folder / name).exists():
                shutil.copy(ROOT / folder / name, tmp_path / folder / name)
    (tmp_path / "models" / "made.py").write_text(TWICE)
    return tmp_path


def run(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-m", "models.made"], cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_a_kernel_is_compiled_once(copied: Path) -> None:
    """The next process loads what the first one compiled, also when the files were copied elsewhere in time."""
    assert run(copied) == "[2.0, 2.0, 2.0] 0"
    (copied / "models" / "made.py").touch()
    assert run(copied) == "[2.0, 2.0, 2.0] 1"


def test_a_change_of_what_a_kernel_may_have_inlined_compiles_it_again(copied: Path) -> None:
    """Constants and kernels of other modules are part of the machine code."""
    run(copied)
    (copied / "config" / "events.py").write_text("CHANGED = 1\n")
    assert run(copied) == "[2.0, 2.0, 2.0] 0"


def test_where_nothing_can_be_stored_kernels_are_compiled_by_each_process(copied: Path) -> None:
    """A folder of somebody else's is no error."""
    (copied / "models" / "__pycache__").write_text("no folder")
    assert run(copied) == run(copied) == "[2.0, 2.0, 2.0] 0"


def test_a_kernel_refuses_what_it_was_not_compiled_for() -> None:
    """Nothing is compiled within a request."""
    from models.kernel import kernel

    @kernel("int64(int64[::1])")
    def total(x: np.ndarray) -> int:
        found = 0
        for i in range(len(x)):
            found += x[i]
        return found

    assert total(np.arange(4)) == 6
    with pytest.raises(TypeError):
        total(np.ones(4))
