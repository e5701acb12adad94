"""``firmwatt bid explain``: why an offer is what it is, in words and numbers, and what has become of it."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bidding.commands import say, with_config

if TYPE_CHECKING:
    from bidding.chain import Record
    from bidding.ledger import Ledger
    from bidding.states import OfferRecord
    from pipeline.messages.market import Offer


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("explain", help="why an offer is what it is, and what became of it")
    parser.add_argument("offer", help="the first characters of its id; `firmwatt bid offers` lists them")
    with_config(parser)
    parser.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> int:
    from bidding import journal, ledger, settings
    from pipeline.errors import ConfigError

    records = journal.read(Path(settings.read(arguments.config).bidding.journal))
    book = ledger.fold(records)
    found = [record for name, record in book.offers.items() if name.startswith(arguments.offer)]
    if len(found) != 1:
        raise ConfigError(f"{arguments.offer!r} begins the id of {len(found)} offers; `firmwatt bid offers` lists them")
    for line in (*curve(found[0].offer), *reasons(book, found[0]), *life(records, book, found[0])):
        say(line)
    return 0


def curve(offer: "Offer") -> Iterator[str]:
    """Yield the offer's steps, with what stands behind each price."""
    simulated = "  (simulated)" if offer.simulated else ""
    yield (
        f"{offer.venue}/{offer.product} {offer.interval.start.isoformat()} to {offer.interval.end.isoformat()}, "
        f"{offer.resource}, revision {offer.revision}, {offer.offer_id}{simulated}"
    )
    yield (
        f"firm: {offer.firm_kw:.1f} kW at {offer.confidence:.0%}, baseline {offer.baseline_kw:.1f} kW "
        f"by {offer.baseline_method or 'none'}, known at {offer.as_of.isoformat()}"
    )
    for step in offer.steps:
        cost = step.token_cost_per_mwh + step.service_credit_per_mwh + step.restart_cost_per_mwh
        yield (
            f"  {step.quantity_mw} MW of {step.tier} at {step.price_per_mwh} {offer.currency}/MWh; it costs {cost}: "
            f"{step.tokens_forgone_per_mwh:,} tokens/MWh worth {step.token_cost_per_mwh}, "
            f"credits {step.service_credit_per_mwh}, restarts {step.restart_cost_per_mwh}"
        )


def reasons(book: "Ledger", record: "OfferRecord") -> Iterator[str]:
    """Yield why the strategy chose it, where it said so."""
    explained = book.explained.get(record.offer.offer_id) or book.explained.get(record.document_id)
    if explained is None:
        yield "why: all firm power of this interval, at cost plus margin (no portfolio strategy was asked)"
        return
    yield from (f"why: {line}" for line in explained.lines)
    yield from (f"  {name} = {given}" for name, given in explained.figures.items())


def life(records: "list[Record]", book: "Ledger", record: "OfferRecord") -> Iterator[str]:
    """Yield the journal records that concern the offer, in order."""
    awards = {award.award_id for award in book.awards.values() if award.offer_id == record.offer.offer_id}
    names = {record.offer.offer_id, record.document_id, *awards} - {""}
    yield f"state: {record.state}{f' ({record.detail})' if record.detail else ''}"
    for entry in records:
        text = bytes(entry.payload).decode()
        if entry.kind != "explained" and any(name in text for name in names):
            yield f"  {entry.at.isoformat()}  {entry.kind:<12}  record {entry.number}, {entry.hash[:12]}"
