"""Answers as they come from a socket, in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.link import PONG, Table

VALUE = st.one_of(st.binary(min_size=7, max_size=7), st.just(PONG), st.none(), st.binary(max_size=9))


def answer(values: list[bytes | None]) -> bytes:
    """To an MGET and a PING."""
    rows = [b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value) for value in values]
    return b"".join([b"*%d\r\n" % len(values), *rows, PONG])


@given(st.lists(VALUE, min_size=1, max_size=8), st.data())
def test_a_table_is_whole_or_none_however_it_is_cut(values: list[bytes | None], data: st.DataObject) -> None:
    """It is not taken for whole before its last byte came, and a value that is absent or of another size makes it none."""
    came = answer(values)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(came) - 1))))
    table, whole, so_far = Table(len(values), 7), all(value is not None and len(value) == 7 for value in values), b""
    looked = False
    for start, end in zip([0, *cuts], [*cuts, len(came)], strict=True):
        so_far += came[start:end]
        looked = table.take(came[start:end])
        if looked:
            found = table.values(so_far)
            assert found == (b"".join(value or b"" for value in values) if whole and len(so_far) == len(came) else None)
    assert looked


@given(st.sampled_from([b"-LOADING a moment\r\n-LOADING a moment\r\n", b"-MOVED 1 a:1\r\n+PONG\r\n"]), st.integers(1, 30))
def test_an_error_is_looked_at_as_soon_as_it_comes(came: bytes, cut: int) -> None:
    """A server that answers neither with values nor with PONG is not waited for."""
    table = Table(1, 7)
    assert table.take(came[:cut])
    assert table.values(came[:cut]) is None
