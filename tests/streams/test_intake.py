"""Intake on the real runner and the memory store: what comes out of public records, and what goes to the dead letters."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import probe
from config import settings as configuration
from config.decode import DAY_MS
from config.events import TYPES
from config.keys import Slot, hash64
from config.records import START, Act, Facts, NoteChange, Personalize, Position, Source, decode_note, decode_user
from store.layout import checkpoint_bytes
from store.memory import MemoryStore
from streams import dead, fold, packing
from streams.intake import Intake
from streams.stage import Record
from tests.config.test_events import BAD, BAD_NOTES, mutated

COUNTS = {"by-user": 3, "by-note": 3, "by-list": 1, "by-pair": 1, "examples": 1}
NOW = 1_700_000_000_000
SETTINGS = configuration.load(environ={"UPWELL_EVENTS__ALIASES": '{"read": "view"}'})
KNOWN = {f"n{i}": Facts(f"n{i}", True, f"a{i}", "beauty/skin", ("x", f"t{i}"), i) for i in range(5)}


class Harness:
    """One partition of intake, with lists for what it sends and counts."""

    def __init__(self, topic: str = "events", known: dict[str, Facts] = KNOWN) -> None:
        self.store, self.topic = MemoryStore(), topic
        self.facts = {hash64(name): facts for name, facts in known.items()}
        self.sent: list[packing.Outgoing] = []
        self.counts: dict[tuple[str, str], int] = {}
        self.part = fold.Partition(Intake(SETTINGS), Slot("t", 0, "intake", 0), Source("L", f"up.{topic}", 0), COUNTS)

    async def resolve(self, hashes: Sequence[int]) -> dict[int, Facts]:
        return {h: self.facts[h] for h in hashes if h in self.facts}

    async def _run(self, records: list[Record], rng: random.Random | None) -> None:
        async def send(outgoing: list[packing.Outgoing]) -> None:
            self.sent.extend(outgoing)

        await self.store.commit(self.part.slot, None, checkpoint_bytes("L", START), {}, {})
        await fold.begin(self.part, self.store)
        at = 0
        while at < len(records):
            n = rng.randint(1, 4) if rng else len(records)
            self.part.feed(records[at : at + n])
            at += n
            while self.part.waiting:
                await fold.step(self.part, self.store, self.resolve)
                if rng and rng.random() < 0.5:
                    await fold.commit(self.part, self.store, send)
        if self.part.uncut:
            await fold.commit(self.part, self.store, send)
        self.counts = dict(self.part.out.counts)

    def run(self, *values: Any, rng: random.Random | None = None) -> Harness:
        """Fold records of the given values (bytes as they are, other things as JSON), offsets from 0."""
        bodies = [value if isinstance(value, bytes | Record) else json.dumps(value).encode() for value in values]
        records = [b if isinstance(b, Record) else Record(self.topic, 0, i, NOW, b"key", b) for i, b in enumerate(bodies)]
        asyncio.run(self._run(records, rng))
        return self

    @property
    def told(self) -> list[tuple[Any, Facts | None]]:
        """Signals for users with their notes, in source order."""
        told = []
        for out in self.sent:
            if out.topic == "by-user":
                record = decode_user(out.value)
                assert out.partition is not None
                for signal in record.signals:
                    assert out.partition == hash64(signal.u) % COUNTS["by-user"]
                    position = Position(record.base + signal.o, signal.i, signal.s)
                    assert Position(*record.first) <= position < Position(*record.end)
                    told.append((position, signal, record.notes[signal.n] if isinstance(signal, Act) and signal.n >= 0 else None))
        return [(signal, facts) for _, signal, facts in sorted(told, key=lambda entry: entry[0])]

    @property
    def changes(self) -> list[tuple[str, NoteChange]]:
        """Changes for notes with the note's id, in source order."""
        found = []
        for out in self.sent:
            if out.topic == "by-note":
                record = decode_note(out.value)
                for signal in record.signals:
                    assert isinstance(signal, NoteChange)
                    note = record.notes[signal.n]
                    assert out.partition == hash64(note) % COUNTS["by-note"]
                    found.append((record.base + signal.o, signal.i, note, signal))
        return [(note, signal) for _, _, note, signal in sorted(found, key=lambda entry: entry[:2])]

    @property
    def dead(self) -> list[dead.Letter]:
        return [dead.parse(Record("dead", 0, i, NOW, o.key, o.value, o.headers)) for i, o in enumerate(self.sent) if o.topic == "dead"]


def like(**fields: Any) -> dict[str, Any]:
    return {"type": "like", "user_id": "u1", "note_id": "n1", **fields}


class TestActs:
    def test_an_event_becomes_an_act_with_the_facts_of_its_note(self) -> None:
        """What later stages must not look up stands beside the act."""
        harness = Harness().run(like(event_id="e", timestamp=NOW - 5, request_id="r", position=3, surface="feed", traffic="test"))
        ((act, facts),) = harness.told
        assert (act.u, TYPES[act.k], act.t, act.id, act.r, act.p, act.f) == ("u1", "like", NOW - 5, hash64("e"), "r", 3, 1)
        assert act.x.surface == "feed"
        assert facts == KNOWN["n1"]
        assert harness.counts == {("like", "applied"): 1}

    def test_a_note_that_is_not_known_shows_as_unknown(self) -> None:
        """The act goes on without facts, and is counted as such."""
        harness = Harness().run(like(note_id="nobody"))
        ((_, facts),) = harness.told
        assert facts == Facts("nobody")
        assert harness.counts == {("like", "unknown_note"): 1}

    def test_an_anonymous_user_has_a_name_of_its_own(self) -> None:
        """`anon:` keeps it apart from user ids; a user id wins over it."""
        harness = Harness().run({"type": "search", "anonymous_id": "d1", "query": "tea"}, like(anonymous_id="d1"))
        assert [act.u for act, _ in harness.told] == ["anon:d1", "u1"]
        assert harness.told[0][0].n == -1
        assert harness.told[0][0].x.query == "tea"

    def test_the_effective_time_is_at_most_a_minute_ahead(self) -> None:
        """A device 23 hours ahead is accepted and moves no clock by more than 60 s; absent times are append time; old ones stay."""
        times = [NOW + 23 * 3_600_000, NOW + 60_000, NOW + 59_999, 5, "2023-11-14T22:13:20.001Z"]
        harness = Harness().run(*[like(timestamp=time) for time in times], like())
        assert [act.t for act, _ in harness.told] == [NOW + 60_000, NOW + 60_000, NOW + 59_999, 5, NOW + 1, NOW]

    def test_only_the_collector_corrects_clocks(self) -> None:
        """A record may have lain in a file for years: `sent_at` says nothing about its append time."""
        ((act, _),) = Harness().run(like(timestamp=1_000, sent_at=2_000)).told
        assert act.t == 1_000

    def test_a_batched_impression_is_split(self) -> None:
        """Each item is an act of its own: position, extra dwell, id; a note beside the items is not another one."""
        items = [{"note_id": "n1", "position": 4}, {"note_id": "n2", "visible_ms": 900}, {"note_id": "n1"}]
        event = {"type": "impression", "user_id": "u1", "note_id": "n3", "request_id": "r", "surface": "hot", "items": items}
        harness = Harness().run(event, [{**event, "event_id": "e"}, like()])
        acts = [act for act, _ in harness.told]
        assert [(a.i, a.p, a.x.dwell_ms, a.x.surface) for a in acts[:3]] == [(0, 4, None, "hot"), (1, -1, 900, "hot"), (2, -1, None, "hot")]
        assert [facts.id for _, facts in harness.told if facts] == ["n1", "n2", "n1"] * 2 + ["n1"]
        assert [(a.o, a.i) for a in acts] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]
        assert len({act.id for act in acts}) == 7

    def test_ids_are_derived_so_that_repeats_are_recognised(self) -> None:
        """The same bytes with a timestamp are the same event; without one, two likes in a row are two."""
        acts = [
            act for act, _ in Harness().run(like(timestamp=7), like(timestamp=7), like(timestamp=8), like(), like(), [like(), like()]).told
        ]
        ids = [act.id for act in acts]
        assert ids[0] == ids[1]
        assert len(set(ids)) == len(ids) - 1

    def test_a_retried_record_keeps_the_place_of_its_first_try(self) -> None:
        """However often a dead letter is sent again, its derived ids are the same."""
        again = [Record("events", 0, i, NOW, None, json.dumps(like()).encode(), (("retry", b"events/0/3"),)) for i in range(2)]
        first, second, other, original = [act.id for act, _ in Harness().run(*again, like(), like()).told]
        assert first == second == original != other

    def test_an_alias_is_its_type(self) -> None:
        """Settings name an app's own types."""
        ((act, _),) = Harness().run(like(type="read", dwell_ms=5, completion=0.5)).told
        assert (TYPES[act.k], act.x.dwell_ms, act.x.completion) == ("view", 5, 0.5)

    def test_settings_become_the_same_signal_as_the_api_writes(self) -> None:
        """`personalized` in a settings event switches the profile; without it nothing is switched."""
        harness = Harness().run(
            {"type": "settings", "user_id": "u", "personalized": False, "timestamp": 5}, {"type": "settings", "user_id": "u"}
        )
        (switch, _), (act, _) = harness.told
        assert isinstance(switch, Personalize)
        assert (switch.u, switch.t, switch.on) == ("u", 5, False)
        assert isinstance(act, Act)

    def test_another_id_with_the_hash_of_a_known_note_is_dead(self) -> None:
        """Internally a note is its hash: the second id cannot exist."""
        harness = Harness()
        harness.facts[hash64("n1")] = Facts("first", True)
        harness.run([like(note_id="n2"), like()])
        ((letter),) = harness.dead
        assert (letter.reason, letter.index) == ("hash_collision", 1)
        assert len(harness.told) == 1

    def test_every_signal_has_a_time_or_moves_no_clock(self) -> None:
        """The runner asks each signal for `t`."""
        record = Record(
            "events", 0, 0, NOW, None, json.dumps([like(), {"type": "settings", "user_id": "u", "personalized": True}, 5]).encode()
        )
        assert [signal.t for signal in Intake(SETTINGS).decode(record).signals] == [NOW, NOW, None]

    def test_lookups_name_each_note_once(self) -> None:
        """What the frame needs of the store."""
        stage = Intake(SETTINGS)
        batch = stage.decode(Record("events", 0, 0, NOW, None, json.dumps([like(), like(), like(note_id="x"), 5, {"type": "search", "user_id": "u"}]).encode()))  # fmt: skip
        assert stage.lookups(batch) == [hash64("n1"), hash64("x")]


class TestChanges:
    def test_a_note_record_becomes_a_change(self) -> None:
        """What the record has, and nothing else, is in the patch."""
        body = {"note_id": "n1", "author_id": "a", "title": None, "tags": ["x"], "timestamp": 9, "extra": 1}
        harness = Harness("notes").run(body, [{"note_id": "n2", "title": "t"}, {"title": "nobody's"}])
        (first, change), (second, other) = harness.changes
        assert (first, change.patch, change.t, change.deleted) == ("n1", {"author_id": "a", "title": None, "tags": ["x"]}, 9, False)
        assert (second, other.patch, other.t) == ("n2", {"title": "t"}, NOW)
        assert [(letter.reason, letter.index) for letter in harness.dead] == [("missing_field", 1)]
        assert harness.counts[("note", "applied")] == 2

    def test_a_tombstone_deletes_the_note_of_its_key(self) -> None:
        """A null value with a key is a deletion; without a usable key it is dead."""
        keys = [b"n1", None, b"_x", b"\xff"]
        harness = Harness("notes").run(*[Record("notes", 0, i, NOW, key, None) for i, key in enumerate(keys)])
        ((note, change),) = harness.changes
        assert (note, change.deleted, change.patch, change.t) == ("n1", True, {}, NOW)
        assert [letter.reason for letter in harness.dead] == ["missing_field", "bad_field", "not_utf8"]
        assert harness.dead[0].value is None

    def test_times_of_changes_are_effective_too(self) -> None:
        """A catalogue ahead of its time moves no clock either."""
        harness = Harness("notes").run({"note_id": "n", "timestamp": NOW + DAY_MS}, {"note_id": "n", "timestamp": NOW + 2 * DAY_MS})
        assert [change.t for _, change in harness.changes] == [NOW + 60_000]
        assert [letter.reason for letter in harness.dead] == ["future_timestamp"]


class TestDeadLetters:
    @pytest.mark.parametrize(("value", "code"), [(row[1], row[2]) for row in BAD], ids=[row[0] for row in BAD])
    def test_every_bad_record_is_dead_with_its_code_and_the_next_counts(self, value: bytes, code: str) -> None:
        """One dead letter, with the original bytes, and the good event after it is applied."""
        harness = Harness().run(value, like())
        (letter,) = harness.dead
        assert (letter.reason, letter.topic, letter.partition, letter.offset, letter.index) == (code, "up.events", 0, 0, 0)
        assert letter.key == b"key"
        assert letter.value == value or (letter.part == "head" and value.startswith(letter.value or b""))
        assert len(harness.told) == 1
        assert harness.counts[("like", "applied")] == 1

    @pytest.mark.parametrize(("value", "code"), [(row[1], row[2]) for row in BAD_NOTES], ids=[row[0] for row in BAD_NOTES])
    def test_every_bad_note_is_dead_with_its_code_and_the_next_counts(self, value: bytes, code: str) -> None:
        """The catalogue's log is as robust."""
        harness = Harness("notes").run(value, {"note_id": "n"})
        assert [letter.reason for letter in harness.dead] == [code]
        assert [note for note, _ in harness.changes] == ["n"]

    def test_a_heartbeat_beside_an_event_does_not_date_it(self) -> None:
        """A probe has no append time of its own; the record that carries both says when the event was appended."""
        beat = Record("events", 0, 0, NOW, probe.USER, probe.beat(0, NOW))
        event = Record("events", 0, 1, NOW, b"key", json.dumps(like()).encode())
        harness = Harness().run(beat, event)
        assert {decode_user(out.value).appended for out in harness.sent if any(type(s) is Act for s in decode_user(out.value).signals)} == {
            NOW
        }

    @pytest.mark.parametrize("header", [None, b"x" * 1_000_000])
    def test_headers_that_anybody_may_write_stop_nothing(self, header: bytes | None) -> None:
        """An event that names neither id nor time asks for the place of its first try."""
        bodies = [json.dumps(body).encode() for body in (like(), like(position=-1))]
        harness = Harness().run(*[Record("events", 0, i, NOW, b"k", body, (("retry", header),)) for i, body in enumerate(bodies)])
        assert (len(harness.told), [letter.reason for letter in harness.dead]) == (1, ["bad_field"])

    def test_a_tombstone_among_events_is_dead(self) -> None:
        """Nothing is no event."""
        harness = Harness().run(Record("events", 0, 0, NOW, b"k", None), like())
        assert [letter.reason for letter in harness.dead] == ["not_json"]
        assert len(harness.told) == 1

    def test_the_index_is_the_place_in_the_array(self) -> None:
        """However many acts an earlier element was split into."""
        impression = {"type": "impression", "user_id": "u", "items": [{"note_id": "n1"}, {"note_id": "n2"}]}
        harness = Harness().run([impression, {"type": "x"}, like(), 5])
        assert [(letter.reason, letter.index) for letter in harness.dead] == [("unknown_type", 1), ("not_object", 3)]
        assert [act.i for act, _ in harness.told] == [0, 1, 3]
        assert harness.counts[("other", "rejected")] == 2

    def test_garbage_makes_no_labels(self) -> None:
        """A type that nobody knows is counted under one name."""
        harness = Harness().run({"type": "x" * 50, "user_id": "u"}, like(position=-1))
        assert harness.counts[("other", "rejected")] == 1
        assert harness.counts[("like", "rejected")] == 1


@given(st.lists(mutated() | st.binary(max_size=40), max_size=6), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_whatever_comes_good_events_count_and_nothing_depends_on_the_cut(bodies: list[bytes], rng: random.Random) -> None:
    """Good records between garbage are applied, every bad one is dead once, and a log cut at random gives the same signals."""
    values = [part for body in bodies for part in (body, json.dumps(like(user_id="good", event_id="e")).encode())]
    whole, cut = Harness().run(*values), Harness().run(*values, rng=rng)
    assert sum(act.u == "good" for act, _ in whole.told) == len(bodies)
    assert [letter.offset for letter in whole.dead] == sorted(letter.offset for letter in whole.dead)
    assert {act.id for act, _ in whole.told if act.u == "good"} <= {hash64("e")}
    plain = [[(msgspec.structs.replace(a, o=0, n=0), f) for a, f in harness.told] for harness in (whole, cut)]
    assert plain[0] == plain[1]
    assert whole.dead == cut.dead
