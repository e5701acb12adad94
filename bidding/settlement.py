"""
From performance to dollars, and whether the venue counts the same. Pure, Decimal throughout.

Rounding, in this order and nowhere else: energies to the venue's decimals, then what is delivered and short (exact
differences of these), then each amount to the cent. Half to even. An energy that comes from binary floating point is
first rounded three places finer, so that a tie is a tie for whoever computes exactly (sandbox rules, `rounding`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from bidding.ledger import OURS
from bidding.products import Rules
from pipeline.interval import Interval
from pipeline.messages.market import Award, Performance, Statement, StatementLine
from pipeline.units import KW_PER_MW

CENT = Decimal("0.01")
KWH_PER_MWH = Decimal(1000)
GUARD_PLACES = 3


def energy(exact_kwh: Decimal, decimals: int) -> Decimal:
    """Return *exact_kwh* rounded half to even to *decimals* places, noise of binary fractions removed before."""
    guarded = exact_kwh.quantize(Decimal(1).scaleb(-decimals - GUARD_PLACES), ROUND_HALF_EVEN)
    return guarded.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)


def hours(interval: Interval) -> Decimal:
    """Return the length of *interval* in hours, to the precision of the decimal context."""
    return Decimal(interval.length // timedelta(microseconds=1)) / Decimal(3_600_000_000)


def metered_energy(power_kw: float, interval: Interval, decimals: int) -> Decimal:
    """Return the energy of a mean *power_kw* over *interval*, kWh, rounded."""
    return energy(Decimal(repr(power_kw)) * hours(interval), decimals)


def money(exact: Decimal) -> Decimal:
    """Return *exact* to the cent, half to even."""
    return exact.quantize(CENT, ROUND_HALF_EVEN)


def line(award: Award, performance: Performance, rules: Rules) -> StatementLine:
    """
    Return the money of one award.

    0.5 MW for an hour at 100 $/MWh, 400 kWh delivered, factor 1.5: 40.00 $ for energy, −15.00 $ for 100 kWh short.
    """
    with localcontext(prec=50):
        baseline_kwh = metered_energy(performance.baseline_kw, award.interval, rules.energy_decimals)
        metered_kwh = metered_energy(performance.load_kw, award.interval, rules.energy_decimals)
        awarded_kwh = energy(award.quantity_mw * KW_PER_MW * hours(award.interval), rules.energy_decimals)
        delivered_kwh = min(max(baseline_kwh - metered_kwh, Decimal(0)), awarded_kwh)
        shortfall_kwh = awarded_kwh - delivered_kwh
        energy_amount = money(delivered_kwh / KWH_PER_MWH * award.price_per_mwh)
        penalty = money(shortfall_kwh / KWH_PER_MWH * award.price_per_mwh * rules.shortfall_factor)
        shortfall_amount = Decimal(0) - penalty  # a plain minus would write -0.00
    return StatementLine(
        award_id=award.award_id,
        interval=award.interval,
        baseline_kwh=baseline_kwh,
        metered_kwh=metered_kwh,
        awarded_kwh=awarded_kwh,
        delivered_kwh=delivered_kwh,
        shortfall_kwh=shortfall_kwh,
        price_per_mwh=award.price_per_mwh,
        energy_amount=energy_amount,
        shortfall_amount=shortfall_amount,
        total=energy_amount + shortfall_amount,
    )


def settle(
    awards: Sequence[Award], performance: Sequence[Performance], rules: Rules, resource: str, now: datetime
) -> Statement:
    """Return our statement over all *awards* that have been performed on, in order of time."""
    performed = {entry.award_id: entry for entry in performance}
    lines = tuple(
        line(award, performed[award.award_id], rules)
        for award in sorted(awards, key=lambda award: award.interval)
        if award.award_id in performed
    )
    return Statement(
        statement_id=f"{OURS}-{resource}-{len(lines)}",
        issuer=OURS,
        resource=resource,
        currency=rules.currency,
        lines=lines,
        total=sum((entry.total for entry in lines), Decimal(0)),
        issued_at=now,
        simulated=rules.simulated or any(entry.simulated for entry in performance),
    )


@dataclass(frozen=True)
class Difference:
    """One figure on which two statements disagree."""

    award_id: str
    figure: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.award_id} {self.figure}: ours {self.ours}, theirs {self.theirs}"


def compare(ours: Statement, theirs: Statement) -> list[Difference]:
    """Return every figure on which the statements disagree, line by line and then the total."""
    mine = {entry.award_id: entry for entry in ours.lines}
    other = {entry.award_id: entry for entry in theirs.lines}
    found = [
        difference
        for award_id in sorted(mine.keys() | other.keys())
        for difference in _line_differences(award_id, mine.get(award_id), other.get(award_id))
    ]
    if (ours.total, ours.currency) != (theirs.total, theirs.currency):
        found.append(Difference("", "total", f"{ours.total} {ours.currency}", f"{theirs.total} {theirs.currency}"))
    return found


def _line_differences(award_id: str, mine: StatementLine | None, other: StatementLine | None) -> list[Difference]:
    if mine is None or other is None:
        missing = "missing" if mine is None else "present", "missing" if other is None else "present"
        return [Difference(award_id, "line", *missing)]
    return [
        Difference(award_id, figure, str(getattr(mine, figure)), str(getattr(other, figure)))
        for figure in StatementLine.model_fields
        if getattr(mine, figure) != getattr(other, figure)
    ]
