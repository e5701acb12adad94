"""Dollars: each rounding in its place, and a difference shown where two statements disagree."""

from datetime import timedelta
from decimal import Decimal

import pytest
from doubles.builders import INTERVAL, NOON, award, rules
from hypothesis import given
from hypothesis import strategies as st

from bidding.settlement import compare, energy, hours, line, settle
from pipeline.interval import Interval
from pipeline.messages.market import Performance, Statement, StatementLine

HOUR = Interval(NOON, NOON + timedelta(hours=1))


def performed(baseline_kw: float, load_kw: float, interval: Interval = HOUR) -> Performance:
    return Performance(
        award_id=award(interval=interval).award_id,
        resource="r1",
        site="site-1",
        interval=interval,
        baseline_method="caiso-10-in-10",
        unadjusted_baseline_kw=baseline_kw,
        adjustment_ratio=1.0,
        baseline_kw=baseline_kw,
        baseline_days=(),
        load_kw=load_kw,
        reduction_kw=baseline_kw - load_kw,
        awarded_kw=0.0,
        delivered_kw=0.0,
        shortfall_kw=0.0,
        covered_share=1.0,
        simulated=True,
    )


def settled(baseline_kw: float, load_kw: float, quantity_mw: str, price: str) -> StatementLine:
    return line(award(quantity_mw, price, HOUR), performed(baseline_kw, load_kw), rules())


def test_a_shortfall_costs_the_factor_times_the_price() -> None:
    """0.5 MW for an hour at 100 $/MWh, 400 kWh delivered, factor 1.5: 40 $ − 0.1 × 100 × 1.5 = 25 $."""
    found = settled(1000, 600, "0.5", "100")

    assert (found.delivered_kwh, found.shortfall_kwh) == (Decimal(400), Decimal(100))
    assert (found.energy_amount, found.shortfall_amount, found.total) == (Decimal(40), Decimal(-15), Decimal(25))


def test_more_than_awarded_is_not_paid() -> None:
    found = settled(1000, 300, "0.5", "100")

    assert (found.delivered_kwh, found.shortfall_kwh, found.total) == (Decimal(500), Decimal(0), Decimal(50))
    assert str(found.shortfall_amount) == "0.00"


def test_nothing_delivered_is_the_whole_penalty() -> None:
    found = settled(1000, 1100, "0.5", "100")

    assert (found.delivered_kwh, found.energy_amount, found.total) == (Decimal(0), Decimal(0), Decimal(-75))


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [("10.1235", "10.124"), ("10.1225", "10.122"), ("10.1225006", "10.123"), ("10.1225004", "10.122")],
)
def test_energy_is_rounded_half_to_even_once_the_noise_is_gone(exact: str, rounded: str) -> None:
    """Ties go to the even digit; what lies above a tie in the sixth place counts, what lies below it is noise."""
    assert energy(Decimal(exact), 3) == Decimal(rounded)


def test_amounts_are_rounded_half_to_even_to_the_cent() -> None:
    """1 kWh at 125 $/MWh is 12.5 cents: 0.12. At 135 $/MWh 13.5 cents: 0.14."""
    assert settled(1, 0, "0.001", "125").energy_amount == Decimal("0.12")
    assert settled(1, 0, "0.001", "135").energy_amount == Decimal("0.14")


def test_a_minutes_share_of_an_award_is_rounded_like_any_energy() -> None:
    """0.1 MW for a minute is 1.666… kWh: 1.667."""
    entry = line(award("0.1", "100"), performed(100, 0, INTERVAL), rules())

    assert entry.awarded_kwh == Decimal("1.667")
    assert hours(Interval(NOON, NOON + timedelta(minutes=15))) == Decimal("0.25")


@given(
    baseline_kw=st.floats(0, 1e5),
    load_kw=st.floats(0, 1e5),
    blocks=st.integers(1, 5000),
    price=st.decimals(0, 1000, places=2),
)
def test_delivered_and_short_are_the_award_and_the_total_is_their_money(
    baseline_kw: float, load_kw: float, blocks: int, price: Decimal
) -> None:
    entry = line(award(str(blocks * Decimal("0.01")), str(price), HOUR), performed(baseline_kw, load_kw), rules())

    assert entry.delivered_kwh + entry.shortfall_kwh == entry.awarded_kwh
    assert entry.delivered_kwh >= 0 <= entry.shortfall_kwh
    assert entry.total == entry.energy_amount + entry.shortfall_amount
    assert entry.shortfall_amount <= 0


def statement(*quantities: str) -> Statement:
    awards, intervals = [], HOUR
    for quantity in quantities:
        awards.append(award(quantity, "100", intervals))
        intervals = intervals.next()
    performance = [performed(1000, 600, a.interval) for a in awards]
    return settle(awards, performance, rules(), "r1", NOON)


def test_a_statement_is_the_sum_of_its_lines_in_order_of_time() -> None:
    """0.4 MW and 0.2 MW, all delivered, at 100 $/MWh: 40 $ and 20 $."""
    made = statement("0.4", "0.2")

    assert [entry.total for entry in made.lines] == [Decimal(40), Decimal(20)]
    assert (made.total, made.issuer, made.simulated) == (Decimal(60), "firmwatt", True)


@pytest.mark.parametrize(
    ("venue", "telemetry", "made"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_a_statement_is_simulated_if_the_venue_or_any_telemetry_is(*, venue: bool, telemetry: bool, made: bool) -> None:
    figure = performed(1000, 600).model_copy(update={"simulated": telemetry})

    assert settle([award(interval=HOUR)], [figure], rules(simulated=venue), "r1", NOON).simulated is made


def test_statements_that_agree_have_no_differences_whoever_wrote_them() -> None:
    ours = statement("0.4", "0.2")
    theirs = ours.model_copy(update={"issuer": "sandbox", "statement_id": "other", "issued_at": HOUR.end})

    assert compare(ours, theirs) == []


def test_a_differing_cent_is_shown_where_it_is_and_in_the_total() -> None:
    ours = statement("0.4")
    cent_more = ours.lines[0].model_copy(update={"total": Decimal("40.01")})
    theirs = ours.model_copy(update={"issuer": "sandbox", "lines": (cent_more,), "total": Decimal("40.01")})

    found = compare(ours, theirs)

    assert [(d.award_id, d.figure, d.theirs) for d in found] == [
        (ours.lines[0].award_id, "total", "40.01"),
        ("", "total", "40.01 USD"),
    ]


def test_a_line_that_one_side_lacks_is_shown() -> None:
    both, one = statement("0.4", "0.2"), statement("0.4")

    assert [(d.figure, d.ours, d.theirs) for d in compare(both, one)[:1]] == [("line", "present", "missing")]
    assert [(d.figure, d.ours, d.theirs) for d in compare(one, both)[:1]] == [("line", "missing", "present")]


def test_an_award_without_performance_has_no_line() -> None:
    assert settle([award()], [], rules(), "r1", NOON).lines == ()
