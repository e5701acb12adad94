"""The venue's dollars, to the cent, by hand."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.sandbox.answers import Award, Statement, StatementLine
from bidding.sandbox.baseline import EventBaseline
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Rules
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.settlement import energy_kwh, half_even, settle
from bidding.sandbox.statement import statement

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
PACIFIC = ZoneInfo("America/Los_Angeles")
HOUR = timedelta(hours=1)


def rules(**changes: object) -> Rules:
    return SandboxSettings().rules().model_copy(update={"interval_s": 3600, "energy_decimals": 3, **changes})


def settled(awards: list[Award], meter: dict[datetime, Decimal], now: datetime) -> Statement:
    """Return the statement of R, which sold energy by the hour and nothing else."""
    return statement("R", awards, meter, {}, Market(products=(rules(),)), seed=1, now=now)


def award(mw: str, price: str, start: datetime = START, length: timedelta = HOUR) -> Award:
    return Award(
        award_id=f"A-{start:%d%H%M}",
        offer_id="o",
        resource="R",
        product="energy-dr",
        interval_start=start,
        interval_end=start + length,
        mw=Decimal(mw),
        price=Decimal(price),
        currency="USD",
        awarded_at=start,
    )


def baseline(kwh: str, ratio: Fraction = Fraction(1)) -> EventBaseline:
    return EventBaseline((date(2026, 7, 22),), ratio, {START: Fraction(kwh)})


def money(line: StatementLine) -> tuple[str, str, str]:
    return str(line.energy_amount), str(line.shortfall_amount), str(line.total)


def test_all_that_was_awarded_is_delivered() -> None:
    """1000 kWh baseline − 700 metered = 300, of which 250 awarded; 0.25 MWh × 412.36 = 103.09 $."""
    line = settle(award("0.25", "412.36"), baseline("1000"), Decimal(700), rules())

    assert (line.delivered_kwh, line.shortfall_kwh) == (Decimal(250), Decimal(0))
    assert money(line) == ("103.09", "0.00", "103.09")


def test_a_shortfall_costs_its_factor() -> None:
    """
    1000 × 1.1 = 1100 kWh baseline, 1000.5 metered: 99.5 delivered of 250, 150.5 short.

    0.0995 × 412.36 = 41.02982 → 41.03; 0.1505 × 412.36 × 1.5 = 93.09027 → −93.09; together −52.06.
    """
    line = settle(
        award("0.25", "412.36"),
        baseline("1000", Fraction(11, 10)),
        Decimal("1000.5"),
        rules(shortfall_factor=Decimal("1.5")),
    )

    assert (line.baseline_kwh, line.delivered_kwh, line.shortfall_kwh) == (
        Decimal(1100),
        Decimal("99.5"),
        Decimal("150.5"),
    )
    assert money(line) == ("41.03", "-93.09", "-52.06")


def test_more_load_than_the_baseline_delivers_nothing_rather_than_less_than_nothing() -> None:
    line = settle(award("0.10", "100.00"), baseline("1000"), Decimal(1200), rules())

    assert (line.delivered_kwh, line.shortfall_kwh) == (Decimal(0), Decimal(100))
    assert money(line) == ("0.00", "-10.00", "-10.00")


def test_cents_are_rounded_half_to_even_once() -> None:
    """0.1 MWh × 0.25 = 0.025 → 0.02; × 0.35 = 0.035 → 0.04; both shortfalls are zero, without a minus sign."""
    low = settle(award("0.10", "0.25"), baseline("1000"), Decimal(0), rules())
    high = settle(award("0.10", "0.35"), baseline("1000"), Decimal(0), rules())

    assert money(low) == ("0.02", "0.00", "0.02")
    assert money(high) == ("0.04", "0.00", "0.04")


def test_a_minute_of_an_award_is_rounded_to_the_statements_decimals() -> None:
    """0.1 MW for a minute is 1.6666… kWh: 1.667."""
    line = settle(award("0.10", "600", length=timedelta(minutes=1)), baseline("20"), Decimal(18), rules(interval_s=60))

    assert line.awarded_kwh == Decimal("1.667")
    assert money(line) == ("1.00", "0.00", "1.00")  # 0.001667 × 600 = 1.0002


def test_energy_is_rounded_half_to_even_and_the_noise_of_floats_does_not_decide() -> None:
    """2.0005 is a tie, to even 2.000; 0.1 + 0.2 style noise of 4 ulp above it must not make it 2.001."""
    assert energy_kwh(Fraction("2.0005"), 3) == Decimal("2.000")
    assert energy_kwh(Fraction(2.0005 + 2e-15), 3) == Decimal("2.000")
    assert energy_kwh(Fraction("2.0015"), 3) == Decimal("2.002")
    assert energy_kwh(Fraction("2.000501"), 3) == Decimal("2.001")


@settings(deadline=None)  # a busy machine is no failure
@given(st.fractions(min_value=-(10**6), max_value=10**6), st.integers(0, 9))
def test_rounding_moves_a_figure_by_half_a_place_at_most(figure: Fraction, decimals: int) -> None:
    assert abs(Fraction(half_even(figure, decimals)) - figure) <= Fraction(1, 2 * 10**decimals)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.decimals(min_value=0, max_value=5000, places=6),
    st.decimals(min_value=0, max_value=5000, places=6),
    st.integers(1, 100),
    st.decimals(min_value=0, max_value=2000, places=2),
)
def test_delivered_and_short_are_the_award_and_nobody_is_paid_for_more(
    expected: Decimal, metered: Decimal, blocks: int, price: Decimal
) -> None:
    """Whatever was metered: delivered + shortfall = awarded, neither negative; the pay is the award's at most."""
    line = settle(award(str(blocks * Decimal("0.01")), str(price)), baseline(str(expected)), metered, rules())

    assert line.delivered_kwh + line.shortfall_kwh == line.awarded_kwh
    assert min(line.delivered_kwh, line.shortfall_kwh) >= 0
    assert 0 <= line.energy_amount <= half_even(Fraction(line.awarded_kwh) * Fraction(price) / 1000, 2)
    assert line.total == line.energy_amount + line.shortfall_amount


# -------------------------------------------------------------------------------------------- statements

FLAT_KWH = Decimal(1000)


def flat_history(**changes: Decimal | None) -> dict[datetime, Decimal]:
    """Return 60 days of 1000 kWh an hour up to the event at 18:00 local, and the hours after it as given."""
    meter = {START - HOUR * back: FLAT_KWH for back in range(1, 60 * 24)}
    named = {START + HOUR * int(hour.removeprefix("h")): kwh for hour, kwh in changes.items()}
    return meter | {start: kwh for start, kwh in named.items() if kwh is not None}


def test_a_statement_settles_what_is_over_and_metered_and_says_why_the_rest_waits() -> None:
    """
    Three hours awarded 0.1 MW at 50 $/MWh. At 20:30 local two are over; the second was not metered.

    The first delivered 100 of 100 kWh: 0.1 MWh × 50 = 5.00 $.
    """
    awards = [award("0.10", "50", START + HOUR * hour) for hour in range(3)]
    now = START + HOUR * 2 + timedelta(minutes=30)

    found = settled(awards, flat_history(h0=Decimal(900)), now)

    assert [(line.award_id, line.total) for line in found.lines] == [("A-240100", Decimal("5.00"))]
    assert [(wait.award_id, wait.reason) for wait in found.pending] == [
        ("A-240200", "no meter data for the interval"),
        ("A-240300", "the interval is not over"),
    ]
    assert (found.total, found.issued_at) == (Decimal("5.00"), now)
    assert found.lines[0].baseline_days[0] == "2026-07-22"
    assert len(found.lines[0].baseline_days) == 10


def test_contiguous_awards_are_adjusted_by_the_hours_before_the_first() -> None:
    """The first hour's reduction must not lower the baseline of the fifth: its own window would be hours 0 to 3."""
    awards = [award("0.10", "50", START + HOUR * hour) for hour in range(5)]
    meter = flat_history(h0=Decimal(500), h1=Decimal(500), h2=Decimal(500), h3=Decimal(500), h4=Decimal(900))

    found = settled(awards, meter, START + HOUR * 6)

    assert [line.baseline_kwh for line in found.lines] == [FLAT_KWH] * 5


def test_days_with_awards_are_not_baseline_days() -> None:
    """An award two days earlier, on Tuesday 21 July: it is left out, Wednesday the 22nd is not."""
    awards = [award("0.10", "50", START - HOUR * 48), award("0.10", "50")]

    found = settled(awards, flat_history(h0=Decimal(900)), START + HOUR)

    days = found.lines[-1].baseline_days
    assert "2026-07-22" in days
    assert "2026-07-21" not in days


@pytest.mark.parametrize("days", [3, 0])
def test_a_history_too_short_is_a_reason_and_no_line(days: int) -> None:
    meter = {
        start: kwh for start, kwh in flat_history(h0=Decimal(900)).items() if start > START - HOUR * (24 * days + 5)
    }

    found = settled([award("0.10", "50")], meter, START + HOUR)

    assert found.lines == ()
    assert found.pending[0].reason.startswith("history too short: 5 business days")


def test_the_same_lines_are_the_same_statement_and_other_lines_another() -> None:
    awards = [award("0.10", "50"), award("0.10", "50", START + HOUR)]
    meter = flat_history(h0=Decimal(900))

    first = settled(awards, meter, START + HOUR)
    later = settled(awards, meter, START + HOUR * 3)
    complete = settled(awards, meter | {START + HOUR: Decimal(950)}, START + HOUR * 3)

    assert first.statement_id == later.statement_id
    assert complete.statement_id != first.statement_id
