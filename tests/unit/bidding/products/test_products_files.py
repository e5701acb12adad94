"""The venues' own files: what they hold, and that the figures agree with the schemas they cite."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from bidding.products import Family
from bidding.products.load import FOLDER, catalogue, load, read, venues
from bidding.products.product import Product
from pipeline.cbl import methods

XS = {"xs": "http://www.w3.org/2001/XMLSchema"}


def attributes(tree: Any, path: str) -> list[str]:
    """Return the values of the attributes at *path* of a schema, in its order."""
    return [str(found) for found in tree.xpath(path, namespaces=XS)]


VERSIONS = tuple(product for venue in venues() for product in read(FOLDER / f"{venue}.toml"))

WANTED = {
    "ercot": "energy-rt reg-up reg-down rrs-ffr rrs-ufr rrs-pfr ecrs non-spin ers-10 ers-30",
    "miso": "energy-da energy-rt spin supplemental short-term-reserve reg lmr",
    "caiso": "energy-da energy-rt spin non-spin reg-up reg-down rdrr",
    "pjm": "energy-da energy-rt sync-reserve secondary-reserve regulation capacity-dr pre-emergency emergency",
    "nyiso": "dadrp dsasp-spin dsasp-non-spin dsasp-30 regulation scr edrp",
    "isone": "energy-da energy-rt tmsr tmnsr tmor regulation capacity",
    "ieso": "energy or-10s or-10n or-30r",
    "spp": "energy-da energy-rt",
    "gb": "dc dm dr dfs",
    "de": "fcr afrr-up-capacity afrr-down-capacity afrr-up-energy afrr-down-energy mfrr-capacity mfrr-energy "
    "capacity-reserve",
    "nordic": "mfrr-energy afrr-up-energy afrr-down-energy",
    "japan": "primary secondary-1 secondary-2 tertiary-1 tertiary-2",
}


@pytest.mark.parametrize("venue", WANTED)
def test_a_venue_lists_every_product_it_is_known_to_buy(venue: str) -> None:
    assert list(catalogue(venue)) == WANTED[venue].split()


def test_there_is_no_venue_beside_these() -> None:
    """A venue without a row above would go unchecked."""
    assert set(venues()) == set(WANTED)


@pytest.mark.parametrize("venue", WANTED)
def test_what_can_be_offered_is_what_lacks_nothing(venue: str) -> None:
    offered = load(venue)
    assert list(offered) == [name for name, product in catalogue(venue).items() if not product.missing]
    assert all((rules.venue, rules.product) == (venue, name) for name, rules in offered.items())


@pytest.mark.parametrize("product", VERSIONS, ids=lambda product: f"{product.venue}-{product.product}")
def test_every_figure_has_a_source_with_a_text(product: Product) -> None:
    assert product.cited.keys() == product.figures.keys()
    assert all(len(product.source(name).text) > 20 for name in product.figures)


@pytest.mark.parametrize("product", VERSIONS, ids=lambda product: f"{product.venue}-{product.product}")
def test_general_knowledge_and_our_own_choices_never_count_as_read(product: Product) -> None:
    weak = {name for name in product.figures if product.cited[name] in {"gk", "house"}}
    assert weak <= set(product.unverified)


@pytest.mark.parametrize("family", Family)
def test_each_family_of_products_is_bought_somewhere(family: Family) -> None:
    assert [product.product for product in VERSIONS if product.family is family]


def test_baselines_are_methods_that_exist() -> None:
    named = {product.figures.get("baseline_method", "") for product in VERSIONS} - {""}
    assert {"caiso-10-in-10", "miso-10-day", "pjm-high-4-of-5"} <= named <= set(methods.names())


@pytest.mark.parametrize("venue", ["caiso", "pjm", "nyiso", "isone", "miso", "spp"])
def test_the_net_benefits_floor_is_named_as_unknown_where_order_745_asks_for_one(venue: str) -> None:
    """It changes by the month and no figure was found: the data says so instead of leaving it out."""
    energy = [product for product in catalogue(venue).values() if product.family is Family.ENERGY]
    assert energy
    assert all("net_benefits_floor" in product.unverified for product in energy)
    assert all("net_benefits_floor" not in product.figures for product in energy)


@given(st.dates(date(2015, 1, 1), date(2035, 12, 31)))
def test_no_day_has_two_versions_of_a_product(day: date) -> None:
    names = [(product.venue, product.product) for product in VERSIONS if product.holds(day)]
    assert len(names) == len(set(names))


def test_rules_carry_their_sources_and_what_is_not_verified() -> None:
    rules = load("ercot", date(2026, 11, 29))["energy-rt"]
    assert rules.price_cap == 2000
    assert "section 4" in rules.cited["price_cap"]
    assert "price_cap" not in rules.unverified
    assert rules.price_floor == -250
    assert "unverified" in rules.cited["price_floor"]
    assert "price_floor" in rules.unverified
    assert rules.cited["price_floor"] in rules.sources


def test_rules_name_what_nobody_found_as_unverified() -> None:
    assert "net_benefits_floor" in load("miso")["energy-da"].unverified


def test_ercot_s_limits_are_those_of_its_schema(shared_data: Path) -> None:
    """Ten points on a price curve and five blocks on an ancillary service curve; prices to the cent."""
    tree = etree.parse(shared_data / "schemas/ercot_ews/xsds/ErcotCommonTypes.xsd")
    points = attributes(tree, "//xs:complexType[@name='PriceCurve']//xs:element[@name='CurveData']/@maxOccurs")
    blocks = attributes(tree, "//xs:complexType[@name='ASPriceCurve']//xs:element/@maxOccurs")
    pattern = attributes(tree, "//xs:simpleType[@name='ErcotPrice']//xs:pattern/@value")
    offered = load("ercot")
    assert points == [str(offered["energy-rt"].max_points)] == ["10"]
    assert offered["energy-rt"].max_steps == 5, "a step of the staircase takes two of ten points"
    assert set(blocks) == {str(offered["reg-up"].max_steps)} == {"5"}
    assert r"\.\d{0,2}" in pattern[0]
    assert {rules.price_tick for name, rules in offered.items() if name != "energy-rt"} == {Decimal("0.01")}


def test_miso_s_limits_are_those_of_its_interface(shared_data: Path) -> None:
    """Quantities by 0.1 MW, prices by the cent within ±9,999.99, ten segments of energy and three of reserve."""
    text = (shared_data / "schemas/miso_mui/miso-mui-2.0-specification.yaml").read_bytes()
    schemas: dict[str, Any] = msgspec.yaml.decode(text)["components"]["schemas"]
    price, quantity = schemas["MarketPrice"], schemas["RealEnergy"]
    offer = schemas["DRR2ScheduleOfferItem"]["properties"]
    offered = load("miso")
    for name, hourly in {"energy-da": "energyOffer", "spin": "spinningOffer", "reg": "regulationOffer"}.items():
        detail = offer[f"{hourly}Hourly"]["items"]["properties"][f"{hourly}HourlyDetail"]["properties"]
        segments = detail["offerPriceCurve"]["properties"]["priceCurveSegments"]["maxItems"]
        assert offered[name].max_steps == segments
    spin = offered["spin"]
    assert spin.block_mw == Decimal(str(quantity["multipleOf"]))
    assert spin.price_tick == Decimal(str(price["multipleOf"]))
    assert (spin.price_floor, spin.price_cap) == (Decimal(str(price["minimum"])), Decimal(str(price["maximum"])))
    assert offered["energy-da"].price_cap == 1000, "Order 831 is narrower than the interface"


def test_ieso_s_limits_are_those_of_its_schema(shared_data: Path) -> None:
    """Twenty points of energy and five of reserve, quantities by 0.1 MW up to 9,999.9."""
    tree = etree.parse(shared_data / "schemas/ieso_mim/ieso-mim-web-services.xsd")
    offered = load("ieso")
    for name, kind in {
        "energy": "RealtimeEnergySubmitHourlyType",
        "or-10s": "OperatingReserveSubmitHourlyType",
    }.items():
        points = f"//xs:complexType[@name='{kind}']//xs:element[@name='PriceQuantity']/@maxOccurs"
        assert attributes(tree, points) == [str(offered[name].max_points)]
    most = "//xs:simpleType[@name='PosValue5.1Min0Type']//xs:maxInclusive/@value"
    assert attributes(tree, most) == [str(offered["or-30r"].max_mw)] == ["9999.9"]
