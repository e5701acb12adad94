"""A price forecast file: what it says, what it lacks, and what it says wrongly."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bidding.forecast import Forecast, Table, parse
from pipeline import files
from pipeline.errors import ConfigError
from pipeline.interval import Interval

HEADER = "scenario,probability,product,interval_start,price_per_mwh,called,activation_per_mwh\n"
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
HOURS = tuple(Interval(NOON + timedelta(hours=k), NOON + timedelta(hours=k + 1)) for k in range(2))
TWO = HEADER + (
    "cold,0.25,energy-da,2026-11-30T12:00:00Z,41.20,,\n"
    "cold,0.25,energy-da,2026-11-30T13:00:00Z,55.00,,\n"
    "cold,0.25,spin,2026-11-30T14:00:00+02:00,6.10,0.02,38.00\n"
    "mild,0.75,energy-da,2026-11-30T12:00:00Z,30,,\n"
)


def test_prices_stand_by_scenario_product_and_hour() -> None:
    prices = parse(TWO, "f.csv").over(HOURS, ("energy-da", "spin"), "f.csv", simulated=False)

    cold, mild = prices.scenarios
    assert (cold.name, cold.probability, mild.probability) == ("cold", 0.25, 0.75)
    assert cold.series["energy-da"].price == (41.20, 55.00)
    assert cold.series["spin"].price == (6.10, None), "14:00 at +02:00 is noon in UTC"


def test_what_the_file_lacks_stays_unknown_and_is_never_zero() -> None:
    prices = parse(TWO, "f.csv").over(HOURS, ("energy-da", "spin", "reg-up"), "f.csv", simulated=False)

    mild = prices.scenarios[1]
    assert mild.series["energy-da"].price == (30.0, None)
    assert mild.series["reg-up"].price == (None, None)


def test_an_hour_of_a_called_product_without_a_share_counts_as_called_in_full() -> None:
    """Of spin the second hour is unknown: the worst is assumed, not the best."""
    prices = parse(TWO, "f.csv").over(HOURS, ("spin",), "f.csv", simulated=False)

    assert prices.scenarios[0].series["spin"].called == (0.02, 1.0)
    assert prices.scenarios[0].series["spin"].activation == (38.0, 0.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenario,product\n", "no column probability, interval_start, price_per_mwh"),
        (HEADER + "a,0.5,p,2026-11-30T12:00:00,1,,\n", "line 2: interval_start needs an offset"),
        (HEADER + "a,1.5,p,2026-11-30T12:00:00Z,1,,\n", "line 2: probability must be 0 to 1, got '1.5'"),
        (HEADER + "a,1,p,2026-11-30T12:00:00Z,nan,,\n", "line 2: price_per_mwh must be a finite number, got nan"),
        (HEADER + "a,1,p,2026-11-30T12:00:00Z,1,2,\n", "line 2: called is a share, 0 to 1, got 2"),
        (HEADER + ",1,p,2026-11-30T12:00:00Z,1,,\n", "line 2: scenario and product must not be empty"),
        (HEADER + 2 * "a,1,p,2026-11-30T12:00:00Z,1,,\n", "line 3: p at 2026-11-30T12:00:00+00:00 comes twice"),
        (
            HEADER + "a,1,p,2026-11-30T12:00:00Z,1,,\na,0.5,p,2026-11-30T13:00:00Z,1,,\n",
            "line 3: scenario 'a' had probability 1 before",
        ),
        (
            HEADER + "a,0.6,p,2026-11-30T12:00:00Z,1,,\nb,0.6,p,2026-11-30T12:00:00Z,1,,\n",
            "probabilities add up to 1.2, more than 1",
        ),
    ],
)
def test_a_file_that_cannot_be_a_forecast_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.csv")

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_is_read_again_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(TWO, encoding="utf-8")
    forecast = Forecast(path)
    before = forecast.table()

    files.replace(path, TWO.replace("41.20", "44.00").encode())

    assert before.points["cold", "energy-da", NOON].price == 41.20
    assert forecast.table().points["cold", "energy-da", NOON].price == 44.00


def test_a_file_that_is_gone_or_damaged_forecasts_nothing_and_says_why(tmp_path: Path) -> None:
    """What was read before it was damaged counts no more: it may be what was wrong."""
    path = tmp_path / "prices.csv"
    path.write_text(TWO, encoding="utf-8")
    forecast = Forecast(path)
    assert forecast.table().probability

    files.replace(path, b"scenario\n")
    assert forecast.table() == Table()
    assert "no column" in (forecast.problem or "")

    path.unlink()
    assert forecast.table() == Table()
    assert "cannot read the price forecast" in (forecast.problem or "")
