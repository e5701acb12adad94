"""The venue's HTTP side in this process: whatever is sent is answered, and nothing is an error of ours."""

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from doubles.sandbox_book import EARLY, GATE, MINUTE, START, body, venue
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from bidding.sandbox.exchange import Exchange, Refusal
from bidding.sandbox.server import build
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from pipeline.clock import Clock, wall

STANDING_STILL = 1e-9
PATHS = (
    ("PUT", "/v1/offers/o-1"),
    ("PUT", "/v1/documents/d-1"),
    ("PUT", "/v1/shortfalls/s-1"),
    ("PUT", "/v1/meter/R/b-1"),
    ("PUT", "/v1/regulation/R/reg-up/2026-07-24T00:00:00Z"),
    ("POST", "/v1/cancel"),
    ("POST", "/v1/faults"),
)
QUERIES = ("awards", "dispatches", "notices", "prices", "regulation", "statements")


class Client:
    """Asks the application itself, without a socket; an exception of ours is raised here."""

    def __init__(self, asked: Venue | None = None) -> None:
        app = build(asked or venue(), Clock(EARLY, wall(), STANDING_STILL))
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://venue")

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """Return the answer."""
        return self._runner.run(self._http.request(method, path, **sent))

    def get(self, path: str, **sent: Any) -> httpx.Response:
        """Return the answer to a question."""
        return self.request("GET", path, **sent)

    def close(self) -> None:
        """End the event loop."""
        self._runner.run(self._http.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def http() -> Iterator[Client]:
    """Yield a client of a venue whose clock stands still five minutes before an interval."""
    client = Client()
    yield client
    client.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
figures = (
    st.decimals(allow_nan=True, allow_infinity=True).map(str)
    | st.sampled_from(["0.1", "1E+9999999", "1E-9999999", "-0", "0.10", "9" * 400, "1e12", "", "NaN"])
    | st.floats()
    | st.integers()
)
instants = (
    st.datetimes().map(lambda at: at.isoformat() + "Z")
    | st.sampled_from([START.isoformat(), "2026-07-24T01:01:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"])
    | st.integers()
    | st.floats()
)
fields: dict[str, st.SearchStrategy[Any]] = {
    "offer_id": st.text(max_size=5),
    "resource": st.text(max_size=5),
    "product": st.sampled_from(["spin", "reg-up", "energy-da", "energy-dr", "", "\x00"]) | st.text(max_size=5),
    "interval_start": instants,
    "interval_end": instants,
    "curve": st.lists(st.fixed_dictionaries({"mw": figures, "price": figures}), max_size=3),
    "revision": st.integers() | st.floats(),
    "capacity_mw": figures,
    "ramp_mw_per_min": figures,
    "available_mw": figures,
    "reason": st.text(max_size=5),
    "mw": st.lists(figures, max_size=2) | figures.map(lambda figure: [figure] * 390),
    "readings": st.lists(st.fixed_dictionaries({"start": instants, "end": instants, "kwh": figures}), max_size=2),
    "lose_replies": st.just(2),
}
near = st.fixed_dictionaries({}, optional=fields)
"""Documents with the right names and any content."""
good = near.map(lambda changes: body("spin").model_dump(mode="json") | changes)
"""An offer as it should be, some of it replaced."""
documents = near | good | st.fixed_dictionaries({"offers": st.lists(good | near, max_size=3)})
bodies = (
    st.binary(max_size=60) | json_values.map(json.dumps).map(str.encode) | documents.map(json.dumps).map(str.encode)
)
names = st.binary(min_size=1, max_size=8).map(quote_from_bytes)
"""Any bytes, as a path carries them."""


@settings(max_examples=400)
@given(st.sampled_from(PATHS), bodies)
def test_any_body_is_answered_and_no_answer_is_a_fault_of_ours(
    http: Client, request_line: tuple[str, str], content: bytes
) -> None:
    """Random bytes, any JSON, and offers of which a part is nonsense."""
    answer = http.request(*request_line, content=content)

    assert answer.status_code in {200, 404, 409, 422}
    assert answer.json()


@settings(max_examples=200)
@given(
    st.sampled_from(["offers", "documents", "shortfalls", "meter/R", "regulation/R/reg-up"]),
    names,
    st.sampled_from(["GET", "PUT", "DELETE"]),
)
def test_any_name_is_answered(http: Client, kind: str, name: str, method: str) -> None:
    answer = http.request(method, f"/v1/{kind}/{name}", content=b"{}")

    assert answer.status_code in {200, 404, 405, 409, 422}


@settings(max_examples=200)
@given(st.sampled_from(QUERIES), st.dictionaries(st.sampled_from(["resource", "product", "count", "since"]), names))
def test_any_question_is_answered(http: Client, kind: str, asked: dict[str, str]) -> None:
    query = "&".join(f"{name}={given}" for name, given in asked.items())

    answer = http.get(f"/v1/{kind}?{query}")

    assert answer.status_code in {200, 404, 422}


@pytest.mark.parametrize("epoch", ["", "-1", "1.5", "seven", "9" * 13, "\u00b2"])
def test_an_epoch_that_is_no_number_is_refused(http: Client, epoch: str) -> None:
    answer = http.get("/v1/clock", headers={"firmwatt-epoch": epoch.encode("latin-1")})

    assert (answer.status_code, answer.json()["error"]) == (422, "malformed")


def test_prices_of_a_product_not_sold_are_not_found(http: Client) -> None:
    answer = http.get("/v1/prices?product=gold")

    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_product")


def test_every_product_is_published_and_the_default_one_as_ever(http: Client) -> None:
    products = http.get("/v1/products").json()["products"]

    assert http.get("/v1/rules").json() == products[0]
    assert [each["product"] for each in products] == [
        "energy-dr",
        "spin",
        "non-spin",
        "reg-up",
        "reg-down",
        "fast",
        "contingency",
        "energy-da",
    ]


def test_prices_are_asked_by_product(http: Client) -> None:
    found = http.get("/v1/prices?count=2&product=spin").json()["prices"]

    assert [each["product"] for each in found] == ["spin", "spin"]
    assert all(each["price"] for each in found)


# ----------------------------------------------------------------------------------------------------- documents


def document(*offers: tuple[str, str]) -> bytes:
    """Return a document of (offer id, product)."""
    bodies = [body(product).model_dump(mode="json") | {"offer_id": name} for name, product in offers]
    return json.dumps({"offers": bodies}).encode()


@pytest.mark.parametrize(
    "content", [document(("o-1", "spin"), ("o-1", "fast")), document(("o-1", "spin"), ("o-2", "spin"))]
)
def test_a_document_with_two_offers_for_one_thing_is_refused_whole(http: Client, content: bytes) -> None:
    answer = http.request("PUT", "/v1/documents/twice", content=content)

    assert (answer.status_code, answer.json()["error"]) == (422, "malformed")
    assert http.get("/v1/documents/twice").status_code == 404


def test_another_document_under_a_known_name_is_a_conflict_and_the_same_again_is_not() -> None:
    http = Client()
    contents = document(("d-spin", "spin")), document(("d-fast", "fast")), document(("d-spin", "spin"))

    answers = [http.request("PUT", "/v1/documents/named", content=content) for content in contents]
    http.close()

    assert [each.status_code for each in answers] == [200, 409, 200]
    assert answers[1].json()["error"] == "conflict"
    assert answers[2].json()["results"][0]["outcome"] == "duplicate"


def test_a_document_of_which_every_offer_comes_too_late_is_refused_with_the_reasons(http: Client) -> None:
    late = body("contingency", start=EARLY).model_dump(mode="json") | {"offer_id": "late"}

    answer = http.request("PUT", "/v1/documents/late", json={"offers": [late]})

    assert (answer.status_code, answer.json()["error"]) == (409, "gate_closed")
    assert answer.json()["reasons"][0].startswith("late: gate_closed: the gate closed at")


def test_a_document_longer_than_the_venue_takes_is_refused() -> None:
    market = SandboxSettings(products="spin,fast").market()
    short = market.products[0].model_copy(update={"max_document_bytes": 100})
    client = Client(venue(market=market.model_copy(update={"products": (short, market.products[1])})))

    answer = client.request("PUT", "/v1/documents/long", content=document(("o-1", "spin")))

    client.close()
    assert (answer.status_code, answer.json()["detail"]) == (422, "at most 100 bytes")


def test_a_withdrawal_of_what_never_came_is_not_found(http: Client) -> None:
    answer = http.request("DELETE", "/v1/offers/nobody")

    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_offer")


async def test_a_request_that_is_whole_only_after_its_gate_comes_too_late() -> None:
    """Its first bytes came in time. Neither does a sender get through that was fenced off meanwhile."""
    market = venue("energy-dr")
    exchange = Exchange(market, Clock(GATE - MINUTE, wall(), STANDING_STILL))

    async def slow() -> MutableMapping[str, Any]:
        exchange.clock = Clock(GATE, wall(), STANDING_STILL)
        market.hear(2, GATE)
        return {"type": "http.request", "body": b"{}", "more_body": False}

    def sent(epoch: bytes) -> Request:
        return Request(
            {"type": "http", "method": "PUT", "path": "/", "headers": [(b"firmwatt-epoch", epoch)]}, receive=slow
        )

    at, _ = await exchange.received(sent(b"2"))
    assert at >= GATE
    with pytest.raises(Refusal, match="epoch 2 was heard"):
        await exchange.received(sent(b"1"))
