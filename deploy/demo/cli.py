"""`firmwatt demo`: the loop on this machine. The live view and all talk go to standard error."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.demo.children import last_line
from deploy.demo.plan import Options, run_folder
from pipeline.clock import wall
from pipeline.errors import EnvironmentProblem, FirmwattError

if TYPE_CHECKING:
    from deploy.demo.run import Stage

INTERRUPTED = 130
REFRESH_S = 0.5


class LoopOpenError(FirmwattError):
    """Everything ran, the report is there, and the loop did not close."""


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


Work = Callable[["Stage"], Coroutine[Any, Any, dict[str, Any]]]


async def watched(work: Work, *, live: bool) -> dict[str, Any]:
    """Run *work* with a stage to report to; show the live view on a terminal, a line a stage elsewhere."""
    from deploy.demo.run import Stage

    if not live:
        return await work(Stage(say=say))

    from rich.console import Console
    from rich.live import Live

    from deploy.demo.view import render

    said: list[str] = []
    stage = Stage(say=said.append)
    task = asyncio.ensure_future(work(stage))
    with Live(console=Console(stderr=True), auto_refresh=False) as screen:
        while not task.done():
            screen.update(render(stage.picture, stage.clock.now(), stage.name, stage.described), refresh=True)
            await asyncio.wait({task}, timeout=REFRESH_S)
    for line in said:
        say(line)
    return await task


async def interruptible(options: Options, folder: Path) -> dict[str, Any]:
    """Run the demo; SIGINT and SIGTERM cancel it once, and it still stops everything it started."""
    from deploy.demo.run import run

    loop, main_task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, say, "stopping what was started; a moment")
        if main_task:
            main_task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await watched(lambda stage: run(options, folder, stage), live=sys.stderr.isatty() and not options.json)


def headline(report: dict[str, Any], folder: Path) -> str:
    """Return what the demo says at the end."""
    size = f"{report['hosts']} hosts, {report['gpus']} GPUs (simulated)"
    lines = [
        f"{size}: {report['ticks_produced']} ticks, {report['lost']} lost",
        f"offered {report['offered_kw']} kW, awarded {report['awarded_kw']} kW, delivered {report['delivered_kw']} kW",
        f"settled ${report['settlement_usd']}, the venue says ${report['venue_statement_usd']} (simulated prices)",
        f"look at  {folder / 'report.html'}",
        f'ask      firmwatt desk "FROM performance" --desk {folder / "desk.duckdb"}',
    ]
    return "\n".join(line for line in lines if "None" not in line)


def main(argv: list[str]) -> int:
    """Run the demo and return its exit code: 0 when the loop closed, 1 with a reason when not, 130 after Ctrl-C."""
    given = parser().parse_args(argv)
    options = Options(**vars(given)).checked()
    folder = run_folder(options.runs, wall(), os.getpid()).absolute()
    from deploy.demo.report import problem
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
    if options.keep:
        say(f"the broker goes on; stop it with  firmwatt broker stop --data {folder / 'broker'}")
    if reason := problem(report, last_line(folder / "bid.log")):
        raise LoopOpenError(reason)
    return 0
