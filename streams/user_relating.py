"""Whom a user follows, blocks and hides, and what he hides or reports: said once, however often it is sent."""

from __future__ import annotations

from typing import Any

from config.events import ACTIONS
from config.keys import hash64
from config.records import Act, Facts
from models.user import FOLLOWS, NO_FOLLOWS, Follows, Hot, User
from streams.stage import Out
from streams.user_doing import Doing
from streams.user_seeing import APPLIED, IGNORED, REPEATED

FOLLOW, HIDE, REPORT = (ACTIONS.index(a) for a in ("follow", "hide", "report"))


class Relating(Doing):
    """A user's say about authors, tags and notes that he wants more of, or none."""

    def follow(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        """The author is followed; on a note it is also an action on that note."""
        if user.follows is NO_FOLLOWS:
            user.follows = Follows()
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
        hot.follows = (*hot.follows, author)
        if len(hot.follows) > bounds.follows_hot:
            older = max(1, bounds.follows_hot // 4)
            follows.older += hot.follows[:older]
            hot.follows = hot.follows[older:]
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
        followed = dropped(hot, "follows", author)
        if not followed and author in follows.older:
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
        return self.banned(user, "blocks", self.bounds.blocks, author, signal, facts)

    def unblock(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        return self.unbanned(user, "blocks", self.author_of(signal, facts), signal, facts)

    def banned(self, user: User, table: str, bound: int, author: str, signal: Act, facts: Facts | None) -> str:
        """An author is blocked or hidden: once, however often it is said."""
        if not author or author in getattr(user.hot, table):
            return REPEATED if author else IGNORED
        put(user.hot, table, author, bound)
        if user.hot.personalized:
            self.interests.author(user.hot, author, signal.t, -self.strength["hide"], signal.k, hash64(facts.id) if facts else 0)
        return APPLIED

    def unbanned(self, user: User, table: str, author: str, signal: Act, facts: Facts | None) -> str:
        if not dropped(user.hot, table, author):
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
            self.banned(user, "hidden_authors", bounds.hidden, self.author_of(signal, facts), signal, facts)
        elif scope == "tag":
            for tag in self.tags_of(signal, facts):
                if tag not in hot.hidden_tags:
                    put(hot, "hidden_tags", tag, bounds.hidden_tags)
                    if hot.personalized:
                        self.interests.tag(hot, tag, signal.t, amount, signal.k, h)
        elif h not in hot.hidden_notes:
            put(hot, "hidden_notes", h, bounds.hidden)
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
            self.unbanned(user, "hidden_authors", self.author_of(signal, facts), signal, facts)
        elif scope == "tag":
            for tag in self.tags_of(signal, facts):
                if dropped(hot, "hidden_tags", tag) and hot.personalized:
                    self.interests.tag(hot, tag, signal.t, amount, signal.k, h)
        elif dropped(hot, "hidden_notes", h) and hot.personalized and facts.known and facts.author != signal.u:
            self.interests.pushed(hot, facts, signal.t, amount, signal.k, h)
        return outcome

    def tags_of(self, signal: Act, facts: Facts) -> tuple[str, ...]:
        named = signal.x.tags if signal.x is not None else ()
        return (named or facts.tags)[: self.interests.rules.note_tags]

    def report(self, out: Out, user: User, signal: Act, facts: Facts | None) -> str:
        if facts is None:
            return APPLIED
        outcome = self.done(out, user, signal, facts, (REPORT,))
        if outcome is APPLIED and user.hot.personalized and facts.known and facts.author != signal.u:
            self.interests.pushed(user.hot, facts, signal.t, -self.strength["report"], signal.k, hash64(facts.id))
        return outcome


def put(hot: Hot, table: str, name: Any, bound: int) -> None:
    """Into a bounded table; the oldest leave."""
    setattr(hot, table, (*getattr(hot, table), name)[-bound:])


def dropped(hot: Hot, table: str, name: Any) -> bool:
    """Out of a table; whether it was there."""
    names = getattr(hot, table)
    if name not in names:
        return False
    setattr(hot, table, tuple(one for one in names if one != name))
    return True
