"""What is reachable, what is wrong, and what to do: `upwell doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from config.settings import Settings, masked
from config.topics import TOPICS, full
from store import manifest as manifests
from store.base import StoreError
from store.manifest import ManifestError
from store.open import open_store
from streams.logs import BrokerError, Logs
from tools import lag, topics
from tools.mistake import Mistake
from tools.people import Asker

BEHIND_S = 60.0


class Finding(NamedTuple):
    """`wrong` is a fault to put right; otherwise good, or a remark."""

    what: str
    wrong: bool
    told: str


def run(settings: Settings, api: str) -> int:
    """Prints every finding; 1 when something is wrong."""
    found: list[Finding] = []
    for check in (kafka, store, agreement, progress):
        found += check(settings)
    found += http(settings, api)
    for one in found:
        print(f"{'✗' if one.wrong else '✓'} {one.what:<8} {one.told}")
    return 1 if any(one.wrong for one in found) else 0


def kafka(settings: Settings) -> list[Finding]:
    try:
        problems = topics.check(settings.kafka)
    except BrokerError as error:
        return [Finding("kafka", True, str(error))]
    found = [Finding("kafka", False, f"{settings.kafka.servers} answers")]
    return found + [Finding("topics", True, problem) for problem in problems]


def store(settings: Settings) -> list[Finding]:
    shown = masked(settings)["redis"]["url"]

    async def asked() -> list[Finding]:
        opened = open_store(settings)
        try:
            await opened.ping()
            return [Finding("redis", False, f"{shown} answers")]
        except StoreError as error:
            return [Finding("redis", True, f"{shown}: {error}: is it running? UPWELL_REDIS names it")]
        finally:
            await opened.close()

    return asyncio.run(asked())


def agreement(settings: Settings) -> list[Finding]:
    """The store's manifest against the broker's topics."""

    async def asked() -> list[Finding]:
        opened = open_store(settings)
        try:
            standing = await manifests.load(opened, settings.kafka.prefix)
        finally:
            await opened.close()
        if standing is None:
            written = await asyncio.to_thread(holding, settings)
            if written:
                lost = (
                    f"the store knows no system {settings.kafka.prefix!r}, but {', '.join(written)} hold its records: run `upwell rebuild`"
                )
                return [Finding("manifest", True, lost)]
            told = f"the store knows no system {settings.kafka.prefix!r} yet: the first `upwell worker` makes it"
            return [Finding("manifest", False, told)]
        manifests.check(standing, {name: count for name, (_, count) in Logs(settings.kafka).all().items()})
        return [Finding("manifest", False, f"system {standing.prefix!r}, {standing.count('users')} partitions")]

    return quietly("manifest", lambda: asyncio.run(asked()))


def holding(settings: Settings) -> list[str]:
    """Internal topics that hold records."""
    logs, prefix = Logs(settings.kafka), settings.kafka.prefix
    try:
        names = [name for name, topic in TOPICS.items() if not topic.public]
        return sorted({full(prefix, topic) for (topic, _), (first, end) in logs.ends(names).items() if end > first})
    finally:
        logs.close()


def progress(settings: Settings) -> list[Finding]:
    """Whether every stage keeps up."""

    def asked() -> list[Finding]:
        found = []
        rows = asyncio.run(lag.measure(settings))
        for stage in dict.fromkeys(row.stage for row in rows if row.checkpoint is None):
            found.append(
                Finding(
                    stage,
                    True,
                    f"the store has no checkpoint of some partitions: their state is lost: run `upwell rebuild{'' if stage == 'intake' else f' {stage}'}`",
                )
            )
        for stage, topic, _, records, seconds in lag.by_stage(rows):
            if seconds > BEHIND_S:
                told = (
                    f"{records:,} records behind on {topic}, the oldest {seconds:.0f} s old: is `upwell worker` running, with this stage?"
                )
                found.append(Finding(stage, True, told))
        return found or [Finding("stages", False, f"every stage is within {BEHIND_S:.0f} s of its log")]

    return quietly("stages", asked)


def http(settings: Settings, api: str) -> list[Finding]:
    """The API, as a client would see it."""

    def asked() -> list[Finding]:
        ready = Asker(api, settings.api.key_for("read"), 3.0).get("/readyz")
        reasons = ", ".join(map(str, ready.get("reasons") or []))
        return [Finding("api", ready["status"] != "ready", f"{api} is {ready['status']}" + (f": {reasons}" if reasons else ""))]

    return quietly("api", asked)


def quietly(what: str, asked: Callable[[], list[Finding]]) -> list[Finding]:
    """A part that does not answer has its own finding already; here it is one line more, never a traceback."""
    try:
        return asked()
    except (BrokerError, StoreError, ManifestError, Mistake) as error:
        return [Finding(what, True, str(error))]
