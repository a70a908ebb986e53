"""What stands beside the tables in `benchmarks/README.md`: what is wanted, what was tried, and where the time goes. Kept here, so that a rerun keeps them."""

from __future__ import annotations

REMARKS = {
    "whole_job": """\
Wanted: ten times the twin, and 20,000 events/s per core of worker CPU. The twin's tuning is described in `plain_faust.py`. What was tried beside
what is there: compiling the weights, rings and decay with mypyc (no change within the noise: most of the time is spent in C already, in
attribute access, and in memory that is not in the cache), and fusing the two passes over a note's weights (a tenth of that step, not worth a second way).""",
}
