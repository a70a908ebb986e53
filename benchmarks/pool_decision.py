"""What judging one note costs, and fitting a channel's bars: python benchmarks/pool_decision.py"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from models.pool import decide, enter, first_bars, need, publish
from models.quality import ACTIONS, Evidence, Recent, assess
from tools.simulate import configured


def best_us(work: Callable[[], object], times: int, rounds: int = 5) -> float:
    """The best of a few rounds, in microseconds of this process's own time a call: others share the machine."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - began) / times * 1e6)
    return min(found)


def main() -> None:
    rules = configured()
    bars, worth, rng = first_bars("", rules), rules.worth, random.Random(1)
    rates = [rules.prior.rates[name] for name in ACTIONS]

    def note() -> Evidence:
        times = rng.lognormvariate(0.0, 0.5)
        expected = tuple(100.0 * rate for rate in rates)
        return Evidence(100.0, tuple(float(int(times * e + rng.random())) for e in expected), expected)

    found, place, recent = note(), enter(0, rules), Recent("")
    for i in range(rules.prior.window):
        recent.add(i, 0, note(), rules.prior)
    print(f"assess   {best_us(lambda: assess(found, bars, worth), 5_000):10.1f} us a note")
    print(f"decide   {best_us(lambda: decide(place, found, bars, rules, 0), 5_000):10.1f} us a note, assess included")
    print(f"need     {best_us(lambda: need(place, 40.0, rules, 0), 5_000):10.1f} us a note")
    print(f"add      {best_us(lambda: recent.add(rng.getrandbits(60), 0, found, rules.prior), 1_000):10.1f} us a note that ends its base")
    print(f"publish  {best_us(lambda: publish(recent, rules), 5):10.1f} us a channel of {rules.prior.window} notes, once a minute at most")


if __name__ == "__main__":
    main()
