"""``firmwatt bid products``: what each venue buys, every figure with its source, the unverified ones marked."""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from bidding.commands import say


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("products", help="what venues buy: minimum, step, gate, price limits, sources")
    parser.add_argument("--venue", help="this one only")
    parser.add_argument("--product", help="this one of --venue only: every figure with its source")
    parser.add_argument("--on", type=date.fromisoformat, help="the rules of that day, YYYY-MM-DD (default: the latest)")
    parser.add_argument("--config", type=Path, help="settings file: with the figures confirmed in [products.VENUE.…]")
    parser.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> int:
    from bidding.products.load import catalogue, confirmations, venues
    from bidding.products.show import report
    from pipeline.errors import ConfigError

    if arguments.product and not arguments.venue:
        raise ConfigError("--product needs --venue: several venues may sell a product of that name")
    confirmed = confirmations(arguments.config) if arguments.config is not None else {}
    names = [arguments.venue] if arguments.venue else venues()
    found = {name: catalogue(name, arguments.on, confirmed.get(name)) for name in names}
    for line in report(found, arguments.on, arguments.product):
        say(line)
    return 0
