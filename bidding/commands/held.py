"""Documents that wait for people: found by the first characters of a name, and told in words."""

from collections.abc import Iterator
from pathlib import Path

from bidding import journal, ledger
from bidding.entries import Held
from pipeline.errors import ConfigError


def held_document(path: Path, name: str) -> Held:
    """Return the one held document that *name* begins, or that holds an offer whose id it begins."""
    waiting = ledger.fold(journal.read(path)).held.values()
    found = [h for h in waiting if h.document.startswith(name) or any(o.offer_id.startswith(name) for o in h.offers)]
    if len(found) == 1:
        return found[0]
    have = ", ".join(held.document[:12] for held in waiting) or "none"
    raise ConfigError(f"{name!r} names {len(found)} held documents; waiting: {have}")


def lines(held: Held) -> Iterator[str]:
    """Yield what is held and why, one line each."""
    yield f"document {held.document[:12]}  {len(held.offers)} offers, needs {held.needs} more approvals"
    for offer in held.offers:
        yield (
            f"  {offer.offer_id[:8]}  {offer.venue}/{offer.product}  {offer.interval.start.isoformat()}  "
            f"{offer.quantity_mw} MW up to {offer.steps[-1].price_per_mwh} {offer.currency}/MWh"
        )
    for why in held.why:
        yield f"  above a limit: {why}"
