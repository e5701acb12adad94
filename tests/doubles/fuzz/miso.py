"""MISO's decoders for `tests/long/fuzz_decoders.py`: our documents read back, and every answer that we act on."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from bidding.markets.miso import results
from bidding.markets.miso.answers import (
    DayAheadResults,
    Payload,
    QualificationStatus,
    api_response,
    notifications,
    transactions,
)
from bidding.markets.miso.codec import Codec, decode, sent
from bidding.markets.miso.day import interval_of
from bidding.markets.miso.schedule import flat
from bidding.markets.miso.settings import Resource
from bidding.markets.miso.strict import parse, read
from bidding.products.load import load
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

LARGEST = 1 << 20
RESOURCES = {"A1": Resource(name="A1", type="drr1"), "A2": Resource(name="A2", type="drr2", max_mw=9.0)}
WORDS = Codec(RESOURCES.values(), load("miso"))
SOLD = results.sold(WORDS.products)
NOW = datetime(2026, 12, 1, 22, 30, tzinfo=UTC)
DAY = date(2026, 12, 1)


def _answer(content: bytes) -> object:
    said = api_response(read(content, LARGEST))
    return said.errors, said.remarks, said.failed, [error.names("A1", 18) for error in said.errors]


def _schedule(content: bytes) -> object:
    book = flat(read(content, LARGEST))
    said = [(book.says(one, "day-ahead"), book.gone(one, "day-ahead")) for one in OURS]
    return said, [results.notices(book, (), name, SOLD, NOW) for name in RESOURCES]


def _notices(content: bytes) -> object:
    status = parse(QualificationStatus, read(content, LARGEST))
    flags = [flag for entry in status.resources for flag in entry.offers]
    return results.notices(flat(json.loads(sent(DOCUMENT), parse_float=Decimal)), flags, "A2", SOLD, NOW)


def _results(content: bytes) -> object:
    return results.day_ahead_awards(parse(DayAheadResults, read(content, LARGEST)), "A2", SOLD)


def _dispatches(content: bytes) -> object:
    orders = results.orders(notifications(read(content, LARGEST)), "A2", label_ends=True)
    awards = results.real_time_awards(orders, (), "A2", SOLD)
    return results.energy_dispatches(orders, awards)


def _deployments(content: bytes) -> object:
    awards = results.day_ahead_awards(parse(DayAheadResults, read(RESULTS, LARGEST)), "A2", SOLD)
    return results.reserve_dispatches(notifications(read(content, LARGEST)), awards, "A2")


def _payload(content: bytes) -> object:
    document = parse(Payload, read(content, LARGEST)).payload_document or ""
    return flat(read(document.encode(errors="replace"), LARGEST))


TARGETS: Mapping[str, Callable[[bytes], object]] = {
    "document": decode,
    "sent": sent,
    "answer": _answer,
    "schedule": _schedule,
    "transactions": lambda content: transactions(read(content, LARGEST)),
    "payload": _payload,
    "results": _results,
    "dispatches": _dispatches,
    "deployments": _deployments,
    "qualification": _notices,
}


def _offer(product: str, resource: str, hour: int) -> Offer:
    step = OfferStep(
        quantity_mw=Decimal("2.0"),
        price_per_mwh=Decimal("52.10"),
        tier=Tier.T3,
        tokens_forgone_per_mwh=Decimal(1),
        token_cost_per_mwh=Decimal(1),
        service_credit_per_mwh=Decimal(0),
        restart_cost_per_mwh=Decimal(0),
    )
    return Offer(
        offer_id=f"{resource}-{product}",
        resource=resource,
        site="s",
        venue="miso",
        product=product,
        interval=interval_of(DAY, hour),
        steps=(step,),
        currency="USD",
        as_of=NOW,
        baseline_method="m",
        baseline_kw=1.5,
        firm_kw=2.5,
        confidence=0.95,
        simulated=True,
    )


OURS = (_offer("energy-da", "A1", 18), _offer("spin", "A2", 18), _offer("reg", "A2", 19))
DOCUMENT = WORDS.encode(OURS)
_CLEARED = {"mw": 2.0, "price": 41.5, "capped": False}
RESULTS = json.dumps(
    {
        "day": str(DAY),
        "pnodes": [
            {"pnodeName": "A2", "hours": [{"hour": 18, "clearedEnergy": _CLEARED, "clearedSpin": _CLEARED}]},
        ],
    }
).encode()


def _log(said: Mapping[str, Any]) -> bytes:
    entry = {
        "eventType": "Dispatch Instruction",
        "status": "SENT",
        "created": "2026-12-01T17:00:00-05:00",
        "requestPayload": {"test": False, "notificationData": said},
        "responses": [],
    }
    return json.dumps([entry]).encode()


_PRICED = {"mw": 2.0, "mcp": 4.5}
_INSTRUCTION = {
    "pnodeName": "A2",
    "interval": "2026-12-01T17:05:00-05:00",
    "energyDispatch": {"mw": 3.5, "lmp": 80.25, "udeFlag": False},
    "spinningReserveDispatch": _PRICED,
}
_ERROR = {"level": "ERROR", "msgId": "CLOSED", "params": ["A1", "18"], "userMsg": "closed"}
_EVENT = {"mrid": "m", "transactionId": "t", "operationType": "POST", "transactionState": "SUCCESS", "urlPath": "/a"}
SEEDS: Mapping[str, Sequence[bytes]] = {
    "document": [DOCUMENT],
    "sent": [DOCUMENT],
    "schedule": [sent(DOCUMENT)],
    "answer": [json.dumps({"action": "SUBMITTED", "responses": [{"messages": [_ERROR]}]}).encode()],
    "transactions": [json.dumps([_EVENT]).encode()],
    "payload": [json.dumps({"mrid": "m", "payloadDocument": sent(DOCUMENT).decode()}).encode()],
    "results": [RESULTS],
    "dispatches": [_log({"dispatchInstructions": [_INSTRUCTION]})],
    "deployments": [
        _log({"crDeployments": [{"pnodeName": "A2", "timestamp": "2026-12-01T17:20:00-05:00", "mw": 1.5}]})
    ],
    "qualification": [
        json.dumps(
            {
                "day": str(DAY),
                "resources": [{"pnodeName": "A2", "offers": [{"market": "day-ahead", "spinQualified": False}]}],
            }
        ).encode()
    ],
}
