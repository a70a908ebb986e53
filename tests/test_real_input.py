"""The 200,000 real events of `make demo` through broker, worker and store, against an oracle of ten lines that shares no code with the project."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from config.events import ACTIONS
from config.keys import hash64, note_key
from config.settings import load
from models.user import LEDGER_PARTS, SEEN_PARTS, ledger_rows, seen_hashes
from store.layout import notes_from
from store.manifest import load as load_manifest
from store.open import open_store
from tests import parts
from tests.chaos import Process
from tools import films, lag
from tools.mistake import Mistake
from tools.up import EMBEDDED

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
]

CACHE = parts.ROOT / ".cache" / "data"
LIKE, VIEW, IMPRESSION = (ACTIONS.index(a) for a in ("like", "view", "impression"))


def oracle(table: str) -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    """Film -> who saw, liked, viewed it."""
    saw, liked, viewed = defaultdict(set), defaultdict(set), defaultdict(set)
    for line in table.splitlines()[1:]:
        user, film, stars, _ = line.split("\t")
        saw[film].add(user)
        (liked if float(stars) >= 4 else viewed)[film].add(user)
    return saw, liked, viewed


def differences(saw: dict[str, set[str]], liked: dict[str, set[str]], viewed: dict[str, set[str]]) -> list[str]:
    """What the store says otherwise than the oracle."""

    async def read() -> tuple[list[bytes | None], list[list[bytes | None]]]:
        settings = load()
        store = open_store(settings)
        manifest = await load_manifest(store, settings.kafka.prefix)
        assert manifest is not None
        digests = [hash64(f"film-{film}") for film in saw]
        notes = await store.read([manifest.slot("notes", h).key("note", note_key(h)) for h in digests])
        people = []
        for user in users:
            slot = manifest.slot("users", hash64(user))
            people.append(await store.read([slot.key(part, user) for part in (*SEEN_PARTS, *LEDGER_PARTS)]))
        await store.close()
        return notes, people

    users = sorted({f"user-{user}" for people in saw.values() for user in people})
    notes, people = asyncio.run(read())
    records, kept = notes_from(notes)
    if len(kept) < len(saw):
        return [f"{len(saw) - len(kept)} films have no record"]
    wrong = []
    for film, record in zip(saw, records, strict=True):
        counted = tuple(int(record["counts"][a]) for a in (IMPRESSION, LIKE, VIEW))
        wanted = (len(saw[film]), len(liked[film]), len(viewed[film]))
        if counted != wanted:
            wrong.append(f"film {film}: {counted} is not {wanted}")
    exposed: dict[str, set[int]] = defaultdict(set)
    engaged: dict[str, dict[int, int]] = defaultdict(dict)
    for film, people_of in saw.items():
        h = hash64(f"film-{film}")
        for user in people_of:
            exposed[f"user-{user}"].add(h)
            engaged[f"user-{user}"][h] = LIKE if user in liked[film] else VIEW
    for user, values in zip(users, people, strict=True):
        seen, rows = seen_hashes(values[: len(SEEN_PARTS)]), ledger_rows(values[len(SEEN_PARTS) :])
        ever = set(seen.tolist()) | {int(row["hash"]) for row in rows if row["bits"] & 1 << IMPRESSION}
        if ever != exposed[user]:
            wrong.append(f"{user}: {len(ever)} exposures are not {len(exposed[user])}")
        if {int(row["hash"]): bool(row["bits"] & 1 << engaged[user][int(row["hash"])]) for row in rows} != dict.fromkeys(
            engaged[user], True
        ):
            wrong.append(f"{user}: the ledger is not what was done")
    return wrong


def drained(patience_s: float = 240.0) -> None:
    """Returns when every stage has applied everything."""
    deadline = time.monotonic() + patience_s
    while lag.worst(asyncio.run(lag.measure(load()))) > 0:
        assert time.monotonic() < deadline, "the lag does not drain"
        time.sleep(1)


def test_every_counter_of_every_film_and_person_is_exact_and_a_second_replay_changes_nothing(
    tmp_path: Path, broker: parts.EmbeddedBroker, valkey: parts.EmbeddedStore, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200,000 events: counters of 1,682 films, exposures and ledgers of 943 people; sent again, all of it stays."""
    try:
        ratings, items = films.fetch(CACHE)
    except Mistake as error:
        parts.missing(str(error))
    variables = EMBEDDED | {"UPWELL_KAFKA": broker.address, "UPWELL_REDIS": valkey.url, "UPWELL_KAFKA__PREFIX": prefix}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    catalogue, log = films.write(tmp_path, (ratings, items))
    tables = oracle(ratings)
    replay = [sys.executable, "-m", "upwell", "replay", str(catalogue), str(log)]
    subprocess.run([sys.executable, "-m", "upwell", "topics", "create"], check=True, cwd=parts.ROOT, capture_output=True)
    worker = Process("worker", tmp_path / "worker", ["worker"], variables)
    with worker:
        subprocess.run(replay, check=True, cwd=parts.ROOT, capture_output=True, timeout=240)
        for _ in range(2):
            subprocess.run(replay, check=True, cwd=parts.ROOT, capture_output=True, timeout=240)
            drained()
            assert differences(*tables) == []
