"""The users stage, against a plain oracle and its own store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config import settings as configuration
from config.events import ACTIONS, PREDICTED, TYPES
from config.keys import hash64
from config.records import (
    BOT,
    FOLLOWER,
    SELF,
    STRANGE,
    TEST,
    Act,
    Engaged,
    Erase,
    Extra,
    Facts,
    Forget,
    Left,
    Link,
    NoteAct,
    NoteServed,
    Personalize,
    Served,
    Shown,
    Signal,
    Slate,
    SlateItem,
    Tick,
)
from config.settings import SettingsError
from models.context import moved_rank
from models.slate import FURTHEST
from models.user import PARTS, RECENT_ROW, User, all_follows, ledger_rows, public_actions, recent_engagements, seen_hashes
from streams.users import Users

DEFAULTS = configuration.load(environ={})
MINUTE = 60_000


class Told:
    """An Out that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Any, Any, Any]] = []
        self.timers: dict[bytes, int] = {}
        self.counts: Counter[tuple[str, str]] = Counter()

    def tell(self, topic: str, digest: int, signal: Signal, note: Any = None) -> None:
        self.all.append((topic, digest, signal, note))

    def everywhere(self, topic: str, signal: Signal) -> None:
        raise AssertionError("a user speaks to nobody in particular")

    def spread(self, topic: str, digests: Sequence[int], signal: Any) -> None:
        self.all.append((topic, digests, signal, None))

    def publish(self, topic: str, key: bytes, value: bytes) -> None:
        raise AssertionError("users have no public output")

    def dead(self, reason: str, message: str, index: int | None = None) -> None:
        raise AssertionError(f"{reason}: {message}")

    def timer(self, family: str, key: bytes, deadline: int | None) -> None:
        self.timers.pop(key, None)
        if deadline is not None:
            self.timers[key] = deadline

    def count(self, type: str, outcome: str) -> None:
        self.counts[type, outcome] += 1

    def of(self, kind: type) -> list[Any]:
        return [signal for _, _, signal, _ in self.all if type(signal) is kind]


class Desk:
    """A users stage, its users and the bytes a store would hold of them; every signal is checked against those bytes."""

    def __init__(self, check: bool = True, **sections: dict[str, Any]) -> None:
        changed = {name: msgspec.structs.replace(getattr(DEFAULTS, name), **values) for name, values in sections.items()}
        self.stage = Users(msgspec.structs.replace(DEFAULTS, **changed))
        self.family = self.stage.families["user"]
        self.users: dict[str, User] = {}
        self.store: dict[str, dict[str, bytes | None]] = {}
        self.out, self.check, self.ids = Told(), check, 0
        self.now = self.appended = self.partition = 0
        self.shared = None
        self.facts: Mapping[int, Any] = {}

    def fold(self, signal: Any, table: Any = ()) -> None:
        self.now = max(self.now, signal.t)
        while due := sorted((deadline, key) for key, deadline in self.out.timers.items() if deadline <= self.now):
            deadline, key = due[0]
            del self.out.timers[key]
            self.stage.fire(self, self.out, deadline, "user", key, self.users[key.decode()])
            self.written(key.decode())
        states = []
        for family, key in self.stage.reads(signal, table):
            assert family == "user"
            states.append(self.users.setdefault(key.decode(), self.family.load(key, [None] * len(PARTS))))
        self.stage.fold(self, self.out, signal, table, *states)
        if states:
            self.written(signal.u)

    def written(self, name: str) -> None:
        """What the store holds after writing the changed parts is what is in memory."""
        if self.check:
            user = self.users[name]
            stored = self.store.setdefault(name, {})
            stored.update(self.family.dump(name.encode(), user))
            assert self.family.load(name.encode(), [stored.get(part) for part in PARTS]) == user
            assert self.family.load(name.encode(), user.values()) == user
            assert [stored.get(part) for part in PARTS[1:]] == user.values()[1:]

    def say(
        self, type: str, note: str | Facts | None = "n1", user: str = "u", t: int = 1_000, id: int | None = None, **fields: Any
    ) -> None:
        self.ids += 1
        request, position, traffic = fields.pop("r", ""), fields.pop("p", -1), fields.pop("f", 0)
        table = () if note is None else (note if isinstance(note, Facts) else facts(note),)
        extra = Extra(**fields) if fields else None
        act = Act(
            0, 0, 0, user, TYPES.index(type), t, self.ids if id is None else id, 0 if table else -1, request, position, traffic, extra
        )
        self.fold(act, table)

    def serve(
        self,
        *notes: str,
        user: str = "u",
        t: int = 500,
        request: str = "r1",
        slot: int = 0,
        tier: int = 0,
        rate: float = 0.25,
        shadow: bool = False,
    ) -> None:
        self.ids += 1
        items = [SlateItem(hash64(n), i, slot, 0b110, tier) for i, n in enumerate(notes)]
        features = np.arange((len(notes) + 1) * 3, dtype=np.float16).tobytes()
        predictions = np.full((len(notes), len(PREDICTED)), rate, np.float16).tobytes()
        passed = [SlateItem(hash64("passed"), -1, propensity=4.0)]
        slate = Slate(request, "feed", items, passed, "set", features, predictions, context=b"ctx_", shadow=shadow)
        self.fold(Served(u=user, t=t, id=10**9 + self.ids, slate=slate))

    def counts(self) -> dict[tuple[str, str], int]:
        """(note, action) -> distinct users, as the notes stage would count them."""
        counts: Counter[tuple[str, str]] = Counter()
        for _, digest, signal, note in self.out.all:
            if type(signal) is NoteAct and not signal.flags & (TEST | BOT):
                assert digest == (hash64(note) if note else signal.h)
                counts[note or str(digest), ACTIONS[signal.a]] += signal.d
        return {k: v for k, v in counts.items() if v}

    def weights(self, user: str = "u") -> dict[tuple[str, str], float]:
        return {(i.kind, i.value): i.weight for i in self.stage.interests.strengths(self.users[user].hot, self.now)}


def facts(note: str) -> Facts:
    return Facts(note, True, f"author-{note}", "food", ("bread", f"tag-{note}"), 3)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ------------------------------------------------------------------------------------------------------------------ counting


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["impression", "click", "view", "like", "unlike", "collect", "uncollect", "share", "unshare", "comment", "uncomment", "hide", "unhide", "report", "purchase"]),
        st.sampled_from(["u", "v"]),
        st.sampled_from(["n1", "n2", "n3"]),
        st.integers(0, 40),
        st.sampled_from(["c1", "c2"]),
        st.booleans(),
    ),
    max_size=40,
)  # fmt: skip


def oracle(events: list[Any]) -> dict[tuple[str, str], int]:
    """Distinct users by note and action, in ten lines that share nothing with the stage."""
    ids: set[Any] = set()
    held: set[Any] = set()
    for type, user, note, id, comment, finished in events:
        if type == "impression":
            held.add((note, type, user, ""))
        elif (user, id) not in ids:
            ids.add((user, id))
            c = comment if "comment" in type else ""
            held.discard((note, type[2:], user, c)) if type.startswith("un") else held.add((note, type, user, c))
            held |= {(note, "finish", user, "")} if type == "view" and finished else set()
    return dict(Counter((note, type) for note, type, _ in {h[:3] for h in held}))


@settings(max_examples=60)
@given(EVENTS, st.booleans())
def test_counts_are_distinct_users_whatever_is_sent_how_often(events: list[Any], slates: bool) -> None:
    """An action counts once per user and note and is taken back exactly; ids repeat, orders vary, slates come and go."""
    desk = Desk()
    for n, (type, user, note, id, comment, finished) in enumerate(events):
        if slates and n % 5 == 0:
            desk.serve("n1", "n2", "n3", user=user, t=1_000 + n * 10 * MINUTE, request=f"r{n}")
        fields = {"comment_id": comment} if "comment" in type else {"completion": 0.95 if finished else 0.1} if type == "view" else {}
        desk.say(type, note, user, 1_000 + n * 10 * MINUTE, hash64(f"{user}{id}"), r=f"r{n // 5 * 5}", **fields)
    assert desk.counts() == oracle(events)


@settings(max_examples=30)
@given(EVENTS)
def test_a_log_told_twice_changes_no_count(events: list[Any]) -> None:
    """A replay of everything leaves counters, exposures, ledger and weights as they are."""
    desk = Desk(check=False)

    def tell() -> None:
        for n, (type, user, note, _, comment, _) in enumerate(events):
            desk.say(type, note, user, 1_000 + n, n, **({"comment_id": comment} if "comment" in type else {}))

    tell()
    counts, states = desk.counts(), [user.values() for user in desk.users.values()]
    tell()
    assert desk.counts() == counts
    assert [user.values() for user in desk.users.values()] == states


@settings(max_examples=25)
@given(EVENTS)
def test_evidence_is_taken_back_as_it_was_given(events: list[Any]) -> None:
    """Summed over any history, no flag and no slot of a note ever goes below zero."""
    desk = Desk(check=False)
    for n, (type, user, note, id, comment, finished) in enumerate(events):
        if finished:
            desk.serve(note, user=user, t=1_000 + n * 20 * MINUTE, request=f"r{n}", slot=n % 3)
        if id % 7 == 0:
            desk.say("follow", None, user, 1_000 + n * 20 * MINUTE, author_id=f"author-{note}")
        desk.say(type, note, user, 1_000 + n * 20 * MINUTE, **({"comment_id": comment} if "comment" in type else {}))
    sums: Counter[Any] = Counter()
    for signal in desk.out.of(NoteAct):
        sums[signal.u, signal.a, signal.slot, signal.flags] += signal.d
        if signal.a:
            assert sums[signal.u, signal.a, signal.slot, signal.flags] >= 0


def test_an_exposure_is_remembered_for_exactly_the_horizon() -> None:
    """Within the last `exposures` exposures an impression counts once; the one that has left counts again."""
    desk = Desk(users={"exposures": 8})
    for n in range(9):
        desk.say("impression", f"n{n}")
    desk.say("impression", "n1")
    assert desk.counts()["n1", "impression"] == 1
    desk.say("impression", "n0")
    assert desk.counts()["n0", "impression"] == 2
    assert len(seen_hashes(desk.users["u"].seen)) == 8


def test_the_ledger_remembers_exactly_the_horizon() -> None:
    """A like beyond the last `engaged` notes can no longer be taken back, and counts again."""
    desk = Desk(users={"engaged": 8, "event_ids": 4})
    for n in range(9):
        desk.say("like", f"n{n}")
    desk.say("unlike", "n0")
    assert desk.counts()["n0", "like"] == 1
    desk.say("unlike", "n1")
    assert ("n1", "like") not in desk.counts()


def test_a_late_repeat_of_a_like_does_not_undo_an_unlike(desk: Desk) -> None:
    """Event ids are remembered, so that order of delivery cannot bring back what was taken back."""
    desk.say("like", id=1)
    desk.say("unlike", id=2)
    desk.say("like", id=1)
    assert desk.counts() == {}
    assert desk.out.counts["like", "repeated"] == 1


def test_comments_without_an_id_count_as_one(desk: Desk) -> None:
    """They cannot be told apart; one uncomment takes the user's last one away."""
    desk.say("comment")
    desk.say("comment")
    desk.say("comment", comment_id="c")
    desk.say("uncomment")
    assert desk.counts() == {("n1", "comment"): 1}
    desk.say("uncomment")
    assert desk.counts() == {}


def test_the_longest_dwell_counts(desk: Desk) -> None:
    """A view is finished once any of its reports says so; a shorter one later changes nothing."""
    desk.say("view", dwell_ms=2_000)
    assert desk.counts() == {("n1", "view"): 1}
    desk.say("view", dwell_ms=30_000)
    desk.say("view", completion=0.1)
    assert desk.counts() == {("n1", "view"): 1, ("n1", "finish"): 1}


def test_unfollow_takes_the_follow_back_where_it_happened(desk: Desk) -> None:
    """A follow on a note counts there, and is taken back there even when the note is not named."""
    desk.say("follow", "n1", author_id="author-n1")
    assert desk.counts() == {("n1", "follow"): 1}
    assert desk.users["u"].hot.follows == ("author-n1",)
    desk.say("unfollow", None, author_id="author-n1")
    assert desk.counts() == {}
    assert not desk.users["u"].hot.follows


@pytest.mark.parametrize("named", [None, "n2", "n4"])
def test_unfollow_takes_the_follow_back_wherever_it_was_said(desk: Desk, named: str | None) -> None:
    """Said again on other notes of the author, a follow counts on each, and none of them keeps it."""
    for note in ("n1", "n2", "n3", "n2"):
        desk.say("follow", note, author_id="ann")
    assert desk.counts() == {("n1", "follow"): 1, ("n2", "follow"): 1, ("n3", "follow"): 1}
    desk.say("unfollow", named, author_id="ann")
    assert (desk.counts(), bool(desk.users["u"].follows)) == ({}, False)
    desk.say("follow", "n2", author_id="ann")
    assert desk.counts() == {("n2", "follow"): 1}


def test_what_could_not_be_taken_back_does_not_count() -> None:
    """Where follows said again are kept is bounded, and so is how often they count."""
    desk = Desk(users={"follows_hot": 8, "follows": 20})
    for n in range(30):
        desk.say("follow", f"n{n}", author_id="ann")
    assert len(desk.counts()) == 1 + 20
    desk.say("unfollow", None, author_id="ann")
    assert desk.counts() == {}


@pytest.mark.parametrize(("name", "value"), [("hidden_tags", 0), ("slates", 0), ("pair_with", -1), ("follows", 256)])
def test_a_bound_that_bounds_nothing_stops_the_start(name: str, value: int) -> None:
    """Zero rows to keep would keep all of them."""
    with pytest.raises(SettingsError, match=f"users.{name}"):
        Desk(users={name: value})


def test_a_page_however_far_down_is_a_slate(desk: Desk) -> None:
    """Positions run on over pages; beyond what a row holds they are the last one."""
    items = [SlateItem(hash64("n1"), 70_000, 0, 0b1, 0)]
    desk.fold(Served(u="u", t=500, id=1, slate=Slate("r", "feed", items, [], "", b"", b"")))
    desk.say("impression", "n1", r="r")
    assert desk.out.of(NoteAct)[-1].p == FURTHEST


def test_a_note_of_which_less_than_nothing_is_left_is_engaged_with(desk: Desk) -> None:
    """Its facts are what somebody counted: no number in them may stop a user."""
    for note, engaged in (("n1", -3), ("n2", 2**40)):
        desk.say("like", Facts(note, True, "ann", "food", (), engaged))
    assert recent_engagements(desk.users["u"].hot)["engaged"].tolist() == [0, 2**32 - 1]


def test_follows_beyond_the_hot_ones_are_still_follows() -> None:
    """Up to the bound nobody is forgotten, wherever he stands; beyond it the oldest leave."""
    desk = Desk(users={"follows_hot": 8, "follows": 20})
    for n in range(30):
        desk.say("follow", None, author_id=f"a{n}")
    user = desk.users["u"]
    known = all_follows(user.hot, user.part(PARTS.index("follows")))
    assert known == [f"a{n}" for n in range(30 - len(known), 30)]
    assert len(known) <= 20
    assert len(user.hot.follows) <= 8
    desk.say("unfollow", None, author_id=known[0])
    desk.say("impression", Facts("n9", True, known[1], "food", ()))
    assert known[0] not in user.follows.older
    assert desk.out.of(NoteAct)[-1].flags == FOLLOWER


# ------------------------------------------------------------------------------------------------------------------- traffic


def test_test_and_bot_traffic_is_told_apart_and_changes_nothing(desk: Desk) -> None:
    """Counted under its flag, once per event id; no exposure, no ledger, no weights, no follow, no training."""
    desk.serve("n1")
    for f, flag in ((1, TEST), (2, BOT)):
        for type in ("impression", "like", "follow", "locate", "signup"):
            for _ in range(2):
                desk.say(type, id=f * 100 + TYPES.index(type), f=f, author_id="a", lat=1.0, lon=2.0, tags=("tea",))
        assert Counter(s.a for s in desk.out.of(NoteAct) if s.flags == flag) == {0: 1, 4: 1, 8: 1}
    user = desk.users["u"]
    assert not (user.hot.exposures)
    assert not (user.hot.ledger_n)
    assert not (user.hot.tags)
    assert not (user.hot.follows)
    assert not (user.hot.place)
    assert not (user.hot.signup)
    assert not desk.out.of(Shown)
    assert not desk.out.of(Engaged)
    assert desk.counts() == {}


def test_ones_own_notes_are_counted_but_never_evidence(desk: Desk) -> None:
    """The author's exposures and likes carry SELF; they move no weights and link nothing."""
    own = Facts("n1", True, "u", "food", ("bread",))
    for type in ("impression", "like"):
        desk.say(type, own)
    assert [s.flags for s in desk.out.of(NoteAct)] == [SELF, SELF]
    assert desk.weights() == {}
    assert not desk.users["u"].hot.recent


def test_an_engagement_without_an_exposure_is_strange_and_marks_the_note_seen(desk: Desk) -> None:
    """It counts and moves weights, but says STRANGE; the exposure that comes later counts once, and is no negative."""
    desk.say("click")
    assert desk.out.of(NoteAct)[0].flags == STRANGE
    assert list(seen_hashes(desk.users["u"].seen)) == [hash64("n1")]
    before = desk.weights()
    assert before["tag", "bread"] > 0
    desk.say("impression")
    desk.say("impression")
    assert desk.counts() == {("n1", "click"): 1, ("n1", "impression"): 1}
    assert desk.weights() == before
    desk.say("like")
    assert desk.out.of(NoteAct)[-1].flags == 0


def test_what_came_before_its_exposure_is_evidence_once_the_exposure_is_told(desk: Desk) -> None:
    """Apps send impressions late and in bundles: what was told as strange is taken back as strange, and told again; undone it is no longer strange."""
    desk.say("click")
    desk.say("like")
    desk.say("impression")
    told = [(ACTIONS[s.a], s.d, s.flags) for s in desk.out.of(NoteAct)]
    assert told == [
        ("click", 1, STRANGE), ("like", 1, STRANGE), ("impression", 1, 0),
        ("click", -1, STRANGE), ("click", 1, 0), ("like", -1, STRANGE), ("like", 1, 0),
    ]  # fmt: skip
    desk.say("impression")
    desk.say("unlike")
    assert [(ACTIONS[s.a], s.d, s.flags) for s in desk.out.of(NoteAct)][len(told) :] == [("like", -1, 0)]


def test_events_on_unknown_notes_count_but_move_no_weights(desk: Desk) -> None:
    """A note whose facts intake did not find shows as unknown_note."""
    desk.say("impression", Facts("nx"))
    desk.say("like", Facts("nx"))
    assert desk.counts() == {("nx", "impression"): 1, ("nx", "like"): 1}
    assert desk.weights() == {}
    assert desk.out.counts["like", "unknown_note"] == 1


# -------------------------------------------------------------------------------------------------------------------- slates


def test_an_exposure_from_a_slate_carries_slot_source_position_and_expectation(desk: Desk) -> None:
    """They come from the user's own open slate, and the like that follows has the slot too, long after the slate is gone."""
    desk.serve("n0", "n1", request="r1", slot=2, tier=3)
    desk.say("impression", "n1", r="r1", p=7)
    act = desk.out.of(NoteAct)[0]
    assert (act.slot, act.src, act.p, act.tier) == (2, 1, 1, 3)
    assert np.frombuffer(act.e, np.float16).tolist() == [0.25] * len(PREDICTED)
    desk.say("click", "n1", r="r1")
    desk.say("like", "n1", r="r1", t=1_000 + 60 * MINUTE)
    assert [(a.slot, a.tier) for a in desk.out.of(NoteAct)[1:]] == [(2, 3), (2, -1)]


def test_a_made_up_request_id_earns_nothing(desk: Desk) -> None:
    """Neither an invented id nor another user's gives a slot."""
    desk.serve("n1", user="v", request="theirs", slot=2)
    for request in ("invented", "theirs"):
        desk.say("impression", f"n-{request}", r=request)
    desk.say("impression", "n1", r="theirs")
    assert all((a.slot, a.src, a.e) == (0, -1, b"") for a in desk.out.of(NoteAct))


def test_what_is_served_is_under_way_until_seen_or_expired(desk: Desk) -> None:
    """Every +1 has exactly one -1: at the exposure, at the end of the slate's time, when too many stand open, or at erasure."""
    for n in range(DEFAULTS.users.slates + 3):
        desk.serve("n0", f"n{n}", "n99", t=1_000 + n, request=f"r{n}")
        desk.say("impression", f"n{n}", r=f"r{n}", t=1_001 + n)
    assert len(desk.users["u"].slates) == DEFAULTS.users.slates
    desk.fold(Tick(t=1_005 + 30 * MINUTE))
    assert 0 < len(desk.users["u"].slates) < DEFAULTS.users.slates
    assert desk.out.timers
    desk.fold(Tick(t=2_000 + 30 * MINUTE))
    sums: Counter[int] = Counter()
    for _, digest, signal, _ in desk.out.all:
        if type(signal) is NoteServed:
            sums[digest] += signal.d
            assert sums[digest] >= 0
    assert not any(sums.values())
    assert not desk.out.timers
    assert not desk.users["u"].slates
    assert not desk.users["u"].hot.slates


def test_only_notes_in_a_pool_are_told_to_be_under_way(desk: Desk) -> None:
    """Nobody else has a quota to overshoot."""
    desk.serve("n1", tier=-1)
    desk.say("impression")
    assert not desk.out.of(NoteServed)


def test_exposures_may_be_what_was_served() -> None:
    """With `exposure = "served"` a slate's items are exposures at once, told by hash, and an impression adds nothing."""
    desk = Desk(events={"exposure": "served"})
    desk.serve("n0", "n1", slot=1)
    desk.serve("n0", "n1", request="r2")
    assert desk.counts() == {(str(hash64(n)), "impression"): 1 for n in ("n0", "n1")}
    assert all(a.n == -1 and a.slot == 1 and len(a.e) == 16 for a in desk.out.of(NoteAct))
    desk.say("impression", "n1")
    desk.say("like", "n1")
    assert desk.counts()["n1", "like"] == 1
    assert ("n1", "impression") not in desk.counts()
    assert desk.out.of(NoteAct)[-1].flags == 0
    assert not desk.out.of(NoteServed)


def test_the_learner_gets_a_negative_at_the_exposure_and_the_slate_with_the_first_engagement(desk: Desk) -> None:
    """One Shown per exposure; the first engagement brings all rows, what follows only its own; all rows as logged at serving."""
    desk.serve("n0", "n1")
    desk.say("impression", "n1")
    desk.say("click", "n1")
    desk.say("like", "n1")
    desk.say("unlike", "n1")
    (shown,) = desk.out.of(Shown)
    assert (shown.h, shown.x, shown.set) == (hash64("n1"), np.array([3, 4, 5], np.float16).tobytes(), "set")
    first, second, back = desk.out.of(Engaged)
    assert (first.c, second.c) == (b"ctx_", b"")
    assert (first.at, first.hs, first.w) == (1, (hash64("n0"), hash64("n1"), hash64("passed")), (1.0, 1.0, 4.0))
    assert first.xs[6:12] == first.x == second.x == shown.x
    assert (second.at, second.xs, ACTIONS[second.a], second.d, back.d) == (-1, b"", "like", 1, -1)


def test_the_record_knows_how_far_down_the_user_takes(desk: Desk) -> None:
    """The running rank moves with the first engagement with a note of a slate's ranked places, and with nothing else."""
    desk.serve("n0", "n1", "n2")
    hot = desk.users["u"].hot
    desk.say("impression", "n2")
    assert hot.rank == 2.0
    desk.say("click", "n2")
    assert hot.rank == moved_rank(2.0, 2)
    desk.say("like", "n2")
    desk.say("click", "elsewhere")
    assert hot.rank == moved_rank(2.0, 2)
    desk.serve("n5", slot=1, request="r2")
    desk.say("click", "n5")
    assert hot.rank == moved_rank(2.0, 2)


def test_a_recent_note_keeps_the_strongest_action_on_it(desk: Desk) -> None:
    for type in ("view", "like", "click"):
        desk.say(type)
    hot = desk.users["u"].hot
    assert ACTIONS[recent_engagements(hot)["action"][0]] == "like"
    desk.say("unlike")
    assert ACTIONS[recent_engagements(hot)["action"][0]] in ("view", "click")


def recents(desk: Desk) -> list[tuple[int, int]]:
    rows = recent_engagements(desk.users["u"].hot)
    return list(zip(rows["hash"].tolist(), rows["at"].tolist(), strict=True))


@pytest.mark.parametrize("again", ["like", "view"], ids=["the same action", "another one"])
def test_a_note_he_comes_back_to_is_his_latest_again_and_counts_once(desk: Desk, again: str) -> None:
    desk.say("like", "n1", t=1_000)
    desk.say("like", "n2", t=2_000)
    desk.say(again, "n1", t=3_000)
    assert recents(desk) == [(hash64("n2"), 2_000), (hash64("n1"), 3_000)]
    assert desk.users["u"].hot.engagements == 2
    assert [link.h for link in desk.out.of(Link)] == [hash64("n2")]
    desk.say("like", "n3", t=4_000)
    assert [row[0] for row in RECENT_ROW.iter_unpack(desk.out.of(Link)[-1].rows)] == [hash64("n2"), hash64("n1")]


@pytest.mark.parametrize("t", [1_000, 1_500, 2_000], ids=["again", "late", "at the same moment as another"])
def test_what_is_sent_again_or_late_leaves_the_order_of_recent_notes(desk: Desk, t: int) -> None:
    desk.say("like", "n1", t=2_000 if t == 2_000 else 1_000)
    desk.say("like", "n2", t=2_000)
    before = recents(desk)
    desk.say("like", "n1", t=t)
    assert recents(desk) == before


def test_a_note_whose_row_has_gone_is_recent_again_when_he_comes_back() -> None:
    desk = Desk(users={"recent": 2})
    for i in (1, 2, 3):
        desk.say("like", f"n{i}", t=i * 1_000)
    desk.say("like", "n1", t=3_500)
    assert recents(desk) == [(hash64("n3"), 3_000), (hash64("n1"), 3_500)]


def test_who_is_not_personalized_comes_back_to_nothing(desk: Desk) -> None:
    desk.say("like", "n1", t=1_000)
    desk.say("like", "n2", t=2_000)
    before = recents(desk)
    desk.fold(Personalize(u="u", t=2_500, id=10**9, on=False))
    desk.say("like", "n1", t=3_000)
    assert recents(desk) == before


def test_a_slate_that_nobody_saw_is_learned_from_and_is_no_exposure() -> None:
    """Evaluation's shadow slates: also where what is served counts as seen."""
    desk = Desk(events={"exposure": "served"})
    desk.serve("n0", "n1", tier=-1, shadow=True)
    assert not desk.out.all
    desk.say("impression", "n1")
    desk.say("like", "n1")
    assert len(desk.out.of(Shown)) == len(desk.out.of(Engaged)) == 1
    assert desk.counts() == {("n1", "impression"): 1, ("n1", "like"): 1}


def test_without_a_slate_there_is_nothing_to_learn_from(desk: Desk) -> None:
    """Features are logged at serving; no slate, no example."""
    desk.say("impression")
    desk.say("like")
    assert not desk.out.of(Shown)
    assert not desk.out.of(Engaged)


# ------------------------------------------------------------------------------------------------------------------- meaning


def test_an_event_moves_weights_at_once(desk: Desk) -> None:
    """Seen and passed over: down. Liked: up, more than a click; hidden: down."""
    desk.say("impression")
    assert desk.weights()["tag", "bread"] < 0
    desk.say("click")
    clicked = desk.weights()["tag", "bread"]
    desk.say("like")
    liked = desk.weights()["tag", "bread"]
    assert 0 < clicked < liked
    assert desk.weights()["author", "author-n1"] > 0
    desk.say("hide")
    assert desk.weights()["tag", "bread"] < clicked


def test_a_log_without_any_positive_takes_the_hide_back(desk: Desk) -> None:
    """Hiding by scope: the author or the tag is hidden and loses weight, once; unhide gives it back."""
    desk.say("hide", scope="author")
    desk.say("hide", "n2", scope="tag", tags=("bread",))
    hot = desk.users["u"].hot
    assert hot.hidden_authors == ("author-n1",)
    assert hot.hidden_tags == ("bread",)
    assert desk.weights()["author", "author-n1"] < 0
    assert desk.counts() == {("n1", "hide"): 1, ("n2", "hide"): 1}
    desk.say("unhide", scope="author")
    desk.say("unhide", "n2", scope="tag", tags=("bread",))
    assert not hot.hidden_authors
    assert not hot.hidden_tags
    assert desk.counts() == {}
    assert abs(desk.weights()["author", "author-n1"]) < 1e-9


def test_the_first_engagement_links_a_note_with_the_last_twenty(desk: Desk) -> None:
    """Newest last, distinct notes, once per note whatever follows; told to the owners of all of them."""
    for n in range(23):
        for type in ("click", "like", "unlike", "like"):
            desk.say(type, f"n{n}", t=1_000 + n)
    links = desk.out.of(Link)
    assert [len(list(RECENT_ROW.iter_unpack(link.rows))) for link in links] == [*range(1, 20), 20, 20, 20]
    last = list(RECENT_ROW.iter_unpack(links[-1].rows))[::-1]
    assert [(h, links[-1].t - t) for h, t, _, _ in last] == [(hash64(f"n{22 - d}"), d) for d in range(1, 21)]
    told = [(topic, digests) for topic, digests, s, _ in desk.out.all if s is links[-1]]
    assert told == [("by-pair", [hash64("n22"), *(h for h, *_ in last)])]


def test_public_actions_are_the_last_ones_that_stand() -> None:
    """Likes, collects and shares, bounded, oldest first; what is taken back leaves."""
    desk = Desk(users={"public": 4})
    for n in range(6):
        desk.say("like", f"n{n}", t=1_000 + n)
    desk.say("unlike", "n4")
    rows = public_actions(desk.users["u"].public)
    assert [int(h) for h in rows["hash"]] == [hash64(f"n{n}") for n in (2, 3, 5)]
    assert set(rows["action"]) == {ACTIONS.index("like")}


def test_the_newest_place_told_is_the_place(desk: Desk) -> None:
    """A late event does not move a user back; a city alone drops coordinates of another one."""
    desk.say("locate", None, t=2_000, lat=31.2, lon=121.4, city="Shanghai")
    desk.say("search", None, t=1_000, lat=0.0, lon=0.0)
    place = desk.users["u"].hot.place
    assert place is not None
    assert (place.lat, place.city) == (31.2, "Shanghai")
    desk.say("click", t=3_000, city="Beijing")
    place = desk.users["u"].hot.place
    assert place is not None
    assert (place.lat, place.city) == (None, "Beijing")


# -------------------------------------------------------------------------------------------------------------- the user's say


def test_without_personalization_nothing_is_learned_but_all_is_counted(desk: Desk) -> None:
    """Weights, recents, pairs and examples stand still; exposures and actions count."""
    desk.say("like", "n0")
    before = desk.weights()
    desk.fold(Personalize(u="u", t=1_000, id=77, on=False))
    desk.serve("n1")
    told = len(desk.out.all)
    for type in ("impression", "click", "like", "hide", "report", "follow"):
        desk.say(type, author_id="author-n1")
    assert {topic for topic, *_ in desk.out.all[told:]} == {"by-note"}
    assert desk.counts()["n1", "like"] == 1
    assert desk.weights() == before
    assert len(recent_engagements(desk.users["u"].hot)) == 1


def test_a_forgotten_interest_is_gone_until_new_evidence(desk: Desk) -> None:
    """Weight and sign-up prior leave; the next engagement begins anew."""
    desk.say("signup", None, tags=("bread", "tea"))
    desk.say("like")
    desk.fold(Forget(u="u", t=1_000, id=78, tag_name="bread"))
    assert ("tag", "bread") not in desk.weights()
    assert ("tag", "tea") in desk.weights()
    desk.say("like", "n2")
    assert desk.weights()["tag", "bread"] > 0


def test_erased_is_erased(desk: Desk) -> None:
    """Nothing stays but the moment; what is dated before does not bring the user back, what comes after begins anew."""
    desk.serve("n5")
    for type in ("impression", "like", "comment", "follow", "locate"):
        desk.say(type, lat=1.0, lon=1.0, author_id="a")
    desk.fold(Erase(u="u", t=5_000, id=79))
    stored = {part: value for part, value in desk.store["u"].items() if value is not None}
    assert list(stored) == ["hot"]
    assert len(stored["hot"]) < 64
    assert [left.u for left in desk.out.of(Left)] == [hash64("u")]
    told = len(desk.out.all)
    desk.say("like", "n3", t=4_999)
    desk.serve("n3", t=4_999)
    desk.fold(Personalize(u="u", t=4_999, id=80, on=False))
    desk.fold(Erase(u="u", t=5_000, id=79))
    assert len(desk.out.all) == told
    assert {part for part, value in desk.store["u"].items() if value is not None} == {"hot"}
    desk.say("like", "n3", t=5_001)
    assert len(desk.out.all) > told
    assert sum(s.d for s in desk.out.of(NoteServed)) == 0


# --------------------------------------------------------------------------------------------------------------------- bounds


def test_a_user_at_all_bounds_stays_within_24_kilobytes_hot() -> None:
    """Every table full: `hot` and the parts are bounded."""
    desk = Desk(check=False)
    bounds = DEFAULTS.users
    for n in range(6_000):
        t = 10**12 + n * MINUTE
        note = Facts(
            f"note-{n:06d}", True, f"author-{n % 700:04d}", f"channel-{n % 40}", tuple(f"some-tag-{n + i:05d}" for i in range(3)), n
        )
        desk.say("impression", note, t=t)
        for type in ("click", "like"):
            desk.say(type, note, t=t)
        desk.say("comment", note, t=t, comment_id=str(n))
        if n < 700:
            desk.say("hide", note, t=t, scope=("note", "author", "tag")[n % 3])
            desk.say("block", None, t=t, author_id=f"blocked-{n:05d}")
            desk.say("follow", None, t=t, author_id=f"author-{n:05d}")
    most, pools = DEFAULTS.feed.n_max, int(DEFAULTS.feed.n_max * DEFAULTS.feed.pool_share)
    for n in range(12):
        desk.serve(*[f"note-{n:06d}" for n in range(most)], t=t + n, request=f"request-{n:020d}")
    for standing in desk.users["u"].hot.slates:
        standing.pooled = b"1234" * pools
    sizes = {part: len(value or b"") for part, value in zip(PARTS, desk.users["u"].values(), strict=True)}
    assert 12_000 < sizes["hot"] <= 24_576, sizes
    assert sizes["events"] == 8 * bounds.event_ids
    assert sum(v for k, v in sizes.items() if k.startswith("seen")) == 8 * bounds.exposures
    assert len(ledger_rows(desk.users["u"].ledger)) == bounds.engaged
    assert sizes["slates"] < 20_000
    assert desk.users["u"] == User(desk.users["u"].values())
