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
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from config.settings import Settings, load
from store.open import open_store
from tools import films, lag, people, show, up
from tools.mistake import Mistake
from tools.parts import die_with_parent
from tools.people import Asker

Where = tuple[str, str, int]
"""(stage, topic, partition)"""

CACHE = Path(".cache/data")
PERSON = "653"
"""Rated 283 films, the last ones in the log's last hours; takes war films and dramas, leaves comedies."""
FILM = "film-50"
"""The film that was rated the most."""
READY_S = 90.0
SETTLE_S = 1_200.0
"""A slow machine takes its time; what is left is shown."""

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
    tables = films.fetch(CACHE)
    catalogue, log = films.write(folder, tables)
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
        report(Asker(told["api"]), lately(tables, PERSON))
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


ROUNDS = 5
"""A record passes at most so many logs: events, by-user, by-note, by-list, and back to by-note as bars."""


def settle(settings: Settings) -> None:
    """Until what was sent before has passed every log. They never stand still (the API's probes), so each round waits for the ends it found."""
    deadline = time.monotonic() + SETTLE_S
    with console.status("") as status:
        for turn in range(1, ROUNDS + 1):
            ends = {place(row): row.end for row in asyncio.run(lag.measure(settings)) if row.end}
            while left := behind(ends, applied(settings)):
                if time.monotonic() > deadline:
                    raise Mistake(f"the stages did not catch up within {SETTLE_S:.0f} s: see `upwell lag`")
                stages = ", ".join(dict.fromkeys(stage for stage, _, _ in left))
                status.update(f"log {turn} of {ROUNDS}: {stages} at work")
                time.sleep(0.5)


def behind(ends: Mapping[Where, int], at: Mapping[Where, int]) -> list[Where]:
    """Where less is applied than stood in the log; pure."""
    return [where for where, end in ends.items() if at.get(where, 0) < end]


def place(row: lag.Lag) -> Where:
    return row.stage, row.topic, row.partition


def applied(settings: Settings) -> dict[Where, int]:
    """Offsets up to which the store is true."""

    async def asked() -> lag.Applied:
        store = open_store(settings)
        try:
            return await lag.applied(store, settings.kafka.prefix)
        finally:
            await store.close()

    return {(stage, where.topic, where.partition): offset for (stage, where), offset in asyncio.run(asked()).offsets.items()}


def lately(tables: tuple[str, str], person: str, limit: int = 8) -> Table:
    """What a person really rated last, newest first."""
    ratings, catalogue = films.ratings_from(tables[0]), films.films_from(tables[1])
    table = Table("stars", "film", "genres", box=None, pad_edge=False)
    for rating in [one for one in ratings if one.user == person][: -limit - 1 : -1]:
        film = catalogue[rating.film]
        table.add_row(f"{rating.stars:.0f}", f"{film.title} ({film.year})", " ".join(film.genres))
    return table


def report(api: Asker, rated: Table) -> None:
    """A person, their feed, a film, the pools."""
    user = f"user-{PERSON}"
    console.print(f"[bold]What {user} rated last[/]")
    console.print(rated)
    console.print(f"\n[bold]What is believed about {user}[/] (strongest first)")
    console.print(people.interests_table(api.get(f"/v1/users/{user}/interests"), limit=10))
    console.print(f"\n[bold]What {user} would see next, and why[/]")
    console.print(people.feed_table(api.get(f"/v1/feed/{user}", n=10)))
    console.print(f"\n[bold]A film: {FILM}[/]")
    people.note(api, FILM, as_json=False)
    console.print("\n[bold]The traffic pools[/]")
    console.print(people.pools_table(api.get("/v1/pools")))


if __name__ == "__main__":
    sys.exit(main())
