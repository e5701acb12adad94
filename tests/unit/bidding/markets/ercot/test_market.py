"""The client against the mock market: a process of its own, mutual TLS, signed messages, the published schemas."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles import venue
from doubles.counterparts import ercot as market
from doubles.ercot.offers import offer

from bidding.markets import Feature, Market
from bidding.markets.ercot import connect
from bidding.markets.ercot.curves import Segment
from bidding.markets.ercot.decode import Held
from bidding.markets.ercot.hours import hours
from bidding.markets.ercot.receipts import beside, strangers
from pipeline.clock import Clock
from pipeline.errors import GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Offer

WORD = venue.at(market.NOW.isoformat())
FIRST, SECOND = hours(market.TOMORROW)[:2]


async def client(url: str, folder: Path, **more: object) -> Market:
    path = folder / f"firmwatt-{time.monotonic_ns()}.toml"
    path.write_text(market.section(url, folder, **more), encoding="utf-8")
    return await connect(path, Clock.parse(WORD))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return tmp_path_factory.mktemp("ercot")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[str]:
    with market.start(folder, WORD) as found:
        yield found


@pytest.fixture
def url(running: str) -> str:
    market.order(running, "/reset")
    return running


@pytest.fixture
async def ercot(url: str, folder: Path) -> AsyncIterator[Market]:
    found = await client(url, folder)
    yield found
    await found.close()


async def send(ercot: Market, *offers: Offer) -> dict[str, str]:
    """Submit one document; return what the venue says at once."""
    (document,) = ercot.documents(offers)
    receipts = await ercot.submit(ercot.encode(document), document, epoch=1)
    return {receipt.offer_id: receipt.status for receipt in receipts}


async def states(ercot: Market, *offers: Offer) -> dict[str, str]:
    return {key: receipt.status for key, receipt in (await ercot.status(offers)).items()}


async def test_what_is_submitted_is_pending_and_accepted_once_it_has_been_judged(ercot: Market, url: str) -> None:
    reg_up, ecrs = offer("reg-up", FIRST, ("1.0", "20.00")), offer("ecrs", FIRST, ("2.0", "5.00"))
    assert Feature.WITHDRAW in ercot.features

    at_once = await send(ercot, reg_up, ecrs)
    later = await ercot.status([reg_up, ecrs])

    assert at_once == {reg_up.offer_id: "pending", ecrs.offer_id: "pending"}
    assert {receipt.status for receipt in later.values()} == {"accepted"}
    assert later[ecrs.offer_id].accepted_mw == Decimal("2.0")
    assert later[ecrs.offer_id].receipt == "QFIRM.20260725.ASO.AIFAC_CLR1.REGUP-RRS-ONNS.01"
    assert market.audit(url)["submissions_applied"] == 1


async def test_a_market_that_takes_its_time_is_asked_again(folder: Path) -> None:
    with market.start(folder, WORD, judge_polls=2) as url:
        ercot = await client(url, folder)
        bid = offer("energy-rt", hours(market.TODAY)[5])
        await send(ercot, bid)

        told = [(await states(ercot, bid))[bid.offer_id] for _ in range(4)]
        await ercot.close()

    assert told == ["pending", "pending", "accepted", "accepted"]


async def test_one_wrong_hour_is_refused_and_the_others_stand(folder: Path) -> None:
    with market.start(folder, WORD, partial_share=1.0) as url:
        ercot = await client(url, folder)
        day = [offer("reg-down", hour) for hour in market.intervals("reg-down")]
        await send(ercot, *day)

        found = await ercot.status(day)
        await ercot.close()

    refused = [receipt for receipt in found.values() if receipt.status == "rejected"]
    assert len(found) == 6
    assert [receipt.reasons for receipt in refused] == [("an hour found wrong to order",)]
    assert sum(receipt.status == "accepted" for receipt in found.values()) == 5


async def test_what_was_never_sent_is_not_known(ercot: Market) -> None:
    assert await states(ercot, offer("reg-up", FIRST)) == {}


async def test_an_older_revision_under_our_key_is_not_taken_for_ours(ercot: Market) -> None:
    first, second = offer("reg-up", FIRST), offer("reg-up", FIRST, ("3.0", "9.00"), revision=2)
    await send(ercot, first)

    assert await states(ercot, second) == {}
    assert await states(ercot, first) == {first.offer_id: "accepted"}
    await send(ercot, second)
    assert await states(ercot, first) == {}
    assert await states(ercot, second) == {second.offer_id: "accepted"}


async def test_too_late_for_its_gate_is_a_definite_no(ercot: Market, url: str) -> None:
    for product in market.PRODUCTS:
        with pytest.raises(GateClosedError, match="closed"):
            await send(ercot, offer(product, market.closed(product)))
    assert market.audit(url)["after_gate"] == len(market.PRODUCTS)


async def test_a_document_that_breaks_the_schema_is_a_definite_no(ercot: Market) -> None:
    (document,) = ercot.documents([offer("reg-up", FIRST)])
    broken = ercot.encode(document).replace(b"<block>VARIABLE</block>", b"")

    with pytest.raises(RejectedError, match="BAD PAYLOAD"):
        await ercot.submit(broken, document, epoch=1)


async def test_a_lost_answer_is_an_unknown_outcome_that_asking_resolves(folder: Path) -> None:
    with market.start(folder, WORD, lose_replies=1.0) as url:
        ercot = await client(url, folder)
        bid = offer("reg-up", FIRST)

        with pytest.raises(UnknownOutcomeError):
            await send(ercot, bid)

        assert await states(ercot, bid) == {bid.offer_id: "accepted"}
        assert market.audit(url)["replies_lost"] == 1
        await ercot.close()


async def test_an_answer_that_comes_too_late_is_an_unknown_outcome(folder: Path) -> None:
    with market.start(folder, WORD, late_replies=1.0, late_s=1.0) as url:
        ercot = await client(url, folder, submit_timeout_s=0.3)

        with pytest.raises(UnknownOutcomeError):
            await send(ercot, offer("reg-up", FIRST))
        await ercot.close()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fatal_share", "ERCOT failed"),
        ("mixed_up", "another message"),
        ("bad_signatures", "altered after it was signed"),
    ],
)
async def test_an_answer_that_cannot_be_believed_is_an_unknown_outcome(
    ercot: Market, url: str, fault: str, reason: str
) -> None:
    bid = offer("reg-up", FIRST)
    await ercot.status([bid])  # so that there is an answer before
    market.order(url, "/faults", **{fault: 1.0})

    with pytest.raises(UnknownOutcomeError, match=reason):
        await send(ercot, bid)

    market.order(url, "/faults", **{fault: 0.0})
    assert await states(ercot, bid) == {bid.offer_id: "accepted"}


async def test_a_refused_document_left_nothing_behind(ercot: Market, url: str) -> None:
    market.order(url, "/faults", reject_share=1.0)
    with pytest.raises(RejectedError, match="refused to order") as refusal:
        await send(ercot, offer("reg-up", FIRST))
    market.order(url, "/faults", reject_share=0.0)

    assert not isinstance(refusal.value, GateClosedError)
    assert await states(ercot, offer("reg-up", FIRST)) == {}


async def test_the_same_curve_of_an_older_revision_is_not_ours(ercot: Market) -> None:
    await send(ercot, offer("reg-up", FIRST))

    assert await states(ercot, offer("reg-up", FIRST, revision=2)) == {}


async def test_our_id_with_another_curve_is_not_ours(ercot: Market) -> None:
    await send(ercot, offer("reg-up", FIRST, ("1.0", "5.00")))

    assert await states(ercot, offer("reg-up", FIRST, ("2.0", "5.00"))) == {}


async def test_an_hour_whose_gate_has_closed_is_refused_alone(ercot: Market) -> None:
    late, early = offer("energy-rt", market.closed("energy-rt")), offer("energy-rt", market.intervals("energy-rt")[0])

    assert await send(ercot, late, early) == {late.offer_id: "rejected", early.offer_id: "pending"}


async def test_nothing_listening_means_that_nothing_was_sent(folder: Path) -> None:
    with market.start(folder, WORD) as url:
        ercot = await client(url, folder, tries=1)
    bid = offer("reg-up", FIRST)

    for product in ("reg-up", "reg-down"):
        with pytest.raises(VenueError, match="nothing was sent") as refusal:
            await send(ercot, offer(product, FIRST))
        assert not isinstance(refusal.value, UnknownOutcomeError)
    with pytest.raises(UnknownOutcomeError, match="not known"):
        await ercot.status([bid])
    await ercot.close()


async def test_a_query_is_repeated_until_it_is_answered(folder: Path) -> None:
    with market.start(folder, WORD, lose_replies=0.6, fault_queries=True, seed=4) as url:
        ercot = await client(url, folder, tries=30)

        assert await states(ercot, offer("reg-up", FIRST)) == {}
        assert market.audit(url)["replies_lost"] > 0
        await ercot.close()


async def test_hours_are_taken_back_one_by_one(ercot: Market) -> None:
    first, second = offer("reg-up", FIRST), offer("reg-up", SECOND)
    await send(ercot, first, second)

    (receipt,) = await ercot.withdraw([first], epoch=1)

    assert receipt.status == "withdrawn"
    assert await states(ercot, first, second) == {second.offer_id: "accepted"}
    assert [one.status for one in await ercot.withdraw([first], epoch=1)] == ["withdrawn"]


async def test_of_an_hour_that_services_share_only_what_was_meant_is_taken_back(
    ercot: Market, url: str, folder: Path
) -> None:
    reg_up, ecrs = offer("reg-up", FIRST, ("1.0", "9.00")), offer("ecrs", FIRST, ("1.0", "9.00"), ("2.0", "9.00"))
    alone = offer("reg-up", SECOND)
    await send(ercot, reg_up, ecrs, alone)

    taken = await ercot.withdraw([reg_up, alone], epoch=1)

    assert [receipt.status for receipt in taken] == ["withdrawn", "withdrawn"]
    assert await states(ercot, reg_up, ecrs, alone) == {ecrs.offer_id: "accepted"}
    lines = [json.loads(line) for line in (market.home_of(url, folder) / "requests.jsonl").read_text().splitlines()]
    assert [line["keys"] for line in lines if line["kind"] == "cancel BidSet"][-1:] == [
        ["QFIRM.20260725.ASO.AIFAC_CLR1.REGUP-RRS-ONNS.02"]
    ]
    await ercot.withdraw([ecrs], epoch=1)
    assert await states(ercot, reg_up, ecrs, alone) == {}
    assert market.audit(url)["duplicate_submissions"] == 0


async def test_what_comes_later_erases_no_other_service(ercot: Market, url: str) -> None:
    """Reg-up is offered after ECRS, ECRS is lowered, lowered and raised again: each time both stand."""
    ecrs, reg_up = offer("ecrs", FIRST, ("2.0", "9.00")), offer("reg-up", FIRST, ("1.0", "9.00"))
    alone = offer("reg-up", SECOND)
    await send(ercot, ecrs)

    assert await send(ercot, reg_up, alone) == {reg_up.offer_id: "pending", alone.offer_id: "pending"}
    assert set((await states(ercot, ecrs, reg_up, alone)).values()) == {"accepted"}
    for revision, mw in ((2, "1.0"), (3, "0.5"), (4, "2.0")):
        before, ecrs = ecrs, offer("ecrs", FIRST, (mw, "9.00"), revision=revision)
        await send(ercot, ecrs)
        assert await states(ercot, before, ecrs, reg_up, alone) == dict.fromkeys(
            (ecrs.offer_id, reg_up.offer_id, alone.offer_id), "accepted"
        )

    await ercot.withdraw([reg_up], epoch=1)
    assert await states(ercot, ecrs, reg_up) == {ecrs.offer_id: "accepted"}
    assert market.audit(url)["stale"] == 0


async def test_what_has_no_room_beside_another_service_is_not_sent(ercot: Market, url: str) -> None:
    """Four blocks stand, two more are one too many; the four stay."""
    ecrs = offer("ecrs", FIRST, ("1.0", "1.00"), ("1.0", "2.00"), ("1.0", "3.00"), ("1.0", "4.00"))
    await send(ercot, ecrs)

    with pytest.raises(RejectedError, match=r"nothing was sent: it would erase the ecrs .*at most 5 blocks"):
        await send(ercot, offer("reg-up", FIRST, ("1.0", "9.00"), ("1.0", "9.50")))

    assert market.audit(url)["submissions_applied"] == 1
    assert await states(ercot, ecrs) == {ecrs.offer_id: "accepted"}


def test_an_hour_is_said_again_as_it_stands_or_not_at_all() -> None:
    new = offer("ecrs", FIRST, ("1.0", "9.00"), revision=2)
    stands = Held(
        resource=new.resource,
        product="reg-up",
        hour=FIRST,
        segments=(Segment(Decimal("1.0"), Decimal("4.00")),),
        mrid="",
        external_id="old-reg-up,old-ecrs",
        status="ACCEPTED",
        reasons=(),
    )
    rows = (stands, replace(stands, product="ecrs", segments=(Segment(Decimal("2.0"), Decimal("9.00")),)))

    (hour,) = beside([new], rows)

    assert hour.external_id == f"old-reg-up,{new.offer_id}"
    assert hour.segments == [("reg-up", stands.segments[0]), ("ecrs", Segment(Decimal("1.0"), Decimal("9.00")))]
    with pytest.raises(ValueError, match="2 offer ids for 1 services"):
        beside([new], rows[:1])
    assert strangers([new], [replace(stands, status="CANCELED")]) == []


async def test_what_the_second_phase_takes_back_is_noticed_hour_by_hour(ercot: Market, url: str) -> None:
    bid = offer("energy-rt", hours(market.TODAY)[5])
    await send(ercot, bid)
    assert await states(ercot, bid) == {bid.offer_id: "accepted"}

    market.order(url, "/cancel", mrid="QFIRM.20260724.REB.AIFAC_CLR1.06", reason="credit exposure")

    (notice,) = await ercot.notices(market.RESOURCE)
    assert (notice.product, notice.interval, notice.reason) == ("energy-rt", bid.interval, "credit exposure")
    assert await ercot.notices(market.RESOURCE) == (notice,)
    assert await ercot.notices("AIFAC_CLR2") == ()
    assert await states(ercot, bid) == {bid.offer_id: "cancelled"}


async def test_a_share_of_what_was_accepted_is_taken_back(folder: Path) -> None:
    with market.start(folder, WORD, cancel_share=1.0) as url:
        ercot = await client(url, folder)
        bid = offer("reg-down", FIRST)
        await send(ercot, bid)

        told = [await states(ercot, bid) for _ in range(2)]
        notices = await ercot.notices(market.RESOURCE)
        await ercot.close()

    assert told == [{bid.offer_id: "accepted"}, {bid.offer_id: "cancelled"}]
    assert [notice.interval for notice in notices] == [FIRST]


async def test_a_market_that_is_started_again_remembers_its_book(folder: Path) -> None:
    journal = folder / f"journal-{time.monotonic_ns()}"
    kept, cancelled = offer("reg-down", FIRST, ("1.0", "0.00")), offer("reg-down", SECOND)
    with market.start(folder, WORD, journal=journal) as url:
        ercot = await client(url, folder)
        await send(ercot, kept, cancelled)
        await ercot.withdraw([cancelled], epoch=1)
        await ercot.close()

    with market.start(folder, WORD, journal=journal) as url:
        ercot = await client(url, folder)
        assert await states(ercot, kept, cancelled) == {kept.offer_id: "accepted"}
        await ercot.close()


async def test_what_clears_is_awarded_at_the_clearing_price_under_a_name_of_its_own(
    url: str, folder: Path, ercot: Market
) -> None:
    cheap, dear = offer("ecrs", FIRST, ("2.0", "0.50"), ("3.0", "1.00")), offer("ecrs", SECOND, ("2.0", "40.00"))
    await send(ercot, cheap, dear)
    assert await ercot.awards(market.RESOURCE) == ()
    later = market.NOW + timedelta(hours=10)
    market.order(url, "/clock", now=later.isoformat())

    (folder / "later.toml").write_text(market.section(url, folder), encoding="utf-8")
    afterwards = await connect(folder / "later.toml", Clock.parse(venue.at(later.isoformat())))
    (award,) = await afterwards.awards(market.RESOURCE)
    with pytest.raises(GateClosedError):
        await afterwards.withdraw([cheap], epoch=1)
    await afterwards.close()

    assert (award.product, award.interval, award.quantity_mw) == ("ecrs", FIRST, Decimal("5.0"))
    assert award.award_id == "QFIRM.20260725.ASO.AIFAC_CLR1.ECRSS.01"
    assert award.offer_id == ""
    assert 2 <= award.price_per_mwh <= 30


async def test_every_request_and_its_outcome_is_in_the_markets_log(ercot: Market, url: str, folder: Path) -> None:
    await send(ercot, offer("reg-down", FIRST))
    await send(ercot, offer("reg-down", FIRST))

    lines = [json.loads(line) for line in (market.home_of(url, folder) / "requests.jsonl").read_text().splitlines()][
        -2:
    ]

    assert [line["kind"] for line in lines] == ["create BidSet"] * 2
    assert lines[0]["body"] == lines[1]["body"] != ""
    assert market.audit(url)["duplicate_submissions"] == 1


async def test_many_at_once_are_answered_each_with_its_own(ercot: Market) -> None:
    bids = [offer("reg-up", hour) for hour in market.intervals("reg-up")]
    await asyncio.gather(*(send(ercot, bid) for bid in bids))

    assert set((await states(ercot, *bids)).values()) == {"accepted"}


async def test_what_ercot_does_not_do_by_ews_answers_with_nothing(ercot: Market) -> None:
    assert await ercot.dispatches(market.RESOURCE) == ()
    assert await ercot.statement(market.RESOURCE) is None
    await ercot.report_meter(market.RESOURCE, "batch", ())
    assert ercot.features == {Feature.WITHDRAW, Feature.NOTICES}
