"""
What every venue must do. A new one in `bidding/markets/` is tested here unasked, against its own counterpart.

A counterpart, `tests/doubles/counterparts/NAME.py`, is the venue as a process of its own, with faults to order. What a
venue has no exchange for (`Market.features`) it must answer with nothing.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest
from doubles import venue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bidding.markets import Feature, Market, Receipt
from bidding.rules import check
from pipeline import plugins
from pipeline.clock import Clock
from pipeline.errors import (
    FencedError,
    GateClosedError,
    RejectedError,
    UnknownOutcomeError,
    UnknownPluginError,
    VenueError,
)
from pipeline.messages.market import Offer

VENUES = plugins.available("bidding.markets")
GENERATED = 1000
"""Documents a venue, against its real schema."""
JUDGED_WITHIN = 500
"""Questions until a venue that judges later must have judged."""
BETWEEN_QUESTIONS = 0.02
EPOCH = 1


@pytest.fixture(scope="module", params=VENUES)
def there(request: pytest.FixtureRequest) -> ModuleType:
    """Return the venue's counterpart."""
    return importlib.import_module(f"doubles.counterparts.{request.param}")


def name_of(there: ModuleType) -> str:
    return there.__name__.rpartition(".")[2]


@pytest.fixture(scope="module")
def word(there: ModuleType) -> str:
    return venue.at(there.NOW.isoformat())


@pytest.fixture(scope="module")
def folder(there: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(name_of(there))


@pytest.fixture(scope="module")
def url(there: ModuleType, word: str, folder: Path) -> Iterator[str]:
    with there.start(folder, word) as running:
        yield running


async def connected(there: ModuleType, folder: Path, url: str, word: str, **more: object) -> Market:
    connect = plugins.load("bidding.markets", name_of(there)).connect
    path = folder / f"firmwatt-{abs(hash((url, tuple(sorted(more.items())))))}.toml"
    path.write_text(there.section(url, folder, **more), encoding="utf-8")
    market: Market = await connect(path, Clock.parse(word))
    return market


@pytest.fixture
async def market(there: ModuleType, url: str, word: str, folder: Path) -> AsyncIterator[Market]:
    found = await connected(there, folder, url, word)
    yield found
    await found.close()


@pytest.fixture(scope="module")
def codec(there: ModuleType, url: str, word: str, folder: Path) -> Market:
    """Return a venue whose connection is closed: reading and writing documents needs none."""

    async def fetch() -> Market:
        found = await connected(there, folder, url, word)
        await found.close()
        return found

    return asyncio.run(fetch())


async def send(market: Market, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
    return await market.submit(market.encode(offers), offers, EPOCH)


async def judged(market: Market, offers: Sequence[Offer]) -> dict[str, Receipt]:
    """Ask until no receipt is pending any more."""
    for _ in range(JUDGED_WITHIN):
        found = dict(await market.status(offers))
        if found and all(receipt.status != "pending" for receipt in found.values()):
            return found
        await asyncio.sleep(BETWEEN_QUESTIONS)
    raise AssertionError(f"{offers[0].venue} did not judge within {JUDGED_WITHIN} questions")


#: Each test its own hours, so that none finds another's offer under its key.
HOURS = {name: index for index, name in enumerate(("whole", "twice", "revised"))}


def tradable(there: ModuleType, name: str, **more: object) -> Offer:
    """Return an offer of the venue's first product that nothing else here offers."""
    product = there.PRODUCTS[0]
    offer: Offer = there.offer(product, there.intervals(product)[HOURS.get(name, 0)], **more)
    return offer


# ---------------------------------------------------------------------------------------------- documents


@settings(deadline=None, max_examples=GENERATED, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_thousand_documents_keep_the_venues_schema_and_come_back_as_they_were(
    there: ModuleType, codec: Market, shared_data: Path, data: st.DataObject
) -> None:
    """Nothing is lost on the way there and back: quantities, prices, what stands behind each, and who offers."""
    offers = data.draw(there.offers())

    document = codec.encode(offers)

    there.validate(document, shared_data)
    assert codec.decode(document) == tuple(offers)


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_encoding_is_repeatable_to_the_byte(there: ModuleType, codec: Market, data: st.DataObject) -> None:
    """What is on disk as intent is what is sent, also by a process started later."""
    offers = data.draw(there.offers())

    assert codec.encode(codec.decode(codec.encode(offers))) == codec.encode(offers)


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_offer_travels_in_exactly_one_document(there: ModuleType, codec: Market, data: st.DataObject) -> None:
    """However they are mixed; and each group can be written."""
    offers = data.draw(st.permutations(data.draw(there.offers())))

    documents = codec.documents(offers)

    assert sorted(o.offer_id for document in documents for o in document) == sorted(o.offer_id for o in offers)
    for document in documents:
        assert codec.decode(codec.encode(document)) == document


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_keeps_our_rules_is_what_the_counterpart_draws(
    there: ModuleType, codec: Market, data: st.DataObject
) -> None:
    """Rules and generator agree, so that what is validated against the schema is what would leave."""
    for offer in data.draw(there.offers()):
        rules = codec.products[offer.product]
        before = rules.gate_opens(offer.interval) + timedelta(seconds=1)
        refusals = [r for r in check(offer, rules, before, (), timedelta(0)) if r.rule not in {"in_force", "pause"}]

        assert refusals == []


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"curve": []}', b"\xff", b"<a/>", b"<!DOCTYPE a>"])
def test_a_document_that_is_no_offer_is_a_venue_error_of_one_line(codec: Market, document: bytes) -> None:
    with pytest.raises(VenueError) as caught:
        codec.decode(document)

    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------------------------- products


def test_each_product_says_what_is_accepted_and_where_each_figure_is_from(there: ModuleType, codec: Market) -> None:
    for product in there.PRODUCTS:
        rules = codec.products[product]
        assert rules.product == product
        assert rules.venue == name_of(there)
        assert rules.min_mw > 0
        assert rules.min_mw % rules.block_mw == 0
        assert rules.price_floor < rules.price_cap
        assert rules.sources
        assert all(rules.sources)
        assert rules.simulated or not any("simulated" in source for source in rules.sources)


def test_gates_open_before_they_close_and_close_before_delivery(there: ModuleType, codec: Market) -> None:
    for product in there.PRODUCTS:
        rules = codec.products[product]
        for interval in there.intervals(product):
            assert rules.gate_opens(interval) <= there.NOW < rules.gate_closes(interval) <= interval.start
        assert rules.gate_closes(there.closed(product)) <= there.NOW


def test_the_holidays_of_last_year_and_this_are_known(there: ModuleType, codec: Market) -> None:
    """A baseline walks back over New Year."""
    for product in there.PRODUCTS:
        holidays = codec.products[product].holidays
        assert {date(there.NOW.year - 1, 12, 25), date(there.NOW.year, 12, 25)} <= set(holidays)


# ------------------------------------------------------------------------------------------- submissions


async def test_a_good_offer_is_accepted_whole(there: ModuleType, market: Market) -> None:
    offer = tradable(there, "whole")

    await send(market, [offer])
    receipt = (await judged(market, [offer]))[offer.offer_id]

    assert (receipt.status, receipt.accepted_mw) == ("accepted", offer.quantity_mw)


async def test_an_offer_never_sent_is_not_known(there: ModuleType, market: Market) -> None:
    product = there.PRODUCTS[0]
    never = there.offer(product, there.intervals(product)[2], revision=9)

    assert dict(await market.status([never])) == {}


async def test_the_same_document_twice_is_one_offer_and_the_venue_counts_it(
    there: ModuleType, market: Market, url: str
) -> None:
    """It does no harm, but it is counted: avoiding it is the submitter's duty."""
    offer = tradable(there, "twice")
    before = there.audit(url)["duplicate_submissions"]

    await send(market, [offer])
    await send(market, [offer])

    assert (await judged(market, [offer]))[offer.offer_id].status == "accepted"
    assert there.audit(url)["duplicate_submissions"] - before == 1


async def test_after_gate_closure_the_answer_is_a_definite_no(there: ModuleType, market: Market, url: str) -> None:
    offer = there.offer(there.PRODUCTS[0], there.closed(there.PRODUCTS[0]))

    with pytest.raises(GateClosedError):
        await send(market, [offer])

    assert there.audit(url)["after_gate"] >= 1


async def test_a_newer_revision_replaces_an_older_one(there: ModuleType, market: Market) -> None:
    """What the venue holds under the key afterwards is the newer; the older is known no more as what it holds."""
    older, newer = (tradable(there, "revised", revision=revision) for revision in (1, 2))
    await send(market, [older])
    await judged(market, [older])

    await send(market, [newer])

    assert (await judged(market, [newer]))[newer.offer_id].status == "accepted"


# ------------------------------------------------------------------------------------------------ trouble


async def test_a_lost_reply_is_an_unknown_outcome_that_a_question_resolves(
    there: ModuleType, word: str, tmp_path: Path
) -> None:
    """The venue applies the offer, then hangs up: only asking tells, and asking tells."""
    with there.start(tmp_path, word, lose_replies=1) as url:
        market = await connected(there, tmp_path, url, word)
        offer = tradable(there, "lost")

        with pytest.raises(UnknownOutcomeError):
            await send(market, [offer])
        receipt = (await judged(market, [offer]))[offer.offer_id]

        assert receipt.status == "accepted"
        assert there.audit(url)["duplicate_submissions"] == 0
        await market.close()


async def test_a_reply_that_comes_too_late_is_an_unknown_outcome(there: ModuleType, word: str, tmp_path: Path) -> None:
    with there.start(tmp_path, word, late_replies=1, late_s=3) as url:
        market = await connected(there, tmp_path, url, word, submit_timeout_s=0.5)
        offer = tradable(there, "slow")

        with pytest.raises(UnknownOutcomeError):
            await send(market, [offer])

        assert (await judged(market, [offer]))[offer.offer_id].status == "accepted"
        await market.close()


async def test_what_the_venue_turns_down_is_a_definite_no_with_its_reason(
    there: ModuleType, word: str, tmp_path: Path
) -> None:
    with there.start(tmp_path, word, reject_share=1) as url:
        market = await connected(there, tmp_path, url, word)
        offer = tradable(there, "rejected")

        try:
            await send(market, [offer])
        except RejectedError as refusal:
            reasons = [str(refusal)]
        else:
            receipt = (await judged(market, [offer]))[offer.offer_id]
            assert receipt.status == "rejected"
            reasons = list(receipt.reasons)

        assert reasons
        assert all(reasons)
        await market.close()


async def test_an_offer_taken_in_part_says_how_much(there: ModuleType, word: str, tmp_path: Path) -> None:
    if not hasattr(there, "TWO_STEPS"):
        pytest.skip(f"{name_of(there)} takes an offer whole or not at all")
    with there.start(tmp_path, word, partial_share=1) as url:
        market = await connected(there, tmp_path, url, word)
        offer = there.offer(there.PRODUCTS[0], there.intervals(there.PRODUCTS[0])[0], *there.TWO_STEPS)

        await send(market, [offer])
        receipt = (await judged(market, [offer]))[offer.offer_id]

        assert receipt.status == "partly_accepted"
        assert 0 < receipt.accepted_mw < offer.quantity_mw
        await market.close()


async def test_what_is_taken_back_late_is_told(there: ModuleType, word: str, tmp_path: Path) -> None:
    with there.start(tmp_path, word, cancel_share=1) as url:
        market = await connected(there, tmp_path, url, word)
        offer = tradable(there, "cancelled")
        await send(market, [offer])

        for _ in range(JUDGED_WITHIN):
            if notices := await market.notices(there.RESOURCE):
                break
            await asyncio.sleep(BETWEEN_QUESTIONS)

        if Feature.NOTICES in market.features:
            assert [(n.product, n.interval) for n in notices] == [(offer.product, offer.interval)]
            assert (await market.status([offer]))[offer.offer_id].status == "cancelled"
        else:
            assert notices == ()
        await market.close()


async def test_an_accepted_offer_can_be_taken_back_before_its_gate(
    there: ModuleType, word: str, tmp_path: Path
) -> None:
    with there.start(tmp_path, word) as url:
        market = await connected(there, tmp_path, url, word)
        offer = tradable(there, "withdrawn")
        await send(market, [offer])
        await judged(market, [offer])

        if Feature.WITHDRAW in market.features:
            await market.withdraw([offer], EPOCH)
            held = await market.status([offer])
            assert offer.offer_id not in held or held[offer.offer_id].status == "withdrawn"
        else:
            assert await market.withdraw([offer], EPOCH) == ()
        await market.close()


async def test_a_stale_sender_is_refused_where_the_venue_has_a_fence(
    there: ModuleType, word: str, tmp_path: Path
) -> None:
    with there.start(tmp_path, word) as url:
        market = await connected(there, tmp_path, url, word)
        first, second = (there.offer(there.PRODUCTS[0], i) for i in there.intervals(there.PRODUCTS[0])[:2])
        await market.submit(market.encode([first]), [first], 2)

        if Feature.FENCE in market.features:
            with pytest.raises(FencedError):
                await market.submit(market.encode([second]), [second], 1)
            assert dict(await market.status([second])) == {}
        await market.close()


async def test_a_venue_that_is_gone_applied_nothing_and_says_so(there: ModuleType, word: str, tmp_path: Path) -> None:
    """A refused connection is no unknown outcome."""
    with there.start(tmp_path, word) as url:
        market = await connected(there, tmp_path, url, word, tries=1)
    offer = tradable(there, "gone")

    with pytest.raises(VenueError, match="nothing was applied") as caught:
        await send(market, [offer])
    with pytest.raises(UnknownOutcomeError):
        await market.status([offer])

    assert not isinstance(caught.value, UnknownOutcomeError)
    await market.close()


async def test_queries_are_repeated_until_they_are_answered(there: ModuleType, word: str, tmp_path: Path) -> None:
    """Half of the answers are lost, queries included; twelve lost in a row are rare, and seed 1 has none."""
    with there.start(tmp_path, word, lose_replies=0.5, fault_queries="true", seed=1) as url:
        market = await connected(there, tmp_path, url, word, tries=12, pause_s=0.001)

        found = [await market.awards("R-nobody") for _ in range(10)]

        assert found == [()] * 10
        await market.close()


async def test_nothing_is_known_of_a_resource_that_never_offered(there: ModuleType, market: Market) -> None:
    assert await market.awards("R-nobody") == ()
    assert await market.dispatches("R-nobody") == ()
    assert await market.notices("R-nobody") == ()
    assert await market.statement("R-nobody") is None


async def test_what_was_bought_is_told_with_its_natural_key(there: ModuleType, word: str, tmp_path: Path) -> None:
    """The clock is past the gate when asked; the journal is the venue's own, so that it knows the offer."""
    product = there.PRODUCTS[0]
    interval = there.intervals(product)[0]
    offer = there.offer(product, interval, *there.CHEAP)
    with there.start(tmp_path, word, journal=tmp_path / "venue.journal") as url:
        market = await connected(there, tmp_path, url, word)
        await send(market, [offer])
        await judged(market, [offer])
        closes = market.products[product].gate_closes(interval)
        await market.close()
    later = venue.at((closes + timedelta(seconds=1)).isoformat())
    with there.start(tmp_path, later, journal=tmp_path / "venue.journal") as url:
        market = await connected(there, tmp_path, url, later)

        awards = await market.awards(there.RESOURCE)

        assert [(a.resource, a.product, a.interval) for a in awards] == [(there.RESOURCE, product, interval)]
        assert 0 < awards[0].quantity_mw <= offer.quantity_mw
        assert awards[0].offer_id in {"", offer.offer_id}
        await market.close()


def test_an_unknown_venue_name_says_which_there_are() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        plugins.load("bidding.markets", "ercto")

    assert str(caught.value).startswith("no 'ercto' in bidding.markets; have ")
    assert "sandbox" in str(caught.value)


def test_every_venue_has_a_counterpart() -> None:
    for name in VENUES:
        importlib.import_module(f"doubles.counterparts.{name}")


def test_instants_of_counterparts_are_aware() -> None:
    for name in VENUES:
        now: datetime = importlib.import_module(f"doubles.counterparts.{name}").NOW
        assert now.tzinfo is UTC
