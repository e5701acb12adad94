"""MISO's client against its mock, a process of its own with TLS: offers and what becomes of them."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.counterparts import miso
from doubles.miso import pki
from doubles.miso.connecting import SIX_PM, connected, ordered, submitted, word
from doubles.miso.offers import TODAY, TOMORROW, TYPE_1

from bidding.markets import Receipt
from bidding.markets.miso.day import interval_of
from pipeline.errors import GateClosedError, RejectedError, UnknownOutcomeError, VenueError


@pytest.fixture
def url(tmp_path: Path, shared_data: Path) -> Iterator[str]:
    with miso.start(tmp_path, word()) as found:
        yield found


def statuses(receipts: tuple[Receipt, ...]) -> list[str]:
    return [receipt.status for receipt in receipts]


# ------------------------------------------------------------------------------------------------ offers


@pytest.mark.parametrize("product", miso.PRODUCTS)
async def test_an_offer_is_accepted_and_the_book_says_the_same(url: str, tmp_path: Path, product: str) -> None:
    offer = miso.offer(product, miso.intervals(product)[0], ("2.0", "10.00"), ("1.5", "15.00"))
    async with connected(tmp_path, url) as market:
        (receipt,) = await submitted(market, offer)
        known = await market.status([offer])

    assert (receipt.offer_id, receipt.status, receipt.accepted_mw) == (offer.offer_id, "accepted", Decimal("3.5"))
    assert len(receipt.receipt) == 32  # the transaction
    assert known[offer.offer_id].status == "accepted"


async def test_type_1_sells_its_four_products_in_one_document(url: str, tmp_path: Path) -> None:
    products = ("energy-da", "spin", "supplemental", "short-term-reserve")
    offers = [miso.offer(product, SIX_PM, resource=TYPE_1.name) for product in products]
    async with connected(tmp_path, url) as market:
        receipts = await submitted(market, *offers)
        known = await market.status(offers)

    assert statuses(receipts) == ["accepted"] * 4
    assert set(known) == {offer.offer_id for offer in offers}
    assert miso.audit(url)["submissions_applied"] == 1


async def test_a_newer_document_changes_the_hours_it_names_and_no_others(url: str, tmp_path: Path) -> None:
    """Hours 18 and 19 first, then hour 18 anew: the old 18 is gone, 19 stands."""
    first, other = miso.offer("spin", SIX_PM), miso.offer("spin", interval_of(TOMORROW, 19))
    newer = miso.offer("spin", SIX_PM, ("1.5", "8.00"), revision=2)
    async with connected(tmp_path, url) as market:
        await submitted(market, first, other)
        await submitted(market, newer)
        known = await market.status([newer, other])
        replaced = await market.status([first])

    assert replaced[first.offer_id].status == "withdrawn"  # by us: it must not be sent again
    assert replaced[first.offer_id].reasons[0].startswith("replaced in transaction ")
    assert {name: receipt.status for name, receipt in known.items()} == {
        newer.offer_id: "accepted",
        other.offer_id: "accepted",
    }


async def test_an_older_revision_in_the_book_is_not_ours(url: str, tmp_path: Path) -> None:
    """The newer one never arrived: what the venue holds must not be taken for it."""
    async with connected(tmp_path, url) as market:
        await submitted(market, miso.offer("spin", SIX_PM, ("2.0", "8.00")))

        assert await market.status([miso.offer("spin", SIX_PM, ("1.5", "8.00"), revision=2)]) == {}
        assert await market.status([miso.offer("spin", SIX_PM, ("2.0", "8.01"), revision=2)]) == {}
        assert await market.status([miso.offer("supplemental", SIX_PM, ("2.0", "8.00"))]) == {}


async def test_an_equal_offer_made_later_is_not_found_in_what_was_sent_before(url: str, tmp_path: Path) -> None:
    """MISO took revision 1 back; revision 2 says the same, is a minute younger and never arrived."""
    first = miso.offer("spin", SIX_PM)
    async with connected(tmp_path, url) as market:
        await submitted(market, first)
    later = miso.NOW + timedelta(minutes=1)
    await ordered(url, "cancel", resource=miso.RESOURCE, market="day-ahead", day=str(TOMORROW), hour=18)
    async with connected(tmp_path, url, later + timedelta(minutes=1)) as market:
        second = miso.offer("spin", SIX_PM, revision=2).model_copy(update={"as_of": later})

        assert (await market.status([first]))[first.offer_id].status == "cancelled"
        assert await market.status([second]) == {}


async def test_a_withdrawn_offer_is_gone_and_can_be_made_again(url: str, tmp_path: Path) -> None:
    offer, other = miso.offer("spin", SIX_PM), miso.offer("reg", SIX_PM)
    async with connected(tmp_path, url) as market:
        await submitted(market, offer, other)
        (receipt,) = await market.withdraw([offer], 1)
        after = await market.status([offer, other])
        notices = await market.notices(miso.RESOURCE)
        again = await submitted(market, miso.offer("spin", SIX_PM, ("1.0", "9.00"), revision=2))

    assert receipt.status == "withdrawn"
    assert {name: found.status for name, found in after.items()} == {
        offer.offer_id: "withdrawn",
        other.offer_id: "accepted",
    }
    assert notices == ()
    assert statuses(again) == ["accepted"]


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("product", miso.PRODUCTS)
async def test_behind_the_gate_the_answer_is_gate_closed(url: str, tmp_path: Path, product: str) -> None:
    offer = miso.offer(product, miso.closed(product))
    async with connected(tmp_path, url) as market:
        with pytest.raises(GateClosedError, match="the gate is closed"):
            await submitted(market, offer)

    assert miso.audit(url)["after_gate"] == 1
    assert miso.audit(url)["submissions_applied"] == 0


async def test_of_a_document_with_a_closed_hour_the_others_are_taken(url: str, tmp_path: Path) -> None:
    """Real time at 09:00: hour ending 10 closed at 08:30, hour ending 18 is open."""
    late, early = miso.offer("energy-rt", interval_of(TODAY, 10)), miso.offer("energy-rt", interval_of(TODAY, 18))
    async with connected(tmp_path, url) as market:
        receipts = await submitted(market, late, early)

    assert statuses(receipts) == ["rejected", "accepted"]
    assert receipts[0].reasons == ("MARKET_CLOSED: the gate of hour 10 is closed",)
    assert receipts[0].accepted_mw == 0


async def test_a_refused_document_is_a_definite_no(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", reject_share=1)
    offer = miso.offer("spin", SIX_PM)
    async with connected(tmp_path, url) as market:
        with pytest.raises(RejectedError, match="refused as ordered") as caught:
            await submitted(market, offer)
        known = await market.status([offer])

    assert not isinstance(caught.value, GateClosedError)
    assert known[offer.offer_id].status == "rejected"


async def test_partial_acceptance_is_told_hour_by_hour_as_the_book_has_it(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", partial_share=1)
    offers = [miso.offer("spin", interval_of(TOMORROW, hour)) for hour in range(1, 13)]
    async with connected(tmp_path, url) as market:
        receipts = await submitted(market, *offers)
        known = await market.status(offers)

    accepted = {receipt.offer_id for receipt in receipts if receipt.status == "accepted"}
    assert 0 < len(accepted) < 12
    assert {name for name, receipt in known.items() if receipt.status == "accepted"} == accepted
    assert {receipt.status for receipt in receipts} == {"accepted", "rejected"}
    assert all(receipt.reasons == ("REFUSED: refused as ordered",) for receipt in receipts if not receipt.accepted_mw)


async def test_falling_prices_pass_the_schema_and_are_refused_by_the_market(url: str, tmp_path: Path) -> None:
    async with connected(tmp_path, url) as market:
        with pytest.raises(RejectedError, match="prices fall"):
            await submitted(market, miso.offer("spin", SIX_PM, ("2.0", "9.50"), ("1.5", "4.00")))


async def test_who_acts_for_another_is_told_to_check_the_certificate(url: str, tmp_path: Path) -> None:
    async with connected(tmp_path, url, participant="SOMEBODY") as market:
        with pytest.raises(RejectedError, match="check certificate and participant"):
            await submitted(market, miso.offer("spin", SIX_PM))
        with pytest.raises(UnknownOutcomeError):
            await market.status([miso.offer("spin", SIX_PM)])


async def test_a_server_that_another_authority_vouches_for_is_not_spoken_to(url: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    pki.make(other, miso.PARTICIPANT)
    async with connected(tmp_path, url, ca_file=str(other / "ca.pem")) as market:
        with pytest.raises(VenueError, match=r"nothing was sent.*certificate verify failed"):
            await submitted(market, miso.offer("spin", SIX_PM))

    assert miso.audit(url)["submissions_applied"] == 0


# ------------------------------------------------------------------------------------------------ trouble


async def test_a_lost_answer_is_unknown_and_the_book_resolves_it(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", lose_replies=1)
    offer = miso.offer("energy-da", SIX_PM)
    async with connected(tmp_path, url) as market:
        with pytest.raises(UnknownOutcomeError):
            await submitted(market, offer)

        assert (await market.status([offer]))[offer.offer_id].status == "accepted"

    assert miso.audit(url) == {
        "submissions_applied": 1,
        "duplicate_submissions": 0,
        "stale": 0,
        "after_gate": 0,
        "replies_lost": 1,
    }


async def test_a_lost_refusal_is_found_in_the_log_of_transactions(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", lose_replies=1, reject_share=1)
    offer = miso.offer("energy-da", SIX_PM)
    async with connected(tmp_path, url) as market:
        with pytest.raises(UnknownOutcomeError):
            await submitted(market, offer)
        known = await market.status([offer])

    assert known[offer.offer_id].status == "rejected"
    assert known[offer.offer_id].reasons == ("REFUSED: refused as ordered",)


async def test_an_answer_that_comes_too_late_is_unknown(url: str, tmp_path: Path) -> None:
    await ordered(url, "faults", late_replies=1, late_s=3)
    offer = miso.offer("spin", SIX_PM)
    async with connected(tmp_path, url, submit_timeout_s=0.5) as market:
        with pytest.raises(UnknownOutcomeError):
            await submitted(market, offer)

        assert (await market.status([offer]))[offer.offer_id].status == "accepted"


async def test_a_lost_withdrawal_is_resolved_too(url: str, tmp_path: Path) -> None:
    offer = miso.offer("spin", SIX_PM)
    async with connected(tmp_path, url) as market:
        await submitted(market, offer)
        await ordered(url, "faults", lose_replies=1)
        with pytest.raises(UnknownOutcomeError):
            await market.withdraw([offer], 1)

        assert (await market.status([offer]))[offer.offer_id].status == "withdrawn"


async def test_queries_are_repeated_until_they_are_answered(url: str, tmp_path: Path) -> None:
    """Half of all answers are lost; twelve in a row are rare, and seed 1 has none."""
    await ordered(url, "faults", lose_replies=0.5, fault_queries=True)
    async with connected(tmp_path, url, tries=12, pause_s=0.001) as market:
        found = [await market.notices(miso.RESOURCE) for _ in range(5)]

    assert found == [()] * 5
    assert miso.audit(url)["query_replies_lost"] > 0


async def test_a_venue_that_is_gone_applied_nothing_and_says_so(tmp_path: Path, shared_data: Path) -> None:
    running = miso.launch(tmp_path, word())
    async with connected(tmp_path, running.url, tries=1) as market:
        running.kill()
        offer = miso.offer("spin", SIX_PM)

        with pytest.raises(VenueError, match="nothing was applied") as caught:
            await submitted(market, offer)
        with pytest.raises(UnknownOutcomeError):
            await market.status([offer])

    assert not isinstance(caught.value, UnknownOutcomeError)


async def test_under_all_kinds_of_trouble_every_offer_ends_as_the_book_has_it(url: str, tmp_path: Path) -> None:
    """20 documents; a third of the answers lost, some documents refused, taken in part, or taken back afterwards."""
    trouble = {"lose_replies": 0.35, "reject_share": 0.15, "partial_share": 0.3, "cancel_share": 0.2}
    hours = [interval_of(TOMORROW, hour) for hour in range(1, 25)]
    told: dict[str, str] = {}
    offers = [miso.offer(product, hour) for product in ("spin", "supplemental", "reg") for hour in hours][:60]
    async with connected(tmp_path, url) as market:
        await ordered(url, "faults", **trouble)
        for start in range(0, 60, 3):
            document = offers[start : start + 3]
            try:
                receipts = await submitted(market, *document)
            except UnknownOutcomeError:
                receipts = tuple((await market.status(document)).values())
            except RejectedError:
                continue
            told |= {receipt.offer_id: receipt.status for receipt in receipts}
        await ordered(url, "faults", **dict.fromkeys(trouble, 0.0))
        known = {name: found.status for name, found in (await market.status(offers)).items()}

    assert miso.audit(url)["replies_lost"] > 3
    assert miso.audit(url)["duplicate_submissions"] == 0
    assert {known[name] for name, status in told.items() if status == "accepted"} <= {"accepted", "cancelled"}
    assert {known[name] for name, status in told.items() if status != "accepted"} <= {"rejected", "cancelled"}
    assert all(known.get(offer.offer_id) == "rejected" for offer in offers if offer.offer_id not in told)


async def test_an_old_document_that_arrives_after_a_newer_one_is_seen_by_the_mock(url: str, tmp_path: Path) -> None:
    """MISO knows no revisions: it takes the old one. The mock counts it, so that a harness can forbid it."""
    old, new = miso.offer("spin", SIX_PM, ("2.0", "8.00")), miso.offer("spin", SIX_PM, ("1.0", "8.00"), revision=2)
    async with connected(tmp_path, url) as market:
        for offer in (old, new, old):
            await submitted(market, offer)

    assert miso.audit(url)["stale"] == 1
    assert miso.audit(url)["duplicate_submissions"] == 1
