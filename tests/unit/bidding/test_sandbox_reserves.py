"""Reserves and regulation on the statement, to the cent, by hand; calls; and energy sold twice for one interval."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from doubles.sandbox_book import MINUTE, START, award, body, submit, venue

from bidding.sandbox.answers import Award, CapacityLine, Pending, Score, Statement
from bidding.sandbox.baseline import Missing
from bidding.sandbox.calls import contingency
from bidding.sandbox.market import Market
from bidding.sandbox.regulation import mileage
from bidding.sandbox.reserves import capacity_line, reserve_line
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.settlement import coarser, owed_kwh
from bidding.sandbox.statement import statement

HOUR = timedelta(hours=1)
QUIET = SandboxSettings(products="energy-dr,spin,reg-up,energy-da,spin-da").market()
ALWAYS = QUIET.model_copy(update={"call_share": 1.0})


def line(
    own: Award, market: Market, meter: dict[datetime, Decimal], score: float | None = None
) -> CapacityLine | Missing:
    found = (
        Score(resource="R", product="reg-up", hour=START, accuracy=0, delay=0, precision=0, score=score, sha256="")
        if score is not None
        else None
    )
    return capacity_line(own, meter, found, market, seed=1)


def called(meter: dict[datetime, Decimal]) -> CapacityLine | Missing:
    """Return the line of 0.6 MW of spin for an hour at 30 $/MW, called at its start for half an hour."""
    rules = QUIET.rules("spin-da")
    assert rules is not None
    return reserve_line(award("spin-da", "0.6", "30", START, HOUR), START, meter, rules, QUIET)


def money(found: CapacityLine | Missing) -> tuple[str, str, str, str]:
    assert isinstance(found, CapacityLine), found
    return str(found.capacity_amount), str(found.mileage_amount), str(found.shortfall_amount), str(found.total)


def test_mw_held_ready_are_paid_whether_called_or_not() -> None:
    """10 MW for an hour at 12.34 $/MW: 123.40 $."""
    found = line(award("spin-da", "10", "12.34", START, HOUR), QUIET, {})

    assert money(found) == ("123.40", "0.00", "0.00", "123.40")
    assert isinstance(found, CapacityLine)
    assert not found.called


def test_a_minute_of_reserve_is_a_sixtieth_of_an_hour() -> None:
    """0.3 MW × 1/60 h × 60 $/MW = 0.30 $."""
    assert money(line(award("spin", "0.3", "60"), QUIET, {})) == ("0.30", "0.00", "0.00", "0.30")


def test_a_call_is_judged_from_its_response_time_on_against_the_interval_before_it() -> None:
    """
    Half an hour of call from 01:00, 10 minutes to respond: minutes 10 to 29 are judged, twenty of them.

    0.6 MW are 10 kWh a minute. 50 kWh were drawn in the minute before; 42 in each judged one: 8 of 10 are there.
    20 × 2 = 40 kWh are missing. Capacity 0.6 × 30 = 18.00 $, less 0.04 MWh × 30 × 1 = 1.20 $.
    """
    meter = {START - MINUTE: Decimal(50)} | {START + MINUTE * each: Decimal(42) for each in range(60)}

    found = called(meter)

    assert isinstance(found, CapacityLine)
    assert found.called
    assert (found.reference_kwh, found.awarded_kwh, found.delivered_kwh, found.shortfall_kwh) == tuple(
        map(Decimal, (50, 200, 160, 40))
    )
    assert money(found) == ("18.00", "0.00", "-1.20", "16.80")


def test_more_than_was_promised_earns_nothing_more() -> None:
    meter = {START - MINUTE: Decimal(50)} | {START + MINUTE * each: Decimal(0) for each in range(60)}

    found = called(meter)

    assert money(found) == ("18.00", "0.00", "0.00", "18.00")


def test_drawing_more_than_before_the_call_is_no_worse_than_delivering_nothing() -> None:
    """200 kWh short: 0.2 MWh × 30 = 6.00 $."""
    meter = {START - MINUTE: Decimal(50)} | {START + MINUTE * each: Decimal(90) for each in range(60)}

    found = called(meter)

    assert money(found) == ("18.00", "0.00", "-6.00", "12.00")


def test_a_call_without_meter_data_is_a_reason_and_no_line() -> None:
    meter = {START - MINUTE: Decimal(50)} | {START + MINUTE * each: Decimal(42) for each in range(60) if each != 15}

    found = called(meter)

    assert found == Missing("no meter data for 2026-07-24T01:15:00Z, which the call is judged by")


# -------------------------------------------------------------------------------------------------- contingencies


def test_without_a_share_nothing_is_ever_called() -> None:
    assert all(contingency(award("spin", "1", "1", START + MINUTE * each), QUIET, 1) is None for each in range(500))


def test_a_contingency_touches_every_award_of_its_half_hour() -> None:
    """Of a share of 1 in 200 minutes: whoever is called is called for half an hour from one instant on."""
    market = QUIET.model_copy(update={"call_share": 0.005})
    begun = [contingency(award("spin", "1", "1", START + MINUTE * each), market, 1) for each in range(2000)]

    called = {each: at for each, at in enumerate(begun) if at is not None}

    assert 0 < len(called) < 2000
    for each, at in called.items():
        assert START + MINUTE * (each - 30) < at <= START + MINUTE * each
    for at in set(called.values()):
        number = (at - START) // MINUTE
        assert set(range(max(number, 0), min(number + 30, 2000))) <= set(called)


def test_a_reserve_is_instructed_when_it_is_called_and_energy_before_its_interval() -> None:
    """Called from the first minute on: in force at once, in full ten minutes later."""
    market = venue(market=ALWAYS)
    submit(market, "o-1", body("spin"))
    submit(market, "o-2", body("energy-dr"))

    dispatches = {each.product: each for each in market.dispatches("R", START + HOUR)}

    assert dispatches["energy-dr"].issued_at == START - timedelta(seconds=10)
    assert dispatches["energy-dr"].respond_by == START
    spin = dispatches["spin"]
    assert spin.issued_at == START - MINUTE * 29  # a contingency every minute: the first that still lasts
    assert spin.respond_by == START
    assert (spin.interval_start, spin.interval_end, spin.reduction_mw) == (START, START + MINUTE, Decimal("0.10"))


def test_a_reserve_that_is_not_called_is_not_instructed() -> None:
    market = venue(market=QUIET)
    submit(market, "o-1", body("spin"))

    assert market.dispatches("R", START + HOUR) == ()


# ----------------------------------------------------------------------------------------------------- regulation


def test_regulation_is_paid_by_score_for_capacity_and_for_mileage() -> None:
    """10 MW for an hour at 8 $/MW, scored 0.9: 72.00 $. Mileage m at 0.50 $: 10 × m × 0.5 × 0.9 = 4.5 m."""
    went = round(mileage(1, START, START + HOUR, 4, 1), 6)

    found = line(award("reg-up", "10", "8", START, HOUR), by_the_hour(), {}, score=0.9)

    assert isinstance(found, CapacityLine)
    assert found.mileage == f"{went:.6f}"
    assert found.capacity_amount == Decimal("72.00")
    assert abs(found.mileage_amount - Decimal(repr(4.5 * went))) < Decimal("0.006")
    assert found.total == found.capacity_amount + found.mileage_amount


def by_the_hour() -> Market:
    """Return a market that sells regulation by the hour."""
    products = tuple(
        rules.model_copy(update={"interval_s": 3600})
        for rules in QUIET.products
        if rules.product in {"reg-up", "energy-da"}
    )
    return QUIET.model_copy(update={"products": products})


@pytest.mark.parametrize(("score", "total"), [(0.25, True), (0.249999, False)])
def test_below_a_quarter_nothing_is_earned(score: float, total: bool) -> None:  # noqa: FBT001 - what is expected
    found = line(award("reg-up", "10", "8", START, HOUR), by_the_hour(), {}, score=score)

    assert isinstance(found, CapacityLine)
    assert (found.total > 0) is total


def test_an_hour_nobody_reported_is_a_reason_and_no_line() -> None:
    found = line(award("reg-up", "10", "8", START, HOUR), by_the_hour(), {})

    assert found == Missing("no response reported for the hour from 2026-07-24T01:00:00Z")


# ------------------------------------------------------------------------------------------------ the statement


def history(reduced_kwh: str) -> dict[datetime, Decimal]:
    """Return 18 days of 20 kWh a minute from 14:00 to 19:00 local, the event's hour at *reduced_kwh*."""
    starts = [START - timedelta(days=back, hours=4) + MINUTE * each for back in range(18) for each in range(300)]
    return {start: Decimal(20) for start in starts} | {
        START + MINUTE * each: Decimal(reduced_kwh) for each in range(60)
    }


def settled(awards: list[Award], meter: dict[datetime, Decimal], now: datetime = START + HOUR) -> Statement:
    return statement("R", awards, meter, {}, QUIET, seed=1, now=now)


def test_energy_and_reserves_stand_side_by_side_and_add_up() -> None:
    """Energy: 1.666667 of 1.666667 kWh at 60 $/MWh = 0.10 $. Spin: 0.3 MW × 1/60 h × 60 = 0.30 $."""
    found = settled([award("energy-dr", "0.10", "60"), award("spin", "0.3", "60")], history("10"))

    assert [each.total for each in found.lines] == [Decimal("0.10")]
    assert [each.total for each in found.capacity_lines] == [Decimal("0.30")]
    assert (found.total, found.pending) == (Decimal("0.40"), ())


def test_reserves_held_are_no_demand_response_and_keep_their_day_a_baseline_day() -> None:
    """Spin on Wednesday does not take the day out; energy does."""
    day = START - timedelta(days=1)

    with_spin = settled([award("spin", "0.3", "60", day), award("energy-dr", "0.10", "60")], history("10"))
    with_energy = settled([award("energy-dr", "0.1", "60", day), award("energy-dr", "0.10", "60")], history("10"))

    assert "2026-07-22" in with_spin.lines[-1].baseline_days
    assert "2026-07-22" not in with_energy.lines[-1].baseline_days


def test_what_is_not_over_waits() -> None:
    found = settled([award("spin", "0.3", "60")], {}, START)

    assert found.pending == (
        Pending(award_id="A-spin-240100", interval_start=START, reason="the interval is not over"),
    )


def test_an_hour_sold_the_day_before_is_settled_on_the_sum_of_its_minutes() -> None:
    """0.6 MW for an hour: 600 of (20 − 10) × 60 = 600 kWh are there. 0.6 MWh × 50 = 30.00 $."""
    found = settled([award("energy-da", "0.6", "50", START, HOUR)], history("10"))

    (hour,) = found.lines
    assert (hour.baseline_kwh, hour.metered_kwh, hour.delivered_kwh) == tuple(map(Decimal, (1200, 600, 600)))
    assert hour.total == Decimal("30.00")


def test_what_was_sold_the_day_before_comes_first_and_real_time_gets_the_rest() -> None:
    """
    0.6 MW a day ahead are 10 kWh a minute. One minute was sold again in real time, 0.3 MW: 5 kWh on top.

    Every minute went from 20 to 8 kWh: 10 belong to the day before, 2 of 5 to real time; 3 are short.
    0.002 MWh × 1000 = 2.00 $ less 0.003 × 1000 = 3.00 $. The same reduction is not paid twice.
    """
    awards = [award("energy-da", "0.6", "50", START, HOUR), award("energy-dr", "0.3", "1000")]

    found = {each.product: each for each in settled(awards, history("8")).lines}

    assert found["energy-da"].total == Decimal("30.00")
    assert (found["energy-dr"].delivered_kwh, found["energy-dr"].shortfall_kwh) == (Decimal(2), Decimal(3))
    assert found["energy-dr"].total == Decimal("-1.00")


def test_an_award_outside_the_hour_owes_nothing() -> None:
    rules = QUIET.default

    assert owed_kwh(award("energy-dr", "1", "1"), [award("energy-da", "0.6", "1", START, HOUR)], rules) == 10
    assert owed_kwh(award("energy-dr", "1", "1"), [award("energy-da", "0.6", "1", START + HOUR, HOUR)], rules) == 0


def test_an_hour_with_a_minute_missing_has_no_reading() -> None:
    minutes = {START + MINUTE * each: Decimal(1) for each in range(120) if each != 70}

    assert coarser(minutes, 60, 3600) == {START: Decimal(60)}
