"""Every benchmark, one after the other, and their tables in `benchmarks/README.md`: ``python -m benchmarks [name …]`` (`make bench`).

Each runs as a process of its own with modest sizes (two minutes at most on a quiet machine); one that fails or takes too long is named, and the
others go on. With names, only those run and nothing is written.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.remarks import REMARKS
from benchmarks.rig import ROOT, machine, yardstick

LIST = {
    "whole_job": ("The whole job against plain Faust", "whole_job", ["60000", "2500"]),
    "stages": ("What one event costs in each stage", "stages", ["40000"]),
    "latency": ("From send to the changed answer, embedded broker", "latency", ["10000", "2000", "embedded"]),
    "latency_kafka": ("From send to the changed answer, Apache Kafka", "latency", ["10000", "2000", "apache"]),
    "feed_http": ("The feed over HTTP, all sources and the learned ranker", "feed_http", ["--seconds", "10"]),
    "overload": ("Five times what one process carries", "overload", []),
    "memory": ("Memory", "memory", []),
    "idle": ("Idle", "idle", []),
    "learner_fold": ("The learner stage", "learner_fold", []),
    "neighbours_fold": ("The neighbours stage", "neighbours_fold", []),
    "decode": ("Decoding an event", "decode", []),
    "users_fold": ("The users stage", "users_fold", []),
    "notes_fold": ("The notes stage", "notes_fold", []),
    "store_read": ("Reads of the store", "store_read", []),
    "pool_decision": ("A look at a note's pool", "pool_decision", []),
}
"""Name -> title, module, arguments."""
PATIENCE_S = 600
README = ROOT / "benchmarks" / "README.md"


def run(module: str, arguments: list[str]) -> tuple[bool, str]:
    """Whether it came to its end, and what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return False, f"not measured: took longer than {PATIENCE_S} s"
    if done.returncode:
        return False, f"not measured: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]}"
    return True, done.stdout.strip()


def section(name: str, text: str) -> str:
    title, module, arguments = LIST[name]
    body = text if "\n|" in text else f"```\n{text}\n```"
    remark = f"\n{REMARKS[name]}\n" if name in REMARKS else ""
    return f"## {title}\n\n`python -m benchmarks.{' '.join([module, *arguments])}`\n\n{body}\n{remark}"


def main() -> int:
    asked = sys.argv[1:]
    unknown = [name for name in asked if name not in LIST]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(LIST)}", file=sys.stderr)
        return 2
    sections, good = [], True
    for name in asked or LIST:
        ended, text = run(*LIST[name][1:])
        good = good and ended
        sections.append(section(name, text))
        print(sections[-1], flush=True)
    if not asked:
        head = f"# Benchmarks\n\n`make bench`, on {machine()}; a million turns of a small loop took {yardstick():.0f} ms of CPU.\n"
        README.write_text("\n".join([head, *sections]), "utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
