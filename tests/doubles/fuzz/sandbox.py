"""The sandbox's decoders for `tests/long/fuzz_decoders.py`: our documents read back, every answer that we act on."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import httpx
from doubles.venue import offer

from bidding.markets.sandbox import statements, wire
from bidding.markets.sandbox.client import problem_in, read
from pipeline.messages.market import Document

D = TypeVar("D", bound=Document)

START = datetime(2026, 7, 24, 1, tzinfo=UTC)
HOUR = {"interval_start": "2026-07-24T01:00:00Z", "interval_end": "2026-07-24T01:01:00Z"}
DOCUMENT = wire.encode(offer("R1", START))


def _answer(kind: type[D], content: bytes) -> D:
    return read(kind, httpx.Response(200, content=content))


TARGETS: Mapping[str, Callable[[bytes], object]] = {
    "document": wire.decode,
    "receipt": lambda content: _answer(wire.WireReceipt, content).ours(),
    "awards": lambda content: [one.ours() for one in _answer(wire.WireAwards, content).awards],
    "dispatches": lambda content: [one.ours() for one in _answer(wire.WireDispatches, content).dispatches],
    "notices": lambda content: [one.ours() for one in _answer(wire.WireNotices, content).notices],
    "statement": lambda content: _answer(statements.WireStatement, content).ours("sandbox"),
    "products": lambda content: _answer(wire.WireProducts, content),
    "problem": lambda content: problem_in(httpx.Response(422, content=content)),
}

_LINE = {
    **HOUR,
    "award_id": "A-1",
    "baseline_kwh": "20.5",
    "metered_kwh": "17",
    "awarded_kwh": "4",
    "delivered_kwh": "3.5",
    "shortfall_kwh": "0.5",
    "price": "52.10",
    "energy_amount": "0.18",
    "shortfall_amount": "-0.03",
    "total": "0.15",
}
_RESERVE = {
    **HOUR,
    "award_id": "A-2",
    "price": "6",
    "reference_kwh": "20",
    "awarded_kwh": "4",
    "delivered_kwh": "4",
    "shortfall_kwh": "0",
    "capacity_amount": "0.02",
    "mileage_amount": "0",
    "shortfall_amount": "0",
    "total": "0.02",
}
_AWARD = {
    **HOUR,
    "award_id": "A-1",
    "offer_id": "o-1",
    "resource": "R1",
    "product": "energy-dr",
    "mw": "0.25",
    "price": "52.10",
    "currency": "USD",
    "awarded_at": "2026-07-24T00:59:40Z",
}

_CONTENTS: Mapping[str, object] = {
    "receipt": {
        "offer_id": "o-1",
        "receipt": "R-0f3a",
        "status": "accepted",
        "accepted_mw": "0.25",
        "reasons": [],
        "sha256": "00",
    },
    "awards": {"awards": [_AWARD]},
    "dispatches": {
        "dispatches": [
            {
                **HOUR,
                "dispatch_id": "D-1",
                "award_id": "A-1",
                "resource": "R1",
                "reduction_mw": "0.25",
                "issued_at": "2026-07-24T00:59:50Z",
            }
        ]
    },
    "notices": {
        "notices": [
            {
                **HOUR,
                "notice_id": "N-1",
                "offer_id": "o-1",
                "resource": "R1",
                "product": "spin",
                "reason": "late",
                "issued_at": "2026-07-24T00:59:50Z",
            }
        ]
    },
    "statement": {
        "statement_id": "S-1",
        "resource": "R1",
        "currency": "USD",
        "lines": [_LINE],
        "capacity_lines": [_RESERVE],
        "pending": [{"award_id": "A-3", "reason": "not metered"}],
        "total": "0.17",
        "issued_at": "2026-07-24T02:00:00Z",
        "simulated": True,
    },
    "products": {"products": []},
    "problem": {"error": "rejected", "detail": "too small"},
}

SEEDS: Mapping[str, Sequence[bytes]] = {
    "document": [DOCUMENT],
    **{name: [json.dumps(content).encode()] for name, content in _CONTENTS.items()},
}
