"""The sandbox venue as the conformance suite's counterpart: `firmwatt sandbox` with all its products."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
from doubles import venue
from hypothesis import strategies as st
from pydantic import ValidationError

from bidding.sandbox.rules import Rules
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.wire import DocumentBody, OfferBody
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

MARKET = SandboxSettings(products="all").market()
RESOURCE = "R-conformance"
PRODUCTS = MARKET.names
NOW = datetime(2026, 7, 24, 0, 58, tzinfo=UTC)
"""17:58 on Thursday 23 July in Los Angeles: the hours of Friday were sold this morning, those of Saturday are open."""
TODAY_OVER = datetime(2026, 7, 24, 7, tzinfo=UTC)
"""Friday's first hour."""
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
TWO_STEPS = (("0.10", "5.00"), ("0.20", "40.00"))
CHEAP = (("0.10", "0.00"),)
TIMES = (datetime(2020, 1, 1), datetime(2040, 1, 1))  # noqa: DTZ001 - made aware where they are drawn


def rules_of(product: str) -> Rules:
    """Return what the venue accepts of *product*."""
    found = MARKET.rules(product)
    assert found is not None, product
    return found


def intervals(product: str) -> list[Interval]:
    """Return five intervals whose gates are open at `NOW`."""
    rules = rules_of(product)
    first = rules.decided_until(NOW)
    return [Interval(first + rules.interval * each, first + rules.interval * (each + 1)) for each in range(5)]


def closed(product: str) -> Interval:
    """Return an interval whose gate is closed at `NOW`."""
    before = intervals(product)[0].start
    return Interval(before - rules_of(product).interval, before)


@contextmanager
def start(folder: Path, clock_word: str, **faults: object) -> Iterator[str]:
    """Yield the URL of a running venue; its journal, one line a request, lies in *folder*. Its exit code must be 0."""
    log = folder / f"venue-{time.monotonic_ns()}.jsonl"
    flags = {"products": "all", "cancel_after_s": 0, "journal": log, **faults}
    with venue.start(folder, clock_word, **{name: _flag(given) for name, given in flags.items()}) as url:
        yield url


def _flag(given: object) -> object:
    return str(given).lower() if isinstance(given, bool) else given


def section(url: str, folder: Path, **more: object) -> str:
    """Return the text of a settings file whose ``[venue.sandbox]`` leads to *url*; *more* are keys of the section."""
    del folder
    given = {"url": url, **more}
    return "\n".join(["[venue.sandbox]", *(f"{key} = {json.dumps(value)}" for key, value in given.items()), ""])


def offer(
    product: str, interval: Interval, *steps: tuple[str, str], revision: int = 1, resource: str = RESOURCE
) -> Offer:
    """Return a valid offer of (MW, price) *steps*, each added to the last; two modest ones by default."""
    return _offer(
        product,
        interval,
        tuple(_step(Decimal(mw), Decimal(price)) for mw, price in steps or TWO_STEPS),
        revision=revision,
        resource=resource,
        name=f"{resource}-{product}-{interval.start:%Y%m%dT%H%M%S}-{revision}",
    )


def _step(
    mw: Decimal, price: Decimal, tier: Tier = Tier.T3, behind: tuple[Decimal, ...] = (Decimal(0),) * 4
) -> OfferStep:
    tokens, cost, credit, restart = behind
    return OfferStep(
        quantity_mw=mw,
        price_per_mwh=price,
        tier=tier,
        tokens_forgone_per_mwh=tokens,
        token_cost_per_mwh=cost,
        service_credit_per_mwh=credit,
        restart_cost_per_mwh=restart,
    )


def _offer(
    product: str, interval: Interval, steps: tuple[OfferStep, ...], *, revision: int, resource: str, name: str
) -> Offer:
    rules = rules_of(product)
    offered_kw = float(sum(step.quantity_mw for step in steps)) * 1000
    return Offer(
        offer_id=name,
        resource=resource,
        site="site-1",
        venue=rules.venue,
        product=product,
        interval=interval,
        revision=revision,
        steps=steps,
        currency=rules.currency,
        as_of=NOW - MINUTE,
        baseline_method=rules.baseline_method,
        baseline_kw=offered_kw + 1234.5,
        firm_kw=offered_kw + 0.25,
        confidence=0.95,
        simulated=True,
    )


amounts = st.decimals(min_value=0, max_value=10**9, places=4)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@st.composite
def _drawn(draw: st.DrawFn) -> Offer:
    product = draw(st.sampled_from(PRODUCTS))
    rules = rules_of(product)
    blocks = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=rules.max_steps))
    blocks[0] += int(rules.min_mw / rules.block_mw)
    highest = int((rules.price_cap - rules.price_floor) / rules.price_tick)
    ticks = sorted(draw(st.lists(st.integers(0, highest), min_size=len(blocks), max_size=len(blocks))))
    start = intervals(product)[0].start + rules.interval * draw(st.integers(0, 10**5))
    drawn = _offer(
        product,
        Interval(start, start + rules.interval),
        tuple(
            _step(
                count * rules.block_mw,
                rules.price_floor + tick * rules.price_tick,
                draw(st.sampled_from(Tier)),
                draw(st.tuples(amounts, amounts, amounts, amounts)),
            )
            for count, tick in zip(blocks, ticks, strict=True)
        ),
        revision=draw(st.integers(1, 10**6)),
        resource=draw(texts),
        name=draw(texts),
    )
    changes = {
        "site": draw(texts),
        "as_of": draw(st.datetimes(*TIMES, timezones=st.just(UTC))),
        "baseline_kw": drawn.firm_kw + draw(st.floats(min_value=0, max_value=1e6, allow_nan=False)),
        "confidence": draw(st.floats(0.5, 0.999)),
        "simulated": draw(st.booleans()),
    }
    return drawn.model_copy(update=changes)


def offers() -> st.SearchStrategy[tuple[Offer, ...]]:
    """Return single offers that keep every rule: the client sends each by itself."""
    return st.tuples(_drawn())


def validate(document: bytes, shared: Path) -> None:
    """Raise `AssertionError` where the venue's own wire model cannot read *document*; it has no other schema."""
    del shared
    kind = DocumentBody if "offers" in json.loads(document) else OfferBody
    try:
        kind.model_validate_json(document)
    except ValidationError as error:
        raise AssertionError(str(error)) from error


def audit(url: str) -> dict[str, int]:
    """Return what the venue counted; `stale` are older revisions that it refused."""
    told: dict[str, int] = httpx.get(f"{url}/v1/audit", trust_env=False).json()
    return {**told, "stale": told["stale_revisions"]}
