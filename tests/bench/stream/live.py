"""
A fleet that ticks once a second, as a process: ``python -m bench.stream.live BOOTSTRAP HOSTS SECONDS alone|together``.

Hosts do not tick together: a twentieth of them does every 50 ms, with a producer of its own, for a producer has only
five requests on their way. ``alone`` writes every tick as a batch of its own, as collectors do, which costs Kafka a
request for each; ``together`` writes what ticks at once as one batch of each partition. It prints one JSON line: how
late the latest tick was sent in the second half of the time, ms, and whether one was not acknowledged after a second;
a load that cannot keep its own time says nothing about who reads it.
"""

import sys
import time

from bench.stream.fleet import Fleet
from bench.stream.lines import say
from bench.stream.preload import ALONE, producer, send

from pipeline.clock import Clock
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

PHASES = 20
#: How ticks are written, by its name.
WAYS: dict[str, dict[str, int]] = {"alone": ALONE, "together": {}}


def main(bootstrap: str, hosts: int, seconds: int, way: str) -> None:
    """Tick for so many *seconds*."""
    fleets = [Fleet(range(phase, hosts, PHASES)) for phase in range(PHASES)]
    kafka, clock = Kafka(bootstrap=bootstrap), Clock()
    outs = [producer(kafka, **WAYS[way]) for _ in fleets]
    began, late_s, behind = time.monotonic(), 0.0, False
    for turn in range(seconds * PHASES):
        due, settled = began + turn / PHASES, turn * 2 > seconds * PHASES
        time.sleep(max(0.0, due - time.monotonic()))
        late_s = max(late_s, (time.monotonic() - due) * settled)
        out = outs[turn % PHASES]
        out.poll(0)
        behind |= settled and len(out) > 0  # it was sent a second ago
        for key, frame in fleets[turn % PHASES].tick(clock.now()):
            send(out, HOST_TICKS.name, key, frame)
    for out in outs:
        out.flush()
    say("load", late_ms=round(late_s * 1000), behind=behind)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
