"""`firmwatt fleet`: simulated hosts that publish ticks and obey leases until they are told to stop."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path


def main(argv: list[str]) -> int:
    """Run the fleet until SIGTERM or SIGINT; return 0 after a clean stop."""
    parser = argparse.ArgumentParser(prog="firmwatt fleet", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    parser.add_argument("--trace", help="replay this demand trace (Azure LLM or ServeGen, CSV, plain or gzip)")
    options = parser.parse_args(argv)
    asyncio.run(_run(options.config, options.trace))
    return 0


async def _run(config: Path, trace: str | None) -> None:
    from deploy.fleet import process
    from deploy.fleet.plan import plan

    setting = process.load(config, trace)
    site = plan(setting.fleet, setting.site.timezone)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    produced = await process.serve(setting, site, stop, _say)
    if produced and setting.fleet.summary:
        process.write(Path(setting.fleet.summary), produced)
    _say(f"stopped: {produced.ticks_produced if produced else 0} ticks acknowledged")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the line a supervisor waits for
