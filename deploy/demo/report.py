"""
The run in figures: `report.json`. Pure: what Kafka, the fleet and the venue hold goes in, figures come out.

A figure nobody could measure is null, never zero. Everything in it is simulated but the software.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from bidding.ledger import OURS
from bidding.settlement import Difference, compare
from deploy.demo.picture import relief_by_tier
from pipeline.capacity import quantile
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.market import Award, Dispatch, Offer, OfferEvent, Performance, Statement
from pipeline.messages.telemetry import SiteCapacity, SiteInterval, Workload
from pipeline.units import J_PER_KWH, KW_PER_MW


@dataclass
class Run:
    """Everything a run left on Kafka, plus what only the outside could count."""

    speed: float
    description: str
    ticks_produced: int
    intervals_planned: int
    capacities: list[SiteCapacity] = field(default_factory=list)
    intervals: list[SiteInterval] = field(default_factory=list)
    acks: list[CommandAck] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    offer_events: list[OfferEvent] = field(default_factory=list)
    awards: list[Award] = field(default_factory=list)
    dispatches: list[Dispatch] = field(default_factory=list)
    performance: list[Performance] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    audit: dict[str, Any] = field(default_factory=dict)
    """The venue's own count of what reached it."""
    machine: dict[str, Any] = field(default_factory=dict)
    """Seconds, memory, versions, options."""


def newest_intervals(intervals: Iterable[SiteInterval]) -> list[SiteInterval]:
    """Return one interval per (site, start), the highest revision, in time order."""
    newest: dict[tuple[str, datetime], SiteInterval] = {}
    for interval in sorted(intervals, key=lambda message: message.revision):
        newest[interval.site, interval.interval.start] = interval
    return sorted(newest.values(), key=lambda message: message.interval.start)


def percentile(figures: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile of *figures* to a tenth, None of nothing."""
    return _rounded(quantile(sorted(figures), share))


def ticks_aggregated(run: Run) -> int:
    """Return the distinct ticks in closed intervals plus those waiting in open ones."""
    closed = newest_intervals(run.intervals)
    last = max(run.capacities, key=lambda capacity: capacity.known_at, default=None)
    return sum(interval.ticks for interval in closed) + (last.ticks_open if last else 0)


def capacity_by_tier(run: Run) -> dict[str, float] | None:
    """Return what each tier could let go when the first offer was cut, kW at the tier's floor."""
    as_of = min((offer.as_of for offer in run.offers), default=None)
    known = [capacity for capacity in run.capacities if as_of is None or capacity.as_of <= as_of]
    if not known:
        return None
    newest = max(known, key=lambda capacity: capacity.as_of)
    return {tier: round(relief_kw, 1) for tier, relief_kw in relief_by_tier(newest.pools).items()}


def tokens_per_joule(intervals: Iterable[SiteInterval]) -> float | None:
    """Return tokens per second per watt of the inference pools that count tokens; None where none does."""
    pools = [
        (pool.tokens, pool.gpu_energy_kwh)
        for interval in intervals
        for pool in interval.pools
        if pool.tokens is not None and pool.workload is Workload.INFERENCE
    ]
    joules = sum(energy_kwh for _, energy_kwh in pools) * J_PER_KWH
    return round(sum(tokens or 0.0 for tokens, _ in pools) / joules, 4) if joules > 0 else None


def tokens_before_and_during(run: Run) -> tuple[float | None, float | None]:
    """Return tokens/s/W in the last whole interval before the event, and over the awarded intervals."""
    awarded = {award.interval for award in run.awards}
    metered = [interval for interval in newest_intervals(run.intervals) if interval.source == "metered"]
    start = min((interval.start for interval in awarded), default=None)
    before = [interval for interval in metered if start is not None and interval.interval.end <= start][-1:]
    return tokens_per_joule(before), tokens_per_joule(i for i in metered if i.interval in awarded)


def differences(statements: Sequence[Statement]) -> list[Difference] | None:
    """Return where our statement and the venue's disagree; None while one of them is missing."""
    ours = next((statement for statement in statements if statement.issuer == OURS), None)
    theirs = next((statement for statement in statements if statement.issuer != OURS), None)
    return compare(ours, theirs) if ours and theirs else None


def problem(report: dict[str, Any], bidding_said: str) -> str | None:
    """Return why the loop did not close, in one line; None when it did. *bidding_said*: the end of bidding's log."""
    if report["lost"]:
        return f"{report['lost']} of {report['ticks_produced']} ticks did not reach the site figures"
    if report["offered_kw"] is None:
        return f"nothing was offered; the last line of bid.log: {bidding_said}"
    if report["awarded_kw"] is None:
        return f"{report['offered_kw']} kW were offered and none was awarded: the market cleared below our price"
    if not report["statements_agree"]:
        return f"our settlement and the venue's differ: {report['statement_differences'] or 'one is missing'}"
    return None


def _total(statements: Iterable[Statement]) -> str | None:
    totals = [statement.total for statement in statements]
    return str(totals[-1]) if totals else None


def _mean_kw(figures: Sequence[float]) -> float | None:
    return round(statistics.fmean(figures), 1) if figures else None


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 1)


def summarise(run: Run) -> dict[str, Any]:
    """Return the report. kW are means over the awarded intervals; milliseconds are the machine's."""
    aggregated = ticks_aggregated(run)
    before, during = tokens_before_and_during(run)
    applied = [ack for ack in run.acks if ack.status is AckStatus.APPLIED]
    latencies = [ack.latency_ms for ack in applied if ack.latency_ms is not None]
    newest = max(run.capacities, key=lambda capacity: capacity.known_at, default=None)
    delivered = [performance.delivered_kw for performance in run.performance]
    awarded = [float(award.quantity_mw * KW_PER_MW) for award in run.awards]
    offered: dict[datetime, Decimal] = {offer.interval.start: offer.quantity_mw * KW_PER_MW for offer in run.offers}
    found = differences(run.statements)
    return {
        "simulated": True,
        "description": run.description,
        "hosts": newest.hosts if newest else None,
        "gpus": newest.gpus if newest else None,
        "ticks_produced": run.ticks_produced,
        "ticks_aggregated": aggregated,
        "lost": run.ticks_produced - aggregated,
        "sequence_holes": sum(interval.ticks_missing for interval in newest_intervals(run.intervals)),
        "capacity_kw": capacity_by_tier(run),
        "offered_kw": _mean_kw([float(quantity) for quantity in offered.values()]),
        "awarded_kw": _mean_kw(awarded),
        "delivered_kw": _mean_kw(delivered),
        "reduction_kw": _mean_kw([performance.reduction_kw for performance in run.performance]),
        "delivered_ratio": round(sum(delivered) / sum(awarded), 4) if sum(awarded) > 0 else None,
        "intervals_planned": run.intervals_planned,
        "intervals_offered": len(offered),
        "intervals_awarded": len(awarded),
        "command_to_ack_p50_ms": percentile(latencies, 0.50),
        "command_to_ack_p99_ms": percentile(latencies, 0.99),
        "commands_applied": len(applied),
        "commands_refused": sum(ack.status is AckStatus.REFUSED for ack in run.acks),
        "hosts_commanded": len({ack.host for ack in applied}),
        "hosts_released": len({ack.host for ack in run.acks if ack.status is AckStatus.RELEASED}),
        "freshness_p50_ms": percentile((c.age_p50_ms / run.speed for c in run.capacities if c.age_p50_ms), 0.50),
        "freshness_p99_ms": percentile((c.age_p99_ms / run.speed for c in run.capacities if c.age_p99_ms), 0.99),
        "tokens_per_s_per_w_before": before,
        "tokens_per_s_per_w_during": during,
        "settlement_usd": _total(s for s in run.statements if s.issuer == OURS),
        "venue_statement_usd": _total(s for s in run.statements if s.issuer != OURS),
        "statements_agree": found == [],
        "statement_differences": [asdict(difference) for difference in found or ()],
        "venue_audit": run.audit,
        "machine": run.machine,
    }
