"""The parts of a user, and how readers decode them."""

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from config.keys import hash64
from config.records import Slate, SlateItem
from models.slate import PLACED, Standing, opened
from models.user import (
    LEDGER,
    PARTS,
    PUBLIC,
    PUBLIC_ROW,
    RECENT,
    RECENT_ROW,
    ROW,
    Follows,
    Hot,
    Place,
    User,
    all_follows,
    bits_to_actions,
    decode_hot,
    decode_slates,
    ledger_rows,
    public_actions,
    seen_hashes,
)
from models.weights import SEPARATOR, WEIGHT, WEIGHT_ROW, Table, key_of

U64, FLOAT, NAME = st.integers(0, 2**64 - 1), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8"), max_size=8)
TIME = st.integers(0, 2**43)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters=SEPARATOR), min_size=1, max_size=8)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    table = Table()
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        table.bring(name, key_of(name), draw(FLOAT), draw(FLOAT), draw(TIME), draw(U64), draw(st.integers(0, 26)))
    return table


TABLE = tables()
HOT = st.builds(
    Hot,
    tags=TABLE,
    authors=TABLE,
    channels=TABLE,
    n=st.integers(0, 10**9),
    short_mark=st.integers(-(10**6), 10**6),
    signup=st.dictionaries(NAME, st.integers(0, 2**43), max_size=3),
    recent=st.binary(max_size=60),
    follows=st.lists(NAME, unique=True, max_size=3).map(tuple),
    hidden_notes=st.lists(U64, unique=True, max_size=3).map(tuple),
    place=st.none() | st.builds(Place, st.none() | FLOAT, st.none() | FLOAT, NAME, st.integers(0, 2**43)),
    personalized=st.booleans(),
    slates=st.lists(st.builds(Standing, st.integers(0, 2**43), st.binary(max_size=20)), max_size=2),
)


@given(
    HOT,
    st.builds(Follows, st.lists(NAME, max_size=3), st.dictionaries(NAME, NAME, max_size=3)),
    st.lists(st.binary(max_size=30), min_size=4),
)
def test_what_is_written_is_what_is_read(hot: Hot, follows: Follows, rows: list[bytes]) -> None:
    """load(values) is the user, byte for byte and value for value; empty parts are absent keys."""
    user = User()
    user.hot, user.follows, user.events, user.seen, user.ledger = hot, follows, rows[:1], rows[:4], rows[-4:]
    user.public, user.comments = rows[1], rows[2]
    again = User(user.values())
    assert again == user
    assert again.values() == user.values()
    assert b"" not in user.values()


def test_a_user_never_heard_of_costs_one_small_key() -> None:
    """All parts absent is a new user; only `hot` of it would be written."""
    user = User([None] * len(PARTS))
    assert user == User()
    assert [part for part, value in zip(PARTS, user.values(), strict=True) if value is not None] == ["hot"]
    assert decode_hot(None) == Hot()


def test_only_changed_parts_are_written_once() -> None:
    """`dump` returns what is dirty and leaves the object clean; an emptied part deletes its key."""
    user = User()
    user.dirty = 1 | 1 << PARTS.index("seen1")
    user.seen[1] = b"12345678"
    assert set(user.dump()) == {"hot", "seen1"}
    assert user.dump() == {}
    user.seen[1], user.dirty = b"", 1 << PARTS.index("seen1")
    assert user.dump() == {"seen1": None}


def test_readers_see_rows_as_arrays() -> None:
    """Struct layouts and numpy dtypes are the same bytes."""
    assert LEDGER.itemsize == 8 + ROW.size
    assert PUBLIC.itemsize == PUBLIC_ROW.size
    assert RECENT.itemsize == RECENT_ROW.size
    assert WEIGHT.itemsize == WEIGHT_ROW.size
    row = ledger_rows([None, (5).to_bytes(8, "little") + ROW.pack(0b10001, 0b10000, 3, 9), b""])[0]
    assert (row["hash"], row["bits"], row["strange"], row["comments"], row["state"]) == (5, 17, 16, 3, 9)
    assert bits_to_actions(int(row["bits"])) == ("impression", "like")
    act = public_actions(PUBLIC_ROW.pack(2**64 - 1, 12, 4))[0]
    assert (act["hash"], act["at"], act["action"]) == (2**64 - 1, 12, 4)
    assert seen_hashes([b"", None, (7).to_bytes(8, "little")]).tolist() == [7]
    assert seen_hashes([]).dtype == np.uint64


@given(TABLE, NAMES)
def test_a_table_keeps_names_and_rows_together(table: Table, name: str) -> None:
    """A name is there once, wherever it was put; dropping takes its row and no other; a name with a NUL cannot be kept."""
    rows = {w.name: w for w in table}
    assert len(rows) == len(table)
    assert all(found in table for found in rows)
    if name not in table:
        table.bring(name, key_of(name), 1.0, 2.0, 3, 4, 5)
    assert name in table
    assert {w.name: w for w in table if w.name != name} == {k: w for k, w in rows.items() if k != name}
    assert table.drop((name,))
    assert not table.drop((name,))
    assert name not in table
    assert {w.name: w for w in table} == {k: w for k, w in rows.items() if k != name}
    table.bring("a\0b", key_of("a\0b"), 1.0, 2.0, 3, 4, 5)
    assert {w.name: w for w in table} == {k: w for k, w in rows.items() if k != name}


def test_follows_come_oldest_first() -> None:
    """Those beyond `hot` are older than those in it."""
    hot = Hot(follows=("c",))
    assert all_follows(hot, msgspec.msgpack.encode(Follows(["a", "b"]))) == ["a", "b", "c"]
    assert all_follows(hot) == ["c"]


def test_a_slate_is_kept_whole_and_told_by_row() -> None:
    """Rows are the shown notes, then those passed over; only shown ones are found."""
    items = [SlateItem(hash64(n), i, i % 3, 0b1000 << i, i - 1, 0.5) for i, n in enumerate("abc")]
    slate = Slate(
        "r",
        "feed",
        items,
        [SlateItem(hash64("p"), -1, propensity=8.0)],
        "set",
        np.arange(8, dtype=np.float16).tobytes(),
        np.ones((3, 8), np.float16).tobytes(),
    )
    (kept,) = decode_slates(msgspec.msgpack.encode([opened(slate, 9)]))
    key = hash64("b").to_bytes(8, "little")
    assert (kept.row(key), kept.row(hash64("p").to_bytes(8, "little"))) == (1, -1)
    assert kept.place(1) == (1, 1, 4, 0, 0.5)
    assert kept.pooled() == [(1, 1, 0), (2, 2, 1)]
    assert kept.digest(1) == hash64("b")
    assert kept.features_of(3) == np.array([6, 7], np.float16).tobytes()
    assert kept.engage(1) == 1.0
    assert kept.weights() == (1.0, 1.0, 1.0, 8.0)
    assert kept.digests() == tuple(hash64(n) for n in "abcp")
    assert len(kept.placed) == 4 * PLACED.size
    assert opened(Slate("r", "feed", items, [], "", b"", b""), 9).engage(0) is None
