"""`upwell tail`: what a packed record says, for people and programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from kafka import KafkaProducer

from config import settings as config
from config.events import TYPES
from config.records import Act, Erase, Extra, Facts, Served, Tick, UserRecord, encode
from tests import parts
from tests.config.test_headers import Raw
from tools import topics
from tools.tail import applied, line


def test_a_record_is_told_signal_by_signal() -> None:
    """Ticks only move the clock and are not told; one user can be picked."""
    facts = [Facts("n1", True, "ann", "food", ("soup",)), Facts("n2")]
    signals = [
        Act(u="u1", k=TYPES.index("like"), t=1_000, n=0, r="r1", p=3),
        Tick(t=5),
        Act(u="u2", k=TYPES.index("view"), t=2_000, n=1, x=Extra(dwell_ms=900)),
        Served(u="u1", t=3_000),
        Erase(u="u1", t=4_000),
    ]
    record = UserRecord(1, None, 0, (0, 0, 0), (1, 0, 0), 9, facts, signals)
    told = list(applied(record))
    assert [one["type"] for one in told] == ["like", "view", "served", "erase"]
    assert told[0] == {"at": 1000, "user_id": "u1", "type": "like", "note_id": "n1", "tags": ["soup"], "request_id": "r1", "position": 3}
    assert told[1]["unknown_note"]
    assert [one["type"] for one in applied(record, "u2")] == ["view"]
    assert "like" in line(told[0])
    assert "\x1b" not in line({**told[0], "note_id": "n\x1b[2J"})
    assert "#soup" in line(told[0])
    assert "dwell_ms=900" in line(told[1])


def test_what_others_wrote_into_the_log_is_passed_over(broker: parts.EmbeddedBroker, prefix: str) -> None:
    """Bytes that are no record are said to be none; a header's name may hold anything."""
    environ = {"UPWELL_KAFKA": broker.address, "UPWELL_KAFKA__PREFIX": prefix, "UPWELL_KAFKA__PARTITIONS": "1"}
    topics.create(config.load(environ=environ).kafka)
    good = encode(UserRecord(1, None, 0, (0, 0, 0), (1, 0, 0), 9, [Facts("n1")], [Act(u="u1", k=TYPES.index("like"), t=1_000, n=0)]))
    producer = KafkaProducer(bootstrap_servers=broker.address, acks="all", linger_ms=200)
    for value, name in ((b"garbage", "trace"), (good, Raw("?"))):
        producer.send(f"{prefix}.by-user", value, headers=[(name, b"1")])
    producer.close()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UPWELL_")}
    words = [sys.executable, "-m", "upwell", "tail", "--from-start", "--json"]
    with subprocess.Popen(
        words, env=clean | environ, cwd=parts.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        told = json.loads(tail.stdout.readline())
        tail.terminate()
        assert (told["user_id"], told["type"], told["note_id"]) == ("u1", "like", "n1")
        assert f"{prefix}.by-user/0/0 is none of ours".encode() in tail.stderr.read()
