"""`upwell up` with real processes: ready, told, restarted, stopped, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests import parts
from tests.parts import ROOT
from tools import up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Running:
    """One `upwell up`, its lines, and what the kernel knows of its processes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "upwell.py"), "up", "--no-town", "--port", "0", "--data-dir", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            cwd=folder,
        )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.told: list[str] = []

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)

    def until(self, words: str, patience_s: float = 120.0) -> str:
        """The first further line that holds `words`."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                line = self.lines.get(timeout=0.2)
            except queue.Empty:
                assert self.process.poll() is None, f"ended with {self.process.returncode}: {''.join(self.told)}"
                continue
            self.told.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words!r} was not told: {''.join(self.told)}")

    def children(self) -> list[int]:
        return children_of(self.process.pid)

    def child(self, *words: str) -> int:
        """The process whose command line holds all the words."""
        [found] = [pid for pid in self.children() if all(word in " ".join(command(pid)) for word in words)]
        return found


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def gone(pids: list[int], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not any(command(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    parts.need(lambda: (parts.broker_program(), parts.store_program()))
    if not sys.platform.startswith("linux"):
        pytest.skip("looks at /proc")
    one = Running(tmp_path)
    yield one
    one.process.kill()
    one.process.wait()


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def likes(api: str) -> int:
    """Of the note, which the new worker may have to publish first."""
    try:
        return int(asked(f"{api}/v1/notes/n1")["counts"]["like"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return 0
        raise


def counted(api: str, wanted: int, patience_s: float = 60.0) -> None:
    """Until the note has so many likes: a worker that starts applies them, an API hears of a rebuild within a second."""
    deadline = time.monotonic() + patience_s
    while (seen := likes(api)) != wanted:
        assert time.monotonic() < deadline, f"{seen} likes instead of {wanted}"
        time.sleep(0.2)


def test_everything_comes_up_restarts_what_dies_and_ends_on_ctrl_c(running: Running) -> None:
    """A worker that is killed is started again; a store that is emptied is rebuilt from the logs; one that dies takes the broker along, and what
    is lost is said."""
    running.until("ready after")
    told = up.addresses(running.folder)
    assert told is not None
    assert set(told) >= {"api", "kafka", "redis"}
    api = told["api"]
    assert asked(f"{api}/readyz")["status"] == "ready"
    asked(f"{api}/v1/notes", {"note_id": "n1", "author_id": "ann", "tags": ["soup"]})
    assert asked(f"{api}/v1/events", {"type": "like", "user_id": "u", "note_id": "n1"})["accepted"] == 1

    os.kill(running.child("-m upwell worker"), signal.SIGKILL)
    running.until("worker was killed by signal 9; starting it again")
    asked(f"{api}/v1/events", {"type": "like", "user_id": "u2", "note_id": "n1"})
    counted(api, 2)

    second = subprocess.run(
        [sys.executable, str(ROOT / "upwell.py"), "up", "--data-dir", str(running.folder)],
        capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert second.returncode == 1
    assert "already runs" in second.stderr

    with contextlib.closing(redis.Redis.from_url(told["redis"])) as client:
        client.flushall()
    running.until("its state is lost. Run `upwell rebuild")
    command = [sys.executable, str(ROOT / "upwell.py"), "rebuild"]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "UPWELL_KAFKA": told["kafka"], "UPWELL_REDIS": told["redis"]}
    rebuilt = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    counted(api, 2)

    os.kill(running.child("valkey-server"), signal.SIGKILL)
    running.until("the store died. Broker and store keep everything in memory")
    running.until("ready again")
    assert asked(f"{api}/readyz")["status"] == "ready"

    everything = running.children()
    assert len(everything) == 4
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(10) == 0
    assert time.monotonic() - began < 5.0
    assert gone(everything, 0.5)
    assert up.addresses(running.folder) is None


def test_nothing_outlives_an_up_that_is_killed(running: Running) -> None:
    """Not even `kill -9` leaves a process behind."""
    running.until("ready after")
    everything = running.children()
    running.process.kill()
    running.process.wait()
    assert gone(everything)
    assert up.addresses(running.folder) is None


def test_a_stop_during_the_start_leaves_nothing(running: Running) -> None:
    """Ctrl-C is heard at any time."""
    deadline = time.monotonic() + 60
    while len(running.children()) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    everything = running.children()
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0
    assert time.monotonic() - began < 5.0
    assert gone(everything, 0.5)
