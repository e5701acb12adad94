"""MISO's client against its mock: what was bought, called and taken back, and what is told after the gate."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import award, intent, patience, step
from doubles.clocks import SetClock
from doubles.counterparts import miso
from doubles.miso.connecting import AFTER_THE_GATE, IN_THE_HOUR, SIX_PM, connected, ordered, submitted, word
from doubles.miso.offers import TYPE_1

from bidding.agents.revise import Revising
from bidding.book import Book
from bidding.journal import Journal
from bidding.markets import Shortfall
from bidding.settings import Bidding
from bidding.submit import Submitter
from pipeline.errors import RejectedError
from pipeline.interval import Interval
from pipeline.messages.market import Offer


@pytest.fixture
def url(tmp_path: Path, shared_data: Path) -> Iterator[str]:
    with miso.start(tmp_path, word()) as found:
        yield found


# ------------------------------------------------------------------------------------------------ late cancellation


async def test_what_miso_takes_back_late_is_cancelled_and_noticed_once(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", cancel_share=1)
    offer = miso.offer("spin", SIX_PM)
    async with connected(tmp_path, url) as market:
        receipts = await submitted(market, offer)
        known = await market.status([offer])
        notices = await market.notices(miso.RESOURCE)
        again = await market.notices(miso.RESOURCE)

    assert receipts[0].status == "accepted"
    assert known[offer.offer_id].status == "cancelled"
    assert [(one.product, one.interval, one.reason) for one in notices] == [
        ("spin", SIX_PM, "dispatch status is NotQualified")
    ]
    assert [one.notice_id for one in again] == [one.notice_id for one in notices]


async def test_a_resource_that_is_no_longer_qualified_is_noticed(url: str, tmp_path: Path) -> None:
    spin, reg = miso.offer("spin", SIX_PM), miso.offer("reg", SIX_PM)
    async with connected(tmp_path, url) as market:
        await submitted(market, spin, reg)
        assert await market.notices(miso.RESOURCE) == ()
        await ordered(url, "disqualify", resource=miso.RESOURCE, product="reg")

        notices = await market.notices(miso.RESOURCE)

    assert [(one.product, one.reason) for one in notices] == [("reg", "no longer qualified")]


# ------------------------------------------------------------------------------------------------ awards, dispatch


async def test_the_day_ahead_buys_the_blocks_below_its_price(url: str, tmp_path: Path) -> None:
    """At 41.50, 2.0 of 3.5 MW of energy; at 5.00 all of the reserve; no award before the gate at 10:30."""
    energy = miso.offer("energy-da", SIX_PM, ("2.0", "40.00"), ("1.5", "60.00"))
    spin = miso.offer("spin", SIX_PM, ("1.0", "4.50"))
    await ordered(url, "prices", energy="41.50", spin="5.00")
    async with connected(tmp_path, url) as market:
        await submitted(market, energy, spin)
        assert await market.awards(miso.RESOURCE) == ()
    async with connected(tmp_path, url, AFTER_THE_GATE) as market:
        awards = await market.awards(miso.RESOURCE)

    assert [(one.product, one.interval, one.quantity_mw, one.price_per_mwh, one.offer_id) for one in awards] == [
        ("energy-da", SIX_PM, Decimal("2.0"), Decimal("41.50"), ""),
        ("spin", SIX_PM, Decimal("1.0"), Decimal("5.00"), ""),
    ]
    assert awards[0].awarded_at == datetime(2026, 11, 30, 15, 30, tzinfo=UTC)


async def test_real_time_s_instructions_are_laid_on_the_day_ahead_award_first(url: str, tmp_path: Path) -> None:
    """2.0 MW bought ahead, 3.5 dispatched: an award of 1.5 real time, and each five minutes in two parts."""
    await ordered(url, "prices", energy="45.00")
    async with connected(tmp_path, url) as market:
        await submitted(market, miso.offer("energy-da", SIX_PM, ("2.0", "40.00")))
        await submitted(market, miso.offer("energy-rt", SIX_PM, ("3.5", "44.00")))
    async with connected(tmp_path, url, IN_THE_HOUR) as market:
        awards = await market.awards(miso.RESOURCE)
        dispatches = await market.dispatches(miso.RESOURCE)

    assert [(one.product, one.quantity_mw, one.price_per_mwh) for one in awards] == [
        ("energy-da", Decimal("2.0"), Decimal("45.00")),
        ("energy-rt", Decimal("1.5"), Decimal("45.00")),
    ]
    five = timedelta(minutes=5)
    expected = [
        (award.award_id, Interval(SIX_PM.start + n * five, SIX_PM.start + (n + 1) * five), award.quantity_mw)
        for n in range(4)
        for award in awards
    ]
    assert [(one.award_id, one.interval, one.reduction_mw) for one in dispatches] == expected


async def test_a_deployment_calls_the_reserves_until_the_next_word(url: str, tmp_path: Path) -> None:
    """1.0 MW of spin and 2.0 of supplemental bought; 2.5 MW called at 17:03, nothing any more from 17:10."""
    await ordered(url, "prices", spin="9.00", supplemental="9.00")
    async with connected(tmp_path, url) as market:
        await submitted(market, miso.offer("spin", SIX_PM, ("1.0", "4.00")), miso.offer("supplemental", SIX_PM))
        await submitted(market, miso.offer("supplemental", SIX_PM, ("2.0", "3.00"), revision=2))
    start, end = SIX_PM.start + timedelta(minutes=3), SIX_PM.start + timedelta(minutes=10)
    await ordered(url, "deploy", resource=miso.RESOURCE, at=start.isoformat(), mw="2.5")
    await ordered(url, "deploy", resource=miso.RESOURCE, at=end.isoformat(), mw="0.0")
    async with connected(tmp_path, url, IN_THE_HOUR) as market:
        dispatches = await market.dispatches(miso.RESOURCE)

    assert [(one.award_id.split(":")[3], one.interval, one.reduction_mw) for one in dispatches] == [
        ("spin", Interval(start, end), Decimal("1.0")),
        ("supplemental", Interval(start, end), Decimal("1.5")),
    ]


# ------------------------------------------------------------------------------------------------ shortfall


@pytest.mark.parametrize("resource", [TYPE_1.name, miso.RESOURCE])
async def test_a_shortfall_lowers_what_is_dispatched(url: str, tmp_path: Path, resource: str) -> None:
    """3.0 MW sold, 1.27 are left: 1.2 in MISO's step of 0.1, and the next instruction asks for that."""
    await ordered(url, "prices", energy="45.00")
    async with connected(tmp_path, url) as market:
        await submitted(market, miso.offer("energy-rt", SIX_PM, ("3.0", "44.00"), resource=resource))
    shortfall = Shortfall(
        shortfall_id="s-1",
        resource=resource,
        product="energy-rt",
        interval=SIX_PM,
        available_mw=Decimal("1.27"),
        reason="two racks are gone\nand a third one",
    )
    async with connected(tmp_path, url, IN_THE_HOUR) as market:
        await market.notify(shortfall, 1)
        await market.notify(shortfall, 1)
        dispatches = await market.dispatches(resource)

    assert {one.reduction_mw for one in dispatches} == {Decimal("1.2")}


async def test_what_overrides_have_no_word_for_is_refused_with_a_reason(url: str, tmp_path: Path) -> None:
    later = Shortfall(
        shortfall_id="s-1",
        resource=miso.RESOURCE,
        product="energy-da",
        interval=SIX_PM,
        available_mw=Decimal(1),
        reason="",
    )
    async with connected(tmp_path, url, SIX_PM.end) as market:
        with pytest.raises(RejectedError, match="is over"):
            await market.notify(later, 1)
    async with connected(tmp_path, url) as market:
        with pytest.raises(RejectedError, match="no word for less spin"):
            await market.notify(later.model_copy(update={"product": "spin"}), 1)
        with pytest.raises(RejectedError, match="not in"):
            await market.notify(later.model_copy(update={"resource": "NOBODY"}), 1)


async def test_a_shortfall_seen_before_the_hour_is_told_once_it_runs_and_once_only(url: str, tmp_path: Path) -> None:
    """3.0 MW sold; ten minutes before the hour 2.0 are left, then 1.0: the second is what MISO hears, at 17:12."""
    offer = miso.offer("energy-rt", SIX_PM, ("3.0", "44.00"))
    left = iter(("2.0", "1.0"))
    await ordered(url, "prices", energy="45.00")
    with Journal(tmp_path / "journal") as journal:
        book = Book(journal, SetClock())
        book.write(intent(offer))
        async with connected(tmp_path, url) as market:
            (receipt,) = await submitted(market, offer)
        book.write(receipt)
        book.write(award("3.0", offered=offer).model_copy(update={"product": "energy-rt", "interval": SIX_PM}))
        for at, ticks in ((SIX_PM.start - timedelta(minutes=10), 2), (IN_THE_HOUR, 3)):
            async with connected(tmp_path, url, at) as market:
                revising = Revising(
                    Bidding(resource=miso.RESOURCE, revise_wait_s=0),
                    market,
                    book=book,
                    submitter=Submitter(market, book, SetClock(), patience(1)),
                    firm=lambda *_: (step(next(left), "44.00"),),
                    propose=never,
                )
                for _ in range(ticks):
                    await revising.tick(at)
                dispatches = await market.dispatches(miso.RESOURCE)
        heard = [one.refused for one in book.ledger.told.values()]
        assert len(book.ledger.shortfalls) == 2
    audit = await asyncio.to_thread(miso.audit, url)

    assert heard == [""]
    assert audit["overrides_applied"] == 1
    assert {one.reduction_mw for one in dispatches} == {Decimal("1.0")}


async def never(_offers: Sequence[Offer], _now: datetime) -> None:
    raise AssertionError("nothing is proposed after the gate")


async def test_what_is_not_in_this_interface_is_nothing(url: str, tmp_path: Path) -> None:
    async with connected(tmp_path, url) as market:
        assert await market.statement(miso.RESOURCE) is None
        assert await market.awards("NOBODY") == ()
        assert await market.notices("NOBODY") == ()
