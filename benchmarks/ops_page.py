"""`/ops` on a system of many partitions: page and data over HTTP while a worker applies a stream, and what a look behind them takes.

``python -m benchmarks.ops_page [partitions] [requests]``. Data is asked for as the page does it, by one who watches, at the page's own pace divided
by ten. The look itself runs in the background every few seconds; its time is the API's own.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
import urllib.request

from benchmarks.latency import wait_ready
from benchmarks.rig import Rig, events, notes, printed
from tools.parts import free_port

PAUSE_S = 0.1


def asked(url: str) -> tuple[float, bytes]:
    """Milliseconds until the whole answer is there, and the answer."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=30) as answer:
        body = answer.read()
    return 1000 * (time.perf_counter() - began), body


def spread(took: list[float]) -> str:
    ordered = sorted(took)
    return f"{statistics.median(ordered):.1f} | {ordered[int(0.99 * (len(ordered) - 1))]:.1f} | {ordered[-1]:.1f}"


def measure(partitions: int, requests: int) -> list[str]:
    with Rig("embedded", partitions, UPWELL_KAFKA__FETCH_WAIT_MS="500") as rig, rig.worker("") as worker:
        worker.wait_for("upwell worker:", 120)
        port = free_port()
        with rig.process("upwell", ["api", "--port", str(port)], port=port):
            wait_ready(port, 90)
            rig.publish("notes", notes(1_000), "note_id")
            ended = threading.Event()

            def stream() -> None:
                turn = 0
                while not ended.wait(1.0):
                    turn += 1
                    rig.publish("events", events(200, seed=turn, notes=1_000), "user_id")

            behind = threading.Thread(target=stream, daemon=True)
            behind.start()
            time.sleep(15)
            base, page, data = f"http://127.0.0.1:{port}", [], []
            body = b""
            for _ in range(requests):
                page.append(asked(f"{base}/ops")[0])
                took, body = asked(f"{base}/ops/data")
                data.append(took)
                time.sleep(PAUSE_S)
            ended.set()
            behind.join(10)
            told = json.loads(body)
            shown = sum(len(row["partitions"]) for row in told["lag"])
            return [
                "| | p50 ms | p99 ms | max ms |",
                "|---|---|---|---|",
                f"| `/ops` | {spread(page)} |",
                f"| `/ops/data` | {spread(data)} |",
                "",
                (
                    f"{partitions} partitions a topic, {shown} inputs of stages in the answer of {len(body) / 1000:.0f} kB; "
                    f"{requests} requests of each, 200 events/s behind; wanted: at most 200 ms."
                ),
            ]


def main() -> None:
    printed(measure, 64, 200)


if __name__ == "__main__":
    main()
