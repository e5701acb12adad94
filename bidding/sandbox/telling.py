"""The venue's log: each journal entry as one line for an operator."""

from decimal import Decimal

from bidding.sandbox.entries import (
    AnyEntry,
    CancelEntry,
    ClearingEntry,
    DocumentEntry,
    EpochEntry,
    FencedEntry,
    MeterEntry,
    OfferEntry,
    Opened,
    ResponseEntry,
    ShortfallEntry,
    WithdrawalEntry,
)
from bidding.sandbox.wire import utc


def told(entry: AnyEntry) -> str:  # noqa: C901, PLR0911 - one line for each kind
    """Return *entry* in words."""
    match entry:
        case Opened():
            return f"book opened, seed {entry.seed}, products {', '.join(entry.market.names)}"
        case EpochEntry():
            return f"epoch {entry.epoch} heard"
        case FencedEntry():
            return f"fenced: {entry.request} of epoch {entry.epoch}"
        case OfferEntry():
            return f"offer {entry.offer_id}: {entry.outcome} {entry.detail}".rstrip() + f", reply {entry.reply}"
        case DocumentEntry():
            outcomes = ", ".join(f"{offer.offer_id} {offer.outcome}" for offer in entry.offers)
            return f"document {entry.document_id}: {outcomes}, reply {entry.reply}"
        case WithdrawalEntry():
            return f"withdrawal of {entry.offer_id}: {entry.outcome} {entry.detail}".rstrip() + f", reply {entry.reply}"
        case CancelEntry():
            return f"offer {entry.offer_id} taken back by the venue: {entry.reason}"
        case ShortfallEntry():
            return f"notice of shortfall {entry.shortfall_id}: {entry.outcome}, {entry.body.available_mw} MW left"
        case ClearingEntry():
            awarded_mw = sum((award.mw for award in entry.awards), Decimal(0))
            prices = ", ".join(f"{product} {price}" for product, price in entry.prices.items())
            return f"interval {utc(entry.interval_start)}: cleared at {prices}, {awarded_mw} MW awarded"
        case MeterEntry():
            return f"meter {entry.resource}/{entry.batch_id}: {len(entry.readings)} readings, reply {entry.reply}"
        case ResponseEntry():
            return f"regulation of {entry.score.resource}: scored {entry.score.score:.6f}, reply {entry.reply}"
