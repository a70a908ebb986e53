"""The notes stage: what is kept of a note, its way through the pools, and what the lists hear of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.events import ACTIONS, PREDICTED
from config.keys import Slot, hash64, note_key
from config.records import BOT, FOLLOWER, SELF, STRANGE, TEST, Facts, NoteAct, NoteChange, NoteRecord, NoteServed, Source, Tick, encode
from config.records import START as BEGINNING
from models.lists import cell
from models.note import DELETED, PUBLISHED, UNKNOWN, Text, engaged
from store.layout import POOL_STATES, STATUSES, checkpoint_bytes
from store.memory import MemoryStore
from streams import fold, packing
from streams.notes import Notes
from streams.stage import Record
from tests.streams.loop import AVERAGE, DEFAULTS, HOUR, START, Loop

FIELDS = {"tags": ["tea", "cup"], "channel": "food/tea", "city": "Hangzhou", "lat": 30.25, "lon": 120.16, "title": "Green tea"}
GOOD = [("click", 3), ("like", 2), ("collect", 2), ("comment", 1), ("share", 1), ("follow", 1)]


def facts(loop: Loop, id: str = "n1") -> Facts:
    return msgspec.msgpack.decode(loop.notes.store["facts", note_key(hash64(id))], type=Facts)


def test_a_published_note_stands_in_its_record_facts_text_and_lists() -> None:
    """A first record with an author publishes: record, facts and text are there, the pool begins, and every list of it holds it."""
    loop = Loop()
    loop.publish(**FIELDS, media="video", language="zh")
    record = loop.record()
    assert STATUSES[record["status"]] == "published"
    assert (int(record["author"]), int(record["channel"])) == (hash64("a1"), hash64("food/tea"))
    assert [int(tag) for tag in record["tags"][:3]] == [hash64("tea"), hash64("cup"), 0]
    assert (int(record["published_at"]), int(record["tier"]), POOL_STATES[record["pool"]]) == (START, 0, "running")
    assert int(record["quota"]) == DEFAULTS.pool.tiers[0].quota
    assert facts(loop) == Facts("n1", True, "a1", "food/tea", ("tea", "cup"), 0, 30.25, 120.16, "Hangzhou")
    assert loop.where() == {
        "tag:tea", "tag:cup", "channel:food", "channel:food/tea", "city:Hangzhou", "author:a1", "pool:0", "pool:0:food",
        *(cell(30.25, 120.16, level) for level in range(3)),
    }  # fmt: skip
    assert loop.transitions()[0] | {"evidence": 0} == {
        "note_id": "n1", "seq": 1, "at": START, "from": None, "to": 0, "verdict": "entered", "evidence": 0,
        "bar": {"value": 0.0, "channel": "", "version": 0},
    }  # fmt: skip


def test_a_first_record_without_an_author_is_dead() -> None:
    """author_id is required with the first record; a tombstone of what never was is no error."""
    loop = Loop()
    loop.change(title="x")
    assert loop.notes.letters[0][0] == "missing_field"
    loop.change(deleted=True)
    assert (len(loop.notes.letters), loop.notes.store) == (1, {})


def test_a_later_record_changes_what_it_names_and_null_clears() -> None:
    """RFC 7396: absent fields stay, null clears, published_at is set once, and an edit starts no second pool."""
    loop = Loop()
    loop.publish(**FIELDS)
    loop.t += HOUR
    loop.change(tags=["cup", "pot"], city=None, lat=None, lon=None)
    assert facts(loop).tags == ("cup", "pot")
    assert facts(loop).channel == "food/tea"
    assert loop.where() == {"tag:cup", "tag:pot", "channel:food", "channel:food/tea", "author:a1", "pool:0", "pool:0:food"}
    assert int(loop.record()["published_at"]) == START
    assert [move["verdict"] for move in loop.transitions()] == ["entered"]
    text = msgspec.msgpack.decode(loop.notes.store["text", note_key(hash64("n1"))])
    assert text["title"] == "Green tea"


def test_a_catalogue_record_sent_again_does_not_undo_what_came_after_it() -> None:
    """A retry may arrive late; by its id it is recognised."""
    loop = Loop()
    loop.publish(title="first")
    for title, id in (("second", 2), ("third", 3), ("second", 2)):
        loop.say(NoteChange(t=loop.t, id=id, patch={"title": title}), "n1")
    assert msgspec.msgpack.decode(loop.notes.store["text", note_key(hash64("n1"))], type=Text).title == "third"
    assert loop.notes.counts["note", "repeated"] == 1


@pytest.mark.parametrize("away", [{"status": "under_review"}, {"visibility": "private"}])
def test_what_may_not_be_shown_is_in_no_list_and_its_pool_waits(away: dict[str, str]) -> None:
    """Under review a note leaves all lists and its pool pauses; back again it resumes with the time away added to its window."""
    loop = Loop()
    loop.publish(**FIELDS)
    before = loop.where(), int(loop.record()["deadline"])
    loop.pass_time(HOUR)
    loop.change(**away)
    assert loop.where() == set()
    assert POOL_STATES[loop.record()["pool"]] == "paused"
    loop.pass_time(100 * HOUR)
    loop.change(status="published", visibility="public")
    assert (loop.where(), int(loop.record()["deadline"])) == (before[0], before[1] + 100 * HOUR)
    assert [move["verdict"] for move in loop.transitions()] == ["entered", "paused", "resumed"]


def test_a_note_that_begins_under_review_enters_when_it_is_released() -> None:
    """Only published and public notes enter the base tier; published_at is when that happened first."""
    loop = Loop()
    loop.publish(**FIELDS, status="under_review")
    assert (loop.where(), loop.transitions(), int(loop.record()["published_at"])) == (set(), [], 0)
    loop.pass_time(HOUR)
    loop.change(status="published")
    assert "pool:0" in loop.where()
    assert int(loop.record()["published_at"]) == START + HOUR


def test_followers_only_stands_in_the_authors_list_alone() -> None:
    """Those who follow read the author's list; nobody else may find the note."""
    loop = Loop()
    loop.publish(**FIELDS, visibility="followers")
    assert loop.where() == {"author:a1"}


def test_deletion_removes_a_note_from_every_list_it_was_in() -> None:
    """Status deleted, or a tombstone: out of all lists and pools, text gone, counters kept; late signals do not bring it back."""
    loop = Loop()
    loop.publish(**FIELDS)
    loop.act("impression", times=20, rates=AVERAGE)
    loop.act("like")
    assert "hot" in loop.where()
    loop.change(deleted=True)
    assert (loop.where(), {name for name, held in loop.scores.items() if held}) == (set(), set())
    assert ("text", note_key(hash64("n1"))) not in loop.notes.store
    loop.act("like", times=3)
    loop.act("impression", times=200, rates=AVERAGE)
    assert loop.where() == set()
    assert loop.state().status == DELETED
    assert int(loop.record()["counts"][ACTIONS.index("like")]) == 4
    assert [move["verdict"] for move in loop.transitions()] == ["entered", "deleted"]
    assert not loop.notes.timers


def test_a_second_id_with_the_same_hash_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is a hash; whose it is stands in the state, and another id is dead-lettered whatever it wants."""
    monkeypatch.setattr("streams.notes.hash64", lambda name: hash64("n1") if name == "its twin" else hash64(name))
    loop = Loop()
    loop.publish("n1", **FIELDS)
    loop.publish("its twin", **FIELDS)
    loop.act("like", "its twin")
    assert [reason for reason, _ in loop.notes.letters] == ["hash_collision"] * 2
    assert loop.state("n1").counts[ACTIONS.index("like")] == 0


def test_signals_before_publication_are_kept_for_a_while() -> None:
    """What was counted before the note came counts afterwards; without a note it is forgotten after [notes] unknown_hours."""
    loop = Loop()
    loop.act("impression", times=3, rates=AVERAGE)
    loop.act("like")
    loop.say(NoteServed(n=-1, t=loop.t, d=1, h=hash64("n1")), None)
    assert loop.state().status == UNKNOWN
    loop.pass_time(HOUR)
    loop.publish(**FIELDS)
    record = loop.record()
    assert (loop.state().status, int(record["counts"][0]), int(record["organic"]), int(record["served"])) == (PUBLISHED, 3, 3, 1)
    loop.act("like", "ghost")
    assert loop.notes.timers["note", note_key(hash64("ghost"))] == loop.t + 24 * HOUR
    loop.pass_time(25 * HOUR)
    assert not [key for key in loop.notes.store if key[1] == note_key(hash64("ghost"))]


def test_what_was_forgotten_may_be_taken_back_and_leaves_facts_as_they_may_be() -> None:
    """A like that went with its unknown note is taken back when the note is there: facts never tell of less than nothing."""
    loop = Loop()
    loop.act("like")
    loop.pass_time(25 * HOUR)
    loop.act("like", d=-1)
    loop.publish(**FIELDS)
    loop.act("like", d=-1)
    assert facts(loop).engaged == 0
    assert engaged(loop.state()) == 0


def test_a_replay_that_passes_months_in_a_minute_forgets_no_note_whose_publication_is_under_way() -> None:
    """Catalogue and events are two logs: what waits for a note waits as long by append time as by event time."""
    loop = Loop()
    loop.notes.appended = loop.t
    loop.act("like", times=4)
    loop.pass_time(24 * 90 * HOUR)
    assert loop.state().status == UNKNOWN
    loop.publish(**FIELDS)
    assert (loop.state().status, loop.state().counts[ACTIONS.index("like")]) == (PUBLISHED, 4)
    loop.act("like", "ghost")
    loop.notes.appended += 24 * HOUR
    loop.pass_time(25 * HOUR)
    assert not [key for key in loop.notes.store if key[1] == note_key(hash64("ghost"))]


def test_traffic_that_is_no_evidence_is_counted_apart() -> None:
    """Test and bot traffic has counters of its own; paid, strange and the author's own count, and are never evidence."""
    loop = Loop()
    loop.publish(**FIELDS)
    loop.act("impression", times=2, rates=AVERAGE)
    loop.act("impression", times=5, slot=2, rates=AVERAGE)
    loop.act("like", slot=2)
    loop.act("impression", times=7, flags=TEST)
    loop.act("click", times=2, flags=BOT)
    loop.act("like", flags=STRANGE)
    loop.act("like", flags=SELF)
    loop.act("impression", flags=FOLLOWER, src=3)
    state, record = loop.state(), loop.record()
    assert state.counts[0] == 8
    assert state.counts[ACTIONS.index("like")] == 3
    assert (state.test[0], state.bot[1], state.paid[0], state.counted[0]) == (7, 2, 5, 3)
    assert (state.plain, state.plain_followers, sum(state.counted[1:])) == (0, 1, 0)
    assert (int(record["organic"]), int(record["paid"])) == (3, 5)
    assert state.by_source == [0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert "hot" not in loop.where()


def test_what_is_taken_back_is_as_if_it_had_not_been() -> None:
    """Counts and evidence go down with -1; the record never shows less than none."""
    loop = Loop()
    loop.publish(**FIELDS)
    loop.act("like", times=2)
    loop.act("like", d=-1, times=2)
    loop.act("click", d=-1)
    state = loop.state()
    assert state.counts[ACTIONS.index("like")] == 0
    assert state.counted == [0, -1, 0, 0, 0, 0, 0, 0, 0]
    assert int(loop.record()["counts"][ACTIONS.index("click")]) == 0


def test_a_good_note_climbs_and_a_poor_one_is_stopped_once_its_promise_is_kept() -> None:
    """Promoted as soon as the evidence is enough, one tier a step; the base is guaranteed to the poor one, and then it ends."""
    loop = Loop(check=False)
    loop.publish("good", **FIELDS)
    loop.publish("poor", **FIELDS)
    for _ in range(12):
        loop.act("impression", "good", times=10, rates=AVERAGE, step=1000)
        loop.act("impression", "poor", times=10, rates=AVERAGE, step=1000)
        for action, times in GOOD:
            loop.act(action, "good", times=times)
    good, poor = loop.transitions("good"), loop.transitions("poor")
    assert [move["seq"] for move in good] == list(range(1, len(good) + 1))
    assert (good[1]["from"], good[1]["to"], good[1]["verdict"]) == (0, 1, "promoted")
    assert good[1]["evidence"]["exposures"] == DEFAULTS.pool.tiers[0].quota
    assert [move["verdict"] for move in poor] == ["entered", "stopped"]
    assert poor[1]["evidence"]["exposures"] == DEFAULTS.pool.tiers[0].quota
    assert hash64("good") in loop.head(f"pool:{good[-1]['to']}")
    assert not [name for name in loop.where("poor") if name.startswith("pool:")]
    assert float(loop.record("good")["quality"][0]) > float(loop.record("poor")["quality"][0])
    assert loop.head("hot") == [hash64("good")]


def test_a_window_that_ends_is_a_timer() -> None:
    """Without any signal of its own, a note's window ends when the partition's clock passes it."""
    loop = Loop()
    loop.publish(**FIELDS)
    loop.pass_time(25 * HOUR)
    assert [move["verdict"] for move in loop.transitions()] == ["entered", "short"]
    assert loop.transitions()[1]["at"] == START + 24 * HOUR


def test_what_is_overdue_stands_in_the_totals_until_it_is_shown_or_the_note_is_gone() -> None:
    """From the hour at which the base was to be delivered; each exposure takes one off, review and deletion take all, release brings it back."""
    loop, base = Loop(), DEFAULTS.pool.tiers[0].quota
    loop.publish("n1", **FIELDS)
    loop.publish("n2", **FIELDS)

    def owed() -> int:
        return int(loop.notes.shared.tallies[0].owed)

    loop.act("impression", "n1", times=10, rates=AVERAGE)
    assert owed() == 0
    loop.pass_time(int(DEFAULTS.pool.deliver_hours * HOUR))
    assert owed() == 2 * base - 10
    loop.act("impression", "n1", times=7, rates=AVERAGE)
    assert owed() == 2 * base - 17
    loop.change("n2", status="under_review")
    assert owed() == base - 17
    loop.change("n2", status="published")
    loop.pass_time(24 * HOUR)
    assert owed() == 2 * base - 17
    loop.change("n2", deleted=True)
    loop.act("impression", "n1", times=base - 17, rates=AVERAGE)
    assert owed() == 0


def test_a_tiers_end_teaches_its_channel_and_bars_come_back() -> None:
    """Evidence goes to the channel, its prefixes and all notes; bars return to the notes stage, at most once a minute a channel."""
    loop = Loop(check=False)
    for i in range(35):
        assert not loop.notes.shared.bars or i > 31
        loop.publish(f"n{i}", author=f"a{i}", **FIELDS)
        loop.act("impression", f"n{i}", times=100, rates=AVERAGE, step=10)
        loop.pass_time(1_000)
    assert set(loop.notes.shared.bars) == {"", "food", "food/tea"}
    assert loop.notes.counts["bars", "applied"] == 3
    loop.pass_time(61_000)
    assert loop.notes.counts["bars", "applied"] == 6
    assert loop.notes.shared.of("food/tea")[0].number == 2
    assert loop.notes.shared.of("food/coffee")[0].channel == "food"
    tallies = loop.notes.shared.tallies
    assert (tallies[0].notes, tallies[0].exposures, tallies[0].held + tallies[0].stopped) == (0, 3500, 35)


def test_the_first_good_note_of_a_channel_does_not_set_the_bar_that_it_has_to_pass() -> None:
    """Of one note nobody knows how good its channel is: liked by every fourth from its first exposure on, it rises and goes on rising."""
    loop = Loop(check=False)
    loop.publish("best", author="a", **FIELDS)
    for k in range(400):
        loop.act("impression", "best", rates=AVERAGE, step=10)
        if k % 4 == 0:
            loop.act("click", "best")
            loop.act("like", "best")
        loop.pass_time(1_000)
    assert [move["verdict"] for move in loop.transitions("best")] == ["entered", "promoted", "promoted", "promoted", "promoted"]


def test_each_move_says_what_it_rests_on() -> None:
    """Evidence, quality and bar as of that moment, also where a catalogue record moved the note; the bars are named by channel and number."""
    loop = Loop(check=False)
    loop.publish(**FIELDS)
    loop.act("impression", times=40, rates=AVERAGE, step=10)
    loop.change(status="under_review")
    loop.change(status="published")
    loop.act("impression", times=60, rates=AVERAGE, step=10)
    loop.change(status="deleted")
    moves = loop.transitions()
    assert [move["verdict"] for move in moves][:3] == ["entered", "paused", "resumed"]
    assert [move["evidence"]["exposures"] for move in moves] == [0, 40, 40, 100, 100]
    assert len({tuple(sorted(move["evidence"])) for move in moves}) == 1
    assert all(set(move["bar"]) == {"value", "channel", "version"} for move in moves)
    assert all(
        move["evidence"]["quality"]["low"] < move["evidence"]["quality"]["mean"] < move["evidence"]["quality"]["high"] for move in moves
    )


def test_facts_are_not_rewritten_at_each_signal() -> None:
    """The engagement count in the facts lags by up to ten per cent, so that they change seldom."""
    loop, written = Loop(), 0
    loop.publish(**FIELDS)
    before = loop.notes.store["facts", note_key(hash64("n1"))]
    for _ in range(200):
        loop.act("click")
        after = loop.notes.store["facts", note_key(hash64("n1"))]
        written += before != after
        before = after
        assert loop.state().counts[1] - facts(loop).engaged <= 0.1 * facts(loop).engaged
    assert written < 45


def test_lists_hear_of_a_score_only_when_it_matters() -> None:
    """Scores are told when they move by more than a setting: far fewer than signals."""
    loop = Loop(check=False)
    loop.publish(**FIELDS)
    before = loop.lists.counts["score", "applied"]
    for _ in range(50):
        loop.act("impression", times=8, rates=AVERAGE, step=1000)
        loop.act("click", times=2)
    assert loop.lists.counts["score", "applied"] - before < 250


def test_history_is_bounded_and_seq_goes_on() -> None:
    """The last [notes] history moves are kept; numbers have no gap for all that."""
    loop = Loop(notes={"history": 5})
    loop.publish(**FIELDS)
    for _ in range(10):
        loop.change(status="under_review")
        loop.change(status="published")
    moves = loop.notes.get("note", note_key(hash64("n1"))).moves
    assert [move.seq for move in moves] == [17, 18, 19, 20, 21]
    assert [move["seq"] for move in loop.transitions()] == list(range(1, 22))


NAMES = st.sampled_from(["n1", "n2", "n3"])
ACTS = st.tuples(
    st.just("act"), NAMES, st.integers(0, len(ACTIONS) - 1), st.sampled_from([1, 1, 1, -1]), st.sampled_from([0, 1, 2]),
    st.integers(-1, 7), st.sampled_from([b"", b"\x00\x28" * len(PREDICTED), b"\x00\x7e" * len(PREDICTED), b"x"]),
    st.sampled_from([0, 0, 0, FOLLOWER, STRANGE, TEST, BOT, SELF]), st.integers(0, 40 * HOUR),
)  # fmt: skip
PATCH = st.fixed_dictionaries(
    {},
    optional={
        "author_id": st.sampled_from(["a1", "a2"]),
        "status": st.sampled_from(["published", "under_review", "rejected", "deleted", None]),
        "visibility": st.sampled_from(["public", "followers", "private", None]),
        "tags": st.lists(st.sampled_from(["t1", "t2", "t3"]), max_size=3) | st.none(),
        "channel": st.sampled_from(["c", "c/d", "e", None]),
        "city": st.sampled_from(["x", "y", None]),
        "lat": st.sampled_from([1.0, 89.9, None]),
        "lon": st.sampled_from([-180.0, 5.0, None]),
        "title": st.text(max_size=5) | st.none(),
        "author_notes": st.integers(0, 10) | st.none(),
    },
)
CHANGES = st.tuples(st.just("change"), NAMES, PATCH, st.sampled_from([False, False, False, True]), st.integers(0, 40 * HOUR))
STORY = st.lists(ACTS | ACTS | CHANGES | st.tuples(st.just("served"), NAMES, st.sampled_from([1, -1])), max_size=60)


def signals_of(story: list[Any]) -> list[tuple[str, Any]]:
    """(note id, signal) with times that only grow."""
    t, signals = START, []
    for item in story:
        if item[0] == "act":
            _, id, a, d, slot, src, e, flags, ahead = item
            t += ahead // 20
            signals.append((id, NoteAct(n=0, a=a, t=t, d=d, slot=slot, src=src, e=e if a == 0 else b"", flags=flags)))
        elif item[0] == "change":
            _, id, patch, deleted, ahead = item
            t += ahead
            signals.append((id, NoteChange(n=0, t=t, id=len(signals), patch=patch, deleted=deleted)))
        else:
            signals.append((item[1], NoteServed(n=0, t=t, d=item[2])))
    return signals


@settings(max_examples=50)
@given(STORY)
def test_whatever_happens_bytes_are_the_state_lists_are_the_truth_and_numbers_have_no_gap(story: list[Any]) -> None:
    """After every signal: load(dump(state)) is the state; heads equal the sorted scores told; seq is gap-free; a note that may not be
    shown is in no list but its author's, and a deleted one in none."""
    loop = Loop()
    for id, signal in signals_of(story):
        loop.say(signal, id)
    for name, held in loop.scores.items():
        if name.startswith("hot"):
            best: dict[int, Any] = {}
            for score in sorted(held.values(), key=order):
                best.setdefault(score.a, score)
            held = {score.h: score for score in best.values()}
        assert loop.head(name) == [score.h for score in sorted(held.values(), key=order)]
    for id in ("n1", "n2", "n3"):
        moves = loop.transitions(id)
        assert [move["seq"] for move in moves] == list(range(1, len(moves) + 1))
        state = loop.state(id)
        if state.status != PUBLISHED:
            assert loop.where(id) == set()
        elif state.visibility:
            assert loop.where(id) <= {f"author:{state.author}"}


def order(score: Any) -> tuple[float, int]:
    from models.lists import single

    return -single(score.score), score.h


@settings(max_examples=30)
@given(STORY, st.randoms(use_true_random=False))
def test_counters_do_not_depend_on_the_order_of_signals(story: list[Any], rng: random.Random) -> None:
    """Sources of by-note meet in any order: counters and evidence are sums, heats too but for the last bits."""
    acts = [(id, signal) for id, signal in signals_of(story) if isinstance(signal, NoteAct)]
    shuffled = rng.sample(acts, len(acts))
    one, other = Loop(check=False), Loop(check=False)
    for id in ("n1", "n2", "n3"):
        one.publish(id)
        other.publish(id)
    for id, signal in acts:
        one.say(signal, id)
    for id, signal in shuffled:
        other.say(signal, id)
    for id in ("n1", "n2", "n3"):
        a, b = one.state(id), other.state(id)
        for field in ("counts", "test", "bot", "paid", "by_source", "counted", "plain", "plain_followers", "engaged_at", "exposed_at"):
            assert getattr(a, field) == getattr(b, field)
        assert a.expected == pytest.approx(b.expected)
        assert warmth(a) == pytest.approx(warmth(b), abs=1e-6)


def warmth(note: Any) -> list[float]:
    """Heats as of the last engagement or exposure."""
    last = max(note.engaged_at, note.exposed_at, note.base)
    halves = (*(h * HOUR for h in DEFAULTS.notes.heat_half_lives_h), *[DEFAULTS.lists.hot_half_life_h * HOUR] * 2)
    return [s * 2.0 ** ((note.base - last) / h) if note.base else 0.0 for s, h in zip(note.heats, halves, strict=True)]


def records_of(story: list[Any], size: int) -> list[Record]:
    signals, records = signals_of(story), []
    for i in range(0, len(signals), size):
        table: dict[str, int] = {}
        packed = []
        for id, signal in signals[i : i + size]:
            signal.n = table.setdefault(id, len(table))
            packed.append(signal)
        value = encode(NoteRecord(1, None, 0, (0, 0, 0), (0, 0, 0), START, list(table), packed))
        records.append(Record("by-note", 0, i // size, START, None, value))
    last = Tick(t=START + 10_000 * HOUR)
    records.append(Record("by-note", 0, len(records), START, None, encode(NoteRecord(1, None, 0, (0, 0, 0), (0, 0, 0), START, [], [last]))))
    return records


async def folded(records: list[Record], rng: random.Random | None) -> tuple[dict[bytes, bytes | None], list[Any]]:
    """The store after the runner folded the log, cut at random or not at all; and what was sent, whatever the packing."""
    store, sent = MemoryStore(), []
    counts = {"by-user": 2, "by-note": 2, "by-list": 1, "by-pair": 2, "examples": 1}
    limits = fold.Limits(keys=4, cache_bytes=1) if rng else fold.Limits()
    part = fold.Partition(Notes(DEFAULTS), Slot("t", 0, "notes", 0), Source("L", "t.by-note", 0), counts, limits)

    async def send(out: list[packing.Outgoing]) -> None:
        for record in out:
            if record.topic == "by-list":
                sent.extend(packing.PACKED["by-list"] and msgspec.msgpack.decode(record.value or b"")[-1])
            else:
                sent.append(record.value)

    await store.commit(part.slot, None, checkpoint_bytes("L", BEGINNING), {}, {})
    await fold.begin(part, store)
    at = 0
    while at < len(records):
        n = rng.randint(1, 4) if rng else len(records)
        part.feed(records[at : at + n])
        at += n
        while part.waiting:
            await fold.step(part, store)
            if part.full or (rng and rng.random() < 0.5):
                await fold.commit(part, store, send)
    if part.uncut:
        await fold.commit(part, store, send)
    keys = [key async for key in store.scan(b"*")]
    return dict(zip(keys, await store.read(keys), strict=True)), sorted(map(repr, (s[4:] if isinstance(s, list) else s for s in sent)))


@settings(max_examples=20)
@given(STORY, st.integers(1, 5), st.randoms(use_true_random=False))
def test_bytes_do_not_depend_on_where_frames_are_cut(story: list[Any], size: int, rng: random.Random) -> None:
    """One log through the runner, whole and cut at random with next to no cache: the same bytes in the store, the same told."""
    records = records_of(story, size)
    assert asyncio.run(folded(records, None)) == asyncio.run(folded(records, rng))


def test_an_old_note_that_is_found_again_is_told_at_once() -> None:
    """A note with much evidence is judged seldom, but what warms it up reaches its lists with the next like."""
    loop = Loop(check=False)
    loop.publish(**FIELDS)
    loop.act("impression", times=400, rates=AVERAGE)
    loop.act("like", times=20)
    loop.pass_time(2_000 * HOUR)
    before = loop.scores["tag:tea"][hash64("n1")].score
    loop.state().look = 10_000
    loop.act("like", times=2)
    after = loop.scores["tag:tea"][hash64("n1")].score
    assert before is not None
    assert after is not None
    assert after > before + 30
