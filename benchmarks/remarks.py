"""What stands beside the tables in `benchmarks/README.md`: what is wanted, what was tried, and where the time goes. Kept here, so that a rerun keeps them."""

from __future__ import annotations

REMARKS = {
    "whole_job": """\
Wanted: ten times the twin, and 20,000 events/s per core of worker CPU. The twin's tuning is described in `plain_faust.py`. What was tried beside
what is there: compiling weights, rings and decay with mypyc (no change within the noise: most of the time is spent in C already, in looking up
attributes, and in waiting for memory), and fusing the two passes over a note's weights (a tenth of that step, not worth a second way).
A busy machine counts for more than all of these changes: an earlier run with the loop at 73 ms gave 54 µs.
20,000 is reached: 21,739 here, though the machine's loop took longer than in the four runs before (20,202, 19,231, 18,868, 16,807, on code that kept larger users' objects).""",
    "stages": """\
The limit: the users' fold is a third of all. An exposure takes 8 µs there when everything is in the processor's cache, half of it on the five or so
weights of the note (a search, a read and a write each, 0.3 µs in all), and 12 µs over 20,000 users, whose records are not. Decoding JSON takes
0.35 µs and packing a signal 0.1 µs: what is left is Python's own steps, spread evenly.""",
    "latency": """\
Wanted: p50 and p99 as in the last column, over 10,000 samples, while 2,000 events/s pass. **Not met**, and 10,000 samples cannot be had here: the embedded broker, which is another's program and keeps its logs in
memory, takes more time for every request the more batches it holds: 32 per cent of a core in the first seconds of this load, 96 after two and a half minutes, with the worker waiting for it. Production is Apache Kafka, below.
Right after the start worker, broker, API and the asking benchmark together use nearly both cores. Mean time in ms from an event's append until a stage's state had it (six seconds with the sampling beside, before and after the two changes
below): intake 30 → 5, users 101 → 9, notes 147 → 12, lists 186 → 14. What it was: an event's way through Faust's conductor and back took six turns of the worker's loop a
stage, each behind whatever was folded then, and three stages waited for a fetch of what this very worker had written (docs/decisions/0014). What is left of a
stage: a produce request 1.2 to 1.8 ms, the wait for the one under way before it about as much again, the write 1 ms, the fold with its reads 0.1 to 0.9 ms; and half of
`kafka.fetch_wait_ms` at most until the events' own fetch is answered. Next would be fewer pieces: 1,400 to 1,800 a second
at half a millisecond of CPU each, of which producer and store's client are about a quarter; lists that commit every 20 ms gained nothing (Apache Kafka, 3,000
samples one after the other: 17 / 23 ms as it is, 23 / 30 ms so, the worker at 78 per cent of a core both times).""",
    "latency_kafka": """\
Wanted: p50 and p99 as in the last column, while 2,000 events/s pass. **Not met**: p50 by 4.1 and 1.6 ms, p99 by a factor of two (before the changes described for the embedded broker: 44 / 124
and 53 / 203 ms with 400 samples). Shorter runs on a less busy half hour met it once (400 samples: 8.3 / 28 and 9.9 / 17 ms). The times are those described there: the worker needs 76 per cent of a
core for some 1,800 pieces a second, worker, API, broker and load together 1.5 of the two, and one sample in a hundred meets several of them at once.""",
    "feed_http": """\
Wanted: p99 ≤ 10 ms at 300 requests/s, and 600 feeds/s per core. **Not met** with the learned ranker over all sources, but for the run above: on the same quiet
machine six runs more at 300 a second had a p99 of 12.9, 15.9, 18.4, 18.7, 22.7 and 30.7 ms. One process is at work nearly 90 % of the time then; a feed costs 2.9 to 3.0 ms of CPU
(3.15 and 3.46 in the last two of these), so that it carries some 340. At 100 a second p99 is 5.7 ms. With two processes (`--processes 2`), which share the two cores with the store and
with those who ask, it was 9.1 ms at 100 and 26.1 at 300 before the last four changes below (299 answered, 4.6 ms of CPU a feed: caches are shared, too). CPU is per answered feed; what comes beyond a process' room is
turned away with 503. In turns with the code before those four changes at 300 a second, four times on a machine with other work: 2.97 to 3.18 ms of CPU a feed instead of 3.01 to 3.45 (means 3.04
and 3.22, though a feed asks for more since), 294 to 298 answered a second instead of 276 to 300, p99 19 to 23 ms instead of 14 to 29. Huge pages under the allocator
(`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, in turns): 2.97 to 3.00 ms of CPU instead of 2.90 to 3.46, p99 17.2 to 18.9: no gain.

What was taken out, in the order it was found: a second frame of features for the pools' expectation, a product for each of a dozen sums over neighbours, float16 by way of numpy, numbers that
are nearly zero, look-ups of the ranker's notes one by one, vectors in the mixing, records copied field by field, FastAPI's handling of parameters, three calls around each of the store's forty answers;
streams and buffers under the store's client (`store/link.py`), numpy's wrappers, distances computed three times, gathers by several axes, a MAC keyed anew for each cursor; then loops in
kernels ([0015](../docs/decisions/0015-kernels.md)): mixing, the order of hashes, scores and candidates, the pools' draw, sums over neighbours, neighbour heads from their bytes, the merging of lists, tags,
the user's side of the features; garbage is looked for at 2,000 objects instead of 20,000 (0.25 ms at a time, 2.5 before);
slates that leave together (`api.slates_wait_ms`: the producer took 0.25 ms a feed, 0.14 with groups of three), all that FastAPI and Starlette do between the edge and a feed's route, what pool
notes want note by note (35 of 190 µs), an object for each of 550 keys and records (`Store.table`: a read of them took 197 µs of CPU, 158 without). Each of these was measured in turns with
the code before; what is decided and logged stayed the same (2,260 pages of all surfaces and their slates, 2,734 for the last four).

Where CPU goes over HTTP, by samples before the last of these: 3.6 of 4.5 ms inside the route, 0.2 where the store's answers arrive, 0.7 uvicorn, Starlette, producer and loop. In process the pools'
draw takes 0.22 ms, classifiers 0.13, the ranker 0.12. The shares are flat.

What makes the tail, with every callback of the loop timed at 200 feeds a second: none took over 3.1 ms. Of 750 ms of CPU a second feeds took 592, the producer 58, what came on sockets 38, the
snapshot 1.6, garbage 1.3, lag 0.9, the gates' pulse 0.9, heartbeat and `/ops` 0.1. At 250 a second the slowest feeds of a hundred took 13.7 ms, and for 12.6 of these the loop was at work, mostly
on others: it is the queue, so that shorter feeds are what would cut it. Next to other work it is the store that waits for a core, 0.4 ms a read. Parts of a feed (the body, who asks, keys,
classifiers) take half as long when they are run again and again as they do within a feed, whose code and data the caches do not hold. An interpreter that was built with profile-guided optimisation
(Debian's 3.11.2) takes 2.04 ms for a feed in process where the table's takes 2.22.

Tried and dropped: deciding one or two feeds at a time instead of all that are ready (the queue moves in front of the gate); the ranker's members side by side for each note, searches without
branches (no difference). Ranking 200 candidates instead of 500 while the process is short of time: 3.24 and 3.34 ms of CPU a feed instead of 3.42 and 3.76 at 300 a second, in turns; p99 18 and 26 ms
instead of 29 and 30, on a noisier machine than the table's. Most of a feed does not depend on how many candidates there are.
Looked at and left: caching records by their bytes: looking 500 of them up takes longer than decoding them.""",
    "overload": """\
Wanted: p99 of what is accepted ≤ 50 ms at five times the capacity. **Met** with `api.reads_at_once` of 4, as set. With 6 it was 70.9 ms (171 accepted a second), with 3 45.7 ms (157).""",
    "quota": """\
What the pools give after places of all kinds have used a quota up counts as beyond it; 300 notes, 2 places a page, 90 s, nothing else running.

What was not answered was refused: two cores carry broker, store, worker, two APIs and their people just so, and less while a worker starts anew. Asked for
300 a second (without `--rate`) two runs answered 291 and 284, with 299 and 300 quotas used up and 2.0 % beyond at most. On code that took 5.5 ms a feed
they answered 222, on a machine with other work 237.

`python -m benchmarks.quota --clock --kill 40`: the objects of two API processes, all stages and the people in one process, by a clock that skips what
nobody waits for. All settings are defaults but `feed.pool_share`; the worker is dead from second 40 to 46.

300 feeds/s by the clock of the run: 27000 feeds, 54000 places seen, 0 notes counted wrong

| tier | notes given to | places of the pools | quotas used up | most beyond | mean beyond |
|---|---|---|---|---|---|
| base | 300 | 29303 | 300 | 2.0% | 0.34% |
| trial | 7 | 108 | 1 | 0.0% | 0.00% |
| rising | 4 | 467 | 1 | 0.0% | 0.00% |
| popular | 2 | 53 | 0 | 0.0% | 0.00% |
| top | 2 | 700 | 0 | 0.0% | 0.00% |

Wanted: at most 5 % beyond a quota at 300 feeds a second from two APIs, and bounded when the worker is killed. (The higher tiers' notes were promoted within
the run; their pace does not use their quotas up in it, places given by rank do.)""",
    "watched": """\
One worker's CPU, with and without, in turns; single pairs lie far apart on a machine as noisy as this, the median is what counts.""",
    "memory": """\
Wanted: 2,048 bytes hot at the median, 8,192 at p99 of the mix, 24,576 at the bounds; 500 MB with 100,000 users seen. **Met.** A worker with the learner has
numba, its compiler library and the compiled loops ([0015](../docs/decisions/0015-kernels.md)), some 130 MB, of which 70 are pages of the library's file that
all processes of a machine share, and 52 MB of scipy's statistics, which River's linear models load. What a stage keeps of its state is bounded by what
that takes in memory (`engine.cache_mb`). With 48 MB counted by encoded size, which was 200 of memory, a worker of four stages had 465 MB. The price: 150,000
events of 100,000 users took intake and users 47 and 48 µs of CPU each with the bound of 64 MB, 44 and 45 before, and 233 MB instead of 329.""",
    "idle": "Wanted: at most 50 and 10 per cent of one core.",
    "learner_fold": """\
In turns with the code before, on a busy machine: 10,183 with one ranker with vectors of 64, 7,985 and 8,225 with three with vectors of 32 and users of their own.
Before the ranker's step and that of likes were kernels it was 5,407 examples a second. What is left is River's classifiers, nine steps for an
engagement, and memory: the notes of a slate lie scattered in rows of 15,000. A logistic regression of our own, the same to the last bit, takes 9,840, 10,916 and
11,460 a second instead of 7,429, 9,113 and 7,475 in turns; River's is the default all the same, as one that others keep.""",
}
