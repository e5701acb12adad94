"""The venue's own dollars: exact fractions, rounded where the README's settlement text says so and nowhere else."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from zoneinfo import ZoneInfo

from bidding.sandbox.baseline import EventBaseline, Grid, Meter, Missing, event_baseline, events
from bidding.sandbox.rules import Rules
from bidding.sandbox.wire import Award, Pending, Statement, StatementLine

CENT_DECIMALS = 2
NOISE_DECIMALS = 3
"""Energy is first rounded to this many more places, to take the noise of binary floating point off ties."""
KWH_PER_MWH = 1000


def half_even(figure: Fraction, decimals: int) -> Decimal:
    """Round *figure* half to even to *decimals* places."""
    return Decimal(round(figure * 10**decimals)).scaleb(-decimals)


def energy_kwh(figure: Fraction, decimals: int) -> Decimal:
    """Round an energy as statements do: first to three more places, then to *decimals*."""
    return half_even(Fraction(half_even(figure, decimals + NOISE_DECIMALS)), decimals)


def settle(award: Award, baseline: EventBaseline, metered: Decimal, rules: Rules) -> StatementLine:
    """Return the line of *award*: *metered* kWh against the *baseline*."""
    hours = Fraction(rules.interval_s, 3600)
    decimals = rules.energy_decimals
    baseline_kwh = energy_kwh(baseline.kwh(award.interval_start), decimals)
    metered_kwh = energy_kwh(Fraction(metered), decimals)
    awarded_kwh = energy_kwh(Fraction(award.mw) * KWH_PER_MWH * hours, decimals)
    delivered_kwh = min(max(baseline_kwh - metered_kwh, Decimal(0)), awarded_kwh)
    shortfall_kwh = awarded_kwh - delivered_kwh

    price_per_kwh = Fraction(award.price) / KWH_PER_MWH
    energy_amount = half_even(Fraction(delivered_kwh) * price_per_kwh, CENT_DECIMALS)
    penalty = half_even(Fraction(shortfall_kwh) * price_per_kwh * Fraction(rules.shortfall_factor), CENT_DECIMALS)
    return StatementLine(
        award_id=award.award_id,
        interval_start=award.interval_start,
        interval_end=award.interval_end,
        baseline_kwh=baseline_kwh,
        metered_kwh=metered_kwh,
        awarded_kwh=awarded_kwh,
        delivered_kwh=delivered_kwh,
        shortfall_kwh=shortfall_kwh,
        price=award.price,
        energy_amount=energy_amount,
        shortfall_amount=-penalty,
        total=energy_amount - penalty,
        baseline_days=tuple(day.isoformat() for day in baseline.days),
        adjustment_ratio=str(half_even(baseline.ratio, 6)),
    )


def statement(resource: str, awards: Sequence[Award], meter: Meter, rules: Rules, now: datetime) -> Statement:
    """Settle every award of *resource* whose interval is over and metered; list the others with the reason."""
    grid = Grid(rules.interval, ZoneInfo(rules.timezone))
    by_start = {award.interval_start: award for award in awards}
    dr_days = {grid.day(start) for start in by_start}
    lines: list[StatementLine] = []
    pending: list[Pending] = []
    for event in events(by_start, grid):
        baseline = event_baseline(event, meter, dr_days, grid)
        for award in map(by_start.__getitem__, event):
            outcome = _line(award, baseline, meter, rules, now)
            if isinstance(outcome, Missing):
                pending.append(
                    Pending(award_id=award.award_id, interval_start=award.interval_start, reason=outcome.reason)
                )
            else:
                lines.append(outcome)
    return Statement(
        statement_id=_statement_id(resource, lines),
        resource=resource,
        currency=rules.currency,
        lines=tuple(lines),
        pending=tuple(pending),
        total=sum((line.total for line in lines), Decimal("0.00")),
        issued_at=now,
    )


def _line(
    award: Award, baseline: EventBaseline | Missing, meter: Meter, rules: Rules, now: datetime
) -> StatementLine | Missing:
    if now < award.interval_end:
        return Missing("the interval is not over")
    if award.interval_start not in meter:
        return Missing("no meter data for the interval")
    if isinstance(baseline, Missing):
        return baseline
    return settle(award, baseline, meter[award.interval_start], rules)


def _statement_id(resource: str, lines: list[StatementLine]) -> str:
    """Name a statement by what it says: the same lines are the same statement."""
    digest = sha256("\n".join(line.model_dump_json() for line in lines).encode())
    return f"S-{resource}-{digest.hexdigest()[:12]}"
