"""
Break the streaming pipeline and see that no figure shows it: ``python tests/long/stream_chaos.py [--part WORD] …``.

    workers   join, graceful leave, SIGKILL, SIGSTOP beyond the session timeout, of 1, 2 and 4 workers
    line      latency with jitter, resets, half-open and one-way connections between workers and Kafka
    disk      the archive's disk full, then not
    bugs      four faults planted in the pipeline, each of which must be found

After each run every interval must equal the plain sums over all acknowledged ticks. One JSON line a run, one a kind of
fault, one for all; exit code 1 where anything was wrong or a planted bug was not seen.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles import broken_pipeline
from doubles.proxied import ProxiedBroker, proxied_broker
from doubles.stream import full_disk, report
from doubles.stream.faults import OF_THE_LINE, OF_WORKERS, Kind, order
from doubles.stream.run import Outcome, run
from doubles.stream.stage import Scenario

from pipeline.kafka import ensure_topics
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import TOPICS

PARTS = ("workers", "line", "disk", "bugs")
CREWS = ((1, 8), (2, 14), (4, 8))
"""Workers, and rounds of four faults: 30 of each kind."""
ROUNDS_A_RUN = 4
LINE_ROUNDS = 6
FILLINGS = 3
BUG_FAULTS = (Kind.KILL,) * 4
BUG_RUNS = 5
BUG_SETTLED_S = 30.0


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="stream_chaos", description="Break the pipeline, compare its figures.")
    grammar.add_argument("--part", choices=PARTS, action="append", help="only this; may be given again")
    grammar.add_argument("--share", type=float, default=1.0, help="of the rounds of the full form")
    grammar.add_argument("--seed", type=int, default=1)
    grammar.add_argument("--hosts", type=int, default=Scenario.hosts)
    grammar.add_argument("--speed", type=float, default=Scenario.speed, help="of the clock")
    return grammar


def scenarios(args: argparse.Namespace) -> Iterator[tuple[str, Scenario]]:
    """Yield the runs of the parts `workers` and `line`, each with a seed of its own."""
    seed = args.seed
    for workers, rounds in CREWS:
        for most in _pieces(max(1, round(rounds * args.share))):
            faults = order(Random(seed), most, OF_WORKERS)
            yield "workers", Scenario(seed=seed, workers=workers, faults=faults, hosts=args.hosts, speed=args.speed)
            seed += 1
    for most in _pieces(max(1, round(LINE_ROUNDS * args.share))):
        faults = order(Random(seed), most, OF_THE_LINE)
        yield "line", Scenario(seed=seed, workers=2, faults=faults, hosts=args.hosts, speed=args.speed)
        seed += 1


def _pieces(rounds: int) -> Iterator[int]:
    while rounds > 0:
        yield min(rounds, ROUNDS_A_RUN)
        rounds -= ROUNDS_A_RUN


@contextmanager
def fresh_broker(args: argparse.Namespace) -> Iterator[tuple[Path, ProxiedBroker]]:
    """
    Yield a folder and a broker with all topics; both are gone afterwards.

    One for each run: a new group reads everything there is, and what earlier runs left is tens of thousands of figures.
    """
    with TemporaryDirectory(prefix="firmwatt-chaos-") as name:
        folder = Path(name)
        with proxied_broker(folder / "broker", seed=args.seed) as broker:
            asyncio.run(ensure_topics(broker.direct, (*TOPICS, *MARKET_TOPICS)))
            yield folder, broker


def hunt(bug: str, args: argparse.Namespace) -> dict[str, Any]:
    """
    Let a pipeline with *bug* run under faults until a figure or a torn file shows it; return after how many.

    Figures that are late, or a worker that ended, show nothing of the bug. The same scenario without it must be clean.
    """
    struck = 0
    for attempt in range(BUG_RUNS):
        scenario = Scenario(
            seed=args.seed + attempt,
            workers=2,
            faults=() if attempt == 0 else BUG_FAULTS,
            hosts=args.hosts,
            speed=args.speed,
            settled_s=BUG_SETTLED_S,
        )
        with fresh_broker(args) as (folder, broker):
            outcome = run(folder, broker.direct, replace(scenario, entry=broken_pipeline.entry(bug)))
        struck += len(outcome.faults)
        if found := shown(outcome):
            with fresh_broker(args) as (folder, broker):
                control = shown(run(folder, broker.direct, scenario))
            caught = not control
            return {"bug": bug, "caught": caught, "faults": struck, "by": found[0][:300], "control": control}
    return {"bug": bug, "caught": False, "faults": struck, "by": "", "control": None}


def shown(outcome: Outcome) -> list[str]:
    """Return what is wrong with the figures and files themselves."""
    return [*outcome.verdict.failures, *(told for told in outcome.failures if told.startswith("torn"))]


def chaos(args: argparse.Namespace) -> dict[str, Any]:
    """Do the parts that are asked for and print each line when it is known; return the last one."""
    parts = args.part or PARTS
    if "disk" in parts:
        full_disk.may_mount()
    outcomes: list[Outcome] = []

    def note(part: str, outcome: Outcome) -> None:
        outcomes.append(outcome)
        say(report.of_run(part, outcome))

    for part, scenario in scenarios(args):
        if part in parts:
            with fresh_broker(args) as (folder, broker):
                behind = (broker.kafka, broker.proxy) if part == "line" else None
                note(part, run(folder, broker.direct, scenario, behind=behind))
    if "disk" in parts:
        scenario = Scenario(seed=args.seed, workers=2, faults=(), hosts=args.hosts, speed=args.speed)
        with fresh_broker(args) as (folder, broker):
            note("disk", full_disk.run(folder, broker.direct, scenario, max(1, round(FILLINGS * args.share))))
    for line in report.of_kinds(outcomes):
        say(line)
    bugs = [hunt(bug, args) for bug in broken_pipeline.BUGS] if "bugs" in parts else []
    for bug in bugs:
        say(bug)
    return report.of_all(outcomes, bugs)


def say(line: dict[str, Any]) -> None:
    """Print *line* at once."""
    print(json.dumps(line), flush=True)  # noqa: T201 - what it is for


def main(argv: list[str]) -> int:
    """Run what *argv* says; return 1 where anything went wrong."""
    args = parser().parse_args(argv)
    total = chaos(args)
    say(total)
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
