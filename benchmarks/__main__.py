"""Every benchmark, one after the other, and their tables in `benchmarks/README.md`: ``python -m benchmarks [name …]`` (`make bench`).

Each runs as a process of its own with modest sizes (two minutes at most on a quiet machine); one that fails or takes too long is named, and the
others go on. A table is written as soon as it is there; with names, only those are made anew. Beside each stands where and by what it was made, and what
`remarks.py` has to say.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.remarks import REMARKS
from benchmarks.rig import ROOT, machine, yardstick

LIST = {
    "whole_job": ("The whole job against plain Faust", "whole_job", ["60000", "2500"]),
    "stages": ("What one event costs in each stage", "stages", ["40000"]),
    "latency": ("From send to the changed answer, embedded broker", "latency", ["400", "2000", "embedded"]),
    "latency_kafka": ("From send to the changed answer, Apache Kafka", "latency", ["10000", "2000", "apache"]),
    "feed_http": ("The feed over HTTP, all sources and the learned ranker", "feed_http", ["--seconds", "6"]),
    "overload": ("Five times what one process carries", "overload", []),
    "quota": ("Quotas, 300 feeds a second from two APIs, the worker killed", "quota", ["--kill", "40", "--rate", "320"]),
    "watched": ("What metrics and the heartbeat cost", "watched", ["60000", "4"]),
    "ops_page": ("The page /ops on 64 partitions", "ops_page", []),
    "memory": ("Memory", "memory", []),
    "idle": ("Idle", "idle", []),
    "learner_fold": ("The learner stage", "learner_fold", []),
    "neighbours_fold": ("The neighbours stage", "neighbours_fold", []),
    "decode": ("Decoding an event", "decode", []),
    "users_fold": ("The users stage", "users_fold", ["60000"]),
    "notes_fold": ("The notes stage", "notes_fold", []),
    "store_read": ("Reads of the store", "store_read", []),
    "pool_decision": ("A look at a note's pool", "pool_decision", []),
}
"""Name -> title, module, arguments."""
PATIENCE_S = 600
README = ROOT / "benchmarks" / "README.md"
HEAD = """# Benchmarks

`make bench` makes every table anew, `python -m benchmarks NAME …` some. A turn of the small loop says how busy the machine was: ratios within a
table hold in any case, figures by the clock only where nothing else ran.
"""


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
    made = f"`python -m benchmarks.{' '.join([module, *arguments])}`"
    return f"## {title}\n\n{made} on {machine()}; a million turns of a small loop took {yardstick():.0f} ms of CPU.\n\n{body}\n{remark}"


def kept() -> dict[str, str]:
    """The sections that stand there, by title."""
    parts = ("\n" + README.read_text("utf-8")).split("\n## ")[1:] if README.exists() else []
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def write(sections: dict[str, str]) -> None:
    """Those of `LIST`, in its order; what is not measured by it any more goes."""
    titles = [title for title, *_ in LIST.values()]
    README.write_text("\n".join([HEAD, *(sections[title] for title in titles if title in sections)]), "utf-8")


def main() -> int:
    asked = sys.argv[1:]
    unknown = [name for name in asked if name not in LIST]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there are {', '.join(LIST)}", file=sys.stderr)
        return 2
    good = True
    for name in asked or LIST:
        title, module, arguments = LIST[name]
        ended, text = run(module, arguments)
        good = good and ended
        made = section(name, text)
        print(made, flush=True)
        write({**kept(), title: made})
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
