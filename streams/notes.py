"""The notes stage: one fold over by-note keeps each note's record and its way through the pools.

    NoteChange ─► facts, text, status ──────────────► enters the pools, pauses, leaves ─┐
    NoteAct ────► counters, heats, evidence ─► a look ─► promoted, held, stopped, … ────┼─► transitions
    timers ─────► a window ends ─────────────► a look ─┘         │ a tier ends          │
    NoteServed ─► what is under way                              └─► Evidence ─► by-list │
    Bars ◄─ everywhere: what a channel's notes have to pass           Score ─► by-list ◄─┘

Lists hear of a score when it has moved by more than a setting, and of membership at once. A note whose signals come before it is kept
for a while, as *unknown*, in no list and no pool; what was counted then counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from config.decode import AHEAD_MS
from config.events import ACTIONS
from config.keys import hash64, note_key
from config.records import Bars, Evidence, NoteAct, NoteChange, NoteServed, Probe, Score, decode_note
from config.settings import Settings, SettingsError
from models import catalogue, judgement, lists, pool, quality
from models import note as notes
from models.note import HOT, PAID, PLACEMENT, POPULARITY, RECENCY, UNKNOWN, Note, Text, Transition
from models.scores import hot_of, matters, popularity_of, scores_of, wants
from streams.note_families import Bar, Kept, KnownFamily, NoteFamily, Page, TextFamily
from streams.stage import Batch, Family, Out, Part, Record, StateKey, packed_batch

to_json = msgspec.json.Encoder().encode


@lru_cache(65_536)
def named(id: str) -> tuple[StateKey, ...]:
    """What a signal of a note reads. Cached: the same notes come all the time."""
    return (("note", note_key(hash64(id))),)


def since(part: Part) -> int:
    """When a note was first heard of, by append time where it is known."""
    return part.appended or max(part.now, 1)


class Notes:
    """The stage. Stateless but for settings."""

    name: ClassVar[str] = "notes"
    topics: ClassVar[tuple[str, ...]] = ("by-note",)
    shared: ClassVar[str | None] = "bars"
    followed: ClassVar[str | None] = None
    timed: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        self.bounds = settings.notes
        try:
            self.rules = notes.rules(settings.notes, settings.lists, pool.configured(settings))
        except ValueError as error:
            raise SettingsError(str(error)) from None
        self.steps = self.rules.steps
        self.families: Mapping[str, Family] = {
            "note": NoteFamily(self.rules),
            "text": TextFamily(),
            "bars": KnownFamily(self.rules),
        }
        self.unknown_ms = int(settings.notes.unknown_hours * lists.HOUR)
        self.settings_hash = f"{hash64(to_json((settings.notes, settings.lists, settings.pool))):016x}"

    # ------------------------------------------------------------------------------------------------------------- stage

    def decode(self, record: Record) -> Batch:
        packed = decode_note(record.value or b"")
        return packed_batch(packed, packed.notes, packed.signals)

    def reads(self, signal: Any, table: Any) -> tuple[StateKey, ...]:
        kind = type(signal)
        if kind is NoteAct or kind is NoteServed:
            return named(table[signal.n]) if signal.n >= 0 else (("note", note_key(signal.h)),)
        if kind is NoteChange:
            key = note_key(hash64(table[signal.n]))
            return ("note", key), ("text", key)
        return ()

    def lookups(self, batch: Batch) -> Sequence[int]:
        return ()

    def fold(self, part: Part, out: Out, signal: Any, table: Any, *states: Any) -> None:
        kind = type(signal)
        if kind is NoteAct:
            if self.known_as(part, out, states[0], table[signal.n] if signal.n >= 0 else ""):
                self.act(part, out, states[0], signal)
        elif kind is NoteServed:
            if self.known_as(part, out, states[0], table[signal.n] if signal.n >= 0 else ""):
                if signal.slot != PAID:
                    states[0].note.served += signal.d
                out.count("served", "applied")
        elif kind is NoteChange:
            self.change(part, out, signal, table[signal.n], *states)
        elif kind is Bars:
            part.shared.put(Bar(signal.channel, signal.version, signal.body), self.bounds.channels)
            out.count("bars", "applied")
        elif kind is Probe:
            part.probed(signal.at)

    def fire(self, part: Part, out: Out, deadline: int, family: str, key: bytes, state: Any) -> None:
        """The time of an unknown note is over, or a pool's window."""
        note: Note = state.note
        state.dirty = True
        note.timer = 0
        if note.status == UNKNOWN and self.waits(part, note):
            self.set_timer(part, out, state)
        elif note.status == UNKNOWN:
            state.note, state.moves = Note(), []
            state.restand()
            out.count("unknown", "expired")
        elif wants(note):
            self.look(part, out, state)
            self.owe(part, state)
            self.tell_all(part, out, state)
            self.set_timer(part, out, state)

    # ------------------------------------------------------------------------------------------------------------ signals

    def known_as(self, part: Part, out: Out, kept: Kept, id: str) -> bool:
        """The note may take the signal: it has this id, or none yet."""
        note = kept.note
        if note.id != id and id:
            if note.id:
                out.dead("hash_collision", f"{id!r} has the hash of {note.id!r}")
                out.count("note", "hash_collision")
                return False
            note.id = id
        kept.dirty = True
        if not note.since:
            note.since = since(part)
            self.set_timer(part, out, kept)
        return True

    def waits(self, part: Part, note: Note) -> bool:
        """Whether an unknown note's publication may still come: a replay passes months in a minute, and catalogue and events are two logs."""
        return 0 < part.appended < note.since + self.unknown_ms - AHEAD_MS

    def act(self, part: Part, out: Out, kept: Kept, signal: NoteAct) -> None:
        """A counter moves. Scores are told, and the pool decides, where it may matter."""
        note, rules, a = kept.note, self.rules, signal.a
        evidence = notes.act(note, a, signal.t, signal.d, signal.slot, signal.src, signal.e, signal.flags, rules)
        out.count(ACTIONS[a], "applied")
        if note.status == UNKNOWN:
            return
        if a and notes.facts_lag(note, rules):
            note.engaged_told, kept.facts_dirty = notes.engaged(note), True
        if not wants(note):
            return
        if a == 0 and note.owed:
            self.owe(part, kept)
        if evidence:
            if judgement.looked(note, a):
                self.look(part, out, kept)
                self.tell_all(part, out, kept)
                self.set_timer(part, out, kept)
            elif rules.ces[a]:  # an old note that is found again is warm before its share of evidence is new
                self.tell(part, out, kept, HOT, hot_of(note, rules))
                self.tell(part, out, kept, POPULARITY, popularity_of(note, rules))
        elif a and rules.points[a] and signal.slot != PAID:
            self.tell(part, out, kept, POPULARITY, popularity_of(note, rules))

    def change(self, part: Part, out: Out, signal: NoteChange, id: str, kept: Kept, page: Page) -> None:
        """A catalogue record."""
        note, patch = kept.note, signal.patch
        deleted = signal.deleted or patch.get("status") == "deleted"
        if note.id and note.id != id:
            out.dead("hash_collision", f"note_id: {id!r} has the hash of {note.id!r}")
            return
        if note.status == UNKNOWN:
            if deleted:  # of what never was
                out.count("note", "ignored")
                return
            if not patch.get("author_id"):
                out.dead("missing_field", f"author_id: the first record of a note names its author, that of {id!r} does not")
                return
        if catalogue.repeated(note, signal.id):
            out.count("note", "repeated")
            return
        note.id, note.since = id, note.since or since(part)
        kept.dirty = True
        before = [self.names(kept, k) if note.told[k] is not None else () for k in range(4)]
        facts, author = notes.facts_of(note), note.author
        catalogue.change(note, patch, deleted, signal.t, self.rules)
        kept.restand()
        if note.author != author:  # hot lists go by author: they must hear of it
            note.told[HOT] = None
        if notes.facts_of(note) != facts:
            note.engaged_told, kept.facts_dirty = notes.engaged(note), True
        if deleted:
            page.dirty, page.text = True, Text()
        elif catalogue.rewrite(page.text, patch, self.bounds):
            page.dirty = True
        self.turn(part, out, kept)
        self.retell(part, out, kept, before)
        self.set_timer(part, out, kept)
        out.count("note", "deleted" if deleted else "applied")

    # -------------------------------------------------------------------------------------------------------------- pools

    def turn(self, part: Part, out: Out, kept: Kept) -> None:
        """The note enters the pools, pauses, resumes or leaves, as its status says."""
        place = kept.note.pool
        step = judgement.turn(kept.note, part.now, part.shared.of(kept.note.channel)[0], self.rules)
        if step is not None:
            self.moved(part, out, kept, place, step)
        if wants(kept.note):
            self.look(part, out, kept)

    def look(self, part: Part, out: Out, kept: Kept) -> None:
        """The note is judged as of now."""
        note, place = kept.note, kept.note.pool
        bars, prior = part.shared.of(note.channel)
        kept.judged = None
        move = judgement.look(note, bars, prior, self.rules, part.now)
        if move is None:
            return
        self.moved(part, out, kept, place, judgement.transition(move, bars))
        if move.verdict in pool.ENDS:
            body = quality.encode(move.evidence)
            for name in lists.evidence_names(note.channel):
                out.tell("by-list", hash64(name), Evidence(name=name, h=kept.digest, t=part.now, tier=move.origin, body=body))

    def moved(self, part: Part, out: Out, kept: Kept, before: pool.PoolState | None, step: Transition) -> None:
        """A move is written down: in the note's history, in the public topic, in the partition's totals."""
        note = kept.note
        kept.standing = kept.judged = None
        kept.moves.append(step)
        del kept.moves[: -self.bounds.history]
        kept.moves_dirty = True
        out.publish("transitions", note.id.encode(), to_json({"note_id": note.id, **msgspec.to_builtins(step)}))
        origin = "" if step.origin is None else step.origin
        out.count("move", f"{origin}>{step.target}>{step.verdict}")
        known, after = part.shared, note.pool
        known.tallies_dirty = True
        if before is not None and before.state == pool.OPEN:
            tally = known.tallies[before.tier]
            if after is None or after.state != pool.OPEN or after.tier != before.tier:
                tally.notes -= 1
        if before is not None and step.verdict in pool.ENDS:
            tally = known.tallies[before.tier]
            name = "stopped" if step.verdict == "expired" else step.verdict
            setattr(tally, name, getattr(tally, name) + 1)
            if before.state == pool.OPEN or before.tier == 0:  # what was held and expires now ended before; a base ends once, lapsed or not
                tally.exposures += max(0, note.counted[0] - int(before.start))
        stays = before is not None and after is not None and before.state == pool.OPEN and after.tier == before.tier
        if after is not None and after.state == pool.OPEN and not stays:
            known.tallies[after.tier].notes += 1
        self.owe(part, kept)

    def owe(self, part: Part, kept: Kept) -> None:
        """What is overdue of the note's promise, into the partition's totals."""
        note, known = kept.note, part.shared
        owed = judgement.owed_of(note, self.rules, part.now)
        if owed != note.owed:
            known.tallies[0].owed += owed - note.owed
            note.owed, known.tallies_dirty = owed, True

    def set_timer(self, part: Part, out: Out, kept: Kept) -> None:
        """One timer a note: the window of its tier, or the end of an unknown note's time."""
        note, deadline = kept.note, 0
        if note.status == UNKNOWN:
            deadline = (note.timer or part.now + self.unknown_ms) if note.since else 0
        elif note.pool is not None and wants(note):
            deadline = judgement.deadline_of(note, self.rules, part.now)
            if deadline <= part.now:  # looked at already, and nothing came of it
                deadline = 0
        if deadline != note.timer:
            note.timer = deadline
            out.timer("note", note_key(kept.digest), deadline or None)

    # -------------------------------------------------------------------------------------------------------------- lists

    def names(self, kept: Kept, k: int) -> tuple[tuple[str, int], ...]:
        """Lists of kind `k` that the note belongs to, with their hashes."""
        found = kept.groups[k]
        if found is None:
            note = kept.note
            if k == POPULARITY:
                names = lists.popular_names(note.tags, note.channel, note.city, note.lat, note.lon)
            elif k == HOT:
                names = lists.hot_names(note.channel, note.city)
            elif k == RECENCY:
                names = (lists.author_name(note.author),)
            else:
                names = lists.pool_names(note.told_tier, note.channel)
            found = kept.groups[k] = tuple([(name, hash64(name)) for name in names])
        return found

    def say(self, part: Part, out: Out, kept: Kept, names: Iterable[tuple[str, int]], k: int, score: float | None) -> None:
        author = kept.author if k == HOT else 0
        for name, digest in names:
            out.tell("by-list", digest, Score(name=name, h=kept.digest, score=score, t=part.now, a=author))

    def tell(self, part: Part, out: Out, kept: Kept, k: int, score: float | None) -> None:
        """The lists of kind `k` hear of the score, when it matters."""
        told = kept.note.told
        if matters(told[k], score, self.steps[k]):
            told[k] = score
            self.say(part, out, kept, self.names(kept, k), k, score)

    def tell_all(self, part: Part, out: Out, kept: Kept) -> None:
        note = kept.note
        scores = scores_of(note, self.rules)
        tier = note.pool.tier if note.pool is not None else -1
        if tier != note.told_tier:
            self.tell(part, out, kept, PLACEMENT, None)
            note.told_tier, kept.groups[PLACEMENT] = tier, None
        for k in (POPULARITY, HOT, RECENCY, PLACEMENT):
            self.tell(part, out, kept, k, scores[k])

    def retell(self, part: Part, out: Out, kept: Kept, before: Sequence[tuple[tuple[str, int], ...]]) -> None:
        """After a catalogue record: out of the lists that the note left, into those it joined, and scores as they are now."""
        note = kept.note
        scores = scores_of(note, self.rules)
        tier = note.pool.tier if note.pool is not None else -1
        if tier != note.told_tier:
            note.told_tier, kept.groups[PLACEMENT] = tier, None
        for k in range(4):
            names = self.names(kept, k) if scores[k] is not None else ()
            self.say(part, out, kept, [name for name in before[k] if name not in names], k, None)
            if scores[k] is not None:
                if matters(note.told[k], scores[k], self.steps[k]):
                    note.told[k] = scores[k]
                    self.say(part, out, kept, names, k, scores[k])
                else:
                    self.say(part, out, kept, [name for name in names if name not in before[k]], k, note.told[k])
            else:
                note.told[k] = None


__all__ = ["Notes"]
