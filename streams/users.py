"""The users stage: one fold over by-user keeps each user's record and tells what it means to notes, neighbours and the learner.

    Act ────────► counted once per user and note ─► NoteAct ─► by-note
                  │                              ─► Link    ─► by-pair    (first engagement with a note)
                  │                              ─► Shown, Engaged ─► examples   (what stood in a slate of ours)
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

from config.events import ACTIONS, ENGAGEMENTS, TRAFFIC, TYPES
from config.keys import hash64
from config.records import (
    BOT,
    FOLLOWER,
    SELF,
    SLOTS,
    STRANGE,
    TEST,
    Act,
    Engaged,
    Erase,
    Extra,
    Facts,
    Forget,
    Link,
    NoteAct,
    NoteServed,
    Personalize,
    Probe,
    Served,
    Shown,
    decode_user,
)
from config.settings import Settings, SettingsError
from config.settings import Users as Bounds
from models.interest import FORGOTTEN, Interests
from models.ranker import moved_rank
from models.ring import Ring, find
from models.slate import Open, Standing, opened
from models.user import (
    ALL,
    AT_LEDGER,
    AT_SEEN,
    BIT,
    COMMENTS,
    EVENTS,
    FOLLOWED,
    FOLLOWS,
    HOT,
    LEDGER,
    LEDGERS,
    ONCE,
    OWN,
    PARTS,
    PUBLIC_ROW,
    PUBLICS,
    RECENT_ROW,
    ROW,
    SEEN,
    SLATES,
    SLOT,
    Hot,
    Place,
    User,
)
from streams.stage import Batch, Out, Part, Record, StateKey, packed_batch

FAMILY = "user"

IMPRESSION, VIEW, FINISH = TYPES.index("impression"), TYPES.index("view"), ACTIONS.index("finish")
COMMENT, LIKE, FOLLOW, HIDE = (ACTIONS.index(a) for a in ("comment", "like", "follow", "hide"))
ENGAGED = sum(BIT[a] for a in ENGAGEMENTS)
POSITIVE = ("click", "view", "finish", "like", "collect", "comment", "share", "product_click", "add_to_cart", "purchase")
"""Actions whose strength moves the weights of a note up."""
PUBLIC_ACTIONS = {ACTIONS.index(a) for a in ("like", "collect", "share")}

DOES = tuple(ACTIONS.index(t) if t in ACTIONS else -1 for t in TYPES)
"""Type -> the action it is, -1 for none."""
UNDOES = tuple(ACTIONS.index(t[2:]) if t[:2] == "un" and t[2:] in ACTIONS else -1 for t in TYPES)
"""Type -> the action it takes back."""
TRAFFIC_FLAG = {TRAFFIC.index("test"): TEST, TRAFFIC.index("bot"): BOT}

NOTHING = Extra()
PUBLIC_WIDTH, RECENT_WIDTH, COMMENT_WIDTH = PUBLIC_ROW.size, RECENT_ROW.size, 16
RECENT_ACTION = 16
"""Where the action stands in a row of `Hot.recent`."""
RANKED = SLOTS.index("ranked")

APPLIED, REPEATED, ERASED, UNKNOWN, IGNORED = "applied", "repeated", "erased", "unknown_note", "ignored"
"""Outcomes: `unknown_note` was applied too, but moved no weights; `ignored` takes back what does not stand."""


class UserFamily:
    """A user's record by user id."""

    name = FAMILY
    parts = PARTS

    def load(self, key: bytes, values: Sequence[bytes | None]) -> User:
        return User.load(values)

    def dump(self, key: bytes, state: User) -> Mapping[str, bytes | None]:
        return state.dump()


class Users:
    """The stage. Stateless but for settings; see the module's docstring for what it does."""

    name: ClassVar[str] = "users"
    topics: ClassVar[tuple[str, ...]] = ("by-user",)
    shared: ClassVar[str | None] = None
    followed: ClassVar[str | None] = "by-note"
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        users, events = settings.users, settings.events
        self.bounds = bounded(users)
        self.families = {FAMILY: UserFamily()}
        self.interests = Interests(settings.interest)
        self.ids = Ring(8, users.event_ids, 1)
        self.seen = Ring(8, users.exposures, SEEN)
        self.ledger = Ring(LEDGER.itemsize, users.engaged, LEDGERS)
        self.finished_completion, self.finished_dwell = events.finished_completion, events.finished_dwell_ms
        self.by_served = events.exposure == "served"
        self.pair_bytes = users.pair_with * RECENT_WIDTH
        self.slate_ms = int(users.slate_minutes * 60_000)
        strength = msgspec.structs.asdict(settings.interest.strength)
        self.strength: dict[str, float] = strength
        self.positive = tuple((BIT[a], strength[a]) for a in POSITIVE)
        self.strengths = {0: 0.0}
        self.says: dict[int, int] = {}
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

    # ------------------------------------------------------------------------------------------------------------ seeing

    def impression(self, out: Out, user: User, signal: Act, facts: Facts) -> str:
        """An exposure: counted once per user and note, a step towards "not engaged", a negative for the learner."""
        hot, t = user.hot, signal.t
        h, key = named(facts.id)
        place = self.ledger.find(user.ledger, key) if hot.ledger_n else -1
        counted = self.ledger.get(user.ledger, place)[8] & 1 if place >= 0 else self.seen.find(user.seen, key) >= 0
        found = self.standing(user, key, signal.r) if user.slates else None
        if counted:
            if found is not None:
                self.mark(out, user, *found, FORGOTTEN, t, facts.id)
            return REPEATED
        hot.events += 1
        hot.exposures += 1
        if t > hot.last_seen:
            hot.last_seen = t
        if not hot.first_seen:
            hot.first_seen = t
        flags = self.flags(user, signal.u, facts)
        if place >= 0:
            row = self.ledger.get(user.ledger, place)
            chunk = self.ledger.put(user.ledger, place, row[:8] + bytes((row[8] | 1,)) + row[9:])
            user.dirty |= HOT | 1 << AT_LEDGER + chunk
        else:
            n = hot.seen_n
            user.dirty |= HOT | 1 << AT_SEEN + self.seen.push(user.seen, n, key)
            hot.seen_n = n + 1
        learn = hot.personalized and not flags & SELF
        # A note that was engaged with before it was seen is no negative any more.
        teach = learn and facts.known and not (place >= 0 and int.from_bytes(row[8:10], "little") & ENGAGED)
        uh = named(signal.u)[0]
        if found is None:
            if teach:
                self.interests.shown(hot, facts, t, None, h)
            out.tell("by-note", h, NoteAct(0, 0, 0, 0, 0, t, 1, 0, -1, signal.p, b"", flags, uh), facts.id)
            return APPLIED
        i, row_in = found
        slate = user.slates[i]
        position, slot, source, tier, propensity = slate.place(row_in)
        mark = self.interests.shown(hot, facts, t, slate.engage(row_in), h) if teach else 1
        if learn and slate.features:
            out.tell("examples", 0, Shown(
                0, 0, 0, uh, h, t, slate.feature_set, slate.features_of(row_in), position, slot, propensity, slate.r,
            ))  # fmt: skip
        self.mark(out, user, i, row_in, mark, t, facts.id)
        out.tell("by-note", h, NoteAct(0, 0, 0, 0, 0, t, 1, slot, source, position, slate.expectation(row_in), flags, uh, tier), facts.id)
        return APPLIED

    def see(self, user: User, key: bytes) -> None:
        hot = user.hot
        user.dirty |= 1 << AT_SEEN + self.seen.push(user.seen, hot.seen_n, key)
        hot.seen_n += 1

    def flags(self, user: User, name: str, facts: Facts) -> int:
        author = facts.author
        if not author:
            return 0
        if author == name:
            return SELF | (FOLLOWER if author in user.hot.follows or author in user.follows.older else 0)
        return FOLLOWER if author in user.hot.follows or author in user.follows.older else 0

    # ------------------------------------------------------------------------------------------------------------ slates

    def standing(self, user: User, key: bytes, request: str) -> tuple[int, int] | None:
        """(slate, row) of the open slate of that request that showed the note, else of the newest one that did."""
        best = None
        for i in range(len(user.slates) - 1, -1, -1):
            slate = user.slates[i]
            row = slate.row(key)
            if row >= 0:
                if slate.r == request or not request:
                    return i, row
                best = best or (i, row)
        return best

    def mark(self, out: Out, user: User, i: int, row: int, mark: int, t: int, note: str) -> None:
        """An item of an open slate was seen: it no longer is under way."""
        standing = user.hot.slates[i]
        marks = standing.marks
        if not marks[row]:
            standing.marks = marks[:row] + bytes((mark,)) + marks[row + 1 :]
            user.dirty |= HOT
            slate = user.slates[i]
            _, slot, _, tier, _ = slate.place(row)
            if tier >= 0:
                out.tell("by-note", slate.digest(row), NoteServed(0, 0, 0, 0, t, -1, slot, tier), note)

    def settle(self, out: Out, user: User, i: int, t: int) -> None:
        """A slate leaves: what it showed and nobody saw is no longer under way."""
        slate, standing = user.slates.pop(i), user.hot.slates.pop(i)
        user.dirty |= HOT | SLATES
        for row in range(slate.shown):
            if not standing.marks[row]:
                _, slot, _, tier, _ = slate.place(row)
                if tier >= 0:
                    h = slate.digest(row)
                    out.tell("by-note", h, NoteServed(0, 0, 0, -1, t, -1, slot, tier, h))

    def set_timer(self, out: Out, key: bytes, user: User) -> None:
        out.timer(FAMILY, key, min((standing.until for standing in user.hot.slates), default=None))

    def served(self, part: Part, out: Out, user: User, signal: Served) -> str:
        slate = signal.slate
        if self.known(user, signal.id):
            return REPEATED
        self.touch(user, signal.t)
        if slate is None or not slate.items:
            return IGNORED
        if len(user.slates) >= self.bounds.slates:
            self.settle(out, user, 0, signal.t)
        user.slates.append(opened(slate, signal.t))
        user.hot.slates.append(Standing(signal.t + self.slate_ms, bytes(len(slate.items))))
        user.dirty |= SLATES
        by_served = self.by_served and not slate.shadow
        for item in () if by_served else slate.items:
            if item.tier >= 0:
                out.tell("by-note", item.h, NoteServed(0, 0, 0, -1, signal.t, 1, item.slot, item.tier, item.h))
        if by_served:
            self.exposed(out, user, signal)
        self.set_timer(out, signal.u.encode(), user)
        return APPLIED

    def exposed(self, out: Out, user: User, signal: Served) -> None:
        """For apps that send no impressions: what was served counts as seen. Its facts are not known here, so no weights move."""
        slate, uh, hot = user.slates[-1], hash64(signal.u), user.hot
        for row in range(slate.shown):
            h = slate.digest(row)
            key = h.to_bytes(8, "little")
            position, slot, source, tier, propensity = slate.place(row)
            place = self.ledger.find(user.ledger, key)
            old = self.ledger.get(user.ledger, place) if place >= 0 else b""
            if old[8] & 1 if old else self.seen.find(user.seen, key) >= 0:
                continue
            if old:
                user.dirty |= 1 << AT_LEDGER + self.ledger.put(user.ledger, place, old[:8] + bytes((old[8] | 1,)) + old[9:])
            else:
                self.see(user, key)
            hot.exposures += 1
            if slate.features and hot.personalized:
                out.tell("examples", 0, Shown(
                    0, 0, 0, uh, h, signal.t, slate.feature_set, slate.features_of(row), position, slot, propensity, slate.r,
                ))  # fmt: skip
            e = slate.expectation(row)
            out.tell("by-note", h, NoteAct(0, 0, 0, -1, 0, signal.t, 1, slot, source, position, e, 0, uh, tier, h))
        hot.slates[-1].marks = b"\x01" * slate.shown

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

    def finished(self, extra: Extra) -> bool:
        completion, dwell = extra.completion, extra.dwell_ms
        return (completion is not None and completion >= self.finished_completion) or (dwell is not None and dwell >= self.finished_dwell)

    def done(self, out: Out, user: User, signal: Act, facts: Facts, actions: tuple[int, ...], comments: int = 0) -> str:
        """Actions on a note, each counted once; the first engagement links it to the user's last ones."""
        hot, t = user.hot, signal.t
        h, key = named(facts.id)
        ledger = self.ledger
        place = ledger.find(user.ledger, key)
        found = self.standing(user, key, signal.r) if user.slates else None
        if place >= 0:
            bits, strange, said, state = ROW.unpack_from(ledger.get(user.ledger, place), 8)
        else:
            said = strange = 0
            flags = self.flags(user, signal.u, facts)
            state = (FOLLOWED if flags & FOLLOWER else 0) | (OWN if flags & SELF else 0)
            if found is not None:
                state |= user.slates[found[0]].place(found[1])[1] << SLOT
            bits = 1 if self.seen.find(user.seen, key) >= 0 else 0
        before, known = bits, bits & 1
        fresh = []
        for a in actions:
            if not bits >> a & 1:
                bits |= 1 << a
                fresh.append(a)
                if not known:
                    strange |= 1 << a
        said = min(255, said + comments)
        once = not state & ONCE and bits & ENGAGED
        if once:
            state |= ONCE
        row = key + ROW.pack(bits, strange, said, state)
        if place >= 0:
            if fresh or comments:
                user.dirty |= 1 << AT_LEDGER + ledger.put(user.ledger, place, row)
            if not fresh:
                return REPEATED
        else:
            if not known:
                self.see(user, key)
            user.dirty |= 1 << AT_LEDGER + ledger.push(user.ledger, hot.ledger_n, row)
            hot.ledger_n += 1
        uh = named(signal.u)[0]
        source, position, tier, slate, row_in = -1, signal.p, -1, None, -1
        if found is not None:
            i, row_in = found
            slate = user.slates[i]
            position, _, source, tier, _ = slate.place(row_in)
        flags = TOLD[state & 7] | (0 if known else STRANGE)
        slot = state >> SLOT
        for a in fresh:
            out.tell("by-note", h, NoteAct(0, 0, 0, 0, a, t, 1, slot, source, position, b"", flags, uh, tier), facts.id)
            if a in PUBLIC_ACTIONS:
                self.publish(user, h, t, a)
                if a == LIKE:
                    hot.likes += 1
        if once:
            hot.engagements += 1
        if hot.personalized and not state & OWN:
            if slate is not None and slate.features:
                self.examples(out, slate, row_in, uh, h, t, fresh, bool(once))
            if once:
                self.link(out, hot, h, t, self.strongest(bits), facts.engaged)
                if slate is not None and position >= 0 and state >> SLOT == RANKED:
                    hot.rank = moved_rank(hot.rank, position)
            else:
                self.remember(hot, key, bits)
            if facts.known:
                gain = self.strength_of(bits) - self.strength_of(before)
                if gain > 0.0:
                    mark = 0 if not known else FORGOTTEN if slate is None else user.hot.slates[i].marks[row_in] or FORGOTTEN
                    logged = slate.engage(row_in) if slate is not None else None
                    first = not before & ENGAGED and bool(bits & ENGAGED)
                    self.interests.engaged(hot, facts, t, logged, gain, mark, signal.k, h, first, bool(once))
        return APPLIED

    def undo(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        if facts is None:
            return APPLIED
        return self.undone(out, user, signal, facts.id, facts, UNDOES[signal.k])

    def undone(self, out: Out, user: User, signal: Act, note: str, facts: Facts | None, a: int, comments: int = 0) -> str:
        """An action that stands is taken back, told as it was given."""
        hot, t = user.hot, signal.t
        h, key = named(note)
        place = self.ledger.find(user.ledger, key)
        if place < 0:
            return IGNORED
        before, strange, said, state = ROW.unpack_from(self.ledger.get(user.ledger, place), 8)
        said = max(0, said - comments)
        if not before >> a & 1 or (comments and said):
            if comments:
                user.dirty |= 1 << AT_LEDGER + self.ledger.put(user.ledger, place, key + ROW.pack(before, strange, said, state))
            return APPLIED if comments else IGNORED
        bits, flags = before & ~(1 << a), TOLD[state & 7] | (STRANGE if strange >> a & 1 else 0)
        user.dirty |= 1 << AT_LEDGER + self.ledger.put(user.ledger, place, key + ROW.pack(bits, strange & ~(1 << a), said, state))
        found = self.standing(user, key, signal.r) if user.slates else None
        uh = named(signal.u)[0]
        source, position, tier, slate, row_in = -1, signal.p, -1, None, -1
        if found is not None:
            row_in = found[1]
            slate = user.slates[found[0]]
            position, _, source, tier, _ = slate.place(row_in)
        out.tell("by-note", h, NoteAct(0, 0, 0, 0, a, t, -1, state >> SLOT, source, position, b"", flags, uh, tier), note)
        if a in PUBLIC_ACTIONS:
            self.unpublish(user, h, a)
            if a == LIKE:
                hot.likes -= 1
        if hot.personalized and not state & OWN:
            self.remember(hot, key, bits)
            if slate is not None and slate.features:
                self.example(out, slate, row_in, uh, h, t, a, -1)
            gain = self.strength_of(bits) - self.strength_of(before)
            if facts is not None and facts.known and gain < 0.0:
                mark = 0 if not bits & 1 else FORGOTTEN if slate is None else hot.slates[found[0]].marks[row_in] or FORGOTTEN  # type: ignore[index]
                first = not bits & ENGAGED and bool(before & ENGAGED)
                logged = slate.engage(row_in) if slate is not None else None
                self.interests.engaged(hot, facts, t, logged, gain, mark, signal.k, h, first, False)
        return APPLIED

    def strength_of(self, bits: int) -> float:
        """The strongest of the actions."""
        strength = self.strengths.get(bits)
        if strength is None:
            strength = self.strengths[bits] = max((s for bit, s in self.positive if bits & bit), default=0.0)
        return strength

    def strongest(self, bits: int) -> int:
        """Which of the actions says most of the note; a view when none says anything."""
        action = self.says.get(bits)
        if action is None:
            action = self.says[bits] = max(
                ((s, bit.bit_length() - 1) for bit, s in self.positive if bits & bit), default=(0.0, VIEW_ACTION)
            )[1]
        return action

    def remember(self, hot: Hot, key: bytes, bits: int) -> None:
        """What was done to a recent note changed."""
        at = find(hot.recent, key, RECENT_WIDTH) + RECENT_ACTION
        if at >= RECENT_ACTION and hot.recent[at] != (action := self.strongest(bits)):
            hot.recent = hot.recent[:at] + bytes((action,)) + hot.recent[at + 1 :]

    def link(self, out: Out, hot: Hot, h: int, t: int, a: int, engaged: int) -> None:
        """The first engagement with a note: told with the last ones before it, and remembered."""
        rows, key = hot.recent, h.to_bytes(8, "little")
        at = find(rows, key, RECENT_WIDTH)
        if at >= 0:
            rows = rows[:at] + rows[at + RECENT_WIDTH :]
        engaged = min(max(engaged, 0), 2**32 - 1)
        if rows:
            last = rows[-self.pair_bytes :]
            keys = [h, *[row[0] for row in RECENT_ROW.iter_unpack(last)][::-1]]
            out.spread("by-pair", keys, Link(0, 0, 0, h, t, engaged, last))
        hot.recent = (rows + RECENT_ROW.pack(h, t, a, engaged))[-RECENT_WIDTH * self.bounds.recent :]

    def examples(self, out: Out, slate: Open, row: int, uh: int, h: int, t: int, actions: list[int], whole: bool) -> None:
        for a in actions:
            self.example(out, slate, row, uh, h, t, a, 1, whole)
            whole = False

    def example(self, out: Out, slate: Open, row: int, uh: int, h: int, t: int, a: int, d: int, whole: bool = False) -> None:
        """An action for the learner; with a note's first engagement (`whole`) comes all of its slate."""
        position, slot, _, _, _ = slate.place(row)
        features = slate.features_of(row)
        if whole:
            out.tell("examples", 0, Engaged(
                0, 0, 0, uh, h, t, a, d, slate.feature_set, features, position, slot, slate.r,
                slate.context, row, slate.digests(), slate.features, slate.weights(),
            ))  # fmt: skip
        else:
            out.tell("examples", 0, Engaged(0, 0, 0, uh, h, t, a, d, slate.feature_set, features, position, slot, slate.r))

    def publish(self, user: User, h: int, t: int, a: int) -> None:
        user.public = (user.public + PUBLIC_ROW.pack(h, t, a))[-PUBLIC_WIDTH * self.bounds.public :]
        user.dirty |= PUBLICS

    def unpublish(self, user: User, h: int, a: int) -> None:
        rows = user.public
        for at in range(0, len(rows), PUBLIC_WIDTH):
            if rows[at + 16] == a and rows[at : at + 8] == h.to_bytes(8, "little"):
                user.public = rows[:at] + rows[at + PUBLIC_WIDTH :]
                user.dirty |= PUBLICS
                return

    # ---------------------------------------------------------------------------------------------------------- comments

    def comment(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """Comments are told apart by their ids; those without one count as one. The note counts a user who has any."""
        if facts is None:
            return APPLIED
        row = named(facts.id)[1] + comment_key(signal.x)
        if find(user.comments, row, COMMENT_WIDTH) >= 0:
            return REPEATED
        user.comments = (user.comments + row)[-COMMENT_WIDTH * self.bounds.comments :]
        user.dirty |= COMMENTS
        self.done(out, user, signal, facts, (COMMENT,), 1)
        return APPLIED

    def uncomment(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """Takes back the comment of that id; without an id the newest one; an id that was forgotten counts as one that stands."""
        if facts is None:
            return APPLIED
        key, wanted, rows = named(facts.id)[1], comment_key(signal.x), user.comments
        mine = [at for at in range(0, len(rows), COMMENT_WIDTH) if rows[at : at + 8] == key]
        exact = [at for at in mine if rows[at + 8 : at + 16] == wanted]
        at = exact[0] if exact else mine[-1] if mine and wanted == NO_COMMENT else -1
        if at >= 0:
            user.comments = rows[:at] + rows[at + COMMENT_WIDTH :]
            user.dirty |= COMMENTS
        else:
            place = self.ledger.find(user.ledger, key)
            if place < 0 or ROW.unpack_from(self.ledger.get(user.ledger, place), 8)[2] <= len(mine):
                return IGNORED
        return self.undone(out, user, signal, facts.id, facts, COMMENT, 1)

    # ------------------------------------------------------------------------------------------------- authors and hiding

    def follow(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """The author is followed; on a note it is also an action on that note."""
        author, hot, follows, bounds = self.author_of(signal, facts), user.hot, user.follows, self.bounds
        note = facts.id if facts is not None else ""
        if note and author and follows.where.get(author, note) != note and sum(map(len, follows.also.values())) >= bounds.follows:
            facts, note = None, ""  # what could not be taken back does not count
        outcome = self.done(out, user, signal, facts, (FOLLOW,)) if facts is not None else APPLIED
        if not author:
            return outcome
        if note and author not in follows.where:
            follows.where[author] = note
            user.dirty |= FOLLOWS
        elif outcome is APPLIED and note and follows.where[author] != note:
            follows.also.setdefault(author, []).append(note)
            user.dirty |= FOLLOWS
        if author in hot.follows or author in follows.older:
            return outcome if note else REPEATED
        hot.follows.append(author)
        if len(hot.follows) > bounds.follows_hot:
            older = max(1, bounds.follows_hot // 4)
            follows.older += hot.follows[:older]
            del hot.follows[:older]
            for name in follows.older[: -(bounds.follows - bounds.follows_hot)]:
                follows.where.pop(name, None)
                follows.also.pop(name, None)
            del follows.older[: -(bounds.follows - bounds.follows_hot)]
            user.dirty |= FOLLOWS
        if hot.personalized and author != signal.u:
            self.interests.author(hot, author, signal.t, self.strength["follow"], signal.k, hash64(note) if note else 0)
        return APPLIED

    def unfollow(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """The author is no longer followed; the follow is taken back on the note that is named, and wherever it happened."""
        author, hot, follows = self.author_of(signal, facts), user.hot, user.follows
        followed = author in hot.follows
        if followed:
            hot.follows.remove(author)
        elif author in follows.older:
            follows.older.remove(author)
            user.dirty |= FOLLOWS
            followed = True
        notes = dict.fromkeys([facts.id] if facts is not None else [])
        if author in follows.where:
            notes |= dict.fromkeys([follows.where.pop(author), *follows.also.pop(author, [])])
            user.dirty |= FOLLOWS
        if followed and hot.personalized and author != signal.u:
            self.interests.author(hot, author, signal.t, -self.strength["follow"], signal.k, hash64(facts.id) if facts else 0)
        for note in notes:
            known = facts if facts is not None and note == facts.id else None
            if self.undone(out, user, signal, note, known, FOLLOW) is APPLIED:
                followed = True
        return APPLIED if followed else IGNORED

    @staticmethod
    def author_of(signal: Act, facts: Facts | None) -> str:
        return (signal.x.author_id if signal.x is not None else None) or (facts.author if facts is not None else "")

    def block(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        author = self.author_of(signal, facts)
        return self.banned(user, user.hot.blocks, self.bounds.blocks, author, signal, facts)

    def unblock(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        return self.unbanned(user, user.hot.blocks, self.author_of(signal, facts), signal, facts)

    def banned(self, user: User, table: list[str], bound: int, author: str, signal: Act, facts: Facts | None) -> str:
        """An author is blocked or hidden: once, however often it is said."""
        if not author or author in table:
            return REPEATED if author else IGNORED
        put(table, author, bound)
        if user.hot.personalized:
            self.interests.author(user.hot, author, signal.t, -self.strength["hide"], signal.k, hash64(facts.id) if facts else 0)
        return APPLIED

    def unbanned(self, user: User, table: list[str], author: str, signal: Act, facts: Facts | None) -> str:
        if not drop(table, author):
            return IGNORED
        if user.hot.personalized:
            self.interests.author(user.hot, author, signal.t, self.strength["hide"], signal.k, hash64(facts.id) if facts else 0)
        return APPLIED

    def hide(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """Counted once on the note; by its scope the note, its author or tags are hidden, and lose weight, once."""
        if facts is None:
            return APPLIED
        hot, bounds = user.hot, self.bounds
        outcome = self.done(out, user, signal, facts, (HIDE,))
        scope = (signal.x.scope if signal.x is not None else None) or "note"
        h, amount = hash64(facts.id), -self.strength["hide"]
        if scope == "author":
            self.banned(user, hot.hidden_authors, bounds.hidden, self.author_of(signal, facts), signal, facts)
        elif scope == "tag":
            for tag in self.tags_of(signal, facts):
                if tag not in hot.hidden_tags:
                    put(hot.hidden_tags, tag, bounds.hidden_tags)
                    if hot.personalized:
                        self.interests.tag(hot, tag, signal.t, amount, signal.k, h)
        elif h not in hot.hidden_notes:
            put(hot.hidden_notes, h, bounds.hidden)
            if hot.personalized and facts.known and facts.author != signal.u:
                self.interests.pushed(hot, facts, signal.t, amount, signal.k, h)
        return outcome

    def unhide(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        if facts is None:
            return APPLIED
        hot = user.hot
        outcome = self.undone(out, user, signal, facts.id, facts, HIDE)
        scope = (signal.x.scope if signal.x is not None else None) or "note"
        h, amount = hash64(facts.id), self.strength["hide"]
        if scope == "author":
            self.unbanned(user, hot.hidden_authors, self.author_of(signal, facts), signal, facts)
        elif scope == "tag":
            for tag in self.tags_of(signal, facts):
                if drop(hot.hidden_tags, tag) and hot.personalized:
                    self.interests.tag(hot, tag, signal.t, amount, signal.k, h)
        elif drop(hot.hidden_notes, h) and hot.personalized and facts.known and facts.author != signal.u:
            self.interests.pushed(hot, facts, signal.t, amount, signal.k, h)
        return outcome

    def tags_of(self, signal: Act, facts: Facts) -> tuple[str, ...]:
        named = signal.x.tags if signal.x is not None else ()
        return (named or facts.tags)[: self.interests.rules.note_tags]

    def report(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        if facts is None:
            return APPLIED
        outcome = self.done(out, user, signal, facts, (DOES[signal.k],))
        if outcome is APPLIED and user.hot.personalized and facts.known and facts.author != signal.u:
            self.interests.pushed(user.hot, facts, signal.t, -self.strength["report"], signal.k, hash64(facts.id))
        return outcome

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
        return APPLIED

    # -------------------------------------------------------------------------------------------------------- every signal

    def touch(self, user: User, t: int) -> None:
        hot = user.hot
        hot.events += 1
        hot.last_seen = max(hot.last_seen, t)
        if not hot.first_seen:
            hot.first_seen = t
        user.dirty |= HOT

    def known(self, user: User, id: int) -> bool:
        """Whether the event id was here; if not, it now was."""
        key = id.to_bytes(8, "little")
        if find(user.events[0], key, 8) >= 0:
            return True
        self.ids.push(user.events, user.hot.event_n, key)
        user.hot.event_n += 1
        user.dirty |= HOT | EVENTS
        return False

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


def bounded(bounds: Bounds) -> Bounds:
    """Raises `SettingsError` for a bound that would bound nothing."""
    for name, bound in msgspec.structs.asdict(bounds).items():
        if bound <= 0:
            raise SettingsError(f"setting users.{name}: wants more than 0, got {bound}")
    if bounds.follows <= bounds.follows_hot:
        raise SettingsError(f"setting users.follows: wants more than users.follows_hot ({bounds.follows_hot}), got {bounds.follows}")
    return bounds


FOLDED = {Act, Served, Personalize, Forget, Erase}
OTHERS: dict[type, Any] = {Served: Users.served, Personalize: Users.personalize, Forget: Users.forget, Erase: Users.erase}
VIEW_ACTION = ACTIONS.index("view")
VIEWED = (VIEW_ACTION,)
VIEWED_TO_END = (*VIEWED, FINISH)
NO_COMMENT = bytes(8)
TOLD = tuple((FOLLOWER if state & FOLLOWED else 0) | (SELF if state & OWN else 0) for state in range(8))
"""A ledger row's state -> flags of what is told."""


@lru_cache(65_536)
def owner(user: str) -> tuple[StateKey, ...]:
    """What a signal of a user reads."""
    return ((FAMILY, user.encode()),)


@lru_cache(65_536)
def named(id: str) -> tuple[int, bytes]:
    """Hash of an id, and its 8 bytes. Cached: the same users and notes come all the time."""
    h = hash64(id)
    return h, h.to_bytes(8, "little")


def comment_key(extra: Extra | None) -> bytes:
    return hash64(extra.comment_id).to_bytes(8, "little") if extra is not None and extra.comment_id else NO_COMMENT


def put(table: list[Any], name: Any, bound: int) -> None:
    """Into a bounded table; the oldest leave."""
    table.append(name)
    del table[:-bound]


def drop(table: list[Any], name: Any) -> bool:
    """Out of a table; whether it was there."""
    if name not in table:
        return False
    table.remove(name)
    return True
