"""Rollup against bare decoding, 8 GPUs a tick: what the aggregation costs on top of reading. One JSON line a figure."""

import json
import time
from datetime import timedelta
from itertools import chain

import msgspec
from unit.pipeline.ticks import NOON, steady

from pipeline.messages.telemetry import HostTick
from pipeline.rollup import Partition

HOSTS, SECONDS, GPUS = 200, 60, 8
MINUTE = timedelta(minutes=1)


def main() -> None:
    """Print ticks a second of both, and the time of one gauge."""
    series = zip(*(steady(SECONDS, host=f"host-{number}", gpus=GPUS) for number in range(HOSTS)), strict=True)
    payloads = [msgspec.json.encode(tick) for tick in chain.from_iterable(series)]
    decoder = msgspec.json.Decoder(HostTick)

    started = time.perf_counter()
    for payload in payloads:
        decoder.decode(payload)
    decode_s = time.perf_counter() - started

    partition = Partition(0, MINUTE)
    started = time.perf_counter()
    for offset, payload in enumerate(payloads):
        partition.add(decoder.decode(payload), offset)
    rollup_s = time.perf_counter() - started

    started = time.perf_counter()
    partition.gauges(["site-1"], NOON + MINUTE)
    gauge_s = time.perf_counter() - started

    count = len(payloads)
    line = {"bench": "rollup", "ticks": count, "decode_per_s": round(count / decode_s)}
    line |= {"rollup_per_s": round(count / rollup_s), "ratio_to_decode": round(rollup_s / decode_s, 2)}
    print(json.dumps(line))  # noqa: T201 - a benchmark talks
    print(json.dumps({"bench": "gauge", "hosts": HOSTS, "ms": round(gauge_s * 1000, 2)}))  # noqa: T201 - as above


if __name__ == "__main__":
    main()
