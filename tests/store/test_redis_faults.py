"""What goes wrong with a server becomes a `StoreError`, soon, and nothing is sent twice in secret."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from config import settings as config
from config.keys import Slot
from store.base import StoreError
from store.cluster import Topology
from store.memory import MemoryStore
from store.node import nodes_from
from store.open import open_store
from store.redis import RedisStore
from tests import parts
from tests.store.conftest import Run, cluster_of_three, redis_settings, server

SLOT = Slot("f", 1, "users", 0)
KEY = SLOT.key("user", "a")


def test_a_server_that_died_is_a_store_error_and_its_successor_is_used_at_once(run: Run) -> None:
    """Idle connections to the dead server are not tried again, and a successor that knows no script is sent it."""
    port = parts.free_port()
    store = RedisStore(redis_settings(port))
    with server(port=port) as part:
        assert run(store.commit(SLOT, None, b"1", {KEY: b"x"}))
        part.kill()
        for call in (store.ping(), store.read([KEY]), store.commit(SLOT, b"1", b"2", {}), store.due(SLOT, 1), store.put(b"a", b"b")):
            with pytest.raises(StoreError, match=f"127.0.0.1:{port}"):
                run(call)
    with server(port=port):
        assert run(store.commit(SLOT, None, b"1", {KEY: b"y"}))
        assert run(store.read([KEY])) == [b"y"]
        run(store.close())


def test_a_closed_idle_connection_costs_no_error(run: Run) -> None:
    """A server that closes quiet connections is no failure."""
    with server() as part:
        store = RedisStore(redis_settings(part.port))

        async def closed_between() -> list[bytes | None]:
            await store.put(KEY, b"x")
            part.ask(b"CLIENT KILL TYPE normal SKIPME yes")
            await asyncio.sleep(0.05)
            return await store.read([KEY])

        assert run(closed_between()) == [b"x"]
        run(store.close())


def test_answers_in_pieces_are_put_together(run: Run) -> None:
    """Answers larger than what a socket holds come in many pieces, small ones many in a piece: each stands in its place."""
    with server() as part:
        store = RedisStore(redis_settings(part.port))

        async def read() -> None:
            large = {b"large%d" % i: bytes([i]) * 1_500_000 for i in range(3)}
            for key, value in large.items():
                await store.put(key, value)
            ranges = [(b"large1", i, i + 9) for i in range(300)]
            values = await store.read([*large, b"none"], [*ranges, (b"none", 0, 9)])
            assert values == [*large.values(), None, *[bytes([1]) * 10] * 300, None]

        run(read())
        run(store.close())


def test_keys_are_read_whatever_their_lengths(run: Run, emptied_valkey: int) -> None:
    """Keys of one length are packed together, others one by one: the server sees the same."""
    store = RedisStore(redis_settings(emptied_valkey))
    keys = [b"a", b"bb", b"c c", b"d\r\nd"]
    for key in keys:
        run(store.put(key, key.upper()))
    assert run(store.read(keys)) == [key.upper() for key in keys]
    assert run(store.read([b"a", b"x", b"a"])) == [b"A", None, b"A"]
    run(store.close())


def test_a_stalled_server_is_a_store_error_within_the_timeout_and_the_commit_may_have_happened(run: Run) -> None:
    """The answer was lost, not the write: the caller learns from the checkpoint which it was."""
    with server() as part:
        store = RedisStore(redis_settings(part.port, timeout_s=0.3))
        assert run(store.commit(SLOT, None, b"1", {}))
        part.stall()
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"0\.3 s"):
            run(store.commit(SLOT, b"1", b"2", {KEY: b"x"}))
        assert time.monotonic() - began < 1.5
        with pytest.raises(StoreError):
            run(store.read([KEY]))
        part.resume()
        time.sleep(0.1)
        assert run(store.read([SLOT.checkpoint, KEY])) == [b"2", b"x"]
        assert not run(store.commit(SLOT, b"1", b"2", {KEY: b"y"}))
        run(store.close())


def test_a_caller_that_gives_up_does_not_leave_its_answer_to_the_next(run: Run) -> None:
    """A cancelled read's connection is dropped, never handed on half read."""
    with server() as part:
        store = RedisStore(redis_settings(part.port))

        async def cancelled() -> list[bytes | None]:
            await store.put(b"a", b"1")
            await store.put(b"b", b"2")
            part.stall()
            task = asyncio.create_task(store.read([b"a"]))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            part.resume()
            return await store.read([b"b"])

        assert run(cancelled()) == [b"2"]
        run(store.close())


def test_a_replica_refuses_a_commit(emptied_valkey: int, run: Run) -> None:
    """READONLY: a former primary is waited for like a store that is away."""
    with server("--replicaof", "127.0.0.1", str(emptied_valkey)) as part:
        store = RedisStore(redis_settings(part.port))
        with pytest.raises(StoreError, match=r"READONLY|LOADING|MASTERDOWN"):
            run(store.commit(SLOT, None, b"1", {KEY: b"x"}))
        run(store.close())


def test_a_full_store_writes_nothing_of_a_commit(run: Run) -> None:
    """Out of memory: the whole piece fails, before its first write."""
    with server("--maxmemory", "1mb") as part:
        store = RedisStore(redis_settings(part.port))
        with pytest.raises(StoreError, match="OOM"):
            run(store.commit(SLOT, None, b"1", {KEY: b"x" * 3_000_000}, {b"m": 1}))
        assert run(store.read([SLOT.checkpoint, KEY])) == [None, None]
        assert run(store.due(SLOT, 1)) == []
        run(store.close())


def test_a_key_of_another_type_fails_a_commit_before_it_writes(emptied_valkey: int, run: Run) -> None:
    """A script cannot roll back, so what may fail comes first."""
    store = RedisStore(redis_settings(emptied_valkey))
    slot = Slot("f", 2, "users", 0)
    run(store.put(slot.timers, b"not a sorted set"))
    with pytest.raises(StoreError, match="WRONGTYPE"):
        run(store.commit(slot, None, b"1", {slot.key("user", "a"): b"x"}, {b"m": 1}))
    assert run(store.read([slot.checkpoint, slot.key("user", "a")])) == [None, None]
    run(store.close())


def test_no_message_shows_the_password(run: Run) -> None:
    """Neither a refused login nor a dead server nor a URL that cannot be used."""
    with server("--requirepass", "right") as part:
        port = part.port
        good = RedisStore(redis_settings(port, url=f"redis://:right@127.0.0.1:{port}/0"))
        run(good.ping())
        run(good.close())
        for url in (f"redis://:s3cret@127.0.0.1:{port}/0", f"redis://u:s3cret@127.0.0.1:{port}/0"):
            with pytest.raises(StoreError) as caught:
                run(RedisStore(redis_settings(port, url=url)).ping())
            assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r}"
    with pytest.raises(StoreError) as caught:
        run(RedisStore(redis_settings(port, url=f"redis://:s3cret@127.0.0.1:{port}/0")).ping())
    assert "s3cret" not in str(caught.value)
    for url in ("http://:s3cret@h/0", "redis://:s3cret@h:notaport/0", "redis://:s3cret@:6379/0", "redis://:s3cret@h:6379?socket_timeout=x"):
        with pytest.raises(config.SettingsError) as refused:
            nodes_from(redis_settings(0, url=url))
        assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("redis://h:1/0", ["h:1"]),
        ("redis://h", ["h:6379"]),
        ("rediss://u:p%40@h:1,g:2/0", ["h:1", "g:2"]),
        ("redis://[::1]:7/3", ["::1:7"]),
        ("unix:///tmp/a.sock", ["/tmp/a.sock"]),
    ],
)
def test_the_url_may_name_several_nodes(url: str, addresses: list[str]) -> None:
    """A cluster must be found while one of its nodes is away."""
    assert [node.address for node in nodes_from(redis_settings(0, url=url))] == addresses


def test_the_settings_choose_the_store() -> None:
    """`memory://` is for trying things in one process."""
    base = config.load(environ={})
    memory = config.load(environ={"UPWELL_REDIS": "memory://"})
    assert isinstance(open_store(memory), MemoryStore)
    assert isinstance(open_store(base), RedisStore)


def test_tls_is_checked_against_the_authority_of_the_settings(tmp_path: Path, run: Run) -> None:
    """rediss:// with the right authority works; with the system's it does not."""
    # The embedded server speaks no TLS.
    parts.need(lambda: (parts.program("redis-server", "redis-server"), parts.program("openssl", "openssl")))
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*make.split(), *names], check=True, capture_output=True, cwd=tmp_path)
    secure = parts.free_port()
    tls = ("--tls-port", str(secure), "--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-auth-clients", "no")
    with server(*tls, binary="redis-server"):
        url = f"rediss://127.0.0.1:{secure}/0"
        store = RedisStore(redis_settings(0, url=url, ssl_cafile=str(cert)))
        assert run(store.commit(SLOT, None, b"1", {KEY: b"x"}))
        assert run(store.read([KEY])) == [b"x"]
        run(store.close())
        with pytest.raises(StoreError, match=r"(?i)certificate"):
            run(RedisStore(redis_settings(0, url=url)).ping())


@pytest.mark.cluster
def test_a_moved_slot_is_followed_and_a_lost_master_is_a_store_error(run: Run) -> None:
    """MOVED means not executed: the map is read again and the command goes where the slot is now."""
    with cluster_of_three() as cluster:
        nodes, clients = cluster.nodes, [node.client() for node in cluster.nodes]
        addresses = ",".join(["127.0.0.1:1", *(node.address for node in nodes)])
        store = RedisStore(redis_settings(0, url=f"redis://{addresses}", cluster=True))
        slots = [Slot("f", 1, "users", partition) for partition in range(16)]
        for slot in slots:
            assert run(store.commit(slot, None, b"1", {slot.key("user", "a"): b"x"}))
        number = Topology([]).slot(slots[0].checkpoint)
        ids = [client.cluster("myid") for client in clients]
        owner = next(n for n, client in enumerate(clients) if client.cluster("countkeysinslot", number))
        goal = (owner + 1) % 3
        clients[goal].cluster("setslot", number, "importing", ids[owner])
        clients[owner].cluster("setslot", number, "migrating", ids[goal])
        keys = clients[owner].cluster("getkeysinslot", number, 10)

        def move(key: str) -> None:
            clients[owner].execute_command("MIGRATE", "127.0.0.1", nodes[goal].port, key, 0, 2000)

        move(keys[0])
        with pytest.raises(StoreError, match=r"TRYAGAIN|ASK"):  # a slot on its way: waited for
            run(store.commit(slots[0], b"1", b"2", {slots[0].key("user", "a"): b"y"}))
        for key in keys[1:]:
            move(key)
        for n in (goal, owner):
            clients[n].cluster("setslot", number, "node", ids[goal])
        everything = [slot.key("user", "a") for slot in slots]
        assert run(store.read(everything)) == [b"x"] * 16
        assert run(store.commit(slots[0], b"1", b"2", {everything[0]: b"y"}))

        nodes[goal].kill()
        for _ in range(3):
            with pytest.raises(StoreError):
                run(store.read(everything))
            with pytest.raises(StoreError):
                run(store.commit(slots[0], b"2", b"3", {}))
            with pytest.raises(StoreError):
                run(store.ping())
        nodes[goal].start()
        cluster.settle()
        assert run(store.read([slots[0].checkpoint])) == [None]  # this master was not durable
        run(store.close())
