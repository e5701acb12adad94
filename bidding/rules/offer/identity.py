"""Rules about what the offer is for, and whether it stands already."""

from collections.abc import Iterator

from bidding.rules.case import Case, key_of
from bidding.rules.refusal import Breach, cited

ONE_KEY = "firmwatt: one offer for a resource, product and interval; a revision replaces it"


def addressee(case: Case) -> Iterator[Breach]:
    """Require that the offer names this venue and its product."""
    offer, rules = case.offer, case.rules
    if (offer.venue, offer.product) != (rules.venue, rules.product):
        text = f"{offer.venue}/{offer.product} offered, {rules.venue}/{rules.product} traded; send it where it belongs"
        yield Breach(text, cited(rules, "product"), offer.offer_id)


def in_force(case: Case) -> Iterator[Breach]:
    """Require a day on which the product's figures hold."""
    since, until, day = case.rules.since, case.rules.until, case.start_local.date()
    if since is not None and day < since:
        text = f"{day} is {(since - day).days} days before these rules hold, from {since}; load those of the day"
        yield Breach(text, cited(case.rules, "since"), case.offer.offer_id)
    if until is not None and day >= until:
        text = f"{day} is {(day - until).days + 1} days after these rules held, until {until}; load those of the day"
        yield Breach(text, cited(case.rules, "until"), case.offer.offer_id)


def duplicate(case: Case) -> Iterator[Breach]:
    """Refuse a second offer of the same revision, or over a part of an interval that is offered already."""
    offer = case.offer
    for other in case.standing:
        if key_of(other) == key_of(offer):
            if other.revision == offer.revision:
                text = f"revision {offer.revision} stands already as {other.offer_id}; ask the venue, never send twice"
                yield Breach(text, ONE_KEY, offer.offer_id)
        elif other.interval.start < offer.interval.end and offer.interval.start < other.interval.end:
            text = f"overlaps {other.offer_id} from {other.interval.start.isoformat()}; withdraw one of them"
            yield Breach(text, ONE_KEY, offer.offer_id)


def revision(case: Case) -> Iterator[Breach]:
    """Require a revision above every one that stands for the same interval."""
    offer = case.offer
    highest = max((other.revision for other in case.standing if key_of(other) == key_of(offer)), default=0)
    if offer.revision < highest:
        text = f"revision {offer.revision} is older than revision {highest}, which stands; build on the newest"
        yield Breach(text, ONE_KEY, offer.offer_id)
