"""``firmwatt bid``: run the bidding process, look at its ledger, make a signing key."""

import argparse
import asyncio
import base64
import logging
import sys
from pathlib import Path

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

    venues = actions.add_parser("venues", help="list the venues and what they accept")
    venues.add_argument("--config", type=Path, help="settings file: asks each venue for its rules")
    venues.set_defaults(action=_venues)

    for name, action, text in (
        ("offers", _offers, "print every offer and how far it has come"),
        ("journal", _journal, "print every journal record"),
    ):
        show = actions.add_parser(name, help=text)
        show.add_argument("--config", type=Path, required=True, help="settings file")
        show.set_defaults(action=action)

    keygen = actions.add_parser("keygen", help="make the key that signs leases; prints the public half, base64")
    keygen.add_argument("--out", type=Path, required=True, help="file for the private key; must not exist")
    keygen.set_defaults(action=_keygen)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from bidding import app, settings

    asyncio.run(app.run(settings.read(arguments.config, arguments.venue)))
    return 0


def _venues(arguments: argparse.Namespace) -> int:
    from pipeline import plugins

    for name in plugins.available("bidding.markets"):
        _say(name)
        if arguments.config is not None:
            asyncio.run(_rules_of(name, arguments.config))
    return 0


async def _rules_of(name: str, config: Path) -> None:
    from bidding.settings import read
    from pipeline import plugins
    from pipeline.errors import VenueError

    try:
        market = await plugins.load("bidding.markets", name).connect(config, read(config).clock)
    except VenueError as error:
        _say(f"  {error}")
        return
    for name_of_product, rules in market.products.items():
        _say(f"  {name_of_product}")
        for rule, given in rules.model_dump(mode="json").items():
            _say(f"    {rule:<18} {'; '.join(map(str, given)) if isinstance(given, list) else given}")
    await market.close()


def _offers(arguments: argparse.Namespace) -> int:
    from bidding import journal, ledger, settings

    bidding = settings.read(arguments.config).bidding
    book = ledger.fold(journal.read(Path(bidding.journal)))
    for record in book.offers.values():
        offer = record.offer
        accepted = f"{record.receipt.accepted_mw} MW accepted" if record.receipt else "no receipt"
        simulated = "  (simulated)" if offer.simulated else ""
        _say(
            f"{offer.interval.start.isoformat()}  {record.state:<15}  {offer.quantity_mw} MW offered, {accepted}"
            f"  {offer.offer_id}{simulated}"
        )
    for statement in book.statements.values():
        simulated = "  (simulated)" if statement.simulated else ""
        _say(f"statement of {statement.issuer}: {statement.total} {statement.currency}{simulated}")
    return 0


def _journal(arguments: argparse.Namespace) -> int:
    from bidding import journal, settings

    for record in journal.read(Path(settings.read(arguments.config).bidding.journal)):
        _say(f"{record.at.isoformat()}  {record.kind:<12}  {record.hash[:12]}  {bytes(record.payload).decode()}")
    return 0


def _keygen(arguments: argparse.Namespace) -> int:
    from bidding.signing import generate

    _say(base64.b64encode(generate(arguments.out)).decode())
    return 0


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a command line talks
