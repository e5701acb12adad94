"""The money of reserves and regulation: MW held ready, and what was made of them. Exact, rounded as the README says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from bidding.sandbox import regulation
from bidding.sandbox.answers import Award, CapacityLine, Score
from bidding.sandbox.baseline import Meter, Missing
from bidding.sandbox.calls import contingency
from bidding.sandbox.market import Market
from bidding.sandbox.rules import REGULATION, Family, Rules
from bidding.sandbox.scoring import LEAST_SCORE, RESPONSES
from bidding.sandbox.settlement import CENT_DECIMALS, KWH_PER_MWH, energy_kwh, half_even
from bidding.sandbox.wire import utc
from pipeline.interval import floor

HOUR = timedelta(hours=1)
SCORED_AFTER = timedelta(seconds=RESPONSES * regulation.SCORE_STEP_S)
PLACES = 6
_NONE = Decimal(0)


@dataclass(frozen=True)
class Called:
    """What came of a call, kWh over the intervals that are judged."""

    reference_kwh: Decimal
    awarded_kwh: Decimal
    delivered_kwh: Decimal


def direction(rules: Rules) -> int:
    """Return which half of the signal a product follows: 1 for less load, −1 for more."""
    return -1 if rules.family is Family.REGULATION_DOWN else 1


def hour_of(award: Award) -> datetime:
    """Return the full hour that an award of regulation is scored with."""
    return floor(award.interval_start, HOUR)


def reserve_line(
    award: Award, begun: datetime | None, meter: Meter, rules: Rules, market: Market
) -> CapacityLine | Missing:
    """Return the line of a reserve's *award*; *begun* is when a contingency called it, None where none did."""
    called = Called(_NONE, _NONE, _NONE) if begun is None else _called(award, begun, meter, rules, market)
    if isinstance(called, Missing):
        return called
    shortfall_kwh = called.awarded_kwh - called.delivered_kwh
    missing = Fraction(shortfall_kwh) / KWH_PER_MWH * Fraction(award.price) * Fraction(rules.shortfall_factor)
    return _line(
        award,
        called,
        called_at_all=begun is not None,
        capacity=Fraction(award.mw) * rules.hours * Fraction(award.price),
        penalty=missing,
    )


def _called(award: Award, begun: datetime, meter: Meter, rules: Rules, market: Market) -> Called | Missing:
    """Compare every judged interval with the last one before the call."""
    step = timedelta(seconds=market.meter_s)
    before = begun - step
    judged = list(_judged(award, begun, rules, market))
    gaps = [start for start in (before, *judged) if start not in meter] if judged else []
    if gaps:
        return Missing(f"no meter data for {utc(gaps[0])}, which the call is judged by")
    if not judged:
        return Called(_NONE, _NONE, _NONE)
    decimals = rules.energy_decimals
    reference_kwh = energy_kwh(Fraction(meter[before]), decimals)
    awarded_kwh = energy_kwh(Fraction(award.mw) * KWH_PER_MWH * Fraction(market.meter_s, 3600), decimals)
    delivered = (
        min(max(reference_kwh - energy_kwh(Fraction(meter[start]), decimals), _NONE), awarded_kwh) for start in judged
    )
    return Called(reference_kwh, awarded_kwh * len(judged), sum(delivered, _NONE))


def _judged(award: Award, begun: datetime, rules: Rules, market: Market) -> Iterator[datetime]:
    """Yield the starts of the meter intervals in which all of *award* has to be there."""
    step = timedelta(seconds=market.meter_s)
    due, over = begun + timedelta(seconds=rules.response_s or 0), begun + timedelta(seconds=market.call_s)
    start = award.interval_start
    while start < award.interval_end:
        if due <= start and start + step <= over:
            yield start
        start += step


def regulation_line(
    award: Award, score: Score | None, rules: Rules, market: Market, seed: int
) -> CapacityLine | Missing:
    """Return the line of an *award* of regulation: paid by its hour's *score* and its interval's mileage."""
    if score is None:
        return Missing(f"no response reported for the hour from {utc(hour_of(award))}")
    kept = half_even(Fraction(score.score), PLACES)
    earned = Fraction(kept) if score.score >= LEAST_SCORE else Fraction(0)
    went = regulation.mileage(seed, award.interval_start, award.interval_end, rules.signal_s or 4, direction(rules))
    mileage = half_even(Fraction(went), PLACES)
    return _line(
        award,
        Called(_NONE, _NONE, _NONE),
        called_at_all=True,
        capacity=Fraction(award.mw) * rules.hours * Fraction(award.price) * earned,
        mileage=Fraction(award.mw) * Fraction(mileage) * Fraction(market.mileage_price) * earned,
        score=str(kept),
        miles=str(mileage),
    )


def _line(
    award: Award,
    called: Called,
    *,
    called_at_all: bool,
    capacity: Fraction,
    penalty: Fraction = Fraction(0),
    mileage: Fraction = Fraction(0),
    score: str = "1",
    miles: str = "0",
) -> CapacityLine:
    capacity_amount, mileage_amount, shortfall_amount = (
        half_even(each, CENT_DECIMALS) for each in (capacity, mileage, penalty)
    )
    return CapacityLine(
        award_id=award.award_id,
        product=award.product,
        interval_start=award.interval_start,
        interval_end=award.interval_end,
        mw=award.mw,
        price=award.price,
        called=called_at_all,
        reference_kwh=called.reference_kwh,
        awarded_kwh=called.awarded_kwh,
        delivered_kwh=called.delivered_kwh,
        shortfall_kwh=called.awarded_kwh - called.delivered_kwh,
        score=score,
        mileage=miles,
        capacity_amount=capacity_amount,
        mileage_amount=mileage_amount,
        shortfall_amount=-shortfall_amount,
        total=capacity_amount + mileage_amount - shortfall_amount,
    )


def capacity_line(award: Award, meter: Meter, score: Score | None, market: Market, seed: int) -> CapacityLine | Missing:
    """Return the line of an *award* that is no energy."""
    rules = market.rules(award.product)
    if rules is None:
        return Missing("the product is sold no more")
    if rules.family in REGULATION:
        return regulation_line(award, score, rules, market, seed)
    return reserve_line(award, contingency(award, market, seed), meter, rules, market)


def setpoint_mw(award: Award, rules: Rules, seed: int, at: datetime) -> Decimal:
    """Return what the signal asks of *award* at *at*, MW to the watt."""
    share = regulation.share_at(seed, at, rules.signal_s or 4, direction(rules))
    return half_even(Fraction(award.mw) * Fraction(share), PLACES)


def asked_mw(awards: Sequence[Award], rules: Rules, seed: int, hour: datetime, count: int) -> list[float]:
    """Return what was asked for, MW, at *count* instants every 10 s from *hour* on; 0 without an award."""
    asked = []
    for number in range(count):
        at = hour + timedelta(seconds=regulation.SCORE_STEP_S * number)
        own = next((award for award in awards if award.interval_start <= at < award.interval_end), None)
        asked.append(float(setpoint_mw(own, rules, seed, at)) if own else 0.0)
    return asked
