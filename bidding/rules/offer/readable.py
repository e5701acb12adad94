"""Rule about what the other rules calculate with."""

from collections.abc import Iterator

from bidding.rules.case import Case
from bidding.rules.numbers import unreadable
from bidding.rules.refusal import Breach


def finite(case: Case) -> Iterator[Breach]:
    """Require numbers: a NaN compares as neither too much nor too little."""
    for text in unreadable(case.offer):
        source = "firmwatt: missing data lowers an offer, never raises it"
        yield Breach(f"{text}; build the offer again", source, case.offer.offer_id)
