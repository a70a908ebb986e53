"""What stands beside the tables in `benchmarks/README.md`: what is wanted, what was tried, and where the time goes. Kept here, so that a rerun keeps them."""

from __future__ import annotations

REMARKS = {
    "whole_job": """\
Wanted: ten times the twin, and 20,000 events/s per core of worker CPU. The twin's tuning is described in `plain_faust.py`. What was tried beside
what is there: compiling weights, rings and decay with mypyc (no change within the noise: most of the time is spent in C already, in looking up
attributes, and in waiting for memory), and fusing the two passes over a note's weights (a tenth of that step, not worth a second way).
A busy machine counts for more than all of these changes: an earlier run with the loop at 73 ms gave 54 µs.""",
    "stages": """\
The limit: the users' fold is a third of all. An exposure takes 8 µs there when everything is in the processor's cache, half of it on the five or so
weights of the note (a search, a read and a write each, 0.3 µs in all), and 12 µs over 20,000 users, whose records are not. Decoding JSON takes
0.35 µs and packing a signal 0.1 µs: what is left is Python's own steps, spread evenly.""",
    "latency": """\
Wanted: p50 and p99 as in the last column, while 2,000 events/s pass. **Not met** here, but for the p99 of counter and pool: worker, broker, API and the asking benchmark together use nearly both cores, and
whatever waits, waits for one. Mean time in ms from an event's append until a stage's state had it (six seconds with the sampling beside, before and after the two changes
below): intake 30 → 5, users 101 → 9, notes 147 → 12, lists 186 → 14. What it was: an event's way through Faust's conductor and back took six turns of the worker's loop a
stage, each behind whatever was folded then, and three stages waited for a fetch of what this very worker had written (docs/decisions/0014). What is left of a
stage: a produce request 1.2 to 1.8 ms, the wait for the one under way before it about as much again, the write 1 ms, the fold with its reads 0.1 to 0.9 ms; and half of
`kafka.fetch_wait_ms` at most until the events' own fetch is answered. Without being put ahead of the other work (load 8), the same code gave 45 / 428 and 60 / 561 ms on
Apache Kafka. Earlier runs of 10,000 samples took longer than they were given: 50 ms each, two at a time, are four minutes. Next would be fewer pieces: 1,400 to 1,800 a second
at half a millisecond of CPU each, of which producer and store's client are about a quarter; lists could commit every 20 ms (tried twice on Apache Kafka: once p50 9 / 13 ms
against 12 / 17, once disturbed).""",
    "latency_kafka": """\
Wanted: p50 and p99 as in the last column, while 2,000 events/s pass. Note counter and pool meet it, the p50 of the interest weight is **not met** by 1.3 ms in this run
(400 samples before gave 8.3 / 28 and 9.9 / 17 ms). Its times are those described for the embedded broker: the worker needs 90 per cent of a core for 1,800 pieces a second.""",
    "feed_http": """\
Wanted: p99 ≤ 10 ms at 300 requests/s, and 600 feeds/s per core. **Not met** with the learned ranker over all sources: when the table was taken a feed cost about 7 ms of CPU,
one process carried some 145 a second, and what is beyond that is answered with the last hot notes ("failed"). The table is from before what follows, since no
quiet machine could be had for it again. Measured since, before and after in turns in one run on a busy machine: in process 5.8 ms and 4.4 ms (median of 60 turns), over HTTP
at 60/s 7.8 ms and 6.4 ms (mean of six turns); so some 15 to 25 % less, and far from 1.7 ms. Taken out: a second frame of features for the pools' expectation (it is read
off the row that was ranked, with what the note earned taken away), a product for each of a dozen sums over neighbours, float16 by way of numpy (0.2 ms), numbers that
are nearly zero, five hundred look-ups of the ranker's notes one by one, vectors in the mixing, records copied field by field, FastAPI's handling of parameters, and three calls
around each of the store's forty answers. Where the time goes now, in process (shares, busy machine): scoring 500 candidates 25 % (43 features, then the ranker), mixing 11 %, the body
9 %, drawing the pools' places 7 %, reading neighbours and friends 6 %, merging heads 4 %, what is expected of pool notes 4 %, who asks and what is asked for 4 %. Over HTTP comes
about 2 ms on top: the store's client, the producer, HTTP, and what the process does every second whatever is asked. It is
many small calls now, no one of which is large: less would take fewer of them, that is a kernel that scores in one call, outside of Python.""",
    "memory": "Wanted: 2,048 bytes hot at the median, 8,192 at p99 of the mix, 24,576 at the bounds; 500 MB with 100,000 users seen.",
    "idle": "Wanted: at most 50 and 10 per cent of one core.",
}
