"""What ERCOT's words mean: mRIDs, hours, statuses, awards and notices. Pure."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from doubles.ercot.answers import add_award, response
from doubles.ercot.book import Award as Bought
from doubles.ercot.offers import DAY, LONG_DAY, RESOURCE, SHORT_DAY, hour, offer
from lxml import etree

from bidding.markets.ercot import receipts
from bidding.markets.ercot.decode import Held, Transaction, held
from bidding.markets.ercot.encode import encode, hour_mrid, segments
from bidding.markets.ercot.hours import hours, read
from bidding.markets.ercot.names import EWS
from bidding.markets.ercot.reply import read_awards, read_mrid, read_notices, read_reply
from pipeline.errors import VenueError

NOW = datetime(2026, 7, 24, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("mrid", "places"),
    [
        ("Q.20260725.REB.R1", (0, 24)),
        ("Q.20260725.REB.R1.01", (0, 1)),
        ("Q.20260725.ASO.R1.Reg-Down.03-06", (2, 6)),
        ("Q.20260725.ASO.R1.REGUP-RRS-ONNS.5-24", (4, 24)),
        ("Q.20261101.REB.R1", (0, 25)),
        ("Q.20261101.REB.R1.2R", (2, 3)),
        ("Q.20261101.REB.R1.02-2R", (1, 3)),
        ("Q.20261101.REB.R1.2R-04", (2, 5)),
        ("Q.20260308.REB.R1.01-02", (0, 2)),
        ("Q.20260308.REB.R1.04-08", (2, 7)),
    ],
)
def test_an_mrid_names_the_hours_of_the_published_table(mrid: str, places: tuple[int, int]) -> None:
    day = date.fromisoformat(f"{mrid[2:6]}-{mrid[6:8]}-{mrid[8:10]}")

    assert read_mrid(mrid).hours == hours(day)[slice(*places)]


@pytest.mark.parametrize(
    "mrid",
    ["", "Q", "Q.20260725.TPO.R1", "Q.20260308.REB.R1.03", "Q.20260725.REB.R1.2R", "Q.20260725.REB.R1.06-03",
     "Q.20261301.REB.R1", "Q.20260725.ASO.R1.Off-Non-Spin", "Q.20260725.REB.R1.25"],
)  # fmt: skip
def test_other_mrids_are_refused(mrid: str) -> None:
    with pytest.raises(VenueError):
        read_mrid(mrid)


def test_an_offers_hour_has_its_name_on_the_days_the_clocks_change() -> None:
    assert hour_mrid("Q", offer("ecrs", hours(LONG_DAY)[2])) == f"Q.20261101.ASO.{RESOURCE}.REGUP-RRS-ONNS.2R"
    assert hour_mrid("Q", offer("reg-down", hours(SHORT_DAY)[2])) == f"Q.20260308.ASO.{RESOURCE}.Reg-Down.04"


@pytest.mark.parametrize(
    "text",
    [
        "2026-07-25T01:00:00",
        "2026-07-25",
        "2026-07-25T24:00:00-05:00",
        "2026-02-30T00:00:00Z",
        "",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_a_time_without_offset_or_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(VenueError):
        read(text)


def said(status: str, external_id: str = "", mrid: str = "") -> Transaction:
    return Transaction(mrid, external_id, status, (), None)


@pytest.mark.parametrize(
    ("word", "meaning", "mw"),
    [("SUBMITTED", "pending", "0"), ("PENDING", "pending", "0"), ("ACCEPTED", "accepted", "3.5"),
     ("ERRORS", "rejected", "0"), ("REJECTED", "rejected", "0"), ("CANCELED", "cancelled", "0"),
     ("SOMETHING-NEW", "pending", "0")],
)  # fmt: skip
def test_ercots_words_and_ours(word: str, meaning: str, mw: str) -> None:
    found = receipts.receipt(offer("ecrs", hour(1)), said(word), "mrid")

    assert (found.status, found.accepted_mw) == (meaning, Decimal(mw))


def test_an_answer_of_other_length_is_matched_by_our_ids() -> None:
    first, second = offer("ecrs", hour(1)), offer("ecrs", hour(2))

    told = receipts.submitted([first, second], [said("ERRORS", second.offer_id)], "Q")

    assert [receipt.status for receipt in told] == ["pending", "rejected"]


def test_a_bid_that_came_back_without_our_id_is_ours_by_its_curve() -> None:
    mine = offer("ecrs", hour(1))
    curve = segments(mine)
    nameless = Held(RESOURCE, "ecrs", hour(1), curve, "", "", "ACCEPTED", ())

    assert receipts.ours(mine, [nameless]) is nameless
    assert receipts.ours(offer("ecrs", hour(1), ("1.0", "1.00")), [nameless]) is None


def test_what_is_left_of_a_shared_hour_is_the_others_under_their_own_ids() -> None:
    reg_up, ecrs = offer("reg-up", hour(1), ("1.0", "9.00")), offer("ecrs", hour(1), ("2.0", "5.00"))
    rows = list(held(etree.fromstring(encode([reg_up, ecrs]))))

    (left,) = receipts.remaining([reg_up], rows)

    assert left.external_id == ecrs.offer_id
    assert [(product, segment.mw) for product, segment in left.segments] == [("ecrs", Decimal(2))]
    assert receipts.remaining([reg_up, ecrs], rows) == []


def test_notifications_are_asked_for_a_day_at_a_time_and_four_days_back() -> None:
    old = offer("ecrs", hour(1)).model_copy(update={"as_of": NOW - timedelta(days=30)})

    spans = list(receipts.submission_days([old], NOW))

    assert len(spans) == 4
    assert all(end - start <= timedelta(days=1) for start, end in spans)
    assert spans[0][0] > NOW - timedelta(days=4)
    assert spans[-1][1] == NOW + timedelta(minutes=1)


def awarded(*bought: Bought) -> bytes:
    root = etree.fromstring(f'<AwardSet xmlns="{EWS}"><tradingDate>{DAY}</tradingDate></AwardSet>'.encode())
    for one in bought:
        add_award(root, "Q", one)
    return etree.tostring(response("reply", "AwardSet", NOW, "id", [root], []))


def test_an_award_adds_up_its_blocks_and_hours_without_one_are_left_out() -> None:
    price = Decimal("7.25")
    blocks = [(Decimal("1.5"), price), (Decimal(0), price), (Decimal(2), price)]
    document = awarded(
        Bought(RESOURCE, "RRSFF", "RRSFF", hour(17), DAY, blocks),
        Bought(RESOURCE, "ECRSM", "ECRS", hour(18), DAY, [(Decimal(0), price)]),
        Bought("OTHER", "ECRSM", "ECRS", hour(18), DAY, blocks),
        Bought(RESOURCE, "OFFEC", "ECRS", hour(18), DAY, blocks),
    )

    (award,) = read_awards(read_reply(etree.fromstring(document)), RESOURCE)

    assert (award.product, award.interval) == ("rrs-ffr", hour(17))
    assert (award.quantity_mw, award.price_per_mwh) == (Decimal("3.5"), price)
    assert award.award_id == f"Q.20260725.ASO.{RESOURCE}.RRSFF.17"


def test_kinds_of_award_newer_than_the_schemas_are_passed_over() -> None:
    """ERCOT's repository has an example of AwardedEnergyCLRBid (NPRR1188), which its published schema does not know."""
    document = awarded().replace(
        b"</AwardSet>",
        b"<AwardedEnergyCLRBid><qse>Q</qse><awardedMWh>45.0</awardedMWh></AwardedEnergyCLRBid></AwardSet>",
    )

    assert read_awards(read_reply(etree.fromstring(document)), RESOURCE) == ()


def test_a_cancellation_without_hours_takes_back_the_whole_day_of_every_product_under_the_key() -> None:
    text = f"""<BidSet xmlns="{EWS}"><tradingDate>2026-11-01</tradingDate><ASOffer>
        <mRID>Q.20261101.ASO.{RESOURCE}.REGUP-RRS-ONNS</mRID><status>CANCELED</status>
        <error><severity>ERROR</severity><text>credit
        exposure</text></error></ASOffer></BidSet>"""
    document = etree.tostring(response("reply", "P2ValidationSet", NOW, "id", [etree.fromstring(text)], []))

    notices = read_notices(read_reply(etree.fromstring(document)), RESOURCE)

    assert len(notices) == 25 * 6
    assert len({notice.notice_id for notice in notices}) == 150
    assert {notice.reason for notice in notices} == {"credit exposure"}
