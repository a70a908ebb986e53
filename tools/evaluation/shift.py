"""A new interest overnight: how soon the feed follows somebody who lives another's life from one engagement to the next."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from config.keys import hash64
from tools.evaluation.figures import mean
from tools.evaluation.log import Line, engagements
from tools.evaluation.run import Progress, Run
from tools.evaluation.system import HITS, System, standing
from tools.mistake import Mistake

BINS = ((0, 0), (1, 2), (3, 5), (6, 9), (10, 19), (20, 49))
LIFE = 50
"""Engagements of a life before and after the graft."""


class Life(NamedTuple):
    """The first engagements of a user, with all events up to each."""

    user: str
    events: list[Line]


def lives(log: Sequence[Line], users: int, seed: int) -> tuple[list[Line], list[Life]]:
    """The log without `users` who have at least 50 engagements (a seeded choice), and the first 50 of each. Raises `Mistake`."""
    _, engaged = engagements(log)
    ends: defaultdict[str, list[int]] = defaultdict(list)
    for (user, _), i in sorted(engaged.items(), key=lambda item: item[1]):
        ends[user].append(i)
    able = sorted(user for user, places in ends.items() if len(places) >= LIFE)
    if len(able) < users:
        raise Mistake(f"--shift {users}: only {len(able)} users have {LIFE} engagements")
    random.Random(seed).shuffle(able)
    chosen = {user: ends[user][LIFE - 1] for user in able[: users // 2 * 2]}
    own: dict[str, list[Line]] = {user: [] for user in chosen}
    rest = []
    for i, one in enumerate(log):
        if one.note or one.user not in chosen:
            rest.append(one)
        elif i <= chosen[one.user]:
            own[one.user].append(one)
    return rest, [Life(user, events) for user, events in own.items()]


async def shifted(system: System, log: Sequence[Line], users: int, seed: int, progress: Progress | None = None) -> dict[str, float | None]:
    """Everything global is learned from all the others and frozen, then each of a pair lives the other's life."""
    rest, chosen = lives(log, users, seed)
    others = Run(system, len(rest), progress)
    await others.over(rest)
    system.freeze()
    hits: list[tuple[int, bool]] = []
    for number, (old, new) in enumerate(
        zip(chosen, [one for pair in zip(chosen[1::2], chosen[::2], strict=True) for one in pair], strict=True)
    ):
        hits += await grafted(system, f"graft-{number}", old.events, new.events, others.taken)
        if progress is not None:
            progress(number, len(chosen), [])
    found: dict[str, float | None] = {}
    for low, high in BINS:
        inside = [hit for age, hit in hits if low <= age <= high]
        found[str(low) if low == high else f"{low}-{high}"] = mean(np.array(inside))
    return found


async def grafted(system: System, user: str, old: Sequence[Line], new: Sequence[Line], taken: set[str]) -> list[tuple[int, bool]]:
    """(engagements since the graft, hit) of one user who lives one life after the other, in the stream's own time.

    `taken` are the notes that the others engaged with: any other is a miss. What he took in his old life is no test when he takes it again;
    he has it before him all the same.
    """
    hits, seen = list[tuple[int, bool]](), set[str]()
    for life, tested in ((old, False), (new, True)):
        begin, age = system.local.now + 1000, 0
        due, engaged = engagements(life)
        counted = set(engaged.values())
        for i, one in enumerate(life):
            at = begin + one.at - life[0].at
            if i in due and one.note_id not in seen:
                await system.pump()
                page = await system.ask(user, at)
                _, rank = standing(page, hash64(one.note_id))
                if one.note_id in taken:
                    system.shadow(page)
                hits.append((age if tested else -1, one.note_id in taken and rank < HITS))
            system.append(moved(one, user, at))
            age += i in counted
        seen = {one.note_id for one in old}
        await system.pump()
    return [hit for hit in hits if hit[0] >= 0]


def moved(one: Line, user: str, at: int) -> Line:
    """The event as another user's, at another time."""
    body = msgspec.json.decode(one.body)
    body |= {"user_id": user, "timestamp": at}
    body.pop("anonymous_id", None)
    body.pop("event_id", None)
    return one._replace(at=at, user=user, body=msgspec.json.encode(body))
