"""MISO's client against servers that no venue should be: each ill answer to an offer is unknown, or a definite no."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.miso.offers import NOW, TOMORROW, codec, offer
from doubles.miso.raw_server import answer, serving

from bidding.markets import Market
from bidding.markets.miso import connect
from bidding.markets.miso.codec import sent
from bidding.markets.miso.day import interval_of
from pipeline.clock import real_clock_from
from pipeline.errors import RejectedError, UnknownOutcomeError, VenueError

OFFER = offer("spin", interval_of(TOMORROW, 18))
FAILED = b'{"action": "SUBMIT_FAILED", "responses": []}'


async def connected(folder: Path, url: str) -> Market:
    path = folder / "firmwatt.toml"
    text = f"""
        [venue.miso]
        url = "{url}"
        participant = "FIRMWATT"
        tries = 2
        pause_s = 0.001
        timeout_s = 2.0
        submit_timeout_s = 2.0
        max_answer_mb = 1
        [[venue.miso.resource]]
        name = "AIFAC.DRR2"
        type = "drr2"
    """
    path.write_text(text, encoding="utf-8")
    return await connect(path, real_clock_from(NOW, 1.0))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 nonsense\r\n\r\n",
        answer(200, b""),
        answer(200, b"<html>"),
        answer(200, b'{"responses": [{"messages": [{"level": 7}]}]}'),
        answer(200, b"[" * 100_000),
        answer(200, b'{"action": "SUBMITTED", "action": "SUBMITTED"}'),
        answer(200, b'{"responses": NaN}'),
        answer(200, b" " * (1024 * 1024 + 1)),
        answer(200, FAILED),
        answer(202, b"{}"),
        answer(302, b"", "location: http://127.0.0.1:1/"),
        answer(408, b"{}"),
        answer(500, FAILED),
        answer(503, b""),
    ],
)
async def test_an_answer_that_says_nothing_definite_is_unknown(tmp_path: Path, said: bytes) -> None:
    """And the offer went out once: nothing that changes something is repeated."""
    async with serving(said) as server:
        market = await connected(tmp_path, server.url)

        with pytest.raises(UnknownOutcomeError, match=r"^[^\n]+$"):
            await market.submit(market.encode([OFFER]), [OFFER], 1)

        assert len(server.asked) == 1
        await market.close()


@pytest.mark.parametrize("said", [answer(400, FAILED), answer(404, b"<html>"), answer(429, b""), answer(403, b"\xff")])
async def test_a_4xx_is_a_definite_no_whatever_it_says(tmp_path: Path, said: bytes) -> None:
    async with serving(said) as server:
        market = await connected(tmp_path, server.url)

        with pytest.raises(RejectedError, match=r"^[^\n]+$"):
            await market.submit(market.encode([OFFER]), [OFFER], 1)

        await market.close()


@pytest.mark.parametrize(
    "said", [b"", answer(200, b"[]"), answer(200, b"{}"), answer(500, b""), answer(404, b""), answer(200, b"1e999999")]
)
async def test_a_book_that_cannot_be_read_leaves_the_outcome_unknown(tmp_path: Path, said: bytes) -> None:
    async with serving(said) as server:
        market = await connected(tmp_path, server.url)

        with pytest.raises(UnknownOutcomeError, match=r"^[^\n]+$"):
            await market.status([OFFER])

        await market.close()


async def test_an_answer_is_read_to_its_limit_and_no_further(tmp_path: Path) -> None:
    """The settings allow 1 MB; the server promises 1 GB and sends 2 MB."""
    said = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n" + b" " * 2 * 1024 * 1024
    async with serving(said) as server:
        market = await connected(tmp_path, server.url)

        with pytest.raises(UnknownOutcomeError, match="more than 1048576 bytes"):
            await market.submit(market.encode([OFFER]), [OFFER], 1)

        await market.close()


@pytest.mark.parametrize(
    ("state", "status"), [("FAILED", "rejected"), ("PENDING", "pending"), ("SUCCESS", "cancelled")]
)
async def test_the_log_s_own_state_counts_where_no_message_names_the_offer(
    tmp_path: Path, state: str, status: str
) -> None:
    """The book is empty, the log holds our document, and the answer to it was an empty one."""
    event = {"mrid": "m-1", "transactionId": "t-1", "operationType": "POST", "transactionState": state}
    path = f"/markets/day-ahead/{TOMORROW}/offer/schedule/participants/FIRMWATT"
    said = [
        {"day": str(TOMORROW), "resources": []},
        [{**event, "urlPath": path}],
        {"payloadDocument": sent(codec().encode([OFFER])).decode()},
        {"payloadDocument": "{}"},
    ]
    async with serving(*(answer(200, json.dumps(one).encode()) for one in said)) as server:
        market = await connected(tmp_path, server.url)

        found = (await market.status([OFFER]))[OFFER.offer_id]

        assert (found.status, found.receipt, found.accepted_mw) == (status, "t-1", Decimal(0))
        await market.close()


async def test_errors_in_a_200_whose_book_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    """Some of it was taken, but not which: only asking again tells."""
    errors = b'{"action": "SUBMITTED", "responses": [{"messages": [{"level": "ERROR", "userMsg": "no"}]}]}'
    async with serving(answer(200, errors), answer(500, b"")) as server:
        market = await connected(tmp_path, server.url)

        with pytest.raises(UnknownOutcomeError):
            await market.submit(market.encode([OFFER]), [OFFER], 1)

        await market.close()


@pytest.mark.parametrize("said", [answer(200, b"{}"), answer(200, b'[{"mrid": 7}]'), answer(500, b"")])
async def test_what_is_no_report_is_a_venue_error(tmp_path: Path, said: bytes) -> None:
    async with serving(said) as server:
        market = await connected(tmp_path, server.url)

        for question in (market.awards, market.dispatches, market.notices):
            with pytest.raises(VenueError, match=r"^[^\n]+$"):
                await question("AIFAC.DRR2")

        await market.close()
