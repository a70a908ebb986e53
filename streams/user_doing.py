"""What a user does with notes: each action counts once and is taken back exactly, as it was given.

An action that follows an exposure moves weights, teaches the learner, and, when it is the first engagement with the note, links the note to
the user's last ones. By meaning it does not matter what is sent how often: the ledger has a bit for each action.
"""

from __future__ import annotations

import msgspec

from config.events import ACTIONS
from config.keys import hash64
from config.records import FOLLOWER, SELF, SLOTS, STRANGE, Act, Engaged, Extra, Facts, Link, NoteAct
from config.settings import Settings
from models.context import moved_rank
from models.interest import FORGOTTEN
from models.ring import find
from models.slate import Open
from models.user import AT_LEDGER, BIT, COMMENTS, FOLLOWED, ONCE, OWN, PUBLIC_ROW, PUBLICS, RECENT_ROW, ROW, SLOT, Hot, User
from streams.stage import Out
from streams.user_seeing import APPLIED, ENGAGED, IGNORED, REPEATED, TOLD, Seeing, named

VIEW = ACTIONS.index("view")
COMMENT, LIKE = ACTIONS.index("comment"), ACTIONS.index("like")
POSITIVE = ("click", "view", "finish", "like", "collect", "comment", "share", "product_click", "add_to_cart", "purchase")
"""Actions whose strength moves the weights of a note up."""
PUBLIC_ACTIONS = {ACTIONS.index(a) for a in ("like", "collect", "share")}
PUBLIC_WIDTH, RECENT_WIDTH, COMMENT_WIDTH = PUBLIC_ROW.size, RECENT_ROW.size, 16
RECENT_ACTION = 16
"""Where the action stands in a row of `Hot.recent`."""
RANKED = SLOTS.index("ranked")
NO_COMMENT = bytes(8)


class Doing(Seeing):
    """A user's actions on notes."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.pair_bytes = settings.users.pair_with * RECENT_WIDTH
        self.strength: dict[str, float] = msgspec.structs.asdict(settings.interest.strength)
        self.positive = tuple((BIT[a], self.strength[a]) for a in POSITIVE)
        self.strengths = {0: 0.0}
        self.says: dict[int, int] = {}

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
        engaged = min(max(facts.engaged, 0), 2**32 - 1)  # what somebody counted
        row = key + ROW.pack(bits, strange, said, state)
        if place >= 0:
            if fresh or comments:
                user.dirty |= 1 << AT_LEDGER + ledger.put(user.ledger, place, row)
            if not fresh:
                if hot.personalized and not state & OWN:
                    self.returned(hot, key, h, bits, t, engaged)
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
                self.link(out, hot, h, t, self.strongest(bits), engaged)
                if slate is not None and position >= 0 and state >> SLOT == RANKED:
                    hot.rank = moved_rank(hot.rank, position)
            else:
                self.remember(hot, key, bits)
                self.returned(hot, key, h, bits, t, engaged)
            if facts.known:
                gain = self.strength_of(bits) - self.strength_of(before)
                if gain > 0.0:
                    mark = 0 if not known else FORGOTTEN if slate is None else user.hot.slates[i].marks[row_in] or FORGOTTEN
                    logged = slate.engage(row_in) if slate is not None else None
                    first = not before & ENGAGED and bool(bits & ENGAGED)
                    self.interests.engaged(hot, facts, t, logged, gain, mark, signal.k, h, first, bool(once))
        return APPLIED

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
            action = self.says[bits] = max(((s, bit.bit_length() - 1) for bit, s in self.positive if bits & bit), default=(0.0, VIEW))[1]
        return action

    def remember(self, hot: Hot, key: bytes, bits: int) -> None:
        """What was done to a recent note changed."""
        at = find(hot.recent, key, RECENT_WIDTH) + RECENT_ACTION
        if at >= RECENT_ACTION and hot.recent[at] != (action := self.strongest(bits)):
            hot.recent = hot.recent[:at] + bytes((action,)) + hot.recent[at + 1 :]

    def returned(self, hot: Hot, key: bytes, h: int, bits: int, t: int, engaged: int) -> None:
        """A note that he comes back to is his latest again, though it counts and is linked once: it is what he wants now.

        Only time that has passed makes it so: an event that is sent again, or late, leaves the order as it is.
        """
        rows, width = hot.recent, RECENT_WIDTH
        if not rows or not bits & ENGAGED or rows.startswith(key, len(rows) - width):
            return
        at = find(rows, key, width)
        if t < row_time(rows, len(rows) - width) or (at >= 0 and t <= row_time(rows, at)):
            return
        hot.recent = self.newest(without(rows, at), h, t, self.strongest(bits), engaged)

    def newest(self, rows: bytes, h: int, t: int, a: int, engaged: int) -> bytes:
        """Recent rows and one more; the oldest leave."""
        return (rows + RECENT_ROW.pack(h, t, a, engaged))[-RECENT_WIDTH * self.bounds.recent :]

    def link(self, out: Out, hot: Hot, h: int, t: int, a: int, engaged: int) -> None:
        """The first engagement with a note: told with the last ones before it, and remembered."""
        rows = without(hot.recent, find(hot.recent, h.to_bytes(8, "little"), RECENT_WIDTH))
        if rows:
            last = rows[-self.pair_bytes :]
            keys = [h, *[row[0] for row in RECENT_ROW.iter_unpack(last)][::-1]]
            out.spread("by-pair", keys, Link(0, 0, 0, h, t, engaged, last))
        hot.recent = self.newest(rows, h, t, a, engaged)

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


def without(rows: bytes, at: int) -> bytes:
    """Recent rows but for the one at this byte, all for -1."""
    return rows if at < 0 else rows[:at] + rows[at + RECENT_WIDTH :]


def row_time(rows: bytes, at: int) -> int:
    """Stream time of the recent row at this byte, epoch ms."""
    _, t, _, _ = RECENT_ROW.unpack_from(rows, at)
    return int(t)


def comment_key(extra: Extra | None) -> bytes:
    return hash64(extra.comment_id).to_bytes(8, "little") if extra is not None and extra.comment_id else NO_COMMENT
