"""`make demo`: 200,000 real events through broker, workers and store; then what the system made of them.

python -m tools.demo [--keep]      --keep leaves the system running until Ctrl-C
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from config.settings import Settings, load
from tools import films, lag, people, show, up
from tools.mistake import Mistake
from tools.parts import die_with_parent
from tools.people import Asker

CACHE = Path(".cache/data")
PERSON = "user-405"
"""Who rated the most films."""
FILM = "film-50"
"""The film that was rated the most."""
READY_S = 90.0
SETTLE_S = 300.0

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the system running until Ctrl-C")
    keep = parser.parse_args().keep
    try:
        with tempfile.TemporaryDirectory(prefix="upwell-demo-") as folder:
            run(Path(folder), keep=keep)
    except Mistake as error:
        print(f"upwell demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run(folder: Path, *, keep: bool) -> None:
    console.print(f"[bold]1[/] Real events: 100,000 film ratings ({films.PACKAGE} from PyPI, kept in {CACHE})")
    catalogue, log = films.write(folder, films.fetch(CACHE))
    console.print("[bold]2[/] Broker, store, workers and API on this machine")
    process = subprocess.Popen(
        [sys.executable, "-m", "upwell", "up", "--no-town", "--port", "0", "--data-dir", str(folder / "up")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")},
        preexec_fn=die_with_parent(),
        start_new_session=True,
    )
    try:
        told = wait_until_up(process, folder / "up")
        # What an `up` adds for its own broker is added here too.
        settings = load(environ=up.environment(folder / "up", {}))
        console.print("[bold]3[/] Replay: each rating is an impression and a like (four stars and more) or a view")
        began = time.monotonic()
        show.replayed(settings, [catalogue, log], None, to_now=False)
        settle(settings)
        seconds = time.monotonic() - began
        console.print(f"applied by every stage {seconds:.0f} s after the first was sent ({200_000 / seconds:,.0f} events/s)\n")
        report(Asker(told["api"]))
        if keep:
            console.print(f"\nstill running: {told['api']}/docs (Ctrl-C stops it)")
            process.wait()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_up(process: subprocess.Popen[str], data_dir: Path) -> dict[str, str]:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        told = up.addresses(data_dir)
        if told:
            return told
        if process.poll() is not None:
            assert process.stderr is not None
            raise Mistake((process.stderr.read().strip() or "`upwell up` ended").removeprefix("upwell: "))
        time.sleep(0.1)
    raise Mistake(f"`upwell up` was not ready within {READY_S:.0f} s")


def settle(settings: Settings) -> None:
    """Until every stage stands still at the end of its log: for two seconds nothing moves and nothing is behind."""
    deadline = time.monotonic() + SETTLE_S
    before: list[tuple[int | None, int]] = []
    still_since = time.monotonic()
    while time.monotonic() < deadline:
        rows = asyncio.run(lag.measure(settings))
        now = [(row.checkpoint, row.end) for row in rows]
        if now != before or any(row.records for row in rows):
            before, still_since = now, time.monotonic()
        elif time.monotonic() - still_since > 2.0:
            return
        time.sleep(0.3)
    raise Mistake(f"the stages did not catch up within {SETTLE_S:.0f} s: see `upwell lag`")


def report(api: Asker) -> None:
    """A person, their feed, a film, the pools."""
    console.print(f"[bold]What is believed about {PERSON}[/] (strongest first)")
    console.print(people.interests_table(api.get(f"/v1/users/{PERSON}/interests"), limit=10))
    console.print(f"\n[bold]What {PERSON} would see next, and why[/]")
    console.print(people.feed_table(api.get(f"/v1/feed/{PERSON}", n=10)))
    console.print(f"\n[bold]A film: {FILM}[/]")
    people.note(api, FILM, as_json=False)
    console.print("\n[bold]The traffic pools[/]")
    console.print(people.pools_table(api.get("/v1/pools")))


if __name__ == "__main__":
    sys.exit(main())
