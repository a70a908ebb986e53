"""One feed: read, decide, read the text of what is shown.

    round trip 1: the user's keys and the partition's clock        ─► Viewer
    round trip 2: all heads that the sources asked for             ─► Candidates ─► early filters
    round trip 3: records of candidates and of the user's recents  ─► filters ─► scorer ─► slots ─► Page
    round trip 4: facts and text of the notes shown                ─► response

Between them everything is pure and vectorised. This runner owns timing, counting and errors: a source that raises contributes nothing
and is counted; a store that fails or is too slow gives the last good hot notes, marked degraded. A filter that raises is a bug, and
what it would have kept out is never shown: the request fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import structlog
from msgspec import structs
from prometheus_client import Counter, Histogram

from config import metrics
from config.records import SOURCES, Facts
from config.settings import Settings
from models.interest import Interests
from models.note import Text
from models.sorting import RESERVE, bring, descending
from models.user import LEDGER, Hot
from serving.allotment import Allotment
from serving.asker import recent_hashes
from serving.clock import StreamClock, partition_state
from serving.keys import Keys
from serving.mix import Mix
from serving.slots import RANKED, passed_over, place
from serving.snapshot import Snapshot
from serving.stages import Ask, Candidates, EarlyFilter, Filter, Hashes, Page, Placed, Query, Reader, Scorer, Source, Viewer
from serving.text import facts_from, text_from
from serving.viewer import NO_TASTE, PARTS, viewer_from
from store.base import Store, StoreError
from store.layout import HEAD, NOTE, heads_from, records, taken

log = structlog.get_logger("serving.feed")

ENOUGH = 4
"""Pages of others, where candidates of rank `RESERVE` and beyond are not taken."""
NO_PLACES = np.empty(0, np.intp)
AMONG = 200
"""So many of the best candidates the sample of those not shown is drawn from."""


class Pipeline(NamedTuple):
    """What one surface is made of; `build.py` lists them."""

    sources: Sequence[Source]
    early: Sequence[EarlyFilter]
    filters: Sequence[Filter]
    scorer: Scorer
    pools: bool
    """places are reserved for notes in the traffic pools"""
    mixed: bool = False
    """what stands together differs, and some places are chances"""
    readers: Sequence[Reader] = ()
    """sources whose notes stand in no list"""


class Answer(NamedTuple):
    """A decided page and what people see of it, in the order of `page.placed`."""

    page: Page
    facts: Sequence[Facts]
    texts: Sequence[Text]
    state_as_of: int
    """clock of the user's partition, epoch ms"""
    took_ms: float


class Feed:
    """Runs pipelines. Holds no state of its own but counters."""

    def __init__(self, store: Store, snapshot: Snapshot, clock: StreamClock, settings: Settings) -> None:
        self.store, self.snapshot, self.clock = store, snapshot, clock
        self.rules = settings.feed
        self.allotment = Allotment(settings.pool, settings.feed, snapshot.underway)
        self.mix = Mix(settings.feed)
        self.interests = Interests(settings.interest)
        self.seconds: dict[str, Histogram] = {}
        self.dropped: dict[str, Counter] = {}
        self.candidates = {name: metrics.FEED_CANDIDATES.labels(name) for name in SOURCES}

    async def answer(self, query: Query, pipeline: Pipeline) -> Answer:
        """Decides one feed. Raises nothing that a request could cause."""
        began = perf_counter()
        keys = self.snapshot.keys
        try:
            if keys is None:
                page, facts, texts, as_of = self.fall_back(query, pipeline, "starting")
            else:
                async with asyncio.timeout(self.rules.timeout_s):
                    page, facts, texts, as_of = await self.decide(query, pipeline, keys)
        except (StoreError, TimeoutError) as error:
            self.snapshot.wrong("store", str(error) or f"no answer within {self.rules.timeout_s:g} s")
            page, facts, texts, as_of = self.fall_back(query, pipeline, "store")
        took = perf_counter() - began
        seconds = self.seconds.get(query.surface)
        if seconds is None:
            seconds = self.seconds[query.surface] = metrics.FEED_SECONDS.labels(query.surface)
        seconds.observe(took)
        if page.degraded:
            metrics.FEED_DEGRADED.labels(page.degraded).inc()
        return Answer(page, facts, texts, as_of, took * 1000.0)

    async def decide(self, query: Query, pipeline: Pipeline, keys: Keys) -> tuple[Page, list[Facts], list[Text], int]:
        store = self.store
        values = await store.read([*keys.user(query.user_id, query.user, PARTS), keys.clocks[query.user % keys.users]])
        state = partition_state(values.pop())
        if state is not None:
            self.clock.saw(state.clock, state.appended)
        viewer = viewer_from(query, values, self.clock.now, self.interests)

        asks, of = self.asked(query, viewer, pipeline.sources)
        width = HEAD.itemsize
        wanted = [(reader, reader.wants(query, viewer, keys)) for reader in pipeline.readers]
        others = [key for _, wants in wanted for key in wants]
        ranges = [(keys.head(ask.name), ask.start * width, (ask.start + ask.places) * width - 1) for ask in asks]
        heads = await store.read(others, ranges) if others or ranges else []
        viewer, found = self.found(query, viewer, wanted, heads)
        candidates = self.gather(asks, of, heads[len(others) :], found)
        for early in pipeline.early:
            candidates = self.kept(early.name, candidates, early.keeps(query, viewer, candidates))
        if np.count_nonzero(enough := candidates.rank < RESERVE) >= ENOUGH * query.n:
            candidates = candidates.take(enough)
        if candidates.hashes.size > self.rules.candidates:
            candidates = candidates.take(best_of(candidates.rank, self.rules.candidates))

        count, recent = candidates.hashes.size, recent_hashes(viewer)
        names = keys.records(np.concatenate([candidates.hashes, recent])) if count else ()
        read = records(await store.table(names, NOTE.itemsize) if count else b"")
        notes = read[:count]
        if count and recent.size:
            viewer = structs.replace(viewer, recent=read[count:])
        if not (there := notes["version"] != 0).all():
            candidates, notes = candidates.take(there), taken(notes, there)
        for judge in pipeline.filters:
            keep = judge.keeps(query, viewer, candidates, notes)
            if not keep.all():
                candidates, notes = self.kept(judge.name, candidates, keep), taken(notes, keep)
        page = self.page(query, viewer, candidates, notes, pipeline)

        shown = [int(candidates.hashes[p.row]) for p in page.placed]
        texts = await store.read([*keys.note("facts", shown), *keys.note("text", shown)]) if shown else []
        facts = [facts_from(value) for value in texts[: len(shown)]]
        if None in facts:  # a record without facts cannot be shown: its id is not known
            known = [i for i, f in enumerate(facts) if f is not None]
            page = page._replace(placed=[page.placed[i] for i in known])
        else:
            known = list(range(len(shown)))
        return (
            page,
            [f for f in facts if f is not None],
            [text_from(texts[len(shown) + i]) for i in known],
            state.clock if state is not None else 0,
        )

    # ------------------------------------------------------------------------------------------------------------ parts

    def asked(self, query: Query, viewer: Viewer, sources: Sequence[Source]) -> tuple[list[Ask], list[int]]:
        """All asks, and the index in SOURCES of whoever asks."""
        asks: list[Ask] = []
        of: list[int] = []
        for source in sources:
            try:
                wanted = source.asks(query, viewer)
            except Exception:
                metrics.FEED_COMPONENT_ERRORS.labels(source.name).inc()
                log.exception("source failed", source=source.name)
                continue
            asks += wanted
            of += [SOURCES.index(source.name)] * len(wanted)
        return asks, of

    def found(
        self, query: Query, viewer: Viewer, wanted: Sequence[tuple[Reader, Sequence[bytes]]], values: Sequence[bytes | None]
    ) -> tuple[Viewer, list[tuple[int, Hashes]]]:
        """What readers make of their values, by their index in SOURCES, and what they learned of the viewer."""
        notes, at = [], 0
        for reader, wants in wanted:
            if wants:
                try:
                    viewer, hashes = reader.finds(query, viewer, values[at : at + len(wants)])
                    notes.append((SOURCES.index(reader.name), hashes))
                except Exception:
                    metrics.FEED_COMPONENT_ERRORS.labels(reader.name).inc()
                    log.exception("source failed", source=reader.name)
                at += len(wants)
        return viewer, notes

    def gather(
        self, asks: Sequence[Ask], of: Sequence[int], heads: Sequence[bytes | None], more: Sequence[tuple[int, Hashes]] = ()
    ) -> Candidates:
        """The heads, and `more` notes by the index of their source, as one set of candidates."""
        listed, counted = heads_from(heads)
        found = listed["hash"].astype(np.uint64)
        if more:
            found = np.concatenate([found, *(hashes for _, hashes in more)])
            counted = [*counted, *(hashes.size for _, hashes in more)]
            of = [*of, *(source for source, _ in more)]
        if not found.size:
            return Candidates(np.empty(0, np.uint64), np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.bool_))
        brought = [0] * len(SOURCES)
        for source, size in zip(of, counted, strict=True):
            brought[source] += size
        for source, size in enumerate(brought):
            if size:
                self.candidates[SOURCES[source]].inc(size)
        wanted = np.array([*[a.places for a in asks], *[max(hashes.size, 1) for _, hashes in more]], np.int64)
        reserve = np.array([*[a.reserve for a in asks], *[False for _ in more]])
        within = np.array([*[a.inside for a in asks], *[False for _ in more]])
        if more or not all(a.by_score for a in asks):
            places = NO_PLACES
        else:
            places = np.empty(found.size, np.intp)
            places[descending(listed["score"])] = np.arange(found.size)
        n = found.size
        hashes, sources, rank, inside = np.empty(n, np.uint64), np.empty(n, np.uint8), np.empty(n, np.int64), np.empty(n, np.bool_)
        bits = np.array([1 << source for source in of], np.uint8)
        n = bring(found, np.array(counted, np.intp), bits, wanted, reserve, within, places, hashes, sources, rank, inside)
        return Candidates(hashes[:n], sources[:n], rank[:n], inside[:n])

    def kept(self, name: str, candidates: Candidates, keep: npt.NDArray[np.bool_]) -> Candidates:
        dropped = keep.size - int(np.count_nonzero(keep))
        if not dropped:
            return candidates
        child = self.dropped.get(name)
        if child is None:
            child = self.dropped[name] = metrics.FEED_DROPPED.labels(name)
        child.inc(dropped)
        return candidates.take(keep)

    def page(self, query: Query, viewer: Viewer, candidates: Candidates, notes: npt.NDArray[np.void], pipeline: Pipeline) -> Page:
        """Scores, places and the sample of what was passed over."""
        if not notes.size:
            return Page(query, viewer, candidates, notes, None, pipeline.scorer, [], [])
        rng = np.random.Generator(np.random.PCG64(query.seed))
        scored = pipeline.scorer.score(query, viewer, candidates, notes)
        pools = self.allotment if pipeline.pools else None
        placed, order = place(query, viewer, candidates, notes, scored, self.rules, rng, pools, self.mix if pipeline.mixed else None)
        if query.user_id:  # what is shown to nobody is no slate
            self.allotment.hold(query.seed, candidates, notes, placed, self.clock.wall())
        passed = passed_over(order, placed, self.rules.passed, AMONG, rng)
        return Page(query, viewer, candidates, notes, scored, pipeline.scorer, placed, passed)

    def fall_back(self, query: Query, pipeline: Pipeline, reason: str) -> tuple[Page, list[Facts], list[Text], int]:
        """The last good hot notes, in their order: nothing is known of who asks."""
        last = self.snapshot.fallback
        viewer = nobody(self.clock.now)
        notes = np.empty(0, NOTE) if last is None else last.notes
        hashes = notes["hash"].astype(np.uint64)
        hot = np.full(hashes.size, 1 << SOURCES.index("hot"), np.uint8)
        candidates = Candidates(hashes, hot, np.arange(hashes.size), np.zeros(hashes.size, np.bool_))
        keep = np.ones(hashes.size, np.bool_)
        for early in pipeline.early:
            keep &= early.keeps(query, viewer, candidates)
        keep &= notes["author"] != np.uint64(query.user)  # of the filters by record the one that needs nothing of the user's
        rows = np.flatnonzero(keep).tolist()
        facts, texts = ([], []) if last is None else (last.facts, last.texts)
        if query.channel:
            rows = [row for row in rows if f"{facts[row].channel}/".startswith(f"{query.channel}/")]
        rows = rows[: query.n]
        placed = [Placed(row, RANKED, 1.0) for row in rows]
        page = Page(query, viewer, candidates, notes, None, pipeline.scorer, placed, [], reason)
        return page, [facts[row] for row in rows], [texts[row] for row in rows], self.clock.now


def best_of(ranks: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.intp]:
    """Rows of the `count` lowest ranks, ascending; of equals the first, as lists of different lengths may give two notes one rank.

    >>> best_of(np.array([4, 1, 4, 0]), 3).tolist()
    [0, 1, 3]
    """
    last = np.partition(ranks, count - 1)[count - 1]
    rows = np.flatnonzero(ranks <= last)
    return rows if rows.size == count else np.sort(np.argsort(ranks, kind="stable")[:count])


def nobody(now: int) -> Viewer:
    empty = np.empty(0, np.uint64)
    return Viewer(Hot(), False, now, [], [], [], NO_TASTE, empty, np.empty(0, LEDGER), (), empty)
