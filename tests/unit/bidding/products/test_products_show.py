"""Products as a desk reads them."""

import re
from datetime import date
from pathlib import Path

import pytest

from bidding.products import Gate
from bidding.products.load import catalogue, venues
from bidding.products.show import WIDTH, detail, gate, overview, report, span, table
from pipeline.errors import ConfigError

README = Path(__file__).parents[4] / "bidding/products/README.md"


def test_a_venue_is_one_line_a_product() -> None:
    shown = table(catalogue("ercot", date(2026, 11, 29)), date(2026, 11, 29))
    assert shown[0] == "ercot: rules of 2026-11-29, USD, market days in America/Chicago"
    row = next(line for line in shown if line.startswith("reg-up "))
    assert " ".join(row.split()) == (
        "reg-up regulation_up day_ahead 0.1?/0.1 5 0? … 5000 /MW-h 5 min? 30 min? d-1 10:00 9/18"
    )


def test_what_cannot_be_offered_says_what_is_missing() -> None:
    shown = table(catalogue("ercot"))
    assert "latest rules" in shown[0]
    assert next(line for line in shown if line.startswith("ers-10 ")).endswith("!")
    assert "! ers-10: no interval_s, price_tick, price_floor, price_cap, gate_closure_s, horizon_s" in shown


def test_a_day_without_products_says_so() -> None:
    assert table({}, date(1999, 1, 1)) == ["no product is known on 1999-01-01"]


def test_a_product_shows_each_figure_its_unit_and_its_source() -> None:
    shown = detail(catalogue("ercot", date(2026, 11, 29))["energy-rt"])
    text = "\n".join(shown)
    cap = next(line.split() for line in shown if line.startswith("price_cap "))
    assert (cap[0], cap[2:]) == ("price_cap", ["2000", "USD/MWh"])
    assert any(line.startswith(f"{cap[1]} Nodal Protocols section 4") for line in shown)
    floor = next(line.split() for line in shown if line.startswith("price_floor "))
    assert floor[2:] == ["UNVERIFIED", "-250", "USD/MWh"]
    assert "10 of 20 figures are UNVERIFIED: a person has to confirm them in [products.ercot.energy-rt]" in text


def test_what_nobody_found_is_named() -> None:
    text = "\n".join(detail(catalogue("miso")["energy-da"]))
    assert "Not found, though the venue has it: net_benefits_floor." in text


@pytest.mark.parametrize("venue", venues())
def test_every_product_of_every_venue_has_one_line_of_its_own(venue: str) -> None:
    found = catalogue(venue)
    rows = table(found)[3 : 3 + len(found)]
    assert [row.split()[0] for row in rows] == list(found)
    assert all(re.search(r" \d+/\d+( !)?$", row) for row in rows)


@pytest.mark.parametrize("venue", venues())
def test_the_details_of_every_product_fit_a_terminal(venue: str) -> None:
    for product in catalogue(venue).values():
        assert [line for line in detail(product) if len(line) > WIDTH] == []


def test_all_venues_are_shown_one_after_the_other_with_one_legend() -> None:
    found = {venue: catalogue(venue) for venue in ("gb", "spp")}
    shown = report(found, None)
    assert shown[: len(table(found["gb"]))] == table(found["gb"])
    assert [line.split(":")[0] for line in shown if "latest rules" in line] == ["gb", "spp"]
    assert [line[0] for line in shown[-3:]] == ["?", "!", "r"]


def test_one_product_is_asked_for_by_name_at_one_venue_or_at_all() -> None:
    found = {venue: catalogue(venue) for venue in ("gb", "caiso", "miso")}
    assert report({"gb": found["gb"]}, None, "dc") == detail(found["gb"]["dc"])
    both = report(found, None, "spin")
    assert both == [*detail(found["caiso"]["spin"]), "", *detail(found["miso"]["spin"])]
    with pytest.raises(ConfigError, match="no product 'dcc'; did you mean 'dc'"):
        report(found, None, "dcc")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.25 s"), (4, "4 s"), (90, "90 s"), (600, "10 min"), (14400, "4 h"), (604800, "7 d")]
)
def test_spans_are_told_in_the_largest_unit_that_takes_them_whole(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_gates_are_told_as_a_desk_says_them() -> None:
    assert gate(Gate(before_s=4500)) == "75 min before"
    found = catalogue("miso")["spin"].figures["closes"]
    assert gate(found) == "d-1 10:30 New_York"


def test_the_table_in_the_readme_is_that_of_the_files() -> None:
    """Left behind by an edit of a file, it is printed anew by `overview`."""
    written = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    shown = overview({venue: catalogue(venue) for venue in venues()})
    assert "\n".join(shown) in "\n".join(written)
