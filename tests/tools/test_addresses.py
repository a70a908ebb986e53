"""Which system a command talks to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import parts
from tools import up
from tools.mistake import Mistake


@pytest.fixture
def told(tmp_path: Path) -> dict[str, object]:
    values: dict[str, object] = {"api": "http://a", "kafka": "k:1", "redis": "redis://r/0", "pid": os.getpid()}
    (tmp_path / "upwell.json").write_text(json.dumps(values))
    return values


def test_a_running_up_names_broker_and_store(tmp_path: Path, told: dict[str, object]) -> None:
    """A newcomer's second terminal needs no settings."""
    assert up.addresses(tmp_path) == told
    found = up.environment(tmp_path, {"HOME": "/h"})
    assert (found["UPWELL_KAFKA"], found["UPWELL_REDIS"], found["UPWELL_KAFKA__PARTITIONS"]) == ("k:1", "redis://r/0", "4")


@pytest.mark.parametrize("name", ["UPWELL_KAFKA", "UPWELL_KAFKA__SERVERS", "UPWELL_REDIS", "UPWELL_CONFIG"])
def test_what_the_environment_names_comes_first(tmp_path: Path, told: dict[str, object], name: str) -> None:
    """Who names one part names the system: broker and store belong together."""
    assert up.environment(tmp_path, {name: "x"}) == {name: "x"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"api": "x"}', '{"pid": "x"}', '{"pid": 4194303999}'])
def test_what_an_up_left_behind_names_nothing(tmp_path: Path, text: str) -> None:
    """A file of one that was killed, or half a file."""
    (tmp_path / "upwell.json").write_text(text)
    assert up.addresses(tmp_path) is None
    assert up.environment(tmp_path, {}) == {}


def test_a_port_that_is_taken_is_a_mistake_only_if_it_was_asked_for() -> None:
    """Several systems run side by side."""
    import socket

    with socket.socket() as taken:
        taken.bind((parts.LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Mistake, match="--port 0"):
            up.api_port(port)
    assert up.api_port(0) != up.PORT
    assert up.api_port(None) > 0
