"""
Apache Kafka's replication test with our producer: ``python tests/long/broker_matrix.py [--cells WORD] [--hosts N] …``.

{plaintext, scram} × {clean, hard} × {stop, five bounces} × {leader, controller}, on a cluster for each security, with a
topic for each cell: one JSON line each, and one for all. scram is SASL_SSL with SCRAM-SHA-512. Each cluster's last cell
starves the followers, and then the control runs: a producer that waits for one broker only must be caught with messages
missing. With nothing missing among n acknowledged messages the rate is below 3/n at 95 % confidence (rule of three).
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.broker_faults import CELLS, STARVE, Cell, Load, Result, run
from doubles.cluster import Cluster
from doubles.numbered_load import OneBrokerIsEnough

from deploy.broker.secure_properties import Variant

SECURITIES = {"plaintext": None, "scram": Variant.SCRAM}


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="broker_matrix", description="Break brokers, count what was promised.")
    grammar.add_argument("--cells", default="", help="only those with this in their name, as in hard-bounce")
    grammar.add_argument("--security", choices=SECURITIES, help="only this one")
    grammar.add_argument("--hosts", type=int, default=Load.hosts)
    grammar.add_argument("--hertz", type=float, default=Load.hertz, help="ticks a second and host")
    grammar.add_argument("--settle-s", type=float, default=Load.settle_s, help="before and after each fault")
    return grammar


async def matrix(security: str, cells: Sequence[Cell], load: Load, folder: Path) -> tuple[list[Result], Result]:
    """Print each of *cells* as it ends; return all of them, and the control."""
    results, named = [], {"security": security}
    async with Cluster(folder, secure=SECURITIES[security]) as cluster:
        for number, cell in enumerate([*cells, STARVE]):
            results.append(await run(cluster, cell, load, folder, f"matrix-{number}"))
            say(named | asdict(results[-1]) | {"failures": results[-1].failures})
        control = await run(cluster, STARVE, replace(load, sender=OneBrokerIsEnough), folder, "control")
        say(named | asdict(control) | {"control": "acknowledged by one broker"})
    return results, control


def summary(results: Sequence[Result], controls: Sequence[Result]) -> dict[str, object]:
    """Return all cells as one, and whether the controls were caught. Pure."""
    acknowledged = sum(result.acknowledged for result in results)
    return {
        "cells": len(results),
        "acknowledged": acknowledged,
        "missing": sum(result.missing for result in results),
        "out_of_order": sum(result.out_of_order for result in results),
        "duplicates": sum(result.duplicates for result in results),
        "bound_95": 3 / acknowledged if acknowledged else None,
        "longest_gap_s": max(result.longest_gap_s for result in results),
        "slowest_recovery_s": max(result.recovery_s or 0.0 for result in results),
        "controls_missing": [control.missing for control in controls],
        "failures": [f"{result.cell}: {failure}" for result in results for failure in result.failures]
        + ["a control lost nothing: the test proves nothing" for control in controls if not control.missing],
    }


def say(line: dict[str, object]) -> None:
    """Print *line* at once."""
    print(json.dumps(line), flush=True)  # noqa: T201 - what it is for


def main(argv: list[str]) -> int:
    """Run what *argv* says; return 1 where anything went wrong."""
    args = parser().parse_args(argv)
    load = Load(hosts=args.hosts, hertz=args.hertz, settle_s=args.settle_s)
    cells = [cell for cell in CELLS if args.cells in cell.name]
    results, controls = list[Result](), list[Result]()
    for security in [args.security] if args.security else SECURITIES:
        with tempfile.TemporaryDirectory(prefix="firmwatt-brokers-") as folder:
            found, control = asyncio.run(matrix(security, cells, load, Path(folder)))
        results += found
        controls.append(control)
    say(total := summary(results, controls))
    return 1 if total["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
