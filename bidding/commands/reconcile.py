"""``firmwatt bid reconcile``: ask the venue about everything that stands, and compare; nothing is sent."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

from bidding.commands import say, with_config


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("reconcile", help="compare what we hold with what the venue holds; sends nothing")
    with_config(parser)
    parser.add_argument("--venue", help="venue plug-in, in place of the settings file's")
    parser.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> int:
    return asyncio.run(_reconcile(arguments.config, arguments.venue))


async def _reconcile(config: Path, venue: str | None) -> int:
    """Print a line an offer that differs, and how many agree; return 1 where any differs."""
    from bidding import journal, ledger, reconcile, settings
    from pipeline import plugins

    found = settings.read(config, venue)
    book = ledger.fold(journal.read(Path(found.bidding.journal)))
    market = await plugins.load("bidding.markets", found.bidding.venue).connect(config, found.clock)
    try:
        report = await reconcile.report(market, book, found.clock.now())
    finally:
        await market.close()
    differ = [line for line in report if line.verdict is not reconcile.Verdict.SAME]
    for line in differ:
        say(
            f"{line.offer.product} {line.offer.interval.start.isoformat()} {line.offer.offer_id[:8]}: {line.verdict}; "
            f"ours: {line.ours}; theirs: {line.theirs}"
        )
    say(f"{len(report) - len(differ)} of {len(report)} standing offers agree with what {found.bidding.venue} holds")
    return 1 if differ else 0
