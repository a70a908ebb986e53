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
Wanted: p99 ≤ 10 ms at 300 requests/s, and 600 feeds/s per core. **Not met** with the learned ranker over all sources: a feed costs about 7 ms of CPU, one process carries some
145 a second, and what is beyond that is answered with the last hot notes ("failed"). Where the time goes in Python (shares, taken beside other work): scoring 500 candidates 29 % (42 features, then the ranker), what is expected of the page's pool notes 19 % (the features of these few once
more, as if nobody had met them), mixing 15 %, drawing the pools' places 8 %, the body 11 %, merging heads
and reading readers' values 9 %. Taken out so far: counting used-up tags at every place of a page (0.3 ms), a dozen powers of a decay. Next would be to score the
expectations in the same pass as the candidates.""",
    "memory": "Wanted: 2,048 bytes hot at the median, 8,192 at p99 of the mix, 24,576 at the bounds; 500 MB with 100,000 users seen.",
    "idle": "Wanted: at most 50 and 10 per cent of one core.",
}
