"""Offers as ERCOT's BidSet and back, against the schemas as published."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.ercot.offers import DAY, LONG_DAY, SHORT_DAY, hour, offer, schema, sets
from hypothesis import HealthCheck, given, settings
from lxml import etree

from bidding.markets.ercot.curves import Segment, bid_points, reductions
from bidding.markets.ercot.decode import decode, held
from bidding.markets.ercot.encode import documents, encode, stripped
from bidding.markets.ercot.hours import hours, midnight, token
from bidding.markets.ercot.xml import parse
from pipeline.errors import VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Offer

NS = "{http://www.ercot.com/schema/2007-06/nodal/ews}"


def texts(document: bytes, tag: str) -> list[str | None]:
    return [element.text for element in etree.fromstring(document).iter(f"{NS}{tag}")]


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(offers=sets())
def test_a_thousand_documents_are_valid_by_the_published_schema_and_decode_to_what_was_encoded(
    shared_data: Path, offers: tuple[Offer, ...]
) -> None:
    document = encode(offers)

    transactions = schema(shared_data, "ErcotTransactions")
    assert transactions.validate(etree.fromstring(document)), transactions.error_log
    assert transactions.validate(stripped(parse(document))), transactions.error_log
    assert decode(document) == offers
    assert encode(decode(document)) == document


def test_an_energy_offer_is_the_bid_that_gives_up_the_same_mw_at_the_same_prices() -> None:
    document = encode([offer("energy-rt", hour(17), ("5.0", "120.00"), ("10.0", "350.00"))])

    assert texts(document, "xvalue") == ["0.0", "10.0", "10.0", "15.0"]
    assert texts(document, "y1value") == ["350.00", "350.00", "120.00", "120.00"]


def test_an_offer_that_lists_its_steps_as_a_bid_does_is_the_same_bid() -> None:
    rising = offer("energy-rt", hour(17), ("5.0", "120.00"), ("10.0", "350.00"))
    falling = offer("energy-rt", hour(17), ("10.0", "350.00"), ("5.0", "120.00"))

    assert texts(encode([rising]), "y1value") == texts(encode([falling]), "y1value")
    assert decode(encode([falling])) == (falling,)


@pytest.mark.parametrize(("price", "gone"), [("119.99", "0"), ("200.00", "5"), ("350.01", "15")])
def test_at_any_price_the_bid_keeps_what_the_offer_does_not_sell(price: str, gone: str) -> None:
    offered = [Segment(Decimal(5), Decimal(120)), Segment(Decimal(10), Decimal(350))]

    points = bid_points(offered)

    worth_it = sum(
        (
            right[0] - left[0]
            for left, right in zip(points[::2], points[1::2], strict=True)
            if left[1] >= Decimal(price)
        ),
        Decimal(0),
    )
    assert 15 - worth_it == Decimal(gone)


def test_all_upward_services_of_an_hour_share_its_five_blocks() -> None:
    reg_up = offer("reg-up", hour(17), ("1.0", "9.00"))
    ecrs = offer("ecrs", hour(17), ("2.0", "5.25"), ("3.0", "8.00"))

    document = encode([ecrs, reg_up])

    assert len(texts(document, "ASOffer")) == 1
    assert texts(document, "xvalue") == ["1.0", "2.0", "3.0"]
    assert (texts(document, "REGUP"), texts(document, "ECRS")) == (["9.00"], ["5.25", "8.00"])
    assert texts(document, "externalId") == [f"{reg_up.offer_id},{ecrs.offer_id}"]
    assert decode(document) == (reg_up, ecrs)


def test_documents_hold_one_resource_one_trading_date_and_one_key_each() -> None:
    night = offer("energy-rt", Interval(datetime(2026, 7, 25, 4, tzinfo=UTC), datetime(2026, 7, 25, 5, tzinfo=UTC)))
    morning = offer("energy-rt", hour(1))
    found = documents(
        [
            morning,
            night,
            offer("ecrs", hour(2)),
            offer("reg-up", hour(2)),
            offer("reg-down", hour(2)),
            offer("reg-up", hour(2), resource="OTHER"),
        ]
    )

    assert [[one.product for one in group] for group in found] == [
        ["energy-rt"],  # 04:00 UTC is 23:00 Central of the day before
        ["reg-up", "ecrs"],
        ["energy-rt"],
        ["reg-down"],
        ["reg-up"],
    ]
    assert texts(encode([night]), "tradingDate") == ["2026-07-24"]


def test_a_newer_revision_travels_in_the_same_group() -> None:
    first, second = offer("reg-up", hour(3)), offer("reg-up", hour(3), ("4.0", "7.00"), revision=2)

    (one,), (other,) = documents([first]), documents([second])

    assert texts(encode(one), "startTime") == texts(encode(other), "startTime")
    assert texts(encode(one), "asType") == texts(encode(other), "asType") == ["REGUP-RRS-ONNS"]


def test_reserves_expire_when_the_day_ahead_market_closes_and_energy_with_its_hour() -> None:
    assert texts(encode([offer("reg-up", hour(17))]), "expirationTime") == ["2026-07-24T10:00:00-05:00"]
    assert texts(encode([offer("energy-rt", hour(24))]), "expirationTime") == ["2026-07-26T00:00:00-05:00"]


def test_the_long_day_has_25_hours_and_tells_the_two_ones_apart() -> None:
    day = hours(LONG_DAY)
    document = encode([offer("ecrs", day[1]), offer("ecrs", day[2])])

    assert len(day) == 25
    assert [token(one) for one in day[:5]] == ["01", "02", "2R", "03", "04"]
    assert texts(document, "startTime")[::2] == ["2026-11-01T01:00:00-05:00", "2026-11-01T01:00:00-06:00"]
    assert [one.interval for one in decode(document)] == [day[1], day[2]]


def test_the_short_day_has_23_hours_and_none_that_ends_at_three() -> None:
    day = hours(SHORT_DAY)
    document = encode([offer("ecrs", day[1])])

    assert len(day) == 23
    assert [token(one) for one in day[:4]] == ["01", "02", "04", "05"]
    assert texts(document, "endTime") == ["2026-03-08T03:00:00-05:00"] * 2
    assert [one.interval for one in decode(document)] == [day[1]]


def test_what_leaves_the_house_says_nothing_about_our_costs() -> None:
    document = encode([offer("energy-rt", hour(17))])

    sent = etree.tostring(stripped(parse(document)))

    assert b"tokens_forgone" in document
    assert b"<!--" not in sent
    assert b"site-1" not in sent
    assert [row.product for row in held(parse(sent))] == ["energy-rt"]


@pytest.mark.parametrize(
    ("offers", "reason"),
    [
        ([], "not 0 of them"),
        ([offer("reg-up", hour(1)), offer("reg-down", hour(1))], "not 2 of them"),
        ([offer("reg-up", hour(1)), offer("reg-up", hour(1), revision=2)], "two offers of reg-up"),
        ([offer("spin", hour(1))], "no product of ERCOT"),
        ([offer("ecrs", Interval(midnight(DAY), midnight(DAY) + timedelta(minutes=15)))], "whole hours"),
        ([offer("ecrs", hour(1), ("0.25", "5.00"))], "tenths of MW"),
        ([offer("ecrs", hour(1), ("0.2", "5.005"))], "whole cents"),
        ([offer("ecrs", hour(1), ("0.2", "1000000.00"))], "whole cents"),
        ([offer("ecrs", hour(1), *[("0.1", "5.00")] * 6)], "at most 5 blocks"),
        ([offer("energy-rt", hour(1), *[("0.1", f"{price}.00") for price in range(6)])], "at most 5 steps"),
        ([offer("energy-rt", hour(1), ("0.1", "7.00"), ("0.1", "9.00"), ("0.1", "8.00"))], "has to rise"),
        ([offer("ecrs", hour(1), resource="A.B")], "cannot stand in an mRID"),
    ],
)
def test_what_cannot_be_written_exactly_is_not_written(offers: list[Offer], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        encode(offers)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b">2.5<", b">2.50<"),
        (b"REGUP>", b"REGDN>"),
        (b"2026-07-25T16:00:00-05:00", b"2026-07-25T16:00:00"),
        (b"2026-07-25T16:00:00-05:00", b"2026-07-25T24:00:00-05:00"),
        (b"2026-07-25T16:00:00-05:00", b"0001-01-01T00:00:00+14:00"),
        (b">1.0<", b">NaN<"),
        (b">1.0<", b">1e3<"),
        (b">1.0<", b">-1.0<"),
        (b"firmwatt.1 ", b"firmwatt.2 "),
        (b'"tier":"T3"', b'"tier":"T9"'),
        (b"</BidSet>", b""),
        (b"<BidSet", b"<!DOCTYPE BidSet><BidSet"),
        (b"<tradingDate>2026", b"<tradingDate>0001"),
        (b"<resource>AIFAC_CLR1</resource>", b""),
        (b"VARIABLE", b"FIXED"),
        (b"site-1", b"site-\xff"),
    ],
)
def test_anything_that_encode_did_not_write_is_refused_in_one_line(there: bytes, instead: bytes) -> None:
    document = encode([offer("reg-up", hour(17))])
    assert there in document

    with pytest.raises(VenueError) as refusal:
        decode(document.replace(there, instead))
    assert "\n" not in str(refusal.value)


def test_a_changed_quantity_comes_back_changed() -> None:
    """MW and prices are read from the wire, not from the comment beside it."""
    document = encode([offer("reg-up", hour(17), ("1.0", "20.00"))])

    (found,) = decode(document.replace(b"<xvalue>1.0<", b"<xvalue>4.0<"))

    assert found.quantity_mw == Decimal(4)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [("1", "9"), ("2", "9")],
        [("0", "9"), ("2", "9"), ("3", "8")],
        [("0", "9"), ("2", "8")],
        [("0", "9"), ("2", "9"), ("2", "9"), ("3", "9")],
        [("0", "9"), ("2", "9"), ("2", "10"), ("3", "10")],
        [("0", "9"), ("0", "9")],
    ],
)
def test_a_bid_that_is_no_staircase_is_not_taken_for_one_of_ours(points: list[tuple[str, str]]) -> None:
    with pytest.raises(VenueError, match="not one of ours"):
        reductions([(Decimal(mw), Decimal(price)) for mw, price in points])


@pytest.mark.parametrize("sample", ["ercot_clr_asoffer.xml", "ercot_rtm_bid.xml"])
def test_documents_of_others_are_read_for_what_they_say(shared_data: Path, sample: str) -> None:
    root = parse((shared_data / "schemas" / "samples" / sample).read_bytes())

    if sample == "ercot_rtm_bid.xml":  # it slopes: no staircase
        with pytest.raises(VenueError, match="not one of ours"):
            list(held(root))
        return
    found = list(held(root))
    assert len(found) == 12  # three services in four hours
    assert {row.product for row in found} == {"rrs-pfr", "non-spin", "ecrs"}
    assert {row.external_id for row in found} == {"aif-0001"}
