"""What ERCOT's own schema lets through, the rule layer does not: knowledge/markets.md, 3.7."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import GATE_MARGIN, step
from doubles.gate import other
from lxml import etree

from bidding.products.load import load
from bidding.rules import check
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep

HOUR_16 = Interval(datetime(2026, 11, 24, 22, tzinfo=UTC), datetime(2026, 11, 24, 23, tzinfo=UTC))
NOON_BEFORE = datetime(2026, 11, 23, 18, tzinfo=UTC)
BID = load("ercot", date(2026, 11, 24))["energy-rt"]


def bid(*steps: OfferStep) -> Offer:
    return other(*steps, venue="ercot", product="energy-rt", interval=HOUR_16, firm_kw=100_000.0)


def document(*points: tuple[str, str]) -> bytes:
    """Return a BidSet with one RTM energy bid through *points*, cumulated MW and price."""
    curve = "".join(f"<CurveData><xvalue>{mw}</xvalue><y1value>{price}</y1value></CurveData>" for mw, price in points)
    day = "<startTime>2026-11-24T00:00:00-06:00</startTime><endTime>2026-11-25T00:00:00-06:00</endTime>"
    hour = "<startTime>2026-11-24T16:00:00-06:00</startTime><endTime>2026-11-24T17:00:00-06:00</endTime>"
    return (
        '<BidSet xmlns="http://www.ercot.com/schema/2007-06/nodal/ews"><tradingDate>2026-11-24</tradingDate>'
        f"<RTMEnergyBid>{day}<externalId>x</externalId><expirationTime>2026-11-24T15:00:00-06:00</expirationTime>"
        f"<resource>AIFAC_CLR1</resource><PriceCurve>{hour}<curveStyle>CURVE</curveStyle>{curve}</PriceCurve>"
        "</RTMEnergyBid></BidSet>"
    ).encode()


@pytest.fixture(scope="session")
def ercot_schema(shared_data: Path) -> etree.XMLSchema:
    path = shared_data / "schemas" / "ercot_ews" / "xsds" / "ErcotTransactions.xsd"
    if not path.is_file():
        pytest.skip(f"no ERCOT schema: {path} is not a file; set FIRMWATT_SHARED")
    return etree.XMLSchema(etree.parse(path))


TEN = step("10", "900")
CASES = {
    "non-monotone": (
        (("0", "120"), ("10", "120"), ("20", "900")),
        bid(step("10", "120"), step("10", "900")),
        ["curve_shape"],
    ),
    "two decimals": ((("0", "900"), ("10.25", "900")), bid(step("10.25", "900")), ["block_step"]),
    "first point not 0": (
        (("10", "900"), ("20", "350")),
        bid(TEN).model_copy(update={"steps": (TEN.model_copy(update={"quantity_mw": Decimal(0)}), TEN)}),
        ["equal_steps", "first_point"],
    ),
    "a price of 9,000": ((("0", "9000"), ("10", "9000")), bid(step("10", "9000")), ["price_range"]),
    "three equal points": (
        (("0", "900"), ("10", "900"), ("20", "900")),
        bid(step("10", "900"), step("10", "900")),
        ["equal_steps"],
    ),
    "ends below 0.1 MW": ((("0", "900"), ("0.0", "900")), bid(step("0.05", "900")), ["block_step", "minimum"]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_schema_lets_it_through_and_the_rule_layer_does_not(name: str, ercot_schema: etree.XMLSchema) -> None:
    points, offer, refused_by = CASES[name]

    assert ercot_schema.validate(etree.fromstring(document(*points))), ercot_schema.error_log
    assert sorted(refusal.rule for refusal in check(offer, BID, NOON_BEFORE, (), GATE_MARGIN)) == refused_by


def test_a_bid_that_follows_the_rules_is_refused_by_none(ercot_schema: etree.XMLSchema) -> None:
    good = bid(step("10", "900"), step("10", "350"), step("10", "120"))
    points = (("0", "900"), ("10", "900"), ("20", "350"), ("30", "120"))

    assert ercot_schema.validate(etree.fromstring(document(*points)))
    assert check(good, BID, NOON_BEFORE, (), GATE_MARGIN) == ()
