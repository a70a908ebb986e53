"""What an idle system costs: `upwell up --no-town` in all its processes, and worker with API on Apache Kafka.

``python -m benchmarks.idle [seconds]``. Per cent of one core, user and system time from /proc, after everything has settled.
"""

from __future__ import annotations

import os
import sys
import time

from benchmarks.latency import wait_ready
from benchmarks.rig import Rig, cpu, machine
from tests.parts import PartMissing
from tools.parts import free_port


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
            except OSError:
                continue
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def name_of(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    if b"upwell" in words:
        return words[words.index(b"upwell") + 1].decode()
    return os.path.basename(words[0].decode()).split("-")[0]


def used(pids: list[int], seconds: float) -> dict[str, float]:
    """Per cent of a core by process name."""
    before = {pid: cpu(pid) for pid in pids}
    start = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - start
    found: dict[str, float] = {}
    for pid in pids:
        name = name_of(pid)
        found[name] = found.get(name, 0.0) + 100 * (cpu(pid) - before[pid]) / passed
    return found


def row(name: str, parts: dict[str, float], names: tuple[str, ...], wanted: int) -> str:
    total = sum(parts[n] for n in names or parts)
    detail = ", ".join(f"{n} {share:.0f}" for n, share in parts.items())
    return f"| {name} | {total:.0f} % | {detail} | {wanted} % |"


def measure(seconds: float) -> list[str]:
    lines = ["| idle | CPU of one core | by process | wanted |", "|---|---|---|---|"]
    port = free_port()
    with Rig() as rig:  # only for its folder and its way of running processes; `up` brings parts of its own
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")}
        up = rig.process("upwell", ["up", "--no-town", "--port", str(port), "--data-dir", str(rig.folder / "up")])
        up.variables = clean
        with up:
            wait_ready(port, 90)
            time.sleep(10)
            lines.append(row("`upwell up --no-town`", used(family(up.pid), seconds), (), 50))
    try:
        port = free_port()
        with Rig("apache", 16) as rig, rig.worker("") as worker:
            worker.wait_for("upwell worker:", 90)
            with rig.process("upwell", ["api", "--port", str(port)], port=port) as api:
                wait_ready(port, 90)
                time.sleep(10)
                parts = {"worker": worker.pid, "api": api.pid, "kafka": rig.broker.pid, "store": rig.store.pid}
                shares = used(list(parts.values()), seconds)
                lines.append(row("worker and API on Apache Kafka, 16 partitions", shares, ("worker", "api"), 10))
    except PartMissing as missing:
        lines.append(f"| worker and API on Apache Kafka | not measured: {missing} | | 10 % |")
    return lines


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    print(f"{machine()}\n")
    print("\n".join(measure(seconds)))


if __name__ == "__main__":
    main()
