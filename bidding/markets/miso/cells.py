"""
An offer as the cells that it fills in MISO's schedule: which field, and what stands there for its hour. Pure.

    energy-rt, DRR type I    drr1CommitStatusHourly   {"status": "Economic"}
                             drr1EnergyOfferHourly    {"drr1EnergyOfferHourlyDetail": {targetDemandReductionMW, …}}
    spin, DRR type II        spinningOfferHourly      {"spinningOfferHourlyDetail": {offerPriceCurve, dispatchStatus}}

A curve's MW are cumulated: the specification lets the same points be read as a piece-wise line (`slope`), which only
levels can be. Ours is always a block curve. Each product has cells of its own, so that offers of one hour do not touch
each other; only the commit status of a type II resource is shared by all that it sells while online.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any, Literal

from bidding.markets.miso.settings import Resource
from pipeline.messages.market import Offer

Kind = Literal["energy", "spin", "supplemental", "short-term-reserve", "reg"]
Point = tuple[Decimal, Decimal]
"""MW cumulated, price per MWh."""
Content = Mapping[str, Any]
Cells = Mapping[str, Content]
"""By field of the schedule: what stands beside `hour`."""

ENERGY: Kind = "energy"
PRODUCTS: Mapping[str, Kind] = {
    "energy-da": "energy",
    "energy-rt": "energy",
    "spin": "spin",
    "supplemental": "supplemental",
    "short-term-reserve": "short-term-reserve",
    "reg": "reg",
}
MARKETS = ("day-ahead", "real-time")
OFFERED = "Economic"
MW_STEP, MW_BOUND = Decimal("0.1"), Decimal("99999999.9")
PRICE_TICK, PRICE_BOUND = Decimal("0.01"), Decimal("9999.99")
"""`RealEnergy` and `MarketPrice` of MUI 3.3.0."""
RESERVE_STEPS, ENERGY_STEPS = 3, 10
"""`maxItems` of the curves, MUI 3.3.0."""


@dataclass(frozen=True)
class Place:
    """Where a product's offer stands in the schedule of one type of resource."""

    field: str
    detail: str
    gone: str
    """The dispatch status that takes it out of the market."""
    steps: int = RESERVE_STEPS


@dataclass(frozen=True)
class Type:
    """One type of demand response resource."""

    offer_type: str
    title: str
    commit: str
    places: Mapping[Kind, Place]
    online: frozenset[Kind]
    """What is sold only while committed, and so sets the commit status."""


TYPES: Mapping[str, Type] = {
    "drr1": Type(
        "drr1Offer",
        "DRR type I",
        "drr1CommitStatusHourly",
        {
            "energy": Place("drr1EnergyOfferHourly", "drr1EnergyOfferHourlyDetail", "NotParticipating", steps=1),
            "spin": Place("drr1SpinningOfferHourly", "spinningOfferHourlyDetail", "NotParticipating"),
            "supplemental": Place("drr1SuppOfferHourly", "suppOfferHourlyDetail", "NotParticipating"),
            "short-term-reserve": Place(
                "drr1ShortTermReserveOfferHourly", "shortTermReserveOfferHourlyDetail", "NotParticipating"
            ),
        },
        frozenset({"energy"}),
    ),
    "drr2": Type(
        "drr2Offer",
        "DRR type II",
        "commitStatusHourly",
        {
            "energy": Place("energyOfferHourly", "energyOfferHourlyDetail", "", steps=ENERGY_STEPS),
            "spin": Place("spinningOfferHourly", "spinningOfferHourlyDetail", "NotQualified"),
            "supplemental": Place("offlineSuppOfferHourly", "suppOfferHourlyDetail", "NotParticipating"),
            "short-term-reserve": Place(
                "offlineShortTermReserveOfferHourly", "shortTermReserveOfferHourlyDetail", "NotParticipating"
            ),
            "reg": Place("regulationOfferHourly", "regulationOfferHourlyDetail", "NotParticipating"),
        },
        frozenset({"energy", "spin", "reg"}),
    ),
}
ONLINE_SUPPLEMENTAL = Place("onlineSuppOfferHourly", "suppOfferHourlyDetail", "NotQualified")
BY_OFFER_TYPE = {entry.offer_type: name for name, entry in TYPES.items()}


def places(type_name: str, kind: Kind) -> tuple[Place, ...]:
    """Return where an offer of *kind* may stand; the supplemental offer of a type II resource has two places."""
    place = TYPES[type_name].places.get(kind)
    other = (ONLINE_SUPPLEMENTAL,) if (type_name, kind) == ("drr2", "supplemental") else ()
    return (place, *other) if place else ()


def place_of(resource: Resource, kind: Kind) -> Place:
    """Return where *resource* offers *kind*; it must be able to."""
    found = places(resource.type, kind)
    return found[-1] if resource.supplemental == "online" else found[0]


def points(offer: Offer) -> tuple[Point, ...]:
    """Return the curve of *offer*, MW cumulated."""
    levels = accumulate(step.quantity_mw for step in offer.steps)
    return tuple((mw, step.price_per_mwh) for mw, step in zip(levels, offer.steps, strict=True))


def core(type_name: str, place: Place, kind: Kind, curve: Sequence[Point]) -> dict[str, dict[str, Any]]:
    """Return what an offer of *curve* says, whatever the settings: what the venue must hold if it is ours."""
    if type_name == "drr1" and kind == ENERGY:
        ((mw, price),) = curve
        detail: dict[str, Any] = {"targetDemandReductionMW": mw, "energyOfferPrice": price}
    else:
        segments = [{"mw": mw, "price": price} for mw, price in curve]
        detail = {"offerPriceCurve": {"slope": False, "priceCurveSegments": segments}, "dispatchStatus": OFFERED}
    return {**_commit(type_name, place, kind, OFFERED), place.field: {place.detail: detail}}


def gone(type_name: str, place: Place, kind: Kind) -> dict[str, dict[str, Any]]:
    """Return what takes an offer of *kind* back: no curve, and a status that sells nothing."""
    if kind == ENERGY:
        return {TYPES[type_name].commit: {"status": "NotParticipating"}, place.field: {place.detail: None}}
    return {place.field: {place.detail: {"offerPriceCurve": None, "dispatchStatus": place.gone}}}


def cells(offer: Offer, resource: Resource) -> dict[str, dict[str, Any]]:
    """Return the cells of *offer*, what the settings add to them included."""
    kind = PRODUCTS[offer.product]
    place = place_of(resource, kind)
    found = core(resource.type, place, kind, points(offer))
    found[place.field][place.detail] |= _beside(resource, kind)
    return {**found, **(_limits(resource) if resource.type == "drr2" and kind == ENERGY else {})}


def withdrawn(offer: Offer, resource: Resource) -> dict[str, dict[str, Any]]:
    """Return the cells that take *offer* back."""
    kind = PRODUCTS[offer.product]
    return gone(resource.type, place_of(resource, kind), kind)


def curve_in(type_name: str, place: Place, kind: Kind, content: Content) -> tuple[Point, ...]:
    """Return the curve that *content* holds, empty where there is none; raise `KeyError` or `TypeError` on nonsense."""
    detail = content.get(place.detail)
    if detail is None:
        return ()
    if type_name == "drr1" and kind == ENERGY:
        mw, price = detail.get("targetDemandReductionMW"), detail.get("energyOfferPrice")
        return () if mw is None or price is None else ((_decimal(mw), _decimal(price)),)
    curve = detail.get("offerPriceCurve")
    if curve is None:
        return ()
    return tuple((_decimal(point["mw"]), _decimal(point["price"])) for point in curve["priceCurveSegments"])


def holds(ours: object, theirs: object) -> bool:
    """Tell whether *theirs* says all that *ours* does; what it says beyond that is not ours to judge."""
    if isinstance(ours, Mapping):
        return isinstance(theirs, Mapping) and all(holds(value, theirs.get(name)) for name, value in ours.items())
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(holds, ours, theirs))
    return isinstance(ours, bool) == isinstance(theirs, bool) and bool(ours == theirs)


def daily(resource: Resource) -> dict[str, Any]:
    """Return what the settings say of *resource* for the whole day; sent with every document."""
    if resource.type == "drr1":
        spans = {
            "minInterruptionDuration": resource.min_interruption,
            "maxInterruptionDuration": resource.max_interruption,
            "minNonInterruptionInterval": resource.min_non_interruption,
            "maxDailyEnergyCurtailment": _number(resource.max_daily_curtailment_mwh),
            "maxDailyStops": resource.max_daily_stops,
        }
        return _given({"shutdownCost": _number(resource.shutdown_cost), "drr1RuntimesDaily": _given(spans)})
    costs = dict.fromkeys(
        ("coldStartupCost", "intermediateStartupCost", "hotStartupCost"), _number(resource.startup_cost)
    )
    runtimes = {"minimumRuntime": resource.min_run, "maximumDailyStarts": resource.max_daily_starts}
    return _given({"startupCostsDaily": _given(costs), "runtimesDaily": _given(runtimes)})


def _commit(type_name: str, place: Place, kind: Kind, status: str) -> dict[str, dict[str, Any]]:
    entry = TYPES[type_name]
    online = kind in entry.online or place is ONLINE_SUPPLEMENTAL
    return {entry.commit: {"status": status}} if online else {}


def _beside(resource: Resource, kind: Kind) -> dict[str, Any]:
    if resource.type == "drr1" and kind == ENERGY:
        return {"curtailmentOfferPrice": _number(resource.curtailment_price)}
    return {"mileageOfferPrice": _number(resource.mileage_price)} if kind == "reg" else {}


def _limits(resource: Resource) -> dict[str, dict[str, Any]]:
    limits = {"economicLimits": {"minMW": Decimal("0.0"), "maxMW": _number(resource.max_mw)}}
    found = {
        "noLoadCostsHourly": {"cost": _number(resource.no_load_cost)} if resource.no_load_cost else None,
        "unitLimitsHourly": {"unitLimitsHourlyDetail": limits} if resource.max_mw else None,
        "rampRatesHourly": {"rampRatesHourlyDetail": {"rampRate": _number(resource.ramp_mw_per_min)}}
        if resource.ramp_mw_per_min
        else None,
    }
    return {field: content for field, content in found.items() if content}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _number(value: float) -> Decimal:
    return Decimal(str(value))


def _decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError(f"{value!r} is no number")
    return Decimal(value)


def by_hour(entries: Iterable[tuple[str, int, Content]]) -> dict[str, list[dict[str, Any]]]:
    """Return (field, hour, content) *entries* as the schedule writes them: by field, one object an hour, in order."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for field, hour, content in entries:
        found.setdefault(field, {})[hour] = {"hour": hour, **content}
    return {field: [hours[hour] for hour in sorted(hours)] for field, hours in found.items()}
