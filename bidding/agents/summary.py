"""What a run came to: the figures that `stop_after_settlement` leaves behind. Absent is null, never zero."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from bidding.agents.feed import World
from bidding.capacity import Finding
from bidding.ledger import OURS, Ledger
from bidding.performance import delivered_ratio
from bidding.products import Rules
from bidding.settlement import Difference
from pipeline import files
from pipeline.capacity import quantile
from pipeline.errors import EnvironmentProblem
from pipeline.messages.market import OfferState, Statement
from pipeline.units import KW_PER_MW


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """kW are means over the intervals concerned; milliseconds are the machine's."""

    simulated: bool
    offers: int
    offered_kw: float | None
    awarded_kw: float | None
    delivered_kw: float | None
    delivered_ratio: float | None
    ack_p50_ms: float | None
    ack_p99_ms: float | None
    acks: int
    acks_refused: int
    currency: str
    """Of both totals, whatever their names say."""
    settlement_usd: Decimal | None
    venue_statement_usd: Decimal | None
    differences: tuple[str, ...]
    findings: tuple[str, ...]
    unknown_outcomes_resolved: int
    """Offers whose reply was lost and whose fate was asked for instead of sending them again."""
    sent_again: int
    """Submissions that the venue, asked, had never seen, and that were therefore repeated."""


def summarise(
    ledger: Ledger, world: World, differences: Sequence[Difference], findings: Sequence[Finding], rules: Rules
) -> Summary:
    """Return the figures of everything in *ledger*, sold by *rules*."""
    offers = list(ledger.offers.values())
    performance = list(ledger.performance.values())
    latencies = sorted(world.ack_latency_ms)
    resolved = [record for record in offers if record.unknowns and record.state is not OfferState.UNKNOWN]
    statements: dict[bool, Statement] = {issuer == OURS: made for issuer, made in ledger.statements.items()}
    return Summary(
        simulated=rules.simulated
        or any(record.offer.simulated for record in offers)
        or any(p.simulated for p in performance),
        offers=len(offers),
        offered_kw=mean([float(record.offer.quantity_mw * KW_PER_MW) for record in offers]),
        awarded_kw=mean([float(award.quantity_mw * KW_PER_MW) for award in ledger.awards.values()]),
        delivered_kw=mean([figure.delivered_kw for figure in performance]),
        delivered_ratio=delivered_ratio(performance),
        ack_p50_ms=tenth(quantile(latencies, 0.50)),
        ack_p99_ms=tenth(quantile(latencies, 0.99)),
        acks=len(latencies),
        acks_refused=world.acks_refused,
        currency=rules.currency,
        settlement_usd=statements[True].total if True in statements else None,
        venue_statement_usd=statements[False].total if False in statements else None,
        differences=tuple(map(str, differences)),
        findings=tuple(map(str, findings)),
        unknown_outcomes_resolved=len(resolved),
        sent_again=sum(max(0, record.attempts - 1) for record in offers),
    )


def mean(figures: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return round(sum(figures) / len(figures), 3) if figures else None


def tenth(figure: float | None) -> float | None:
    """Return *figure* to a tenth."""
    return None if figure is None else round(figure, 1)


def write_summary(path: Path, summary: Summary) -> None:
    """Write *summary* as JSON, whole or not at all; raise `EnvironmentProblem` when it cannot be."""
    try:
        files.replace(path, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    except OSError as error:
        raise EnvironmentProblem(f"cannot write the summary {path}: {error.strerror}") from error
