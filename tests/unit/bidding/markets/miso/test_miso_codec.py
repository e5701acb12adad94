"""Offers in MISO's words and back: valid under what MISO published, and nothing lost."""

import json
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from doubles.miso.offers import NOW, TODAY, TOMORROW, TYPE_1, TYPE_2, codec, offer, offers
from doubles.miso.openapi import SCHEDULE, Specification
from hypothesis import HealthCheck, given, settings

from bidding.markets.miso import codec as written
from bidding.markets.miso.codec import Codec, decode, sent
from bidding.markets.miso.day import hour_of, interval_of
from bidding.markets.miso.settings import Resource
from bidding.markets.miso.strict import read
from pipeline.errors import VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Offer

SIX_PM = interval_of(TOMORROW, 18)
ONE_LINE = r"^[^\n]+$"


@pytest.fixture(scope="session")
def specification(shared_data: Path) -> Specification:
    return Specification(shared_data)


def complaints(specification: Specification, document: bytes, *, closed: bool) -> list[str]:
    return specification.complaints(specification.named(SCHEDULE), read(document, len(document)), closed=closed)


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(offers())
def test_a_thousand_documents_are_valid_and_read_back_as_what_they_were(
    specification: Specification, drawn: tuple[Offer, ...]
) -> None:
    """Valid as a whole under the published schema; what is sent names nothing that the schema does not name."""
    document = codec().encode(drawn)

    assert complaints(specification, document, closed=False) == []
    assert complaints(specification, sent(document), closed=True) == []
    assert decode(document) == drawn


def test_a_type_1_offer_reads_as_the_published_sample_does(specification: Specification, shared_data: Path) -> None:
    """The folder's own valid sample: 12 MW for 180 $/MWh in hour ending 18, spinning reserve for 4.50."""
    resource = Resource(name=TYPE_1.name, type="drr1", schedule_type="Cost", curtailment_price=150.0)
    interval = interval_of(date(2026, 11, 24), 18)
    energy = offer("energy-rt", interval, ("12.0", "180.0"), resource=TYPE_1.name)

    value = json.loads(sent(Codec([resource], codec().products).encode([energy])))
    sample = json.loads((shared_data / "schemas" / "samples" / "miso_drr1_offer.json").read_text(encoding="utf-8"))

    ours, theirs = value["resources"][0]["offers"][0], sample["resources"][0]["offers"][0]
    assert ours["drr1EnergyOfferHourly"] == theirs["drr1EnergyOfferHourly"]
    assert ours["drr1CommitStatusHourly"] == theirs["drr1CommitStatusHourly"]


def test_a_curve_is_written_as_levels_and_read_as_steps() -> None:
    """2 MW, then 1.5 more: the second point stands at 3.5 MW."""
    document = codec().encode([offer("spin", SIX_PM, ("2.0", "4.00"), ("1.5", "9.50"))])

    value = json.loads(document)["resources"][0]["offers"][0]["spinningOfferHourly"][0]
    assert value["spinningOfferHourlyDetail"]["offerPriceCurve"] == {
        "slope": False,
        "priceCurveSegments": [{"mw": 2.0, "price": 4.0}, {"mw": 3.5, "price": 9.5}],
    }
    assert [step.quantity_mw for step in decode(document)[0].steps] == [Decimal("2.0"), Decimal("1.5")]


def test_what_stands_behind_a_price_stays_at_home() -> None:
    """Neither tokens nor firm capacity are the ISO's business."""
    document = codec().encode([offer("spin", SIX_PM)])

    assert b"tokens_forgone" in document
    assert b"firmwatt" not in sent(document)
    assert b"tokens" not in sent(document)


def test_the_settings_of_a_resource_go_along_with_its_offers() -> None:
    value = json.loads(codec().encode([offer("energy-da", SIX_PM, resource=TYPE_1.name)]))["resources"][0]["offers"][0]

    assert value["shutdownCost"] == 120.5
    assert value["drr1RuntimesDaily"] == {
        "minInterruptionDuration": "001:00",
        "maxInterruptionDuration": "004:00",
        "maxDailyStops": 2,
    }
    assert value["drr1EnergyOfferHourly"][0]["drr1EnergyOfferHourlyDetail"]["curtailmentOfferPrice"] == 35.0


def test_a_type_2_hour_of_energy_carries_its_limits_its_ramp_and_its_no_load_cost() -> None:
    value = json.loads(codec().encode([offer("energy-da", SIX_PM)]))["resources"][0]["offers"][0]

    assert value["unitLimitsHourly"] == [
        {"hour": 18, "unitLimitsHourlyDetail": {"economicLimits": {"minMW": 0.0, "maxMW": 90.0}}}
    ]
    assert value["rampRatesHourly"] == [{"hour": 18, "rampRatesHourlyDetail": {"rampRate": 4.5}}]
    assert value["noLoadCostsHourly"] == [{"hour": 18, "cost": 12.25}]


def test_documents_hold_a_market_and_a_day_each() -> None:
    """Two days of day-ahead and one of real time: three documents, whatever the order."""
    given_offers = [
        offer("energy-rt", interval_of(TODAY, 20)),
        offer("spin", interval_of(TOMORROW + timedelta(days=1), 1)),
        offer("spin", SIX_PM),
        offer("energy-da", SIX_PM, resource=TYPE_1.name),
    ]

    found = codec().documents(given_offers)

    assert [[(one.resource, one.product) for one in document] for document in found] == [
        [(TYPE_1.name, "energy-da"), (TYPE_2.name, "spin")],
        [(TYPE_2.name, "spin")],
        [(TYPE_2.name, "energy-rt")],
    ]
    assert codec().documents(reversed(given_offers)) == found


def test_an_offer_that_cannot_be_written_holds_up_no_other() -> None:
    """A type I resource has no curve for energy, and a quarter of an hour is no hour."""
    good = offer("spin", SIX_PM)
    curve = offer("energy-da", SIX_PM, ("2.0", "50"), ("1.0", "60"), resource=TYPE_1.name)
    quarter = offer("spin", Interval(NOW, NOW + timedelta(minutes=15)))

    found = codec().documents([curve, quarter, good])

    assert found == [(good,), (curve,), (quarter,)]
    assert decode(codec().encode(found[0])) == (good,)


# ------------------------------------------------------------------------------------------------ the market day


@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 11, 1), date(2026, 7, 1)])
def test_a_day_has_24_hours_although_us_clocks_change(day: date) -> None:
    """EST all year: hour ending 1 begins at 05:00 UTC, and the hours follow each other without gap or repetition."""
    hours = [interval_of(day, hour) for hour in range(1, 25)]

    assert hours[0].start.isoformat() == f"{day}T05:00:00+00:00"
    assert all(one.end == other.start for one, other in pairwise(hours))
    assert hours[-1].end - hours[0].start == timedelta(hours=24)
    assert [hour_of(interval) for interval in hours] == [(day, hour) for hour in range(1, 25)]


def test_midnight_belongs_to_the_day_that_begins() -> None:
    assert hour_of(interval_of(TODAY, 24)) == (TODAY, 24)
    assert interval_of(TODAY, 24).next() == interval_of(TOMORROW, 1)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (offer("energy-da", SIX_PM, ("2.0", "50"), ("1.0", "60"), resource=TYPE_1.name), "one block with one price"),
        (offer("reg", SIX_PM, resource=TYPE_1.name), "DRR type I, which has no reg offer"),
        (offer("spin", SIX_PM, *((f"{n}", f"{n}") for n in range(1, 5))), "at most 3 segments, not 4"),
        (offer("energy-da", SIX_PM, *((f"{n}", f"{n}") for n in range(1, 12))), "at most 10 segments, not 11"),
        (offer("spin", SIX_PM, ("2.05", "5")), "2.05 MW is not a multiple of 0.1"),
        (offer("spin", SIX_PM, ("2.0", "5.005")), "not a multiple of 0.01"),
        (offer("spin", SIX_PM, ("2.0", "10000")), "within ±9999.99"),
        (offer("spin", SIX_PM, ("100000000", "5")), "above 99999999.9"),
        (offer("spin", SIX_PM, resource="NOBODY"), "not in [venue.miso]; have AIFAC.DRR1, AIFAC.DRR2"),
        (offer("ecrs", SIX_PM), "'ecrs' is not sold to MISO"),
        (offer("spin", Interval(NOW, NOW + timedelta(minutes=15))), "no market hour"),
        (offer("spin", Interval(NOW + timedelta(minutes=30), NOW + timedelta(minutes=90))), "no market hour"),
    ],
)
def test_what_the_schema_cannot_take_is_refused_in_one_line(wrong: Offer, told: str) -> None:
    with pytest.raises(ValueError, match=ONE_LINE) as caught:
        codec().encode([wrong])

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "without an offer"),
        ([offer("spin", SIX_PM), offer("energy-rt", interval_of(TODAY, 20))], "2 markets or days"),
        ([offer("spin", SIX_PM), offer("spin", SIX_PM, revision=2)], "two offers for one resource"),
    ],
)
def test_offers_that_are_no_one_document_are_refused(wrong: list[Offer], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        codec().encode(wrong)


def test_what_miso_s_schema_lets_through_is_left_to_the_rule_layer(specification: Specification) -> None:
    """A falling curve, less than 1 MW, 9,999.99 $/MWh and a day long past are all valid: the schema is no rule."""
    wrong = {
        "falling curve": offer("spin", SIX_PM, ("2.0", "9.50"), ("1.5", "4.00")),
        "below the minimum": offer("spin", SIX_PM, ("0.1", "5")),
        "any price": offer("spin", SIX_PM, ("2.0", "9999.99")),
        "below zero": offer("energy-da", SIX_PM, ("2.0", "-9999.99")),
        "long past": offer("spin", interval_of(date(2020, 1, 1), 18)),
    }

    for name, one in wrong.items():
        assert complaints(specification, sent(codec().encode([one])), closed=True) == [], name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0", "2.05"),
        ("52.10", "52.105"),
        ("52.10", "10000"),
        ('"hour":18', '"hour":25'),
        ('"hour":18', '"hour":"18"'),
        ("Economic", "economic"),
        ("real-time", "realtime"),
        ("drr2Offer", "drr3Offer"),
        ('"scheduleType":"Price",', ""),
        ("2026-11-30", "30.11.2026"),
    ],
)
def test_the_schema_refuses_what_it_should(specification: Specification, old: str, new: str) -> None:
    """Else the thousand documents above would prove nothing."""
    document = sent(codec().encode([offer("energy-rt", interval_of(TODAY, 18))])).decode()
    assert old in document

    assert complaints(specification, document.replace(old, new, 1).encode(), closed=True)


# ------------------------------------------------------------------------------------------------ bad documents


def test_a_document_that_was_tampered_with_is_not_read() -> None:
    """More MW than the offer's, an offer that the note does not know, a status that sells nothing."""
    document = codec().encode([offer("spin", SIX_PM, ("2.0", "4.00"), ("1.5", "9.50"))]).decode()
    foreign = document.replace('"hour":18,"product":"spin"', '"hour":17,"product":"spin"')
    for changed in (
        document.replace("3.5", "1.5"),
        document.replace("Economic", "SelfSchedule", 1),
        document.replace('"slope":false', '"slope":true'),
        document.replace('"version":1', '"version":2'),
        document.replace('"venue":"miso"', '"venue":"ercot"'),
        foreign,
    ):
        assert changed != document
        with pytest.raises(VenueError, match=ONE_LINE):
            decode(changed.encode())


def test_an_hour_that_no_offer_of_ours_stands_behind_is_not_read() -> None:
    both = json.loads(codec().encode([offer("spin", SIX_PM), offer("reg", SIX_PM)]))
    both["firmwatt"]["offers"] = both["firmwatt"]["offers"][:1]

    with pytest.raises(VenueError, match="stands behind no offer"):
        decode(json.dumps(both).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe{}",
        b"null",
        b"[]",
        b'{"day": NaN}',
        b'{"day": Infinity}',
        b'{"day": 1, "day": 2}',
        b'{"day": ' + b"9" * 100_000 + b"}",
        b'{"day": 1e999999999}',
        b'{"day": 1e-999999999}',
        b"[" * 200_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"firmwatt": {"version": 1, "offers": [{}]}}',
        b'{"firmwatt": "\\ud800", "day": "\\ud800"}',
        b" " * (written.LARGEST + 1),
    ],
)
def test_nonsense_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(VenueError, match=ONE_LINE):
        decode(content)
