"""The operator's own figures, as they stand in the settings file."""

import tomllib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bidding.products.confirm import confirmed, with_overrides
from bidding.products.load import catalogue, confirmations, load
from pipeline.errors import ConfigError

SETTINGS = """\
[products.miso.energy-da.net_benefits_floor]
value = 25.30
source = "MISO net benefits price threshold, November 2026"
by = "J. Doe"
confirmed_on = 2026-11-02
"""


def tables(text: str = SETTINGS) -> dict[str, Any]:
    """Return the tables of a settings file, read as firmwatt reads it."""
    products: dict[str, Any] = tomllib.loads(text)["products"]["miso"]
    return products


def test_a_confirmed_figure_is_used_and_counts_as_verified() -> None:
    rules = load("miso", date(2026, 11, 29), tables())["energy-da"]
    assert rules.net_benefits_floor == Decimal("25.3"), "what was typed, not the nearest binary fraction"
    assert "net_benefits_floor" not in rules.unverified
    assert rules.cited["net_benefits_floor"] == (
        "MISO net benefits price threshold, November 2026, confirmed by J. Doe (2026-11-02)"
    )
    assert load("miso")["energy-rt"].net_benefits_floor is None, "the other product keeps its own"


def test_a_confirmed_figure_takes_the_place_of_the_file_s() -> None:
    entry = {"value": 2, "source": "BPM 002", "by": "J. Doe", "confirmed_on": date(2026, 11, 2)}
    before = catalogue("miso")["spin"]
    after = confirmed(before, {"min_mw": entry})
    assert (before.figures["min_mw"], after.figures["min_mw"]) == (1, 2)
    assert set(before.unverified) - set(after.unverified) == {"min_mw"}


def test_what_was_missing_can_be_confirmed_and_then_offered() -> None:
    """PJM's synchronized reserve lacks nothing but a price cap."""
    entry = {"value": 850, "source": "Manual 11", "by": "J. Doe", "confirmed_on": date(2026, 11, 2)}
    assert "sync-reserve" not in load("pjm")
    offered = load("pjm", None, {"sync-reserve": {"price_cap": entry}})
    assert offered["sync-reserve"].price_cap == 850


def test_rules_from_elsewhere_take_confirmed_figures_too() -> None:
    entry = {"value": 0.2, "source": "contract", "confirmed_on": date(2026, 11, 2)}
    before = load("ercot")["reg-up"]
    after = with_overrides(before, {"min_mw": entry}, "J. Doe")
    assert after.min_mw == Decimal("0.2")
    assert set(before.unverified) - set(after.unverified) == {"min_mw"}
    assert after.cited["min_mw"] == "contract, confirmed by J. Doe (2026-11-02)" == after.sources[-1]
    assert (after.price_cap, after.closes) == (before.price_cap, before.closes)


def test_a_confirmed_figure_that_contradicts_rules_from_elsewhere_is_refused() -> None:
    entry = {"value": 6000, "source": "contract", "confirmed_on": date(2026, 11, 2)}
    with pytest.raises(ConfigError, match=r"\[products.ercot.reg-up\]: price_floor 6000 is above price_cap 5000"):
        with_overrides(load("ercot")["reg-up"], {"price_floor": entry}, "J. Doe")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 25.30\n", "", "[products.miso.energy-da]: net_benefits_floor: value is missing"),
        ("value = 25.30", 'value = "25.30"', "net_benefits_floor: '25.30' is text; write the number without quotes"),
        ("value = 25.30", "value = nan", "net_benefits_floor: NaN is no figure"),
        ('by = "J. Doe"\n', "", "net_benefits_floor: by is missing: who confirmed it?"),
        ("source = ", "from = ", "net_benefits_floor: unknown key 'from'"),
        ('source = "MISO net benefits price threshold, November 2026"\n', "", "source is missing: where was it read?"),
        ("confirmed_on = 2026-11-02", 'confirmed_on = "today"', "confirmed_on has to be a day, as in 2026-11-02"),
        (
            "net_benefits_floor",
            "net_benefit_floor",
            "unknown key 'net_benefit_floor'; did you mean 'net_benefits_floor'?",
        ),
        ("energy-da", "energy-day", "[products.miso]: unknown key 'energy-day'; did you mean 'energy-da'?"),
        ("net_benefits_floor", "price_floor", "price_floor 2000 is above price_cap 1000"),
    ],
)
def test_a_confirmation_that_says_too_little_is_refused(old: str, new: str, message: str) -> None:
    assert SETTINGS.count(old) == 1
    text = SETTINGS.replace(old, new)
    if "above" in message:
        text = text.replace("25.30", "2000")
    with pytest.raises(ConfigError) as caught:
        load("miso", None, tables(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_figure_by_itself_is_no_confirmation() -> None:
    with pytest.raises(ConfigError, match="price_cap: write it as a table of value, source, by and confirmed_on"):
        load("miso", None, {"spin": {"price_cap": 500}})


def test_the_settings_file_s_figures_are_read_by_venue(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text(f'[bidding]\nvenue = "miso"\n\n{SETTINGS}', encoding="utf-8")
    found = confirmations(path)
    assert list(found) == ["miso"]
    assert load("miso", None, found["miso"])["energy-da"].net_benefits_floor == Decimal("25.30")


def test_a_settings_file_without_such_figures_confirms_nothing(tmp_path: Path) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text('[bidding]\nvenue = "miso"\n', encoding="utf-8")
    assert confirmations(path) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[products.misso.spin]", "[products]: unknown key 'misso'; did you mean 'miso'?"),
        ("products = 1", "write the operator's figures as [products.VENUE.PRODUCT.FIGURE]"),
        ("[products]\nmiso = 1", "write the operator's figures as [products.VENUE.PRODUCT.FIGURE]"),
        ("[products", "is not TOML"),
    ],
)
def test_a_settings_file_that_means_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "firmwatt.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        confirmations(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize("table", [1, [1], {"min_mw": 1}])
def test_a_product_s_confirmations_have_to_be_tables(table: Any) -> None:
    with pytest.raises(ConfigError, match="write it as a table"):
        load("miso", None, {"spin": table})
