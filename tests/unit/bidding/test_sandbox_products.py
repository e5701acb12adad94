"""What the sandbox sells: its own products, a venue's product file, gates by the local clock, pauses."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.sandbox.admission import Submission
from bidding.sandbox.checks import violations
from bidding.sandbox.entries import Outcome
from bidding.sandbox.faults import Faults, FaultShares
from bidding.sandbox.gates import Gate, Pause
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Family, Rules, Shape, Trading
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import OfferBody
from pipeline.errors import ConfigError

PACIFIC = ZoneInfo("America/Los_Angeles")
DAY_AHEAD = Gate(days_before=1, at=time(10))
HOUR = timedelta(hours=1)
PRODUCT_FILES = Path(__file__).parents[3] / "bidding/products"

ACME = """
venue = "acme"
timezone = "America/Chicago"
currency = "USD"
[sources.manual]
text = "Acme's manual, section 4"
verified = true
date = 2026-01-01
[sources.guess]
text = "general knowledge"
verified = false
date = 2026-01-01

[[product]]
name = "energy-rt"
family = "energy"
trading = "real_time"
interval_s = 900
block_mw = 0.1
min_mw = 1
max_mw = 50
max_steps = 3
max_equal_steps = 2
shape = "falling"
price_tick = 0.25
price_floor = -250
price_cap = 2000
net_benefits_floor = 20
closes = { before_s = 3600 }
horizon_s = 604800
[product.cited]
min_mw = "guess"
block_mw = "manual"

[[product]]
name = "energy-rt"
family = "energy"
trading = "real_time"
until = 2025-01-01
interval_s = 900
block_mw = 0.1
min_mw = 5
max_steps = 3
price_tick = 1
price_floor = 0
price_cap = 10
horizon_s = 604800

[[product]]
name = "reserve"
family = "spinning"
trading = "day_ahead"
interval_s = 3600
block_mw = 0.1
min_mw = 0.1
max_steps = 1
shape = "single"
price_tick = 0.01
price_floor = 0
price_cap = 5000
response_s = 600
closes = { days_before = 1, at = 10:30:00, zone = "America/New_York" }
opens = { days_before = 7, at = 00:00:00 }
pauses = [{ start = 06:55:00, end = 07:05:00, why = "validation" }]

[[product]]
name = "capacity"
family = "emergency"
trading = "season"
interval_s = 3600
block_mw = 0.1
min_mw = 0.1
max_steps = 1
price_tick = 0.01
price_floor = 0
price_cap = 5000
horizon_s = 604800

[[product]]
name = "half-known"
family = "fast"
trading = "day_ahead"
interval_s = 3600
block_mw = 0.1
"""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture
def acme(tmp_path: Path) -> Market:
    path = tmp_path / "acme.toml"
    path.write_text(ACME, encoding="utf-8")
    return SandboxSettings(rules_of=str(path)).market()


def body(rules: Rules, start: datetime, *steps: tuple[str, str], **changes: object) -> OfferBody:
    return OfferBody.model_validate(
        {
            "resource": "R",
            "product": rules.product,
            "interval_start": start,
            "interval_end": start + rules.interval,
            "curve": [{"mw": mw, "price": price} for mw, price in steps or (("1.0", "100"),)],
            **changes,
        }
    )


def found(market: Market, product: str) -> Rules:
    rules = market.rules(product)
    assert rules is not None
    return rules


# --------------------------------------------------------------------------------------------- its own products


def test_unless_told_otherwise_energy_by_the_minute_is_all_there_is() -> None:
    market = SandboxSettings().market()

    assert market.names == ("energy-dr",)
    assert (market.default.interval_s, market.co_clears) == (60, False)


def test_all_is_seven_products_in_real_time_that_clear_together_and_energy_a_day_ahead() -> None:
    market = SandboxSettings(products="all").market()

    together = [rules.product for rules in market.session("spin")]
    assert together == ["energy-dr", "spin", "non-spin", "reg-up", "reg-down", "fast", "contingency"]
    assert [rules.product for rules in market.session("energy-da")] == ["energy-da"]
    assert (found(market, "energy-da").interval_s, market.meter_s) == (3600, 60)


def test_any_product_can_be_sold_a_day_ahead() -> None:
    market = SandboxSettings(products="energy-da,spin-da").market()

    assert [rules.product for rules in market.session("spin-da")] == ["energy-da", "spin-da"]
    assert (found(market, "spin-da").family, found(market, "spin-da").trading) == (Family.SPINNING, Trading.DAY_AHEAD)


def test_every_product_says_where_its_figures_are_from_and_which_nobody_verified() -> None:
    for rules in SandboxSettings(products="all").market().products:
        assert rules.simulated
        assert any("simulated" in source for source in rules.sources)
        assert rules.family is Family.ENERGY or {"min_mw", "response_s"} <= set(rules.unverified)


@pytest.mark.parametrize("text", ["spinn", "", "spin,spin", "energy-dr-da"])
def test_a_product_that_is_not_known_or_named_twice_is_refused_and_says_which_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="there are all, energy-dr, spin"):
        SandboxSettings(products=text)


def test_a_day_ahead_gate_that_is_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="day_ahead_at '25:00' is no time of day"):
        SandboxSettings(day_ahead_at="25:00")


# --------------------------------------------------------------------------------------------------------- gates


@pytest.mark.parametrize(
    ("hour", "closes"),
    [
        ("2026-07-25T00:00-07:00", "2026-07-24T10:00-07:00"),
        ("2026-07-25T23:00-07:00", "2026-07-24T10:00-07:00"),
        ("2026-03-09T12:00-07:00", "2026-03-08T10:00-07:00"),  # clocks went forward that night
        ("2026-11-02T12:00-08:00", "2026-11-01T10:00-08:00"),  # and back
        ("2026-11-01T12:00-08:00", "2026-10-31T10:00-07:00"),
    ],
)
def test_the_day_ahead_gate_is_a_local_time_of_the_day_before(hour: str, closes: str) -> None:
    assert DAY_AHEAD.instant(instant(hour), PACIFIC) == instant(closes)


def test_a_gate_may_be_on_another_clock_than_the_market_day() -> None:
    """Days by EST all year, the gate at 10:30 in New York, where it is EDT in July."""
    gate = Gate(days_before=1, at=time(10, 30), zone="America/New_York")

    assert gate.instant(instant("2026-07-25T00:00-05:00"), ZoneInfo("Etc/GMT+5")) == instant("2026-07-24T10:30-04:00")


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-07-24T09:59:59-07:00", "2026-07-25T00:00-07:00"),
        ("2026-07-24T10:00:00-07:00", "2026-07-26T00:00-07:00"),
        ("2026-03-07T10:00:00-08:00", "2026-03-09T00:00-07:00"),
    ],
)
def test_at_the_day_ahead_gate_all_hours_of_tomorrow_are_decided(now: str, until: str) -> None:
    assert DAY_AHEAD.passed_until(instant(now), HOUR, PACIFIC) == instant(until)


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001 - aware by `timezones`
    gate=st.sampled_from([DAY_AHEAD, Gate(days_before=2, at=time(23, 30)), Gate(before_s=20), Gate(before_s=4500)]),
    interval=st.sampled_from([HOUR, timedelta(minutes=15)]),
)
def test_what_is_decided_and_the_gate_say_the_same(now: datetime, gate: Gate, interval: timedelta) -> None:
    """The first interval with an open gate is open, and the one before it is not."""
    until = gate.passed_until(now, interval, PACIFIC)

    assert gate.instant(until, PACIFIC) > now
    assert gate.instant(until - interval, PACIFIC) <= now


@pytest.mark.parametrize(
    ("pause", "holds"),
    [
        (Pause(start=time(6, 55), end=time(7, 5), why="x"), ["06:55", "07:04"]),
        (Pause(start=time(23, 50), end=time(0, 10), why="x"), ["23:55", "00:05"]),
    ],
)
def test_a_pause_is_a_span_of_the_local_day(pause: Pause, holds: list[str]) -> None:
    times = ["06:54", "06:55", "07:04", "07:05", "23:55", "00:05", "00:10"]

    assert [each for each in times if pause.holds(instant(f"2026-07-24T{each}-07:00"), PACIFIC)] == holds


# ------------------------------------------------------------------------------------------- a venue's own rules


def test_a_product_file_gives_minimums_steps_limits_and_gates_and_nothing_else(acme: Market) -> None:
    energy, reserve = acme.products

    figures = energy.min_mw, energy.block_mw, energy.max_mw, energy.price_tick
    assert [str(each) for each in figures] == ["1", "0.1", "50", "0.25"]
    assert (energy.max_steps, energy.shape, energy.timezone) == (3, Shape.FALLING, "America/Chicago")
    assert (energy.baseline_method, reserve.baseline_method) == ("caiso-10-in-10", "")
    assert (energy.venue, energy.simulated) == ("sandbox", True)
    assert "simulated, not of acme" in energy.sources[1]
    assert energy.cited["block_mw"] == "Acme's manual, section 4"
    assert energy.unverified == ("min_mw",)


def test_the_version_without_an_end_holds_and_what_is_sold_by_season_or_half_known_is_left_out(acme: Market) -> None:
    assert acme.names == ("energy-rt", "reserve")


def test_the_file_s_gates_hold(acme: Market) -> None:
    energy, reserve = acme.products

    assert energy.gate_closes(instant("2026-07-25T12:00-05:00")) == instant("2026-07-25T11:00-05:00")
    assert reserve.gate_closes(instant("2026-07-25T12:00-05:00")) == instant("2026-07-24T10:30-04:00")
    assert reserve.gate_opens(instant("2026-07-25T12:00-05:00")) == instant("2026-07-18T00:00-05:00")


START = instant("2026-07-25T12:00-05:00")


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ((("0.9", "100"),), "at least 1 MW, got 0.9"),
        ((("50.1", "100"),), "at most 50 MW, got 50.1"),
        ((("1.05", "100"),), "MW must be multiples of 0.1"),
        ((("1.0", "100.10"),), "prices must be multiples of 0.25"),
        ((("1.0", "2000.25"),), "prices must lie between -250 and 2000"),
        ((("1.0", "19.75"),), "prices must not lie below 20, the net benefits floor"),
        ((("1.0", "50"), ("2.0", "60")), "prices must not rise from step to step"),
        (tuple((f"{step}", "50") for step in range(1, 5)), "at most 3 steps, got 4"),
        (tuple((f"{step}", "50") for step in range(1, 4)), "at most 2 neighbouring steps of one price, got 3"),
    ],
)
def test_every_rule_of_the_file_is_kept(acme: Market, steps: tuple[tuple[str, str], ...], reason: str) -> None:
    assert reason in list(violations(body(acme.default, START, *steps), acme.default))


def test_an_offer_that_keeps_them_is_taken(acme: Market) -> None:
    assert not list(violations(body(acme.default, START, ("1.0", "60"), ("2.0", "50.25")), acme.default))


def test_one_price_means_one(acme: Market) -> None:
    reserve = found(acme, "reserve").model_copy(update={"max_steps": 2})

    assert "one price for all of it" in list(violations(body(reserve, START, ("0.1", "5"), ("0.2", "6")), reserve))


def test_a_capacity_below_the_offer_is_refused_except_of_regulation_down() -> None:
    """What can be let go says nothing of what can be taken."""
    market = SandboxSettings(products="all").market()
    energy, down = found(market, "energy-dr"), found(market, "reg-down")

    assert "capacity_mw is 0.5, less than the 1.0 MW offered" in list(
        violations(body(energy, START, capacity_mw="0.5"), energy)
    )
    assert not list(violations(body(down, START, capacity_mw="0.5"), down))


def test_nothing_is_taken_during_a_pause(acme: Market) -> None:
    venue = Venue(acme, Faults(FaultShares(), seed=1))
    reserve = found(acme, "reserve")
    start = instant("2026-07-27T12:00-05:00")

    outcomes = [
        venue.submit(
            Submission(f"o-{at}", body(reserve, start, revision=number), "0" * 64, instant(f"2026-07-25T{at}-05:00"))
        ).outcome
        for number, at in enumerate(("06:54", "06:55", "07:05"), start=1)
    ]

    assert outcomes == [Outcome.ACCEPTED, Outcome.PAUSED, Outcome.ACCEPTED]
    assert venue.audit(0, 0).in_pause == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("venue = ", "is not TOML"),
        ("venue = 'x'", "has no product that can be offered"),
        (ACME.replace("max_steps = 3", "max_steps = 'many'", 1), "product energy-rt: max_steps"),
        (ACME.replace('family = "energy"', 'family = "heat"', 1), "product energy-rt: family"),
        (ACME.replace("interval_s = 900", "interval_s = 1000"), "interval_s 3600 is no multiple of 1000"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_that_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=complaint) as caught:
        SandboxSettings(rules_of=str(path)).market()

    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(ConfigError, match=r"cannot read /nowhere.toml: No such file"):
        SandboxSettings(rules_of="/nowhere.toml").market()


@pytest.mark.parametrize("name", ["caiso", "de", "ercot", "ieso", "isone", "miso", "nordic", "nyiso", "pjm", "spp"])
def test_a_venue_s_own_product_file_can_be_sold_and_cleared(name: str) -> None:
    """A minute before its gate the smallest offer of each product at the lowest price allowed: all are awarded."""
    market = SandboxSettings(rules_of=str(PRODUCT_FILES / f"{name}.toml")).market()
    venue = Venue(market, Faults(FaultShares(), seed=1))
    start = instant("2026-07-25T12:00Z")

    for rules in sorted(market.products, key=lambda rules: rules.gate_closes(start)):
        price = max(rules.price_floor, rules.net_benefits_floor or rules.price_floor)
        offer = body(rules, start, (str(rules.min_mw), str(price)))
        venue.submit(Submission(rules.product, offer, "0" * 64, rules.gate_closes(start) - timedelta(minutes=1)))
    awards = venue.awards("R", start)

    assert {(award.product, award.mw) for award in awards} == {
        (rules.product, rules.min_mw) for rules in market.products
    }
