"""``firmwatt broker mirror start|stop|status``."""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deploy.broker import mirror, mirror_progress
from deploy.broker.cli import STATUS_CODE, TERMINATED, megabytes
from deploy.broker.mirror import Process
from deploy.broker.mirror_progress import Progress
from deploy.broker.mirror_settings import Mirror
from deploy.broker.state import State
from pipeline.errors import ConfigError
from pipeline.settings import load


def default_data() -> Path:
    """Return ``$XDG_DATA_HOME/firmwatt/mirror``."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "firmwatt" / "mirror"


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(
        prog="firmwatt broker mirror", description="Bring what sites publish to a portfolio's Kafka (MirrorMaker 2)."
    )
    grammar.add_argument("action", choices=["start", "stop", "status"])
    grammar.add_argument("--config", type=Path, help="settings with [mirror]; stop needs none")
    grammar.add_argument("--data", type=Path, default=default_data(), help="folder of the mirror (%(default)s)")
    grammar.add_argument("--heap", type=megabytes, default="256m", help="memory for Java's objects (%(default)s)")
    grammar.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    return grammar


def main(argv: list[str]) -> int:
    """Do what *argv* says and return the exit code; a running mirror with a failed task counts as a dead one."""
    args = parser().parse_args(argv)
    links: Sequence[Progress] = ()
    if args.action == "start":
        try:
            asyncio.run(_start(_settings(args.config), args.data, args.heap))
        except asyncio.CancelledError:
            return TERMINATED
    elif args.action == "stop":
        mirror.stop(args.data)
    state, process = mirror.find(args.data)
    if args.action == "status" and state is State.RUNNING:
        links = asyncio.run(mirror_progress.read(_settings(args.config)))
    print(as_object(state, process, links) if args.json else sentences(state, process, links))  # noqa: T201 - the answer
    if args.action != "status":
        return 0
    return STATUS_CODE[State.DEAD if any(link.failed for link in links) else state]


def _settings(config: Path | None) -> Mirror:
    if config is None:
        raise ConfigError("which clusters? --config FILE, with [mirror.target] and one [[mirror.source]] a site")
    return load(config, "mirror", Mirror)


async def _start(settings: Mirror, data: Path, heap_mb: int) -> Process:
    """Start a mirror that stays; SIGTERM undoes a start under way just as Ctrl-C does."""
    task = asyncio.current_task()
    if task:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await mirror.start(settings, data, heap_mb=heap_mb, detach=True)


def as_object(state: State, process: Process | None, links: Sequence[Progress]) -> str:
    """Return all of it as one JSON object; what is unknown is null."""
    return json.dumps(
        {
            "state": state,
            "pid": process.pid if process else None,
            "log": str(process.log) if process else None,
            "links": [asdict(link) for link in links],
        }
    )


def sentences(state: State, process: Process | None, links: Sequence[Progress]) -> str:
    """Return it as a line for the process and one for each link."""
    if process is None:
        return "no mirror is running"
    if state is State.DEAD:
        return f"the mirror died (log: {process.log}); `firmwatt broker mirror start` goes on where it was"
    return "\n".join([f"the mirror is running (pid {process.pid}, log {process.log})", *map(_sentence, links)])


def _sentence(link: Progress) -> str:
    if link.failed:
        return f"{link.link}: {', '.join(link.failed)} failed; stop the mirror and start it again"
    if link.behind is None:
        return f"{link.link}: {link.trouble}"
    return f"{link.link}: {link.behind} records behind"
