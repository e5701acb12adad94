"""``firmwatt bid offers``: every offer and how far it has come, what waits for people, whether all is halted."""

import argparse
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bidding.commands import say, with_config

if TYPE_CHECKING:
    from bidding.ledger import Ledger
    from bidding.states import OfferRecord


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("offers", help="print every offer and how far it has come")
    with_config(parser)
    parser.add_argument("--state", help="those in this state only: held, intent, unknown, accepted, awarded …")
    parser.add_argument("--product", help="those of this product only")
    parser.add_argument("--open", action="store_true", help="those whose interval is not over")
    parser.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> int:
    from bidding import journal, ledger, settings
    from bidding.gate.log import control_of

    found = settings.read(arguments.config)
    path, now = Path(found.bidding.journal), found.clock.now()
    book = ledger.fold(journal.read(path))
    for line in lines(book, now, arguments.state, arguments.product, only_open=arguments.open):
        say(line)
    if (halt := control_of(journal.read_actions(path)).halt) is not None:
        say(f"HALTED by {halt.by} at {halt.at.isoformat()}: {halt.why}; `firmwatt bid resume` lets offers leave again")
    return 0


def lines(book: "Ledger", now: datetime, state: str | None, product: str | None, *, only_open: bool) -> Iterator[str]:
    """Yield a line an offer, those that wait for people with what they need, then the statements."""
    for record in sorted(book.offers.values(), key=lambda one: (one.offer.interval, one.offer.product)):
        offer = record.offer
        if (
            (state in {None, record.state.value})
            and (product in {None, offer.product})
            and not (only_open and offer.interval.end <= now)
        ):
            yield _line(record)
    from bidding.commands import held

    for waiting in book.held.values():
        yield from held.lines(waiting)
    for statement in book.statements.values():
        simulated = "  (simulated)" if statement.simulated else ""
        yield f"statement of {statement.issuer}: {statement.total} {statement.currency}{simulated}"


def _line(record: "OfferRecord") -> str:
    offer = record.offer
    accepted = f"{record.receipt.accepted_mw} MW accepted" if record.receipt else "no receipt"
    return (
        f"{offer.interval.start.isoformat()}  {offer.product:<12}  {record.state:<15}  {offer.quantity_mw} MW offered, "
        f"{accepted}, {offer.steps[0].price_per_mwh} to {offer.steps[-1].price_per_mwh} {offer.currency}/MWh, "
        f"revision {offer.revision}  {offer.offer_id}"
        f"{f'  {record.detail}' if record.detail else ''}{'  (simulated)' if offer.simulated else ''}"
    )
