"""Rings of rows in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from models.ring import Ring, find

KEYS = st.integers(0, 2**64 - 1).map(lambda n: n.to_bytes(8, "little"))
CLOSE = st.sampled_from([bytes([a, b] * 4) for a in range(3) for b in range(3)])
"""keys that look like each other when read from the wrong byte on"""


@given(st.lists(CLOSE | KEYS, max_size=60), st.integers(1, 12), st.integers(1, 4))
def test_a_ring_remembers_exactly_its_last_rows(keys: list[bytes], size: int, chunks: int) -> None:
    """After any pushes the ring holds the last `capacity` rows, and finds a key in them or nowhere."""
    ring = Ring(8, size, chunks)
    rows = ring.empty()
    for n, key in enumerate(keys):
        changed = ring.push(rows, n, key)
        assert rows[changed]
    kept = keys[-ring.capacity :]
    assert ring.capacity >= size
    assert sorted(b"".join(rows)[i : i + 8] for i in range(0, 8 * len(kept), 8)) == sorted(kept)
    for key in keys:
        place = ring.find(rows, key)
        assert (place >= 0) == (key in kept)
        assert place < 0 or ring.get(rows, place) == key


@given(st.lists(CLOSE, unique=True, min_size=1, max_size=9), st.data())
def test_a_put_row_replaces_one_row_only(keys: list[bytes], data: st.DataObject) -> None:
    """`put` rewrites its own place; all others stay."""
    ring = Ring(9, 12, 4)
    rows = ring.empty()
    for n, key in enumerate(keys):
        ring.push(rows, n, key + b"\x00")
    key = data.draw(st.sampled_from(keys))
    ring.put(rows, ring.find(rows, key), key + b"\x07")
    assert {k: ring.get(rows, ring.find(rows, k))[8] for k in keys} == {k: 7 * (k == key) for k in keys}


@given(st.lists(CLOSE, max_size=20), CLOSE)
def test_a_hit_across_two_rows_is_no_hit(keys: list[bytes], key: bytes) -> None:
    """`find` returns the first whole row, as a plain search over rows would."""
    table = b"".join(keys)
    assert find(table, key, 8) == (keys.index(key) * 8 if key in keys else -1)
