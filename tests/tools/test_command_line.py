"""The command line: help with an example everywhere, and one clear line for a user's mistake."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import typer.main

import upwell
from config.settings import Pool, load
from tests import parts
from tests.parts import ROOT
from tools.show import toml


def run(*arguments: str, input: bytes = b"", cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """The command as a user runs it, without this shell's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")}
    command = [sys.executable, str(ROOT / "upwell.py"), *arguments]
    env = clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environ
    return subprocess.run(command, input=input, capture_output=True, env=env, cwd=cwd, timeout=60, check=False)


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += commands(command, (*path, name))
        else:
            found.append(((*path, name), command))
    return found


COMMANDS = commands(typer.main.get_command(upwell.app))


@pytest.mark.parametrize("path, command", COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...], command: click.Command) -> None:
    """A newcomer copies the example."""
    assert f"upwell {' '.join(path)}" in (command.help or "").partition("Example:")[2]
    assert (command.help or "").splitlines()[0].endswith(".")


def test_the_version_is_told() -> None:
    """`upwell --version` names the program and a version, at once."""
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == b"upwell"


NOWHERE = {"UPWELL_KAFKA": "127.0.0.1:1", "UPWELL_REDIS": "redis://:s3cret@127.0.0.1:1/0"}


@pytest.mark.parametrize(
    "arguments, environ, words",
    [
        (["config"], {"UPWELL_KAFKA__PARTITION": "4"}, "unknown setting"),
        (["config"], {"UPWELL_KAFKA__PARTITIONS": "many"}, "kafka.partitions"),
        (["config"], {"UPWELL_CONFIG": "/nowhere/upwell.toml"}, "/nowhere/upwell.toml"),
        (["topics", "check"], NOWHERE, "does not answer"),
        (["lag"], NOWHERE, "127.0.0.1:1"),
        (["send", "like", "--user", "u", "--note", "n"], NOWHERE, "UPWELL_KAFKA"),
        (["send", "like", "--user", "u"], NOWHERE, "missing_field"),
        (["send", "lick", "--user", "u", "--note", "n"], NOWHERE, "unknown_type"),
        (["send", "like", "--field", "oops"], NOWHERE, "name=value"),
        (["send"], NOWHERE, "nothing on stdin"),
        (["replay", "/nowhere/events.jsonl"], NOWHERE, "/nowhere/events.jsonl"),
        (["replay", "x", "--shift-to", "yesterday"], NOWHERE, "only `now`"),
        (["worker", "--stages", "user"], NOWHERE, "unknown stage user"),
        (["tail"], NOWHERE, "does not answer"),
        (["dead", "list"], NOWHERE, "does not answer"),
        (["feed", "u", "--api", "http://127.0.0.1:1"], NOWHERE, "is `upwell up` or `upwell api` running?"),
        (["feed", "u", "--surface", "moon"], NOWHERE, "unknown surface"),
        (["pools", "--api", "nonsense"], NOWHERE, "unknown url type"),
        (["up", "--port", "99999"], {}, "1 to 65535"),
        (["up", "--data-dir", "/proc/upwell"], {}, "cannot be made"),
        (["api", "--port", "99999"], NOWHERE, "cannot listen on 127.0.0.1:99999"),
        (["api", "--host", "nowhere.invalid"], NOWHERE | {"UPWELL_API__KEYS": '["0123456789abcdef"]'}, "cannot listen on nowhere.invalid"),
        (["dead", "list", "--since", "yesterday"], NOWHERE, "no time"),
        (["rebuild", "intake"], NOWHERE, "keeps no state"),
        (["eval", "/nowhere/events.jsonl"], NOWHERE, "/nowhere/events.jsonl"),
        (["eval", "x.jsonl", "--plot", "/nowhere/quality.png"], NOWHERE, "--plot /nowhere/quality.png: No such file"),
        (["eval", "x.jsonl", "--plot", "quality.html"], NOWHERE, "no kind of picture"),
        (["simulate", "--world", "/nowhere/world.json"], NOWHERE, "/nowhere/world.json"),
        (["doctor"], NOWHERE, "is it running?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_users_mistake_is_one_clear_line(arguments: list[str], environ: dict[str, str], words: str, tmp_path: Path) -> None:
    """It exits non-zero, names what is wrong, shows no traceback and no password."""
    done = run(*arguments, cwd=tmp_path, **environ)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 1, told
    assert words in told
    assert "Traceback" not in told
    assert "s3cret" not in told
    if arguments != ["doctor"]:
        assert len(done.stderr.decode().strip().splitlines()) == 1, told
        assert done.stderr.startswith(b"upwell: ")


def test_an_evaluation_answers_with_json_alone_and_a_picture(tmp_path: Path) -> None:
    """A program reads its standard output; what is drawn has as many bars as there are ages of users."""
    events = [
        {"type": "like", "user_id": f"u{i % 3}", "note_id": f"n{i % 7}", "timestamp": 1_700_000_000_000 + 60_000 * i} for i in range(60)
    ]
    notes = [{"note_id": f"n{i}", "author_id": f"a{i}", "timestamp": 1_699_999_999_000} for i in range(7)]
    log, picture = tmp_path / "log.jsonl", tmp_path / "quality.png"
    log.write_text("".join(json.dumps(one) + "\n" for one in notes + events))
    done = run("eval", str(log), "--warmup", "2", "--json", "--plot", str(picture), cwd=tmp_path)
    assert done.stderr == b""
    assert {"events", "tested", "hr_at_10", "ndcg_at_10", "query_ms_p99"} <= set(json.loads(done.stdout))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_array_is_not_one_event(tmp_path: Path) -> None:
    """`upwell send -` says so, and what sends many."""
    for body in (b"[]", b'[{"type": "like", "user_id": "u", "note_id": "n"}]'):
        done = run("send", "-", input=body, cwd=tmp_path, **NOWHERE)
        assert done.returncode == 1
        assert b"upwell replay" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [["worker"], ["api", "--port", "0"], ["up", "--no-town", "--port", "0"]], ids=lambda command: command[0]
)
@pytest.mark.parametrize(
    "place, value, name",
    [
        (("tiers", 1, "quota"), 0, "pool.tiers[1].quota"),
        (("tiers", 2, "bar"), 0.5, "pool.tiers[2].bar"),
        (("deliver_hours",), 25.0, "pool.deliver_hours"),
    ],
    ids=["quota of zero", "falling bars", "overlapping windows"],
)
def test_a_ladder_that_is_none_stops_the_start(command: list[str], place: tuple[Any, ...], value: float, name: str, tmp_path: Path) -> None:
    """Worker, API and `upwell up` end before they connect to anything, with one line that names the setting."""
    pool = msgspec.to_builtins(load(environ={}).pool)
    *way, last = place
    inner = pool
    for step in way:
        inner = inner[step]
    inner[last] = value
    written = tmp_path / "upwell.toml"
    written.write_text(toml({"pool": pool}), "utf-8")
    done = run(*command, cwd=tmp_path, UPWELL_CONFIG=str(written), **NOWHERE)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"upwell: setting {name}: ")
    assert len(done.stderr.decode().strip().splitlines()) == 1


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """Of the API, of `upwell up`, and of a worker's metrics."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (["api", "--port", port], ["up", "--port", port], ["worker"]):
            done = run(*arguments, cwd=tmp_path, **NOWHERE, UPWELL_ENGINE__METRICS_PORT=port)
            assert done.returncode == 1
            assert port in done.stderr.decode()
            assert len(done.stderr.decode().strip().splitlines()) == 1, done.stderr.decode()


def test_a_worker_that_ends_leaves_no_folder_behind(tmp_path: Path) -> None:
    """What Faust wanted on the disk goes with it."""
    done = run("worker", cwd=tmp_path, **NOWHERE, TMPDIR=str(tmp_path), UPWELL_ENGINE__START_PATIENCE_S="0.5")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_flag_exits_with_two() -> None:
    """As other commands do."""
    done = run("lag", "--wach")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_config_masks_secrets_and_is_toml() -> None:
    """What it prints can be read back as settings."""
    import tomllib

    done = run(
        "config", UPWELL_REDIS="redis://:s3cret@host/0", UPWELL_KAFKA__SASL_PASSWORD="s3cret", UPWELL_EVENTS__ALIASES='{"read": "view"}'
    )
    assert b"s3cret" not in done.stdout
    told = tomllib.loads(done.stdout.decode())
    assert told["redis"]["url"] == "redis://***@host/0"
    assert told["events"]["aliases"] == {"read": "view"}
    assert told["kafka"]["partitions"] == 16
    assert msgspec.convert(told["pool"], Pool) == load(environ={}).pool


def test_check_names_every_refused_line(tmp_path: Path) -> None:
    """`upwell replay --check` sends nothing, and exits 1 when something would be refused."""
    file = tmp_path / "events.jsonl"
    good = json.dumps({"type": "like", "user_id": "u", "note_id": "n"})
    file.write_text(f'{good}\n{{"type": "like"}}\n{good}\nno json\n{{"note_id": "n", "author_id": "a", "lat": 91}}\n')
    done = run("replay", "--check", str(file))
    told = done.stdout.decode().splitlines()
    assert done.returncode == 1
    assert [line.rpartition("/")[2].split(":")[1] for line in told[:3]] == ["2", "4", "5"]
    assert told[3] == "2 good, 3 refused"
    file.write_text(good)
    assert run("replay", "--check", str(file)).returncode == 0


def test_an_event_goes_to_its_topic(broker: parts.EmbeddedBroker, prefix: str, tmp_path: Path) -> None:
    """From flags, and from stdin; the answer says where it stands."""
    environ = {"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "2"}
    assert b"topics create" in run("send", "like", "--user", "u", "--note", "n", cwd=tmp_path, **environ).stderr
    assert run("topics", "create", cwd=tmp_path, **environ).returncode == 0
    first = run("send", "view", "--user", "u", "--note", "n", "--field", "dwell_ms=1200", cwd=tmp_path, **environ)
    assert first.stdout.startswith(f"sent to {prefix}.events, partition ".encode())
    body = b'{"type": "like", "user_id": "u", "note_id": "n"}'
    second = run("send", "-", input=body, cwd=tmp_path, **environ)
    assert second.stdout.split(b",")[:2] == first.stdout.split(b",")[:2]
