"""
What the rollup costs, 8 GPUs a tick, without Kafka; against decoding the same ticks one by one, and in bulk.

`python tests/bench/bench_rollup.py` prints one JSON line a figure: the median of five runs, taken in turns.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from statistics import median

import numpy as np
from unit.pipeline.ticks import NOON, at, steady

from pipeline import bulk, frames
from pipeline.rollup import Partition

HOSTS, SECONDS, GPUS, RUNS = 1000, 30, 8, 5
LENGTHS = (timedelta(minutes=1), timedelta(minutes=5))


def seconds(work: Callable[[], object]) -> float:
    """Return how long *work* takes, seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Print the figures."""
    series = zip(*(steady(SECONDS, host=f"host-{number}", gpus=GPUS) for number in range(HOSTS)), strict=True)
    ticks = list(chain.from_iterable(series))
    payloads = [frames.encode(tick) for tick in ticks]
    received_us = np.array([frames.micros(tick.measured_at) for tick in ticks])
    known: dict[int, object] = dict(bulk.decode(payloads, {}).layouts)
    figures: dict[str, list[float]] = {"one_by_one": [], "in_bulk": [], "rollup": [], "gauge": []}
    for _ in range(RUNS):
        partition = Partition(0, LENGTHS, "site-1")
        partition.add(payloads[:HOSTS], received_us[:HOSTS], HOSTS)
        rest, when = payloads[HOSTS:], received_us[HOSTS:]
        figures["one_by_one"].append(seconds(lambda: [frames.decode(payload) for payload in payloads[:HOSTS]]) * 30)
        figures["in_bulk"].append(seconds(lambda: bulk.decode(rest, known)))  # noqa: B023 - called at once
        figures["rollup"].append(seconds(lambda: partition.add(rest, when, len(payloads))))  # noqa: B023 - as above
        figures["gauge"].append(seconds(lambda: partition.due(at(SECONDS))))  # noqa: B023 - as above
    count = len(payloads) - HOSTS
    us = {name: median(values) / count * 1e6 for name, values in figures.items()}
    for name in ("one_by_one", "in_bulk", "rollup"):
        line = {"bench": "rollup", "what": name, "ticks": count, "us_per_tick": round(us[name], 3)}
        line |= {"ratio_to_bulk_decode": round(us[name] / us["in_bulk"], 2)}
        sys.stdout.write(json.dumps(line) + "\n")
    gauge_ms = median(figures["gauge"]) * 1000
    sys.stdout.write(json.dumps({"bench": "gauge", "hosts": HOSTS, "from": str(NOON), "ms": round(gauge_ms, 2)}) + "\n")


if __name__ == "__main__":
    main()
