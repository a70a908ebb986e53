"""What a user is shown: exposures, each counted once, and the slates they stand in, kept while their items may still be seen.

A slate is known by this user's own open slates, never by what a client says: a made-up request id earns nothing.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from config.events import ACTIONS, ENGAGEMENTS
from config.keys import hash64
from config.records import FOLLOWER, SELF, SLOTS, STRANGE, Act, Facts, NoteAct, NoteServed, Served, Shown
from config.settings import Settings, SettingsError
from config.settings import Users as Bounds
from models.interest import FORGOTTEN, Interests
from models.ring import Ring, find
from models.slate import Standing, opened
from models.user import AT_LEDGER, AT_SEEN, BIT, EVENTS, FOLLOWED, HOT, LEDGER, LEDGERS, OWN, ROW, SEEN, SLATES, SLOT, User
from streams.stage import Out, Part

APPLIED, REPEATED, ERASED, UNKNOWN, IGNORED = "applied", "repeated", "erased", "unknown_note", "ignored"
"""Outcomes: `unknown_note` was applied too, but moved no weights; `ignored` takes back what does not stand."""

FAMILY = "user"
ENGAGED = sum(BIT[a] for a in ENGAGEMENTS)
TOLD = tuple((FOLLOWER if state & FOLLOWED else 0) | (SELF if state & OWN else 0) for state in range(8))
"""A ledger row's state -> flags of what is told."""
PAID, POOL = SLOTS.index("sponsored"), SLOTS.index("pool")


class Seeing:
    """A user's exposures and slates. Stateless but for settings; raises `SettingsError`."""

    def __init__(self, settings: Settings) -> None:
        users, events = settings.users, settings.events
        self.bounds = bounded(users)
        self.interests = Interests(settings.interest)
        self.ids = Ring(8, users.event_ids, 1)
        self.seen = Ring(8, users.exposures, SEEN)
        self.ledger = Ring(LEDGER.itemsize, users.engaged, LEDGERS)
        self.by_served = events.exposure == "served"
        self.slate_ms = int(users.slate_minutes * 60_000)

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
            if place >= 0:
                self.own_up(out, user, place, h, t, uh, 0, facts.id)
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
        if place >= 0:
            self.own_up(out, user, place, h, t, uh, slot, facts.id)
        return APPLIED

    def own_up(self, out: Out, user: User, place: int, h: int, t: int, uh: int, slot: int, note: str | None) -> None:
        """What a user did before the exposure was told belongs to it from now on: apps send impressions late and in bundles. Told again, as
        evidence, and taken back as what it was; nothing that is paid for becomes evidence."""
        row = self.ledger.get(user.ledger, place)
        bits, strange, said, state = ROW.unpack_from(row, 8)
        if not strange or slot == PAID:
            return
        user.dirty |= 1 << AT_LEDGER + self.ledger.put(user.ledger, place, row[:8] + ROW.pack(bits, 0, said, state))
        n, hash, flags = (0, 0, TOLD[state & 7]) if note is not None else (-1, h, TOLD[state & 7])
        for a in range(1, len(ACTIONS)):
            if bits & strange & 1 << a:
                out.tell("by-note", h, NoteAct(0, 0, 0, n, a, t, -1, state >> SLOT, -1, -1, b"", flags | STRANGE, uh, -1, hash), note)
                out.tell("by-note", h, NoteAct(0, 0, 0, n, a, t, 1, state >> SLOT, -1, -1, b"", flags, uh, -1, hash), note)

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
        for row, slot, tier in slate.pooled():
            if not standing.marks[row]:
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
        pooled = b"".join((item.h & 0xFFFF_FFFF).to_bytes(4, "little") for item in slate.items if item.slot == POOL and not slate.shadow)
        user.hot.slates.append(Standing(signal.t + self.slate_ms, bytes(len(slate.items)), pooled))
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
            if place >= 0:
                self.own_up(out, user, place, h, signal.t, uh, slot, None)
        hot.slates[-1].marks = b"\x01" * slate.shown

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


def bounded(bounds: Bounds) -> Bounds:
    """Raises `SettingsError` for a bound that would bound nothing."""
    for name, bound in msgspec.structs.asdict(bounds).items():
        if bound <= 0:
            raise SettingsError(f"setting users.{name}: wants more than 0, got {bound}")
    if bounds.follows <= bounds.follows_hot:
        raise SettingsError(f"setting users.follows: wants more than users.follows_hot ({bounds.follows_hot}), got {bounds.follows}")
    return bounds


@lru_cache(65_536)
def named(id: str) -> tuple[int, bytes]:
    """Hash of an id, and its 8 bytes. Cached: the same users and notes come all the time."""
    h = hash64(id)
    return h, h.to_bytes(8, "little")
