"""
A fleet that ticks once a second, as a process: ``python -m bench.stream.live BOOTSTRAP HOSTS SECONDS``.

Hosts do not tick together: a twentieth of them does every 50 ms. It prints one JSON line: how late the latest were, ms;
a load that could not keep its own time measures nothing.
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


def main(bootstrap: str, hosts: int, seconds: int) -> None:
    """Tick for so many *seconds*."""
    fleets = [Fleet(range(phase, hosts, PHASES)) for phase in range(PHASES)]
    clock, out, late_s = Clock(), producer(Kafka(bootstrap=bootstrap), **ALONE), 0.0
    began = time.monotonic()
    for turn in range(seconds * PHASES):
        due = began + turn / PHASES
        time.sleep(max(0.0, due - time.monotonic()))
        late_s = max(late_s, time.monotonic() - due)
        for key, frame in fleets[turn % PHASES].tick(clock.now()):
            send(out, HOST_TICKS.name, key, frame)
        out.poll(0)
    out.flush()
    say("load", late_ms=round(late_s * 1000))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
