"""`firmwatt demo`: the loop on this machine. The live view and all talk go to standard error."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.demo.plan import Options, run_folder
from pipeline.clock import wall
from pipeline.errors import EnvironmentProblem

INTERRUPTED = 130
REFRESH_S = 0.5


def parser() -> argparse.ArgumentParser:
    """Return the command line of the demo."""
    default = Options()
    made = argparse.ArgumentParser(
        prog="firmwatt demo",
        description="Run the whole loop on this machine, from GPU watts to a settled offer. All inputs are simulated.",
    )
    made.add_argument(
        "--hosts", type=int, default=default.hosts, help="simulated hosts of 8 GPUs (default %(default)s)"
    )
    made.add_argument("--minutes", type=int, default=default.minutes, help="one-minute market intervals to sell")
    made.add_argument("--speed", type=float, default=default.speed, help="clock speed; 2 is twice real time")
    made.add_argument(
        "--trace", type=Path, help="replay real demand: an Azure LLM inference trace or a ServeGen series"
    )
    made.add_argument("--keep", action="store_true", help="leave the broker and its data running afterwards")
    made.add_argument("--json", action="store_true", help="print the report alone on standard output")
    made.add_argument("--venue", default=default.venue, help="plug-in in bidding.markets (default %(default)s)")
    made.add_argument("--history-days", type=int, default=default.history_days, help="days of back-filled history")
    made.add_argument("--seed", type=int, default=default.seed, help="of fleet and venue")
    made.add_argument("--lose-replies", type=float, default=default.lose_replies, metavar="SHARE", help="venue's fault")
    made.add_argument("--kill-worker", action="store_true", help="kill -9 one Faust worker in the middle of the event")
    made.add_argument("--runs", type=Path, default=default.runs, help="where run folders go (default ./%(default)s)")
    return made


def say(line: str) -> None:
    """Tell a person, on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a command line talks


async def watched(work: Callable[[Any], Any], *, live: bool) -> dict[str, Any]:
    """Run *work* with a stage to report to; show the live view on a terminal, a line a stage elsewhere."""
    from deploy.demo.run import Stage

    if not live:
        return await work(Stage(say=say))  # type: ignore[no-any-return]

    from rich.console import Console
    from rich.live import Live

    from deploy.demo.view import render

    stage = Stage(say=lambda _: None)
    task = asyncio.ensure_future(work(stage))
    with Live(console=Console(stderr=True), auto_refresh=False) as screen:
        while not task.done():
            screen.update(render(stage.picture, stage.clock.now(), stage.name, stage.described), refresh=True)
            await asyncio.wait({task}, timeout=REFRESH_S)
    return await task  # type: ignore[no-any-return]


async def interruptible(options: Options, folder: Path) -> dict[str, Any]:
    """Run the demo; SIGINT and SIGTERM cancel it, and it still stops everything it started."""
    from deploy.demo.run import run

    loop, main_task = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, main_task.cancel if main_task else loop.stop)
    live = sys.stderr.isatty() and not options.json
    return await watched(lambda stage: run(options, folder, stage), live=live)


def headline(report: dict[str, Any], folder: Path) -> str:
    """Return what the demo says at the end, in five lines."""
    agree = "agree to the cent" if report["statements_agree"] else f"differ: {report['statement_differences']}"
    size = f"{report['hosts']} hosts, {report['gpus']} GPUs (simulated)"
    return f"""{size}: {report["ticks_produced"]} ticks, {report["lost"]} lost
offered {report["offered_kw"]} kW, awarded {report["awarded_kw"]} kW, delivered {report["delivered_kw"]} kW
settled ${report["settlement_usd"]}; the venue says ${report["venue_statement_usd"]}: {agree}
look at  {folder / "report.html"}
ask      firmwatt desk "FROM performance" --desk {folder / "desk.duckdb"}"""


def main(argv: list[str]) -> int:
    """Run the demo and return its exit code: 0 when the loop closed, 130 after Ctrl-C."""
    given = parser().parse_args(argv)
    options = Options(**vars(given)).checked()
    folder = run_folder(options.runs, wall(), os.getpid()).absolute()
    from deploy.demo.run import check

    check(options)
    try:
        folder.mkdir(parents=True)
        report = asyncio.run(interruptible(options, folder))
    except OSError as error:
        raise EnvironmentProblem(f"{error.filename or folder}: {error.strerror or error}") from error
    except asyncio.CancelledError:
        say("interrupted; everything this demo started has been stopped")
        return INTERRUPTED
    if options.json:
        print(json.dumps(report, indent=2))  # noqa: T201 - the report is the output
    else:
        say(headline(report, folder))
    return 0
