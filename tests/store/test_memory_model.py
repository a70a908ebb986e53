"""Memory and server do the same at every step: the memory store is the oracle of rebuilds, so it must not be kinder."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from config.keys import Slot
from store.memory import MemoryStore
from store.redis import RedisStore
from tests.store.conftest import Run, emptied, redis_settings

SLOTS = [Slot("m", 1, "users", 0), Slot("m", 1, "notes", 3)]
NAMES = [slot.key("k", name) for slot in SLOTS for name in (b"a", b"b", b"\x00\xff")]
values = st.none() | st.binary(max_size=6)
members = st.sampled_from([b"user:a", b"user:b", b"user:\x00", b"user:\xff", b"B"])
deadlines = st.none() | st.sampled_from([0, 1, 2, 65_535, 65_536, 1_700_000_000_000])


class Both(RuleBasedStateMachine):
    """Every operation on both; answers and what is visible afterwards must agree."""

    run: Run
    server: RedisStore

    @initialize()
    def empty(self) -> None:
        self.memory = MemoryStore()
        self.run(emptied(self.server))
        self.checkpoints: list[bytes | None] = [None, None]

    def both(self, name: str, *arguments: Any) -> Any:
        ours, theirs = (self.run(self.tried(store, name, arguments)) for store in (self.memory, self.server))
        assert ours == theirs, (name, arguments)
        return ours

    @staticmethod
    async def tried(store: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return await getattr(store, name)(*arguments)
        except ValueError:
            return ValueError

    @rule(
        n=st.integers(0, 1),
        right=st.booleans(),
        wrong=st.none() | st.binary(max_size=2),
        step=st.binary(max_size=2),
        named=st.dictionaries(st.integers(0, 2), values, max_size=3),
        timers=st.dictionaries(members, deadlines, max_size=4),
    )
    def commit(self, n: int, right: bool, wrong: bytes | None, step: bytes, named: dict[int, bytes | None], timers: Any) -> None:
        held = self.checkpoints[n]
        expected = held if right else wrong
        new = (held or b"") + step
        if self.both("commit", SLOTS[n], expected, new, {NAMES[n * 3 + i]: value for i, value in named.items()}, timers) is True:
            self.checkpoints[n] = new

    @rule(key=st.sampled_from([*NAMES, b"m:manifest"]), value=values, expected=values, check=st.booleans())
    def put(self, key: bytes, value: bytes | None, expected: bytes | None, check: bool) -> None:
        self.both("put", key, value, expected, check)

    @rule(keys=st.lists(st.sampled_from(NAMES), max_size=3))
    def delete(self, keys: list[bytes]) -> None:
        self.both("delete", keys)

    @rule(n=st.integers(0, 1), limit=st.integers(0, 4), after=st.none() | st.tuples(st.sampled_from([0, 1, 65_535]), members))
    def due(self, n: int, limit: int, after: tuple[int, bytes] | None) -> None:
        self.both("due", SLOTS[n], limit, after)

    @rule(ranges=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 7), st.integers(0, 7)), max_size=4))
    def read(self, ranges: list[tuple[bytes, int, int]]) -> None:
        self.both("read", NAMES, ranges)

    @invariant()
    def same_keys(self) -> None:
        async def keys(store: Any) -> list[bytes]:
            return sorted([key async for key in store.scan(b"*")])

        if hasattr(self, "memory"):
            assert self.run(keys(self.memory)) == self.run(keys(self.server))


def check(server: RedisStore, run: Run) -> None:
    machine = type("BothOnServer", (Both,), {"run": staticmethod(run), "server": server})
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=25, suppress_health_check=health))
    run(server.close())


def test_memory_and_valkey_agree_operation_by_operation(emptied_valkey: int, run: Run) -> None:
    """Answers, visible keys and values after any sequence of operations are the same."""
    check(RedisStore(redis_settings(emptied_valkey)), run)


@pytest.mark.cluster
def test_memory_and_a_cluster_agree_operation_by_operation(emptied_cluster: int, run: Run) -> None:
    """The same over three masters."""
    check(RedisStore(redis_settings(emptied_cluster, cluster=True)), run)
