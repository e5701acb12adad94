"""`firmwatt pipeline run`: a worker."""

import argparse
import asyncio
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import ends, settings
from pipeline.errors import FirmwattError

if TYPE_CHECKING:
    from pipeline.worker import Worker


def main(argv: list[str]) -> int:
    """Run a worker until it is told to stop or fails."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline run", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    parser.add_argument("--name", default="worker-1", help="what this worker calls itself in its log")
    options = parser.parse_args(argv)
    from pipeline.pipeline_settings import Pipeline
    from pipeline.worker import Worker, quiet

    worker = Worker(
        name=options.name,
        kafka=settings.load(options.config, "kafka", settings.Kafka),
        site=settings.load(options.config, "site", settings.Site),
        settings=settings.load(options.config, "pipeline", Pipeline),
        clock=settings.load(options.config, "clock", settings.ClockSection).clock(),
    )
    quiet()
    asyncio.run(_work(worker))
    return 0


async def _work(worker: "Worker") -> None:
    """Run *worker*; on failure leave at once, for Faust's thread may be waiting for a broker that is gone."""
    try:
        await worker.run()
    except FirmwattError as error:
        ends.note(worker.ends_file, error)
        text = f"firmwatt pipeline: {worker.name}: {error}"
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - a command line talks
        os._exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - a bug: it is told in full, counted, and leaves as everything else does
        ends.note(worker.ends_file, error)
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FirmwattError.exit_code)
