"""One suite over every store: what `store/base.py` promises."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import numpy as np
import pytest

from config.keys import Slot
from store.base import Store
from tests.store.conftest import Run

SLOT = Slot("t", 1, "users", 0)
SLOTS = [Slot("t", 1, stage, partition) for stage in ("users", "notes", "lists") for partition in range(4)]


def keys_of(slot: Slot, count: int) -> list[bytes]:
    return [slot.key("user", b"%d" % n) for n in range(count)]


def test_what_is_committed_is_read_back_byte_for_byte(store: Store, run: Run) -> None:
    """Values are bytes of any kind; an absent key is None, an empty value is not."""
    values = {SLOT.key("user", "a"): bytes(range(256)), SLOT.key("user", "b"): b"", SLOT.key("user", "ü \n"): b"\r\n$-1\r\n"}
    assert run(store.commit(SLOT, None, b"1", values))
    assert run(store.read([*values, SLOT.key("user", "z"), SLOT.checkpoint])) == [*values.values(), None, b"1"]


def test_a_table_has_a_row_for_every_key_and_zeros_where_no_value_of_that_size_is(store: Store, run: Run) -> None:
    """Whether keys come as a list or as an array, and whatever the values look like."""
    keys = [SLOT.key("user", b"%04d" % n) for n in range(300)]
    values = {key: (b"$5\r\n1", b"+PONG", b"*1\r\n$", b"\0\0\r\n\0", b"-ERR ")[n % 5] for n, key in enumerate(keys)}
    assert run(store.commit(SLOT, None, b"1", values))
    assert run(store.table(keys, 5)) == run(store.table(np.array(keys), 5)) == b"".join(values.values())
    assert run(store.table([], 5)) == b""
    for place, key in ((0, keys[0]), (299, keys[299]), (150, keys[150])):
        for other in (b"+PONG\r\n", b"", None):
            checkpoint = run(store.read([SLOT.checkpoint]))[0]
            assert run(store.commit(SLOT, checkpoint, checkpoint + b"1", {key: other}))
            values[key] = b"\0" * 5
            assert run(store.table(np.array(keys), 5)) == b"".join(values.values()), place
    assert run(store.read(keys[1:3])) == [values[keys[1]], values[keys[2]]]


def test_a_commit_happens_only_at_the_expected_checkpoint(store: Store, run: Run) -> None:
    """A stalled former owner cannot write: not a value, not a timer, not a deletion."""
    key, other = keys_of(SLOT, 2)
    assert run(store.commit(SLOT, None, b"5", {key: b"new"}, {b"m": 10}))
    for wrong in (None, b"4", b"50", b""):
        assert not run(store.commit(SLOT, wrong, b"9", {key: None, other: b"x"}, {b"m": None, b"n": 3}))
    assert run(store.read([key, other, SLOT.checkpoint])) == [b"new", None, b"5"]
    assert run(store.due(SLOT, 10)) == [(10, b"m")]
    assert run(store.commit(SLOT, b"5", b"6", {key: None, other: b"x"}, {b"m": None, b"n": 3}))
    assert run(store.read([key, other, SLOT.checkpoint])) == [None, b"x", b"6"]
    assert run(store.due(SLOT, 10)) == [(3, b"n")]


@pytest.mark.parametrize("checkpoint", [b"5", b"4\xff", b"", b"5"[:0]])
def test_a_checkpoint_that_would_not_grow_is_refused(store: Store, run: Run, checkpoint: bytes) -> None:
    """Checkpoints compare as bytes, whatever the server's locale; refusing writes nothing."""
    key = SLOT.key("user", "a")
    assert run(store.commit(SLOT, None, b"5", {}))
    with pytest.raises(ValueError, match="grow"):
        run(store.commit(SLOT, b"5", checkpoint, {key: b"x"}))
    assert run(store.read([key, SLOT.checkpoint])) == [None, b"5"]


def test_checkpoints_are_bytes_of_any_kind(store: Store, run: Run) -> None:
    """Zero bytes, high bytes and the letter case count."""
    chain = [None, b"\x00", b"\x00\x00", b"A", b"a", b"a\x00", b"\xfe", b"\xff\xff"]
    for before, after in pairwise(chain):
        assert after is not None
        assert run(store.commit(SLOT, before, after, {}))
    assert run(store.read([SLOT.checkpoint])) == [b"\xff\xff"]


def test_of_two_that_commit_at_the_same_checkpoint_one_wins(store: Store, run: Run) -> None:
    """The check and the write are one step: all keys come from the same winner."""
    keys = keys_of(SLOT, 50)

    async def race() -> list[bool]:
        tries = [store.commit(SLOT, None, b"1%d" % n, dict.fromkeys(keys, b"%d" % n)) for n in range(8)]
        return await asyncio.gather(*tries)

    won = run(race())
    assert sum(won) == 1
    assert set(run(store.read(keys))) == {b"%d" % won.index(True)}


def test_slots_do_not_touch_each_other(store: Store, run: Run) -> None:
    """Each partition has a checkpoint and timers of its own; one read spans them all, in order."""
    for n, slot in enumerate(SLOTS):
        assert run(store.commit(slot, None, b"%d" % n, {key: b"%d" % n + key for key in keys_of(slot, 5)}, {b"t": n}))
    wanted = [key for slot in SLOTS for key in (*keys_of(slot, 6), slot.checkpoint)]
    random.Random(1).shuffle(wanted)
    expected = {key: b"%d" % n + key for n, slot in enumerate(SLOTS) for key in keys_of(slot, 5)}
    expected |= {slot.checkpoint: b"%d" % n for n, slot in enumerate(SLOTS)}
    before = store.round_trips
    assert run(store.read(wanted)) == [expected.get(key) for key in wanted]
    assert store.round_trips == before + 1
    assert [run(store.due(slot, 5)) for slot in SLOTS] == [[(n, b"t")] for n in range(len(SLOTS))]


def test_ranges_follow_the_values_and_an_absent_one_is_none(store: Store, run: Run) -> None:
    """GETRANGE of an absent key, or beyond a value's end, gives nothing; of a short value what there is."""
    values = {slot.key("list", "hot"): bytes(range(100)) for slot in SLOTS}
    for n, slot in enumerate(SLOTS):
        key = slot.key("list", "hot")
        assert run(store.commit(slot, None, b"1", {key: values[key]}))
        assert run(store.read([], [(key, 0, 11), (slot.key("list", "no"), 0, 11)])) == [bytes(range(12)), None], n
    ranges = [(key, n, n + 3) for n, key in enumerate(values)] + [(SLOT.key("list", "hot"), 96, 200), (SLOT.key("list", "hot"), 100, 200)]
    ranges += [(SLOT.key("list", "hot"), 5, 4)]
    got = run(store.read(list(values), ranges))
    assert got[: len(values)] == list(values.values())
    assert got[len(values) :] == [
        *[bytes(range(n, n + 4)) for n in range(len(values))],
        bytes(range(96, 100)), None, None,
    ]  # fmt: skip


def test_reading_nothing_gives_nothing(store: Store, run: Run) -> None:
    """A feed without candidates reads no key."""
    assert run(store.read([])) == []
    assert run(store.read([], [])) == []


def test_the_same_key_may_be_read_twice(store: Store, run: Run) -> None:
    """Two sources may ask for one list."""
    key = SLOT.key("user", "a")
    assert run(store.commit(SLOT, None, b"1", {key: b"abc"}))
    assert run(store.read([key, key], [(key, 0, 0), (key, 0, 0)])) == [b"abc", b"abc", b"a", b"a"]


def test_a_large_piece_is_written_and_read_whole(store: Store, run: Run) -> None:
    """Beyond every limit of a variadic call in a script: 20,000 values, deletions and timers in one commit."""
    keys = keys_of(SLOT, 20_000)
    assert run(store.commit(SLOT, None, b"1", {key: key for key in keys}, {key: n for n, key in enumerate(keys)}))
    assert run(store.read(keys)) == keys
    assert run(store.due(SLOT, 3)) == [(n, keys[n]) for n in range(3)]
    assert run(store.commit(SLOT, b"1", b"2", dict.fromkeys(keys[10:]), dict.fromkeys(keys[10:])))
    assert run(store.read(keys)) == keys[:10] + [None] * (len(keys) - 10)
    assert run(store.due(SLOT, 50)) == [(n, keys[n]) for n in range(10)]


def test_timers_come_in_deadline_then_member_order(store: Store, run: Run) -> None:
    """A page begins beyond `after`, whether that timer still stands or not; members compare as bytes."""
    rng = random.Random(7)
    timers = {b"%c:%d" % (rng.choice(b"aZ\xfe\x00"), n): 1_700_000_000_000 + rng.choice([0, 0, 1, 70_000, 10**9]) for n in range(500)}
    assert run(store.commit(SLOT, None, b"1", {}, timers))
    order = sorted((deadline, member) for member, deadline in timers.items())
    assert run(store.due(SLOT, 1000)) == order
    assert run(store.due(SLOT, 0)) == []
    for size in (1, 7, 100):
        paged, after = [], None
        while page := run(store.due(SLOT, size, after)):
            paged += page
            after = page[-1]
        assert paged == order
    middle = order[250]
    assert run(store.commit(SLOT, b"1", b"2", {}, {middle[1]: None}))
    assert run(store.due(SLOT, 3, middle)) == order[251:254]
    assert run(store.due(SLOT, 3, (0, b""))) == order[:3]


def test_a_timer_moves_and_goes(store: Store, run: Run) -> None:
    """One deadline a member: a later one replaces it; removing an unknown one is nothing."""
    assert run(store.commit(SLOT, None, b"1", {}, {b"a": 5, b"b": 6}))
    assert run(store.commit(SLOT, b"1", b"2", {}, {b"a": 7, b"c": None, b"b": 6}))
    assert run(store.due(SLOT, 10)) == [(6, b"b"), (7, b"a")]
    assert run(store.commit(SLOT, b"2", b"3", {}, {b"a": None, b"b": None}))
    assert run(store.due(SLOT, 10)) == []


def test_put_sets_deletes_and_compares(store: Store, run: Run) -> None:
    """Two processes that write the manifest at once: one of them learns that it came second."""
    key = b"t:manifest"
    assert run(store.put(key, b"1"))
    assert not run(store.put(key, b"2", expected=None, check=True))
    assert not run(store.put(key, b"2", expected=b"0", check=True))
    assert run(store.put(key, b"", expected=b"1", check=True))
    assert run(store.read([key])) == [b""]
    assert run(store.put(key, None, expected=b"", check=True))
    assert run(store.put(key, b"3", expected=None, check=True))
    assert run(store.put(key, None))
    assert run(store.put(key, None))
    assert run(store.read([key])) == [None]


def test_scan_finds_every_matching_key_once_on_all_nodes(store: Store, run: Run) -> None:
    """Tools look over the whole system: values, checkpoints and timers."""

    async def found(pattern: bytes) -> list[bytes]:
        return sorted([key async for key in store.scan(pattern)])

    for slot in SLOTS:
        assert run(store.commit(slot, None, b"1", dict.fromkeys(keys_of(slot, 300), b"v"), {b"m": 1}))
    everything = [key for slot in SLOTS for key in (*keys_of(slot, 300), slot.checkpoint, slot.timers)]
    assert run(found(b"*")) == sorted(everything)
    assert run(found(b"{t.1.notes?}:user:29*")) == sorted(
        key for slot in SLOTS[4:8] for key in keys_of(slot, 300) if key.split(b":")[-1].startswith(b"29")
    )
    assert run(found(b"{t.1.[^n]*0}:checkpoint:")) == sorted([SLOTS[0].checkpoint, SLOTS[8].checkpoint])
    assert run(found(b"{t.1.users\\0}:timers:")) == [SLOTS[0].timers]


def test_deleted_keys_are_gone(store: Store, run: Run) -> None:
    """An old generation leaves nothing: neither values nor timers."""
    for slot in SLOTS:
        assert run(store.commit(slot, None, b"1", dict.fromkeys(keys_of(slot, 150), b"v"), {b"m": 1}))
    run(store.delete([key for slot in SLOTS[1:] for key in (*keys_of(slot, 151), slot.checkpoint, slot.timers)]))
    run(store.delete([]))

    async def left() -> int:
        return len([key async for key in store.scan(b"*")])

    assert run(left()) == 152
    assert run(store.due(SLOTS[1], 5)) == []


def test_a_store_that_is_there_answers(store: Store, run: Run) -> None:
    """Readiness asks so."""
    run(store.ping())


def test_many_callers_share_a_store(store: Store, run: Run) -> None:
    """More calls at once than connections: each gets its own answer."""
    for slot in SLOTS:
        assert run(store.commit(slot, None, b"1", {key: key for key in keys_of(slot, 20)}))

    async def one(n: int) -> bool:
        keys = keys_of(SLOTS[n % len(SLOTS)], 20)[: n % 20 + 1]
        return await store.read(keys) == keys

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*[one(n) for n in range(300)])

    assert all(run(all_at_once()))
