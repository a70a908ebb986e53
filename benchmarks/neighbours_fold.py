"""What the neighbours stage carries: first engagements a second on one core, on the mix of the whole job.

``python -m benchmarks.neighbours_fold [events]``. A first engagement is one link to the user's last notes; it is told to each of four partitions that owns
one of them. All of the stage is counted: unpacking, reading, folding, writing, as in `benchmarks/stages.py`; it commits once a frame, as it
does every second or so in a worker.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from benchmarks.rig import machine, yardstick
from benchmarks.stages import PARTS, STAGES, measured, row
from config.records import Link, decode_pair


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    local = asyncio.run(measured(count, stages=(*STAGES, "neighbours")))
    logs = [log for (topic, _), log in local.logs.items() if topic == "by-pair"]
    signals = [signal for log in logs for record in log for signal in decode_pair(record.value or b"").signals if type(signal) is Link]
    links = sum(signal.m & 1 for signal in signals) * count // (count + count // 4)
    spent = local.spent["neighbours"]
    print(f"{machine()}, yardstick {yardstick():.0f} ms\n")
    print(f"| µs a first engagement | {' | '.join(PARTS)} | all |\n|---|{'---|' * (len(PARTS) + 1)}")
    print(row("neighbours", spent, links))
    print(f"\n**{links / sum(spent.values()):,.0f} first engagements/s per core**; {links} in {count} events.")


if __name__ == "__main__":
    main()
