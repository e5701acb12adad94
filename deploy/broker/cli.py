"""``firmwatt broker start|stop|status|acls|mirror``."""

import argparse
import asyncio
import json
import os
import re
import signal
from pathlib import Path

from deploy.broker import node, security
from deploy.broker.node import Node, State, Status, Variant
from deploy.broker.security import Security

#: Exit codes of `status`, those of an init script (Linux Standard Base 5, "Init Script Actions").
STATUS_CODE = {State.RUNNING: 0, State.DEAD: 1, State.STOPPED: 3}
TERMINATED = 128 + signal.SIGTERM
MB_PER = {"m": 1, "g": 1024}


def default_data() -> Path:
    """Return ``$XDG_DATA_HOME/firmwatt/broker``."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "firmwatt" / "broker"


def megabytes(text: str) -> int:
    """Read a heap size as Java writes it: ``512m``, ``2g``."""
    size = re.fullmatch(r"(\d+)([mg])", text.lower())
    if not size:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512m or 2g")
    return int(size[1]) * MB_PER[size[2]]


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(
        prog="firmwatt broker",
        description="One Apache Kafka node on this machine.",
        epilog="`firmwatt broker acls` prints who may do what, for any cluster; `firmwatt broker mirror` brings what "
        "sites publish to a portfolio's.",
    )
    grammar.add_argument("action", choices=["start", "stop", "status"])
    grammar.add_argument("--data", type=Path, default=default_data(), help="folder of the broker (%(default)s)")
    grammar.add_argument("--port", type=int, help="port on loopback (the last one, or one that is free)")
    grammar.add_argument("--heap", type=megabytes, default="512m", help="memory for Java's objects (%(default)s)")
    grammar.add_argument(
        "--secure",
        nargs="?",
        choices=list(Variant),
        const=Variant.SCRAM,
        type=Variant,
        help="encrypt, and let in only principals with a password (scram, if nothing is said) or a certificate (mtls)",
    )
    grammar.add_argument("--group", help="what [pipeline] group says, for the rules of a secured broker (firmwatt)")
    grammar.add_argument("--json", action="store_true", help="print one JSON object instead of a sentence")
    return grammar


def main(argv: list[str]) -> int:
    """Do what *argv* says and return the exit code."""
    if argv[:1] == ["acls"]:
        from deploy.broker import acl_cli

        return acl_cli.main(argv[1:])
    if argv[:1] == ["mirror"]:
        from deploy.broker import mirror_cli

        return mirror_cli.main(argv[1:])
    args = parser().parse_args(argv)
    if args.action == "start":
        try:
            started = asyncio.run(_start(args))
        except asyncio.CancelledError:
            return TERMINATED
        return _say(Status(State.RUNNING, started), as_json=args.json)
    if args.action == "status":
        found = node.status(args.data)
        return _say(found, as_json=args.json) or STATUS_CODE[found.state]
    node.stop(args.data)
    return _say(Status(State.STOPPED, None), as_json=args.json)


async def _start(args: argparse.Namespace) -> Node:
    """Start a broker that stays; SIGTERM undoes a start under way just as Ctrl-C does."""
    task = asyncio.current_task()
    if task:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await node.start(
        args.data, port=args.port, heap_mb=args.heap, detach=True, secure=args.secure, group=args.group
    )


def _say(found: Status, *, as_json: bool) -> int:
    print(as_object(found) if as_json else sentence(found))  # noqa: T201 - the command's answer
    return 0


def as_object(found: Status) -> str:
    """Return *found* as one JSON object; what is unknown is null."""
    known = json.loads(found.node.as_json()) if found.node else dict.fromkeys(("bootstrap", "pid", "data", "log"))
    guard = security.of(found.node.data) if found.node else None
    return json.dumps({"state": found.state, **known, **(_keys(guard) if guard else {})})


def _keys(guard: Security) -> dict[str, object]:
    """Return where what clients of a secured broker need is."""
    clients = {name: str(guard.of_client(name, "toml")) for name in guard.principals}
    return {"secure": guard.variant, "ca": str(guard.authority), "clients": clients}


def sentence(found: Status) -> str:
    """Return *found* as one line, with another for each file that clients of a secured broker need."""
    if found.node is None:
        return "no broker is running"
    if found.state is State.DEAD:
        return f"the broker at {found.node.bootstrap} died (log: {found.node.log}); `firmwatt broker start` recovers it"
    running = f"the broker is running at {found.node.bootstrap} (pid {found.node.pid}, data {found.node.data})"
    if (guard := security.of(found.node.data)) is None:
        return running
    clients = [f"  [kafka] of {name}: {guard.of_client(name, 'toml')}" for name in guard.principals]
    return "\n".join([running, f"  authority: {guard.authority}", *clients])
