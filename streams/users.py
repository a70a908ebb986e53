"""The users stage: one fold over by-user keeps each user's record and tells what it means to notes, neighbours and the learner.

    Act ────────► counted once per user and note ─► NoteAct ─► by-note
                  │                              ─► Link    ─► by-pair    (first engagement with a note)
                  │                              ─► Shown, Engaged ─► examples   (what stood in a slate of ours; Left: who was erased)
                  └► weights, recent engagements, follows, blocks, hidden, place
    Served ─────► an open slate; NoteServed +1 ─► by-note, and -1 when the item is seen or the slate's time is over
    Personalize, Forget, Erase ─► the user's say

Nothing is counted twice, in two ways. By meaning: exposures by their note (ring of 2,000), actions by a bit in the ledger (5,000 notes),
so that it does not matter what is sent how often. By event id (ring of 256): so that a late repeat of a like does not undo an unlike.
Impressions need no id: nothing takes them back, and so ids last longer for what needs them.

An exposure, an action and what takes it back are told to the note with the same slot and flags, so that evidence is taken back exactly.
A slate is known by this user's own open slates, never by what a client says: a made-up request id earns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from config.events import ACTIONS, TRAFFIC, TYPES
from config.keys import hash64
from config.records import BOT, TEST, Act, Erase, Extra, Facts, Forget, Left, NoteAct, Personalize, Probe, Served, decode_user
from config.settings import Settings
from models.user import ALL, PARTS, Hot, Place, User
from streams.stage import Batch, Held, Out, Part, Record, StateKey, packed_batch
from streams.user_relating import Relating
from streams.user_seeing import APPLIED, ERASED, FAMILY, REPEATED, UNKNOWN

IMPRESSION, VIEW = TYPES.index("impression"), TYPES.index("view")
DOES = tuple(ACTIONS.index(t) if t in ACTIONS else -1 for t in TYPES)
"""Type -> the action it is, -1 for none."""
UNDOES = tuple(ACTIONS.index(t[2:]) if t[:2] == "un" and t[2:] in ACTIONS else -1 for t in TYPES)
"""Type -> the action it takes back."""
TRAFFIC_FLAG = {TRAFFIC.index("test"): TEST, TRAFFIC.index("bot"): BOT}
NOTHING = Extra()
VIEWED = (ACTIONS.index("view"),)
VIEWED_TO_END = (*VIEWED, ACTIONS.index("finish"))


class UserFamily:
    """A user's record by user id."""

    name = FAMILY
    parts = PARTS
    held = Held(1_800)

    def load(self, key: bytes, values: Sequence[bytes | None]) -> User:
        return User(values)

    def dump(self, key: bytes, state: User) -> Mapping[str, bytes | None]:
        return state.dump()


class Users(Relating):
    """The stage. Stateless but for settings; see the module's docstring for what it does."""

    name: ClassVar[str] = "users"
    topics: ClassVar[tuple[str, ...]] = ("by-user",)
    shared: ClassVar[str | None] = None
    followed: ClassVar[str | None] = "by-note"
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        users, events = settings.users, settings.events
        self.families = {FAMILY: UserFamily()}
        self.finished_completion, self.finished_dwell = events.finished_completion, events.finished_dwell_ms
        shape = (users, settings.interest, events.exposure, self.finished_completion, self.finished_dwell)
        self.settings_hash = f"{hash64(msgspec.json.encode(shape)):016x}"
        handlers = {
            "follow": self.follow, "unfollow": self.unfollow, "block": self.block, "unblock": self.unblock, "hide": self.hide,
            "unhide": self.unhide, "comment": self.comment, "uncomment": self.uncomment, "signup": self.signup,
            "report": self.report, "view": self.view,
        }  # fmt: skip
        self.handlers = tuple(
            handlers.get(t, self.do if DOES[i] >= 0 else self.undo if UNDOES[i] >= 0 else None) for i, t in enumerate(TYPES)
        )

    # ------------------------------------------------------------------------------------------------------------- stage

    def decode(self, record: Record) -> Batch:
        packed = decode_user(record.value or b"")
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        return owner(signal.u) if type(signal) in FOLDED else ()

    def lookups(self, batch: Batch) -> Sequence[int]:
        return ()

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        if not states:
            if type(signal) is Probe:
                part.probed(signal.at)
                out.tell("by-note", signal.k, Probe(0, 0, 0, 0, signal.k, signal.at))
            return  # or a tick
        user = states[0]
        kind = type(signal)
        if signal.t < user.hot.erased_before:
            out.count(TYPES[signal.k] if kind is Act else kind.__name__.lower(), ERASED)
        elif kind is Act:
            k = signal.k
            facts = table[signal.n] if signal.n >= 0 else None
            if signal.f:
                outcome = self.tested(out, user, signal, facts)
            elif k == IMPRESSION and facts is not None:
                outcome = self.impression(out, user, signal, facts)
            elif self.known(user, signal.id):
                outcome = REPEATED
            else:
                outcome = self.act(out, user, signal, facts)
            if outcome is APPLIED and facts is not None and not facts.known:
                outcome = UNKNOWN
            out.count(TYPES[k], outcome)
        else:
            out.count(kind.__name__.lower(), OTHERS[kind](self, part, out, user, signal))

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: User) -> None:
        """Slates whose time is over are settled."""
        for i in range(len(state.slates) - 1, -1, -1):
            if state.hot.slates[i].until <= deadline:
                self.settle(out, state, i, deadline)
        self.set_timer(out, key, state)

    # ------------------------------------------------------------------------------------------------------------- doing

    def act(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """Everything but impressions."""
        user.hot.last_seen = max(user.hot.last_seen, signal.t)
        extra = signal.x
        if extra is not None and (extra.lat is not None or extra.city) and user.hot.personalized:
            self.locate(user.hot, extra, signal.t)
        handler = self.handlers[signal.k]
        outcome = handler(out, user, signal, facts) if handler is not None else APPLIED
        if outcome is APPLIED:
            self.touch(user, signal.t)
        return outcome

    def do(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        return self.done(out, user, signal, facts, (DOES[signal.k],)) if facts is not None else APPLIED

    def view(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """The longest dwell counts: a view that finishes sets the bit, later shorter ones leave it."""
        actions = VIEWED_TO_END if self.finished(signal.x or NOTHING) else VIEWED
        return self.done(out, user, signal, facts, actions) if facts is not None else APPLIED

    def undo(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        if facts is None:
            return APPLIED
        return self.undone(out, user, signal, facts.id, facts, UNDOES[signal.k])

    def finished(self, extra: Extra) -> bool:
        completion, dwell = extra.completion, extra.dwell_ms
        return (completion is not None and completion >= self.finished_completion) or (dwell is not None and dwell >= self.finished_dwell)

    def tested(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """Test and bot traffic: told to the note under its flag, once per event id, and nothing else."""
        if self.known(user, signal.id):
            return REPEATED
        user.hot.tests += 1
        a = DOES[signal.k]
        if facts is not None and a >= 0:
            h, uh, flag = hash64(facts.id), hash64(signal.u), TRAFFIC_FLAG[signal.f]
            for b in VIEWED_TO_END if signal.k == VIEW and self.finished(signal.x or NOTHING) else (a,):
                out.tell("by-note", h, NoteAct(0, 0, 0, 0, b, signal.t, 1, 0, -1, signal.p, b"", flag, uh), facts.id)
        return TRAFFIC[signal.f]

    # ----------------------------------------------------------------------------------------------------------- oneself

    def signup(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        tags, hot = (signal.x or NOTHING).tags, user.hot
        if any(signal.t <= at for at in hot.signup.values()):
            return REPEATED
        if tags and hot.personalized:
            hot.signup = dict.fromkeys(tags[: self.bounds.signup_tags], signal.t)
            hot.signup_n = hot.n
        return APPLIED

    @staticmethod
    def locate(hot: Hot, extra: Extra, t: int) -> None:
        """The newest place told; a city alone keeps the coordinates only when it is the same one."""
        old = hot.place
        if old is not None and t < old.at:
            return
        if extra.lat is not None and extra.lon is not None:
            hot.place = Place(extra.lat, extra.lon, extra.city or "", t)
        elif extra.city:
            same = old is not None and old.city == extra.city
            hot.place = Place(old.lat, old.lon, extra.city, t) if same else Place(None, None, extra.city, t)  # type: ignore[union-attr]

    def personalize(self, part: Part, out: Out, user: User, signal: Personalize) -> str:
        if self.known(user, signal.id):
            return REPEATED
        self.touch(user, signal.t)
        user.hot.personalized = signal.on
        return APPLIED

    def forget(self, part: Part, out: Out, user: User, signal: Forget) -> str:
        if self.known(user, signal.id):
            return REPEATED
        self.touch(user, signal.t)
        user.hot.tags.drop((signal.tag_name,))
        user.hot.signup.pop(signal.tag_name, None)
        return APPLIED

    def erase(self, part: Part, out: Out, user: User, signal: Erase) -> str:
        """Nothing stays but the moment before which nothing counts."""
        if signal.t <= user.hot.erased_before:
            return REPEATED
        while user.slates:
            self.settle(out, user, 0, signal.t)
        user.__init__()  # type: ignore[misc]
        user.hot.erased_before = signal.t
        user.dirty = ALL
        out.timer(FAMILY, signal.u.encode(), None)
        out.tell("examples", 0, Left(0, 0, 0, hash64(signal.u), signal.t))
        return APPLIED


FOLDED = {Act, Served, Personalize, Forget, Erase}
OTHERS: dict[type, Any] = {Served: Users.served, Personalize: Users.personalize, Forget: Users.forget, Erase: Users.erase}


@lru_cache(65_536)
def owner(user: str) -> tuple[StateKey, ...]:
    """What a signal of a user reads."""
    return ((FAMILY, user.encode()),)
