"""What every venue must do. A new one in `bidding/markets/` is tested here unasked, against its own counterpart."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from doubles import venue
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.markets import Market, MeterReading
from bidding.performance import calendar_of
from pipeline import plugins
from pipeline.clock import Clock
from pipeline.errors import (
    GateClosedError,
    RejectedError,
    UnknownOutcomeError,
    UnknownPluginError,
    VenueError,
)
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

NOW = datetime(2026, 7, 24, 0, 58, tzinfo=UTC)
NEXT = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
EPOCH = 1
CLOSED = NOW
"""Start of the interval that begins as the clock stands."""

#: A venue needs something to talk to: its name → a context manager that yields a URL, given a folder and a clock word.
COUNTERPARTS = {"sandbox": venue.start}


@pytest.fixture(scope="module", params=plugins.available("bidding.markets"))
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    assert found in COUNTERPARTS, f"venue {found!r} needs a counterpart in tests/doubles to be tested against"
    return found


@pytest.fixture(scope="module")
def word() -> str:
    return venue.at(NOW.isoformat())


@pytest.fixture(scope="module")
def url(name: str, word: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with COUNTERPARTS[name](tmp_path_factory.mktemp(name), word) as running:
        yield running


async def connected(name: str, tmp_path: Path, url: str, word: str, **settings: object) -> Market:
    connect = plugins.load("bidding.markets", name).connect
    market: Market = await connect(venue.settings_file(tmp_path, url, **settings), Clock.parse(word))
    return market


@pytest.fixture
async def market(name: str, url: str, word: str, tmp_path: Path) -> AsyncIterator[Market]:
    found = await connected(name, tmp_path, url, word)
    yield found
    await found.close()


@pytest.fixture(scope="module")
def codec(name: str, url: str, word: str, tmp_path_factory: pytest.TempPathFactory) -> Market:
    """Return a venue whose connection is closed: reading and writing documents needs none."""

    async def fetch() -> Market:
        found = await connected(name, tmp_path_factory.mktemp("codec"), url, word)
        await found.close()
        return found

    return asyncio.run(fetch())


# ---------------------------------------------------------------------------------------------- documents

amounts = st.decimals(min_value=0, max_value=10**9, places=4)
kilowatts = st.floats(min_value=0, max_value=1e6, allow_nan=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@st.composite
def offers(draw: st.DrawFn, codec: Market) -> Offer:
    """Draw anything that keeps the venue's rules."""
    rules = codec.products["energy-dr"]
    blocks = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=rules.max_steps))
    highest = int((rules.price_cap - rules.price_floor) / rules.price_tick)
    ticks = sorted(draw(st.lists(st.integers(0, highest), min_size=len(blocks), max_size=len(blocks))))
    start = datetime.fromtimestamp(draw(st.integers(0, 10**6)) * rules.interval_s + 1_700_000_000 // 3600 * 3600, UTC)
    return Offer(
        offer_id=draw(texts),
        resource=draw(texts),
        site=draw(texts),
        venue=rules.venue,
        product=rules.product,
        interval=Interval(start, start + rules.interval),
        revision=draw(st.integers(1, 10**6)),
        steps=tuple(
            OfferStep(
                quantity_mw=count * rules.block_mw,
                price_per_mwh=rules.price_floor + tick * rules.price_tick,
                tier=draw(st.sampled_from(Tier)),
                tokens_forgone_per_mwh=draw(amounts),
                token_cost_per_mwh=draw(amounts),
                service_credit_per_mwh=draw(amounts),
                restart_cost_per_mwh=draw(amounts),
            )
            for count, tick in zip(blocks, ticks, strict=True)
        ),
        currency=rules.currency,
        as_of=draw(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001 - made aware by `timezones`
        baseline_method=rules.baseline_method,
        baseline_kw=draw(kilowatts),
        firm_kw=draw(kilowatts),
        confidence=draw(st.floats(0.5, 0.999)),
        simulated=draw(st.booleans()),
    )


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data())
def test_an_offer_survives_the_way_to_the_venue_and_back(codec: Market, data: st.DataObject) -> None:
    """Nothing is lost: quantities, prices, what stands behind each price, and who offers."""
    offer = data.draw(offers(codec))

    assert codec.decode(codec.encode([offer])) == (offer,)


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data())
def test_encoding_is_repeatable_to_the_byte(codec: Market, data: st.DataObject) -> None:
    """What is on disk as intent is what is sent, also by a process started later."""
    offer = data.draw(offers(codec))

    assert codec.encode(codec.decode(codec.encode([offer]))) == codec.encode([offer])


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b"{}", b'{"curve": []}', b"\xff"])
def test_a_document_that_is_no_offer_is_a_venue_error_of_one_line(codec: Market, document: bytes) -> None:
    with pytest.raises(VenueError) as caught:
        codec.decode(document)

    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------- rules


async def test_the_venue_says_what_it_accepts_and_where_each_figure_is_from(market: Market) -> None:
    rules = market.products["energy-dr"]

    assert rules.min_mw > 0
    assert rules.min_mw % rules.block_mw == 0
    assert rules.price_floor < rules.price_cap
    assert rules.horizon_s > rules.gate_closure_s
    assert all(rules.sources)
    assert rules.simulated or not any("simulated" in source for source in rules.sources)


async def test_the_venue_publishes_the_holidays_of_last_year_and_this(market: Market) -> None:
    """A baseline walks back over New Year."""
    calendar = calendar_of(market.products["energy-dr"])

    for year in (NOW.year - 1, NOW.year):
        assert not calendar.is_business_day(date(year, 12, 25))


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 7, 23), 24)], ids=str
)
async def test_a_local_day_has_as_many_intervals_as_it_has_hours(market: Market, day: date, hours: int) -> None:
    """Clocks change on 8 March and 1 November 2026 in the United States: 23 and 25 hours of 3600 / interval_s."""
    rules = market.products["energy-dr"]
    local_day = calendar_of(rules).bounds(day)

    assert len(list(local_day.split(rules.interval))) == hours * 3600 // rules.interval_s


# ------------------------------------------------------------------------------------------- submissions


async def test_a_standing_offer_is_accepted_whole(market: Market) -> None:
    offer = venue.offer("R-whole", NEXT, ("0.10", "52.10"), ("0.15", "340.00"))

    (receipt,) = await market.submit(market.encode([offer]), [offer], EPOCH)

    assert (receipt.status, receipt.accepted_mw) == ("accepted", Decimal("0.25"))
    assert await market.status([offer]) == {offer.offer_id: receipt}


async def test_an_offer_never_sent_is_not_known(market: Market) -> None:
    assert await market.status([venue.offer("R-never", NEXT)]) == {}


async def test_submitting_twice_gives_one_receipt_and_the_venue_counts_it(market: Market, url: str) -> None:
    """It does no harm, but it is counted: avoiding it is the submitter's duty."""
    offer = venue.offer("R-twice", NEXT)
    before = _duplicates(url)

    first = await market.submit(market.encode([offer]), [offer], EPOCH)
    second = await market.submit(market.encode([offer]), [offer], EPOCH)

    assert first == second
    assert _duplicates(url) - before == 1


@pytest.mark.parametrize(
    ("step", "broken"),
    [
        (("0.105", "50.00"), "MW must be multiples of 0.01"),
        (("0.10", "50.005"), "prices must be multiples of 0.01"),
        (("0.09", "50.00"), "at least 0.1 MW"),
        (("0.10", "2000.01"), "prices must lie between 0 and 2000"),
    ],
)
async def test_what_is_off_block_tick_or_bounds_is_rejected(market: Market, step: tuple[str, str], broken: str) -> None:
    offer = venue.offer(f"R-broken-{step}", NEXT, step)

    with pytest.raises(RejectedError, match=broken):
        await market.submit(market.encode([offer]), [offer], EPOCH)


async def test_after_gate_closure_the_answer_is_gate_closed_not_silence(market: Market) -> None:
    """The interval begins as the clock stands: its gate closed 20 s ago."""
    offer = venue.offer("R-late", CLOSED)

    with pytest.raises(GateClosedError):
        await market.submit(market.encode([offer]), [offer], EPOCH)


async def test_a_higher_revision_replaces_and_a_lower_one_is_refused(market: Market) -> None:
    first, second = (venue.offer("R-revised", NEXT, revision=revision) for revision in (1, 2))
    await market.submit(market.encode([second]), [second], EPOCH)

    with pytest.raises(RejectedError, match="stale_revision"):
        await market.submit(market.encode([first]), [first], EPOCH)


# ------------------------------------------------------------------------------------------------ trouble


async def test_a_lost_reply_is_an_unknown_outcome_that_a_question_resolves(
    name: str, word: str, tmp_path: Path
) -> None:
    """The venue applies the offer, then hangs up: only asking tells, and asking tells."""
    with COUNTERPARTS[name](tmp_path, word, lose_replies=1) as url:
        market = await connected(name, tmp_path, url, word)
        offer = venue.offer("R-lost", NEXT)

        with pytest.raises(UnknownOutcomeError):
            await market.submit(market.encode([offer]), [offer], EPOCH)
        found = await market.status([offer])

        assert found[offer.offer_id].status == "accepted"
        assert _duplicates(url) == 0
        await market.close()


async def test_a_reply_that_comes_too_late_is_an_unknown_outcome(name: str, word: str, tmp_path: Path) -> None:
    with COUNTERPARTS[name](tmp_path, word, late_replies=1, late_s=2) as url:
        market = await connected(name, tmp_path, url, word, submit_timeout_s=0.3)
        offer = venue.offer("R-slow", NEXT)

        with pytest.raises(UnknownOutcomeError):
            await market.submit(market.encode([offer]), [offer], EPOCH)

        assert await market.status([offer])
        await market.close()


async def test_a_venue_that_is_gone_applied_nothing_and_says_so(name: str, word: str, tmp_path: Path) -> None:
    """A refused connection is no unknown outcome."""
    running = venue.launch(tmp_path, word)
    market = await connected(name, tmp_path, running.url, word, tries=1)
    running.kill()
    offer = venue.offer("R-gone", NEXT)

    with pytest.raises(VenueError, match="nothing was applied") as caught:
        await market.submit(market.encode([offer]), [offer], EPOCH)
    with pytest.raises(UnknownOutcomeError):
        await market.status([offer])

    assert not isinstance(caught.value, UnknownOutcomeError)
    await market.close()


async def test_meter_data_arrive_once_although_every_reply_is_lost(name: str, word: str, tmp_path: Path) -> None:
    """The reply is lost, the question finds the batch, nothing is sent again."""
    with COUNTERPARTS[name](tmp_path, word, lose_replies=1) as url:
        market = await connected(name, tmp_path, url, word)
        start = NOW - timedelta(minutes=5)
        readings = (MeterReading(interval=Interval(start, start + venue.MINUTE), energy_kwh=Decimal("10.5")),)

        await market.report_meter("R-meter", "batch-1", readings)

        assert _audit(url)["meter_batches"] == 1
        await market.close()


async def test_queries_are_repeated_until_they_are_answered(name: str, word: str, tmp_path: Path) -> None:
    """Half of the answers are lost, queries included; twelve lost in a row are rare, and seed 1 has none."""
    with COUNTERPARTS[name](tmp_path, word, lose_replies=0.5, fault_queries="true", seed=1) as url:
        market = await connected(name, tmp_path, url, word, tries=12, pause_s=0.001)

        found = [await market.awards("R-nobody") for _ in range(10)]

        assert found == [()] * 10
        assert _audit(url)["query_replies_lost"] > 0
        await market.close()


async def test_nothing_is_settled_before_there_was_an_award(market: Market) -> None:
    assert await market.awards("R-nobody") == ()
    assert await market.dispatches("R-nobody") == ()
    assert await market.statement("R-nobody") is None


def test_an_unknown_venue_name_says_which_there_are() -> None:
    with pytest.raises(UnknownPluginError) as caught:
        plugins.load("bidding.markets", "ercto")

    assert str(caught.value).startswith("no 'ercto' in bidding.markets; have ")
    assert "sandbox" in str(caught.value)


def _audit(url: str) -> dict[str, int]:
    found: dict[str, int] = httpx.get(f"{url}/v1/audit", trust_env=False).json()
    return found


def _duplicates(url: str) -> int:
    return _audit(url)["duplicate_submissions"]
