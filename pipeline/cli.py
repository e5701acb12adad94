"""`firmwatt pipeline`: run a worker, or show the topology."""

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import settings
from pipeline.errors import FirmwattError

if TYPE_CHECKING:
    from pipeline.worker import Worker


def main(argv: list[str]) -> int:
    """Run one subcommand and return its exit code."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="roll up, aggregate and archive until told to stop")
    run.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    run.add_argument("--name", default="worker-1", help="what this worker calls itself in its log")
    commands.add_parser("topics", help="print the topology")
    options = parser.parse_args(argv)
    if options.command == "topics":
        print("\n".join(topology()))  # noqa: T201 - a command line talks
        return 0
    return _run(options.config, options.name)


def _run(config: Path, name: str) -> int:
    """Run a worker until it is told to stop or fails."""
    from pipeline.pipeline_settings import Pipeline
    from pipeline.worker import Worker, quiet

    worker = Worker(
        name=name,
        bootstrap=settings.load(config, "kafka", settings.Kafka).bootstrap,
        site=settings.load(config, "site", settings.Site),
        settings=settings.load(config, "pipeline", Pipeline),
        clock=settings.load(config, "clock", settings.ClockSection).clock(),
    )
    quiet()
    asyncio.run(_work(worker))
    return 0


async def _work(worker: "Worker") -> None:
    """Run *worker*; on failure leave at once, for Faust's thread may be waiting for a broker that is gone."""
    try:
        await worker.run()
    except FirmwattError as error:
        text = f"firmwatt pipeline: {worker.name}: {error}"
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command line talks
        os._exit(error.exit_code)


def topology() -> list[str]:
    """Return the table of topics: name, partitions, how long they are kept, what they carry."""
    from pipeline.market_topics import MARKET_TOPICS
    from pipeline.topics import TOPICS

    rows = [("topic", "partitions", "kept", "carries")]
    for topic in (*TOPICS, *MARKET_TOPICS):
        kept = "newest per key" if topic.retention is None else f"{topic.retention / timedelta(hours=1):g} h"
        rows.append((topic.name, str(topic.partitions), kept, topic.type.__name__))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
