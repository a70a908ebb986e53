"""How good the feed is, on real logs: `upwell eval FILE…`. Test, then learn, one event after the other.

    files ─► events by time ─► before a user's first event with a note that he then engages with: ask his feed, see where the note stands
                               └─► intake ─► users ─► notes, lists, neighbours … (in process, on the memory store)

Stages and pipeline are those that production runs; the loop and the metrics are all there is here. A protocol in words stands in
docs/evaluation.md.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from config.events import ENGAGEMENTS, PREDICTED
from config.keys import hash64
from config.settings import Settings
from serving.build import build
from serving.clock import StreamClock
from serving.feed import Feed, Pipeline
from serving.model import Models
from serving.slate import logged, shadow_of
from serving.snapshot import Snapshot
from serving.stages import Page, Query
from store.layout import notes_from
from streams.local import Local
from tools.mistake import Mistake
from tools.replay import milliseconds

HITS = 10
COLD = 5
"""Users with fewer earlier engagements are cold."""
GAP_MS = 60_000
LIKE = PREDICTED.index("like")
SHIFT_BINS = ((0, 0), (1, 2), (3, 5), (6, 9), (10, 19), (20, 49))
LIFE = 50
"""Engagements of a life before and after the graft."""
PROGRESS_S = 0.5
SHADOW = 200
"""Candidates of a slate that nobody saw."""
LATE = {"neighbours": 8, "learner": 8}
"""Records that the slow stages wait for, as in production they wait for their second to pass."""


class Line(NamedTuple):
    """An event or a note of a file."""

    at: int
    note: bool
    user: str
    note_id: str
    type: str
    body: bytes


class Head(msgspec.Struct):
    """What the loop must know of a line."""

    type: str | None = None
    user_id: str = ""
    anonymous_id: str = ""
    note_id: str = ""
    timestamp: int | datetime | None = None


_head = msgspec.json.Decoder(Head).decode


def lines(files: Iterable[Path]) -> list[Line]:
    """All events and notes, by time, of equal times in the order of the files. Raises `Mistake`."""
    found: list[Line] = []
    for file in files:
        try:
            bodies = file.read_bytes().splitlines()
        except OSError as error:
            raise Mistake(f"cannot read {file}: {error.strerror}") from None
        for number, body in enumerate(bodies, 1):
            if body.strip():
                found.append(line(body, f"{file}:{number}"))
    if not any(not one.note for one in found):
        raise Mistake("no events in " + ", ".join(map(str, files)))
    return sorted(found, key=lambda one: one.at)


def line(body: bytes, place: str) -> Line:
    try:
        head = _head(body)
        at = milliseconds(head.timestamp)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Mistake(f"{place}: {error}") from None
    if at is None:
        raise Mistake(f"{place}: evaluation goes by time, and this line has no timestamp")
    user = head.user_id or (f"anon:{head.anonymous_id}" if head.anonymous_id else "")
    return Line(at, head.type is None, user, head.note_id, head.type or "", body)


class Test(NamedTuple):
    """One tested engagement."""

    at: int
    history: int
    """earlier engagements of the user"""
    gap: int
    """ms since the user's last event, -1 without one"""
    rank: float
    """of the note among all candidates, from 0; inf where it was none of them, or nobody had engaged with it"""
    served: bool
    """among the ten that the feed would show"""
    known: bool
    """somebody had engaged with the note"""
    like: float
    """expected likes per exposure"""
    liked: bool
    ms: float


class System:
    """The whole system in this process: stages on lists and a memory store, and the feed's pipelines."""

    def __init__(self, settings: Settings, surface: str, pipelines: Any = None) -> None:
        self.settings, self.surface = settings, surface
        self.local = Local(settings, late=LATE, keep=False)
        self.clock = StreamClock(lambda: self.local.now / 1000.0, settings.engine.tick_lag_s)
        self.snapshot = Snapshot(self.local.store, settings, self.clock)
        self.pipelines = pipelines or build
        self.pipeline: Pipeline = self.pipelines(settings, None, "")[surface]
        self.models = Models(settings)
        self.feed = Feed(self.local.store, self.snapshot, self.clock, settings)
        self.asked = 0

    async def begin(self) -> None:
        await self.local.pump()
        await self.snapshot.refresh()

    def append(self, one: Line) -> None:
        self.local.now = max(self.local.now, one.at)
        self.local.append("notes" if one.note else "events", one.body)

    async def pump(self) -> None:
        await self.local.pump()
        if await self.models.refresh(self.local.store, self.local.manifest.at("learner", 0)):
            self.pipeline = self.pipelines(self.settings, self.models.model, self.models.version)[self.surface]

    def shadow(self, page: Page) -> None:
        """What was asked for and shown to nobody, to be learned from in the same way as what is shown."""
        if page.scored is not None:
            now = self.local.now
            self.local.append("by-user", logged(page, shadow_of(page, SHADOW), now, now), page.query.user_id.encode())

    async def ask(self, user: str, at: int) -> Page:
        """The first page of a feed, and everything it was chosen from. Seeded by how many were asked: every run is the same.

        `at` is when he asks, epoch ms: a stream that is live ticks, so that its clock shows that time, however few users there are.
        """
        self.asked += 1
        self.local.now = max(self.local.now, at)
        self.clock.saw(self.local.now, self.local.now)
        request = f"eval-{self.asked}"
        query = Query(user, hash64(user), self.surface, HITS, request, hash64(request))
        answer = await self.feed.answer(query, self.pipeline)
        if answer.page.degraded:
            raise Mistake(f"the feed is degraded: {answer.page.degraded}")
        return answer.page

    async def expected(self, page: Page, note: int, row: int) -> float:
        """Likes per exposure expected of the note, be it a candidate or not; NaN for a note that is not known."""
        if row >= 0 and page.scored is not None:
            return float(page.scored.predictions[row, LIKE])
        keys = self.snapshot.keys
        assert keys is not None
        notes, _ = notes_from(await self.local.store.read(keys.note("note", [note])))
        if not notes.size:
            return float("nan")
        # Among the candidates: what features tell of a note, they tell in comparison with those beside it.
        at = int(np.searchsorted(page.candidates.hashes, np.uint64(note)))
        beside = page.candidates._replace(
            hashes=np.insert(page.candidates.hashes, at, np.uint64(note)),
            sources=np.insert(page.candidates.sources, at, 0),
            rank=np.insert(page.candidates.rank, at, 0),
            inside=np.insert(page.candidates.inside, at, False),
        )
        records = np.concatenate([page.notes[:at], notes, page.notes[at:]])
        return float(self.pipeline.scorer.score(page.query, page.viewer, beside, records).predictions[at, LIKE])

    def freeze(self) -> None:
        """From here on what is global stays as it is; what is a user's own moves: his record, and his vector in the model."""
        for i, (_, part) in enumerate(self.local.parts):
            if part.stage.name == "learner" and part.shared is not None:
                part.shared.model.settle()
            elif part.stage.name not in ("intake", "users"):
                self.local.read[i] = 2**62


def standing(page: Page, note: int) -> tuple[int, float]:
    """Row of the note among the candidates (-1: none) and its place in their ranked order, ties at mid-rank."""
    if page.scored is None:
        return -1, float("inf")
    at = int(np.searchsorted(page.candidates.hashes, np.uint64(note)))
    if at >= page.candidates.hashes.size or int(page.candidates.hashes[at]) != note:
        return -1, float("inf")
    score = page.scored.score
    own = score[at]
    return at, float(np.count_nonzero(score > own)) + 0.5 * (float(np.count_nonzero(score == own)) - 1.0)


def engagements(log: Sequence[Line]) -> tuple[dict[int, bool], dict[tuple[str, str], int]]:
    """Index of a user's first event with a note that he engages with -> whether he likes it; and of each first engagement."""
    first: dict[tuple[str, str], int] = {}
    engaged: dict[tuple[str, str], int] = {}
    liked: set[tuple[str, str]] = set()
    for i, one in enumerate(log):
        if one.note or not one.note_id:
            continue
        pair = (one.user, one.note_id)
        first.setdefault(pair, i)
        if one.type in ENGAGEMENTS:
            engaged.setdefault(pair, i)
        if one.type == "like":
            liked.add(pair)
    return {first[pair]: pair in liked for pair in engaged}, engaged


Progress = Callable[[int, int, "list[Test]"], None]


class Run:
    """One pass over a log."""

    def __init__(self, system: System, warmup: int, progress: Progress | None = None) -> None:
        self.system, self.warmup, self.progress = system, warmup, progress
        self.tests: list[Test] = []
        self.known: set[str] = set()
        self.shown: set[int] = set()
        self.taken: set[str] = set()
        """notes that somebody engaged with"""
        self.history: defaultdict[str, int] = defaultdict(int)
        self.last: dict[str, int] = {}
        self.events = 0
        self.seconds = 0.0

    async def over(self, log: Sequence[Line]) -> None:
        """Tests, then learns, every event; the first `warmup` engagements are only learned from."""
        begun, shown_at = time.perf_counter(), 0.0
        system, (due, engaged) = self.system, engagements(log)
        counted = {i: pair for pair, i in engaged.items()}
        await system.begin()
        done = 0
        for i, one in enumerate(log):
            liked = due.get(i)
            if liked is not None:
                await system.pump()
                tested = await self.test(one, liked, done >= self.warmup)
                if done >= self.warmup:
                    self.tests.append(tested)
            system.append(one)
            if one.note:
                self.known.add(one.note_id)
                await system.pump()
                continue
            self.events += 1
            self.last[one.user] = one.at
            if i in counted:
                self.taken.add(one.note_id)
                self.history[one.user] += 1
                done += 1
            if self.progress is not None and time.perf_counter() - shown_at > PROGRESS_S:
                shown_at = time.perf_counter()
                self.progress(i, len(log), self.tests)
        await system.pump()
        self.seconds = time.perf_counter() - begun

    async def test(self, one: Line, liked: bool, testing: bool) -> Test:
        system, note = self.system, hash64(one.note_id)
        begun = time.perf_counter()
        page = await system.ask(one.user, one.at)
        ms = (time.perf_counter() - begun) * 1000.0
        row, rank = standing(page, note)
        # A log knows a note from its first event on. One published for that event would be told by its age: it is a miss, and teaches nothing.
        known = one.note_id in self.taken
        if known:
            system.shadow(page)
        else:
            rank = float("inf")
        if page.scored is not None and testing:
            best = np.argsort(-page.scored.score, kind="stable")[:HITS]
            self.shown.update(page.candidates.hashes[best].tolist())
        served = known and any(int(page.candidates.hashes[placed.row]) == note for placed in page.placed)
        like = await system.expected(page, note, row)
        gap = one.at - self.last[one.user] if one.user in self.last else -1
        return Test(one.at, self.history[one.user], gap, rank, served, known, like, liked, ms)


def figures(run: Run) -> dict[str, Any]:
    """The JSON of a run."""
    tests = run.tests
    rank = np.array([t.rank for t in tests])
    hit = rank < HITS
    gain = np.where(hit, 1.0 / np.log2(2.0 + np.where(hit, rank, 0.0)), 0.0)
    history, gap = np.array([t.history for t in tests], np.int64), np.array([t.gap for t in tests], np.int64)
    like, liked = np.array([t.like for t in tests]), np.array([t.liked for t in tests], np.bool_)
    ms = np.array([t.ms for t in tests])
    told = ~np.isnan(like)
    return {
        "events": run.events,
        "tested": len(tests),
        "hr_at_10": mean(hit),
        "hr_at_10_served": mean(np.array([t.served for t in tests])),
        "hr_at_10_known": mean(hit[np.array([t.known for t in tests], np.bool_)]) if tests else None,
        "ndcg_at_10": mean(gain),
        "hr_at_10_cold": mean(hit[history < COLD]) if tests else None,
        "hr_at_10_gap60": mean(hit[gap > GAP_MS]) if tests else None,
        "coverage": round(len(run.shown) / len(run.known), 4) if run.known else None,
        "like_auc": auc(like[told], liked[told]) if tests else None,
        "like_logloss": logloss(like[told], liked[told]) if tests else None,
        "events_per_second": round(run.events / run.seconds, 1) if run.seconds else None,
        "query_ms_p50": quantile(ms, 0.5),
        "query_ms_p99": quantile(ms, 0.99),
    }


def mean(values: npt.NDArray[Any]) -> float | None:
    return round(float(np.mean(values)), 4) if values.size else None


def quantile(values: npt.NDArray[np.float64], q: float) -> float | None:
    return round(float(np.quantile(values, q)), 3) if values.size else None


def auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    """Probability that a positive scores above a negative, ties one half; None without both.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    n = int(positive.sum())
    if not 0 < n < positive.size:
        return None
    _, at, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[at]
    return round(float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (positive.size - n))), 4)


def logloss(p: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float | None:
    if not p.size:
        return None
    inside = np.clip(p, 1e-6, 1.0 - 1e-6)
    return round(float(-np.mean(np.where(positive, np.log(inside), np.log1p(-inside)))), 4)


# ------------------------------------------------------------------------------------------------------------------ shift


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
    """A new interest overnight: everything global is learned from all the others and frozen, then each of a pair lives the other's life."""
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
    for low, high in SHIFT_BINS:
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


# ------------------------------------------------------------------------------------------------------------------- show


def evaluate(
    settings: Settings,
    files: Sequence[Path],
    warmup: int = 10_000,
    surface: str = "feed",
    shift: int = 0,
    seed: int = 1,
    limit: int = 0,
    progress: Progress | None = None,
    pipelines: Any = None,
) -> tuple[dict[str, Any], Run]:
    """All figures, and the run they come from. `limit`: only the first so many lines; `pipelines`: instead of `serving.build.build`."""
    log = lines(files)
    if limit:
        log = log[:limit]
    run = Run(System(settings, surface, pipelines), warmup, progress)
    asyncio.run(run.over(log))
    found = figures(run)
    if shift:
        found["shift_hr"] = asyncio.run(shifted(System(settings, surface, pipelines), log, shift, seed, progress))
    return found, run


def show(
    settings: Settings,
    files: Sequence[Path],
    warmup: int,
    surface: str,
    shift: int,
    seed: int,
    limit: int,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """The command: progress on stderr, then a table or JSON."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    if surface not in ("feed", "nearby"):
        raise Mistake(f"--surface {surface}: feed or nearby")
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def moved_on(done: int, total: int, tests: list[Test]) -> None:
            hits = sum(t.rank < HITS for t in tests[-5000:]) / min(5000, len(tests)) if tests else 0.0
            bar.update(task, completed=done, total=total, description=f"HR@10 of the last {min(5000, len(tests))}: {hits:.3f}")

        found, run = evaluate(settings, files, warmup, surface, shift, seed, limit, moved_on)
    if plot is not None:
        draw(run, plot)
    if as_json:
        print(json.dumps(found))
        return
    table = Table(title=f"{surface}: {', '.join(file.name for file in files)}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in found.items():
        if name != "shift_hr":
            table.add_row(name, "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    for ages, value in found.get("shift_hr", {}).items():
        table.add_row(f"hr_at_10, events {ages} after a shift", "–" if value is None else f"{value:.3f}")
    Console().print(table)


def draw(run: Run, file: Path) -> None:
    """HR over time and by user age."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Mistake("--plot needs matplotlib: pip install 'upwell[plot]'") from None

    hit = np.array([t.rank < HITS for t in run.tests], np.float64)
    figure = Figure((11.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    step = max(1, hit.size // 40)
    left.plot(
        [i + step for i in range(0, hit.size - step + 1, step)], [hit[i : i + step].mean() for i in range(0, hit.size - step + 1, step)]
    )
    left.set(xlabel="tested engagements", ylabel="HR@10", ylim=(0, None), title="over time")
    history = np.array([t.history for t in run.tests])
    edges = [0, 1, 3, 6, 12, 25, 60, 150, 400]
    bins = [(low, high) for low, high in zip(edges, [*edges[1:], 10**9], strict=True) if ((history >= low) & (history < high)).any()]
    names = [f"{low}" if high == low + 1 else f"{low}–{high - 1}" if high < 10**9 else f"{low}+" for low, high in bins]
    right.bar(names, [hit[(history >= low) & (history < high)].mean() for low, high in bins])
    right.set(xlabel="earlier engagements of the user", ylabel="HR@10", title="by user age")
    right.tick_params(axis="x", labelsize=8)
    figure.savefig(file, dpi=120)
