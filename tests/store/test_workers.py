"""Who lives: every worker a line, in one value that all of them renew."""

from __future__ import annotations

import asyncio

from config.keys import workers_key
from store.memory import MemoryStore
from store.workers import FORGET_S, Present, leave, present, renew


def line(id: str, at: float, started: float = 0.0) -> Present:
    return Present(id, at, started, "host", 1, "http://127.0.0.1:1/metrics", "0", {"users": [0, 1]})


def test_workers_that_renew_at_once_do_not_lose_each_other() -> None:
    """Each renewal is on what stands there, and is tried again when somebody was in the way."""
    store = MemoryStore()

    async def all_at_once() -> list[Present]:
        for now in range(3):
            assert all(await asyncio.gather(*(renew(store, "t", line(f"w{i}", now, i)) for i in range(6))))
        return await present(store, "t")

    assert [(one.id, one.at) for one in asyncio.run(all_at_once())] == [(f"w{i}", 2) for i in range(6)]


def test_who_leaves_is_gone_and_who_was_killed_stays_for_a_while() -> None:
    store = MemoryStore()

    async def story() -> list[list[str]]:
        await renew(store, "t", line("killed", 0))
        await renew(store, "t", line("other", 1))
        seen = [[one.id for one in await present(store, "t")]]
        await leave(store, "t", "other", 2)
        seen.append([one.id for one in await present(store, "t")])
        await renew(store, "t", line("new", FORGET_S + 1))
        seen.append([one.id for one in await present(store, "t")])
        return seen

    assert asyncio.run(story()) == [["killed", "other"], ["killed"], ["new"]]


def test_a_value_of_somebody_else_is_nobody() -> None:
    store = MemoryStore()
    store.values[workers_key("t")] = b"nonsense"
    assert asyncio.run(present(store, "t")) == []
    assert asyncio.run(renew(store, "t", line("w", 1)))
    assert [one.id for one in asyncio.run(present(store, "t"))] == ["w"]
