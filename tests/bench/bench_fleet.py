"""
Cost of the simulated fleet: microseconds per simulated GPU-second, against a plain loop over the same physics.

`python tests/bench/bench_fleet.py` prints one JSON line per figure.
"""

import json
import math
import random
import sys
import time
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from deploy.fleet import curves
from deploy.fleet.history import history
from deploy.fleet.host import next_tick, nodes
from deploy.fleet.model import (
    ENGINE_SIGMA,
    ENGINE_TAU_S,
    GPU_SIGMA,
    GPU_TAU_S,
    FleetModel,
)
from deploy.fleet.plan import plan
from deploy.fleet.settings import FleetSettings
from pipeline.codec import Codec
from pipeline.topics import HOST_TICKS

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
PACIFIC = "America/Los_Angeles"
STEP_S = 0.2
STEPS = 100


def fleet() -> FleetModel:
    """Return 1600 GPUs at twice real time, a third of them under a cap."""
    model = FleetModel(plan(FleetSettings(), PACIFIC), START.timestamp(), pace=2.0)
    capped = np.arange(0, model.gpus, 3)
    model.set_limit(capped, np.full(len(capped), 350.0))
    return model


def straight(share: float, curve: curves.ThroughputCurve) -> float:
    """Return the curve at *share*, by bisection."""
    right = min(max(bisect_right(curve.power_share, share), 1), len(curve.power_share) - 1)
    (low, high), (left, end) = (
        list(pairwise(points))[right - 1] for points in (curve.power_share, curve.throughput_share)
    )
    return left + (end - left) * (share - low) / (high - low)


def loop_us(model: FleetModel) -> float:
    """Return what one GPU-second costs when each GPU is stepped by itself in plain Python; demand is free here."""
    target_w, limits_w = model.target_w.tolist(), model.limit_w.tolist()
    count, draw = model.gpus, random.Random(7).gauss
    noise, engine, ceiling_w = [0.0] * count, [0.0] * count, [700.0] * count
    energy_j, tokens, average_w = [0.0] * count, [0.0] * count, [0.0] * count
    steps = STEPS // 10
    began = time.perf_counter()
    for _ in range(steps):
        for gpu in range(count):
            keep = math.exp(-STEP_S / GPU_TAU_S)
            noise[gpu] = keep * noise[gpu] + math.sqrt(1 - keep * keep) * draw(0, 1)
            keep = math.exp(-STEP_S / ENGINE_TAU_S)
            engine[gpu] = keep * engine[gpu] + math.sqrt(1 - keep * keep) * draw(0, 1)
            wanted_w = 70 + (target_w[gpu] - 70) * (1 + GPU_SIGMA * noise[gpu] + ENGINE_SIGMA * engine[gpu])
            tau_s = 2 * (curves.LOWER_TAU_S if ceiling_w[gpu] > limits_w[gpu] else curves.RAISE_TAU_S)
            ceiling_w[gpu] = limits_w[gpu] + (ceiling_w[gpu] - limits_w[gpu]) * math.exp(-STEP_S / tau_s)
            mean_w = min(wanted_w, ceiling_w[gpu])
            energy_j[gpu] += mean_w * STEP_S
            average_w[gpu] += (mean_w - average_w[gpu]) * -math.expm1(-STEP_S / 2)
            tokens[gpu] += STEP_S * straight(mean_w / wanted_w, curves.TRAINING_UNDER_CAP)
    return (time.perf_counter() - began) / (steps * STEP_S * count) * 1e6


def arrays_us(model: FleetModel) -> float:
    """Return what one GPU-second costs in the model itself, demand and counters included."""
    began = time.perf_counter()
    for number in range(1, STEPS + 1):
        model.step(START.timestamp() + STEP_S * number)
    return (time.perf_counter() - began) / (STEPS * STEP_S * model.gpus) * 1e6


def ticks_us(model: FleetModel) -> tuple[float, float]:
    """Return what one tick costs to make and to encode, microseconds, and its mean size in bytes."""
    hosts, codec = nodes(model.plan.layout, "bench", "boot", START.timestamp()), Codec(HOST_TICKS)
    began = time.perf_counter()
    size = sum(len(codec.encode(next_tick(node, model, START))) for node in hosts)
    return (time.perf_counter() - began) / len(hosts) * 1e6, size / len(hosts)


def main() -> None:
    """Print the figures."""
    arrays, loop = arrays_us(fleet()), loop_us(fleet())
    tick_us, tick_bytes = ticks_us(fleet())
    began = time.perf_counter()
    rows = history(FleetSettings(), 60, START, timedelta(minutes=1), timezone=PACIFIC).height
    figures = (
        {"bench": "fleet.step", "us_per_gpu_second": round(arrays, 3), "plain_loop_us_per_gpu_second": round(loop, 3)},
        {"bench": "fleet.step", "times_faster_than_plain_loop": round(loop / arrays, 1)},
        {"bench": "fleet.tick", "us_per_tick": round(tick_us, 1), "bytes_per_tick": round(tick_bytes)},
        {"bench": "fleet.history", "rows": rows, "seconds": round(time.perf_counter() - began, 2)},
    )
    for figure in figures:
        sys.stdout.write(json.dumps(figure) + "\n")


if __name__ == "__main__":
    main()
