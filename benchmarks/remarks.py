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
Wanted: p50 and p99 as in the last column, while 2,000 events/s pass. **Not met.** What is seen: an event of a backlog costs the worker 48 µs, one of 2,000 a second
about 300, since they come as frames of a few records, and a frame costs its reads, acknowledgements and checkpoint whatever it holds. What is
supposed and not measured yet: that pieces of all stages and partitions, which share one loop, wait for each other at each of these. Next would be
the time an event spends in each stage, then one read, one send and one round of commits for all partitions of a stage.""",
    "latency_kafka": """\
Wanted: p50 and p99 as in the last column, while 2,000 events/s pass. **Not met**, for the reasons given for the embedded broker.""",
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
