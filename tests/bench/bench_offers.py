"""What deciding costs: an offer, a plan, a signed command, a journal record. One JSON line each."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.builders import INTERVAL, NOON, capacity, intent, pool, rules, terms

from bidding.dispatch import Lease, commands, plan
from bidding.journal import Journal
from bidding.offers import build
from bidding.signing import Signer, generate
from pipeline.messages.telemetry import HostPool, HostRecord, Tier, Workload

SITE = (pool(Tier.T3, 4000, 2800), pool(Tier.T2, 4000, 2000), pool(Tier.T1, 2000, 600))
WINDOW = [capacity(NOON - timedelta(seconds=ago), *SITE) for ago in range(40)]
HOSTS = [
    HostRecord(
        host=f"host-{number}",
        site="site-1",
        pools=(HostPool(tier=Tier.T3, workload=Workload.TRAINING, gpu_model="H100", gpus=8),),
        seen_at=NOON,
    )
    for number in range(1000)
]
LEASE = Lease("a", "d", NOON, NOON + timedelta(minutes=1), seq=1)


def report(what: str, each: Callable[[], object], times: int) -> None:
    """Print how long *each* takes, microseconds, mean of *times*."""
    begun = time.perf_counter()
    for _ in range(times):
        each()
    took_us = (time.perf_counter() - begun) / times * 1e6
    print(json.dumps({"what": what, "us": round(took_us, 1), "times": times}))  # noqa: T201 - what it is for


def main() -> int:
    """Print the figures."""
    planned = plan(WINDOW[0], 8000)
    issued = commands(planned, HOSTS, LEASE)
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "key")
        signer = Signer.load(Path(folder) / "key", "k")
        report(
            "offer from 40 messages",
            lambda: build(WINDOW, 1e9, rules(), interval=INTERVAL, terms=terms(), now=NOON),
            200,
        )
        report("plan", lambda: plan(WINDOW[0], 8000), 2000)
        report("commands for 1000 hosts", lambda: commands(planned, HOSTS, LEASE), 20)
        report("sign one command", lambda: signer.sign(issued[0]), 2000)
        with Journal(Path(folder) / "journal") as journal:
            report("journal record with fsync", lambda: journal.append(NOON, "intent", intent()), 200)
    return 0


if __name__ == "__main__":
    sys.exit(main())
