"""``firmwatt bid venues``: which venues there are, what they exchange, and how many products each buys."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from bidding.commands import say


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("venues", help="list the venues, what they exchange and what they buy")
    parser.add_argument("--config", type=Path, help="settings file: asks each venue that it has a section for")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a line a venue, with the answer of each that the settings name."""
    from bidding.products.load import catalogue
    from bidding.products.load import venues as with_data
    from pipeline import plugins

    adapters = plugins.available("bidding.markets")
    for name in adapters:
        known = f"{len(catalogue(name))} products" if name in with_data() else "publishes its products itself"
        say(f"{name:<10} offers can be sent; {known}")
        if arguments.config is not None:
            say(f"           {asyncio.run(_answer(name, arguments.config))}")
    for name in (name for name in with_data() if name not in adapters):
        say(f"{name:<10} rules only, no adapter; {len(catalogue(name))} products")
    return 0


async def _answer(name: str, config: Path) -> str:
    """Return what venue *name* says of itself, in one line."""
    from bidding.settings import read
    from pipeline import plugins
    from pipeline.errors import FirmwattError
    from pipeline.settings import table

    settings = read(config)
    if name not in table(config, "venue"):
        return f"not asked: {config} has no [venue.{name}]"
    try:
        market = await plugins.load("bidding.markets", name).connect(config, settings.clock)
    except FirmwattError as error:
        return f"does not answer: {error}"
    try:
        simulated = " (simulated)" if any(rules.simulated for rules in market.products.values()) else ""
        features = ", ".join(sorted(market.features)) or "nothing else"
        return f"answers{simulated}; buys {', '.join(market.products)}; beside offers and awards: {features}"
    finally:
        await market.close()
