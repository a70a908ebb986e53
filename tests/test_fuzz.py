"""Whatever comes from outside, nothing raises but what is said to, and nothing is lost. The decoder's millions: `tests/fuzz.py`."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from config import settings as config
from config.decode import Rejected
from config.settings import Settings, SettingsError
from serving.cursor import BadCursor, Cursor, Cursors
from serving.position import BadPosition, position_from
from store.node import nodes_from
from tests import fuzz

SCOPE = ("u1", "feed", "", "")
CURSORS = Cursors(b"secret", 3_600_000, 400)


def test_the_decoder_neither_raises_nor_loses_anything() -> None:
    """A small run; `python -m tests.fuzz --inputs 10000000` is the long one. Both ways out are tried, by events and by notes."""
    counts = fuzz.fuzz(20_000, seed=7)
    assert counts["events records"] + counts["notes records"] == 20_000
    assert counts["accepted"] > 10_000
    assert all(counts[code] for code in ("not_json", "not_utf8", "not_object", "missing_field", "bad_field", "unknown_type", "too_many"))


@pytest.mark.parametrize(
    "decoder",
    [
        pytest.param(lambda raw, collect: json.loads(raw), id="raises"),
        pytest.param(lambda raw, collect: fuzz.KINDS[0].decode(raw, collect)[:-1], id="loses the last place"),
        pytest.param(lambda raw, collect: [Rejected("odd", "", 0)], id="refuses for no reason"),
    ],
)
def test_a_decoder_that_breaks_a_rule_is_found_out(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a block, with the input that shows it."""
    monkeypatch.setattr(fuzz, "KINDS", tuple(kind._replace(decode=decoder) for kind in fuzz.KINDS))
    with pytest.raises(fuzz.Broken, match="seed 1, block 0"):
        fuzz.fuzz(fuzz.BLOCK, seed=1)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")) | st.text("ABCabc-_019=", max_size=80))
def test_a_cursor_that_is_not_ours_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(BadCursor):
        CURSORS.read(text, SCOPE, 10_000)


@given(st.data(), st.lists(st.integers(0, 2**32 - 1), max_size=30), st.integers(0, 70_000), st.integers(0, 2**64 - 1))
def test_a_cursor_with_one_character_changed_is_refused(data: st.DataObject, shown: list[int], start: int, author: int) -> None:
    """Also a padding of zero bits that means the same bytes reads as the same cursor, never as another."""
    text = CURSORS.make(SCOPE, 10_000, Cursor(start, author, np.array(shown, np.uint32)))
    assert text is not None
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABab01-_").filter(lambda c: c != text[at]))
    whole = CURSORS.read(text, SCOPE, 10_000)
    assert (whole.start, whole.author, whole.shown.tolist()) == (min(start, 0xFFFF), author, shown)
    try:
        found = CURSORS.read(text[:at] + other + text[at + 1 :], SCOPE, 10_000)
    except BadCursor:
        return
    assert at == len(text) - 1
    assert (found.start, found.author, found.shown.tolist()) == (whole.start, whole.author, whole.shown.tolist())


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")) | st.text("ABCabc-_019=", max_size=80))
def test_a_position_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadPosition):
        assert isinstance(position_from(text), list)


NAMES = [
    f"UPWELL_{section}__{field}".upper() for section, values in msgspec.to_builtins(config.load(environ={})).items() for field in values
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        ["true", "0", "-1", "1e999", "NaN", "[]", "{}", '["a"]', "null", "[" * 100_000, '{"a": 1}', "redis://", "rediss://:p@h:99999/x"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)


@hypothesis(max_examples=300)
@given(st.dictionaries(st.sampled_from([*NAMES, "UPWELL_KAFKA", "UPWELL_REDIS", "UPWELL_NOTHING", "UPWELL_API__"]), TEXTS, max_size=3))
def test_settings_are_read_or_refused_by_name(environ: dict[str, str]) -> None:
    """Of the environment, whatever stands there; and a store's address is one or is refused as one."""
    with contextlib.suppress(SettingsError):
        made = config.load(environ=environ)
        assert set(config.masked(made)) == set(Settings.__struct_fields__)
        if not made.redis.url.startswith("memory://"):
            assert nodes_from(made.redis)


@hypothesis(max_examples=200)
@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["api", "kafka", "keys", "feed", "pool", "x"]), inner, max_size=3),
    ).map(json.dumps)
)
def test_a_settings_file_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("settings") / "upwell.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(SettingsError):
        assert isinstance(config.load(path, environ={}), Settings)
