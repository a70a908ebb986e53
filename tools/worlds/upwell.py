"""The production policy in a world: the functions of `models.pool` themselves, called as the stages and the feed call them.

It sees what production sees: its own counters, what the scorer expected, the clock, and the bars that its own notes' evidence gave an
hour ago. The first hours run on the bars of the settings.
"""

from __future__ import annotations

import math

import numpy as np

from models.pool import ENDS, HOUR, Need, PoolState, Rules, decide, enter, first_bars, need, next_deadline, publish, ripe, score
from models.quality import Evidence, Recent, assess
from tools.worlds.world import Array, World


class Ladder:
    """Pools of all notes of a world; one channel."""

    def __init__(self, world: World, made: Rules) -> None:
        self.world, self.rules = world, made
        self.pools: dict[int, PoolState] = {}
        self.scores: dict[int, float] = {}
        self.evidence: dict[int, Evidence] = {}
        self.recent, self.bars = Recent(""), first_bars("", made)

    def run(self) -> dict[str, float]:
        base = self.rules.tiers[0].quota
        while self.world.round < self.world.spec.rounds:
            self.publish()
            shown = self.allocate()
            self.world.step(shown, base)
            self.settle(np.flatnonzero(shown).tolist())
        return self.world.report(base)

    @property
    def now(self) -> int:
        return self.world.round * HOUR

    def publish(self) -> None:
        """Notes that came since the last hour enter the base tier."""
        for note in np.flatnonzero(self.world.arrival == self.world.round).tolist():
            self.evidence[note] = Evidence()
            self.pools[note] = enter(self.now, self.rules)
            self.rate(note)

    def rate(self, note: int) -> None:
        quality = assess(self.evidence[note], self.bars, self.rules.worth)
        self.scores[note] = score(self.pools[note], quality, self.rules)

    def allocate(self) -> Array:
        """One hour of pool slots, by need and score."""
        needs = {note: need(pool, self.evidence[note].exposures, self.rules, self.now) for note, pool in self.pools.items()}
        return share_out(needs, self.scores, self.world.spec.exposures_per_round, self.rules.base_share, self.world.spec.notes)

    def settle(self, shown: list[int]) -> None:
        """Evidence of the hour, then the decisions, then the channel's next bars."""
        world = self.world
        for note in shown:
            exposures, opened = float(world.exposures[note]), float(world.clicks[note])
            logged = world.spec.click is not None
            clicks, hoped = (opened, exposures * world.average_click) if logged else (0.0, 0.0)
            self.evidence[note] = Evidence(exposures, (clicks, *world.actions[note].tolist()), (hoped, *world.expected[note].tolist()))
        before = self.recent.exposures
        for note in shown:
            self.judge(note)
        for note, pool in self.pools.items():
            deadline = next_deadline(pool)
            if deadline is not None and deadline <= self.now:
                self.judge(note)
        if self.recent.exposures != before and ripe(self.recent, self.rules):
            self.bars = publish(self.recent, self.rules)

    def judge(self, note: int) -> None:
        move = decide(self.pools[note], self.evidence[note], self.bars, self.rules, self.now)
        if move:
            self.pools[note] = move.state
            if move.verdict in ENDS:
                self.recent.add(note, move.origin, move.evidence, self.rules.prior)
        self.rate(note)


def share_out(needs: dict[int, Need], scores: dict[int, float], capacity: int, base_share: float, notes: int) -> Array:
    """What the feed's slots amount to in an hour: the promise first, in equal parts if it does not fit; then by score up to the need."""
    shown = np.zeros(notes)
    owed = sum(math.ceil(n.due) for n in needs.values())
    part = min(1.0, base_share * capacity / owed) if owed else 1.0
    left = float(capacity)
    for note, wanted in needs.items():
        if wanted.due > 0.0:
            shown[note] = math.floor(part * math.ceil(wanted.due)) if part < 1.0 else math.ceil(wanted.due)
            left -= shown[note]
    for note in sorted((n for n, wanted in needs.items() if wanted.want > shown[n]), key=lambda n: (-scores[n], n)):
        more = min(math.floor(needs[note].want - shown[note]), left)
        if more > 0:
            shown[note] += more
            left -= more
    return shown
