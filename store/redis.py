"""The store on Redis 7+ or Valkey 8+: one server, or a Redis Cluster.

A read is one write to each server and one wait for all. A commit is one script on the keys of one slot. Nothing is sent twice, but
for what the server said it did not execute (NOSCRIPT, MOVED): a commit whose answer is missing may have happened, and the caller,
who knows the checkpoint, finds out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import MovedError, NoScriptError, RedisError

from config.keys import Slot
from config.settings import Redis
from store.base import Names, Range, StoreError, checked_growth, each, laid
from store.cluster import Topology
from store.link import PING, Table, mget
from store.node import Command, Node, nodes_from


class Script:
    """Lua, sent by its hash, and in full when a server does not know it yet."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


COMMIT = Script(
    # Timers come first: only they can fail (a key of another type), and what fails must not have written anything.
    # 3,000 keys an MSET: unpack has a limit of about 8,000 values.
    """
    local held = redis.call('GET', KEYS[1])
    if ARGV[1] == '' then
        if held then return 0 end
    elseif held ~= string.sub(ARGV[1], 2) then
        return 0
    end
    local sets, gone, timed, cleared = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
    local at = 6
    local function each(command, key, count)
        for first = 1, count, 6000 do
            local last = math.min(first + 5999, count)
            redis.call(command, key, unpack(ARGV, at + first, at + last))
        end
        at = at + count
    end
    if timed > 0 then each('ZADD', KEYS[2], timed) end
    if cleared > 0 then each('ZREM', KEYS[2], cleared) end
    local pairs_, n = {KEYS[1], ARGV[2]}, 2
    for i = 1, sets do
        pairs_[n + 1], pairs_[n + 2], n = KEYS[2 + i], ARGV[at + i], n + 2
        if n >= 6000 then
            redis.call('MSET', unpack(pairs_, 1, n))
            n = 0
        end
    end
    if n > 0 then redis.call('MSET', unpack(pairs_, 1, n)) end
    for first = 3 + sets, 2 + sets + gone, 6000 do
        redis.call('UNLINK', unpack(KEYS, first, math.min(first + 5999, 2 + sets + gone)))
    end
    return 1
    """
)

PUT = Script(
    """
    local held = redis.call('GET', KEYS[1])
    if ARGV[1] == '' then
        if held then return 0 end
    elseif held ~= string.sub(ARGV[1], 2) then
        return 0
    end
    if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], string.sub(ARGV[2], 2)) end
    return 1
    """
)


class RedisStore:
    """`Store` over connections of redis-py's with hiredis.

    Parameters
    ----------
    settings
        the section ``[redis]``; the URL may name several nodes of a cluster, separated by commas
    """

    def __init__(self, settings: Redis) -> None:
        nodes = nodes_from(settings)
        self._cluster = Topology(nodes) if settings.cluster else None
        self._node = nodes[0]
        self.round_trips = 0

    # ------------------------------------------------------------------------------------------------------------- read

    async def read(self, keys: Sequence[bytes], ranges: Sequence[Range] = ()) -> list[bytes | None]:
        self.round_trips += 1
        if not keys and not ranges:
            return []
        if self._cluster is None:
            commands: list[Command] = [mget(keys)] if keys else []
            commands += [("GETRANGE", *one) for one in ranges]
            answers = await run(self._node, commands)
            values: list[bytes | None] = answers[0] if keys else []
            return values + [value or None for value in answers[len(commands) - len(ranges) :]]
        try:
            return await self._scatter(self._cluster, keys, ranges)
        except MovedError:
            self._cluster.stale = True
        try:
            return await self._scatter(self._cluster, keys, ranges)
        except MovedError as error:
            raise StoreError(f"a slot moved twice: {error}") from None

    async def table(self, keys: Names, size: int) -> bytes:
        if self._cluster is not None or not len(keys):
            return laid(await self.read(each(keys)), size)
        self.round_trips += 1
        answer, _ = await run(self._node, [mget(keys), PING], Table(len(keys), size))
        return answer if isinstance(answer, bytes) else laid(answer, size)

    async def _scatter(self, cluster: Topology, keys: Sequence[bytes], ranges: Sequence[Range]) -> list[bytes | None]:
        """One pipelined write to each server: an MGET a slot, then its ranges."""
        await cluster.fresh()
        by_slot: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            by_slot.setdefault(cluster.slot(key), []).append(place)
        plans: dict[Node, tuple[list[Command], list[list[int] | int]]] = {}
        for places in by_slot.values():
            commands, targets = plans.setdefault(cluster.owner(keys[places[0]]), ([], []))
            commands.append(mget([keys[place] for place in places]))
            targets.append(places)
        for place, one in enumerate(ranges, len(keys)):
            commands, targets = plans.setdefault(cluster.owner(one[0]), ([], []))
            commands.append(("GETRANGE", *one))
            targets.append(place)
        values: list[bytes | None] = [None] * (len(keys) + len(ranges))
        all_answers = await self._together([run(node, commands) for node, (commands, _) in plans.items()])
        for (_, targets), answers in zip(plans.values(), all_answers, strict=True):
            for target, got in zip(targets, answers, strict=True):
                if isinstance(target, int):
                    values[target] = got or None
                else:
                    for place, value in zip(target, got, strict=True):
                        values[place] = value
        return values

    async def _together(self, calls: Iterable[Any]) -> list[Any]:
        """All at once; every call is waited for, then the first error is raised (a lost server before a moved slot)."""
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            if self._cluster is not None:
                self._cluster.stale = True
            raise next((error for error in errors if not isinstance(error, MovedError)), errors[0])
        return results

    # ------------------------------------------------------------------------------------------------------------ write

    async def commit(
        self,
        slot: Slot,
        expected: bytes | None,
        checkpoint: bytes,
        values: Mapping[bytes, bytes | None],
        timers: Mapping[bytes, int | None] | None = None,
    ) -> bool:
        # Here, not in the script, whose comparison of strings follows the server's locale; the script proves `expected`.
        checked_growth(expected, checkpoint)
        keys = [slot.checkpoint, slot.timers]
        contents: list[bytes] = []
        gone: list[bytes] = []
        for key, value in values.items():
            if value is None:
                gone.append(key)
            else:
                keys.append(key)
                contents.append(value)
        timed: list[bytes | int] = []
        cleared: list[bytes] = []
        for member, deadline in (timers or {}).items():
            if deadline is None:
                cleared.append(member)
            else:
                timed += (deadline, member)
        counts = (len(contents), len(gone), len(timed), len(cleared))
        arguments = [maybe(expected), checkpoint, *counts, *timed, *cleared, *contents]
        return bool(await self._script(COMMIT, keys + gone, arguments) == 1)

    async def put(self, key: bytes, value: bytes | None, expected: bytes | None = None, check: bool = False) -> bool:
        if check:
            return bool(await self._script(PUT, [key], [maybe(expected), maybe(value)]) == 1)
        await self._one(key, ("DEL", key) if value is None else ("SET", key, value))
        return True

    async def _script(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> Any:
        try:
            return await self._one(keys[0], ("EVALSHA", script.digest, len(keys), *keys, *arguments))
        except NoScriptError:
            return await self._one(keys[0], ("EVAL", script.text, len(keys), *keys, *arguments))

    async def _one(self, key: bytes, command: Command) -> Any:
        """One command where `key` lives; sent again only when the server says that the key lives elsewhere now."""
        if self._cluster is None:
            return (await run(self._node, [command]))[0]
        for _ in range(2):
            await self._cluster.fresh()
            try:
                return (await run(self._cluster.owner(key), [command]))[0]
            except MovedError:
                self._cluster.stale = True
            except StoreError:
                self._cluster.stale = True
                raise
        raise StoreError("a slot moved twice")

    # ------------------------------------------------------------------------------------------------------------ other

    async def due(self, slot: Slot, limit: int, after: tuple[int, bytes] | None = None) -> list[tuple[int, bytes]]:
        key, page, skipped = slot.timers, limit, 0
        lowest = "-inf" if after is None else after[0]
        found: list[tuple[int, bytes]] = []
        while len(found) < limit:
            flat = await self._one(key, ("ZRANGEBYSCORE", key, lowest, "+inf", "WITHSCORES", "LIMIT", skipped, page))
            pairs = [(int(float(score)), member) for member, score in zip(flat[::2], flat[1::2], strict=True)]
            found += [pair for pair in pairs if after is None or pair > after]
            if len(pairs) < page:
                break
            skipped += page  # many share the deadline of `after`
            page *= 2
        return found[:limit]

    async def scan(self, pattern: bytes) -> AsyncIterator[bytes]:
        seen: set[bytes] = set()  # SCAN may name a key twice
        for node in [self._node] if self._cluster is None else await self._cluster.masters():
            cursor = b"0"
            while True:
                [[cursor, keys]] = await run(node, [("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)])
                for key in keys:
                    if key not in seen:
                        seen.add(key)
                        yield key
                if cursor == b"0":
                    break

    async def delete(self, keys: Sequence[bytes]) -> None:
        if self._cluster is None:
            for first in range(0, len(keys), 1_000):
                await self._one(keys[first], ("UNLINK", *keys[first : first + 1_000]))
            return
        by_slot: dict[int, list[bytes]] = {}
        for key in keys:
            by_slot.setdefault(self._cluster.slot(key), []).append(key)
        for group in by_slot.values():
            for first in range(0, len(group), 1_000):
                await self._one(group[first], ("UNLINK", *group[first : first + 1_000]))

    async def ping(self) -> None:
        if self._cluster is None:
            await run(self._node, [("PING",)])
            return
        self._cluster.stale = True
        nodes = await self._cluster.masters()
        for answers in await self._together([run(node, [("PING",), ("CLUSTER", "INFO")]) for node in nodes]):
            if b"cluster_state:ok" not in answers[1]:
                raise StoreError("the cluster is down: cluster_state is not ok")

    async def close(self) -> None:
        await self._node.forget()
        if self._cluster is not None:
            await self._cluster.close()


def maybe(value: bytes | None) -> bytes:
    """A value that may be absent, as one argument: empty, or ``=`` and the value."""
    return b"" if value is None else b"=" + value


async def run(node: Node, commands: Sequence[Command], table: Table | None = None) -> list[Any]:
    """The answers, as `Node.run` gives them; an error answer is raised: MOVED and NOSCRIPT as they are, anything else as `StoreError`."""
    answers = await node.run(commands, table)
    for error in answers:
        if isinstance(error, RedisError):
            if isinstance(error, MovedError | NoScriptError):
                raise error
            raise StoreError(f"{node.address}: {getattr(error, 'status_code', None) or ''} {error}".replace("  ", " "))
    return answers
