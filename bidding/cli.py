"""``firmwatt bid``: run the bidding process; what the desk asks and says is one file an action in `commands`."""

import argparse
import asyncio
import base64
import logging
import sys
from pathlib import Path

from bidding.commands import approve, explain, halt, offers, products, reconcile, say, venues

HELP = "offers, dispatch, performance, settlement"


def main(argv: list[str]) -> int:
    """Run one subcommand and return its exit code."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for every request is not a state of the world
    code: int = arguments.action(arguments)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmwatt bid", description=HELP)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    run = actions.add_parser("run", help="offer, deliver and settle until SIGTERM")
    run.add_argument("--config", type=Path, required=True, help="settings file")
    run.add_argument("--venue", help="venue plug-in, in place of the settings file's")
    run.set_defaults(action=_run)

    journal = actions.add_parser("journal", help="print every journal record and every action of a person")
    journal.add_argument("--config", type=Path, required=True, help="settings file")
    journal.set_defaults(action=_journal)

    for module in (venues, products, offers, explain, approve, halt, reconcile):
        module.add(actions)

    keygen = actions.add_parser("keygen", help="make the key that signs leases; prints the public half, base64")
    keygen.add_argument("--out", type=Path, required=True, help="file for the private key; must not exist")
    keygen.set_defaults(action=_keygen)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from bidding import app, settings

    asyncio.run(app.run(settings.read(arguments.config, arguments.venue)))
    return 0


def _journal(arguments: argparse.Namespace) -> int:
    from bidding import journal, settings

    path = Path(settings.read(arguments.config).bidding.journal)
    for record in journal.read(path):
        say(f"{record.at.isoformat()}  {record.kind:<12}  {record.hash[:12]}  {bytes(record.payload).decode()}")
    for action in journal.read_actions(path):
        said = bytes(action.payload).decode()
        say(f"{action.at.isoformat()}  {action.kind:<12}  {action.hash[:12]}  {action.who}: {said}")
    return 0


def _keygen(arguments: argparse.Namespace) -> int:
    from bidding.signing import generate

    say(base64.b64encode(generate(arguments.out)).decode())
    return 0
