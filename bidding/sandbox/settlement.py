"""The venue's own dollars for energy: exact fractions, rounded where the README says so and nowhere else."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from bidding.sandbox.answers import Award, Pending, StatementLine
from bidding.sandbox.baseline import EventBaseline, Grid, Meter, Missing, event_baseline, events
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Rules, Trading
from pipeline.interval import floor

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


def settle(
    award: Award, baseline: EventBaseline, metered: Decimal, rules: Rules, owed: Decimal = Decimal(0)
) -> StatementLine:
    """Return the line of *award*: *metered* kWh against the *baseline*, of which *owed* kWh belong to another award."""
    decimals = rules.energy_decimals
    baseline_kwh = energy_kwh(baseline.kwh(award.interval_start), decimals)
    metered_kwh = energy_kwh(Fraction(metered), decimals)
    awarded_kwh = energy_kwh(Fraction(award.mw) * KWH_PER_MWH * rules.hours, decimals)
    delivered_kwh = min(max(baseline_kwh - metered_kwh - owed, Decimal(0)), awarded_kwh)
    shortfall_kwh = awarded_kwh - delivered_kwh

    price_per_kwh = Fraction(award.price) / KWH_PER_MWH
    energy_amount = half_even(Fraction(delivered_kwh) * price_per_kwh, CENT_DECIMALS)
    penalty = half_even(Fraction(shortfall_kwh) * price_per_kwh * Fraction(rules.shortfall_factor), CENT_DECIMALS)
    return StatementLine(
        award_id=award.award_id,
        product=award.product,
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


def energy_lines(
    awards: Sequence[Award], all_energy: Sequence[Award], meter: Meter, rules: Rules, *, market: Market, now: datetime
) -> Iterator[StatementLine | Pending]:
    """Yield the line of each of one product's *awards*, or why there is none; *all_energy* are those of any product."""
    grid = Grid(rules.interval, rules.zone)
    own_grid = coarser(meter, market.meter_s, rules.interval_s)
    by_start = {award.interval_start: award for award in awards}
    dr_days = {grid.day(award.interval_start) for award in all_energy}
    ahead = [award for award in all_energy if _is_ahead(award, rules, market)]
    for event in events(by_start, grid):
        baseline = event_baseline(event, own_grid, dr_days, grid)
        for award in map(by_start.__getitem__, event):
            outcome = _line(award, baseline, own_grid, rules, owed=owed_kwh(award, ahead, rules), now=now)
            if isinstance(outcome, Missing):
                yield Pending(award_id=award.award_id, interval_start=award.interval_start, reason=outcome.reason)
            else:
                yield outcome


def _is_ahead(award: Award, rules: Rules, market: Market) -> bool:
    """Tell whether *award*, of energy, was sold the day before, and what *rules* sells in real time comes on top."""
    sold = market.rules(award.product)
    return sold is not None and sold.trading is Trading.DAY_AHEAD and rules.trading is Trading.REAL_TIME


def owed_kwh(award: Award, ahead: Sequence[Award], rules: Rules) -> Decimal:
    """Return what the interval of *award* owes to the awards of the day *ahead*: that part of a reduction is theirs."""
    owed = Fraction(0)
    for other in ahead:
        common = min(award.interval_end, other.interval_end) - max(award.interval_start, other.interval_start)
        if common > timedelta(0):
            owed += Fraction(other.mw) * KWH_PER_MWH * Fraction(common // timedelta(seconds=1), 3600)
    return energy_kwh(owed, rules.energy_decimals)


def coarser(meter: Meter, meter_s: int, interval_s: int) -> Meter:
    """Return readings on a coarser grid: sums, of whole intervals only."""
    if meter_s == interval_s:
        return meter
    length = timedelta(seconds=interval_s)
    sums: dict[datetime, list[Decimal]] = {}
    for start, kwh in meter.items():
        sums.setdefault(floor(start, length), []).append(kwh)
    return {start: sum(found, Decimal(0)) for start, found in sums.items() if len(found) == interval_s // meter_s}


def _line(
    award: Award, baseline: EventBaseline | Missing, meter: Meter, rules: Rules, *, owed: Decimal, now: datetime
) -> StatementLine | Missing:
    if now < award.interval_end:
        return Missing("the interval is not over")
    if award.interval_start not in meter:
        return Missing("no meter data for the interval")
    if isinstance(baseline, Missing):
        return baseline
    return settle(award, baseline, meter[award.interval_start], rules, owed)
