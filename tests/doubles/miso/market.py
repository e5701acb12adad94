"""
A simulated MISO: what stands on its schedule, what it clears and what it tells. No sockets, and `now` is an argument.

Its gates are those of bidding/products/miso.toml's sources, written out again; its prices are made up and repeatable.
What MISO does within a document of which some hours are in order is not published: this one takes those and names the
others, each message with the resource and the hour among its parameters.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from doubles.miso.draws import uniform

EST = ZoneInfo("Etc/GMT+5")
NEW_YORK = ZoneInfo("America/New_York")
HOUR, FIVE_MINUTES = timedelta(hours=1), timedelta(minutes=5)
REAL_TIME_GATE = timedelta(minutes=30)
DAY_AHEAD_GATE = time(10, 30)
PRICES = {"energy": (20, 120), "spin": (2, 12), "supplemental": (1, 6), "short-term-reserve": (1, 3), "reg": (5, 20)}
"""Simulated: lowest and highest."""
OFFER_TYPES = {"drr1": "drr1Offer", "drr2": "drr2Offer"}
COMMIT = {"drr1": "drr1CommitStatusHourly", "drr2": "commitStatusHourly"}
FIELDS = {
    "drr1": {
        "drr1EnergyOfferHourly": "energy",
        "drr1SpinningOfferHourly": "spin",
        "drr1SuppOfferHourly": "supplemental",
        "drr1ShortTermReserveOfferHourly": "short-term-reserve",
    },
    "drr2": {
        "energyOfferHourly": "energy",
        "spinningOfferHourly": "spin",
        "onlineSuppOfferHourly": "supplemental",
        "offlineSuppOfferHourly": "supplemental",
        "offlineShortTermReserveOfferHourly": "short-term-reserve",
        "regulationOfferHourly": "reg",
    },
}
TAKEN_BACK = {"spin": "NotQualified", "supplemental": "NotQualified", "reg": "NotQualified"}


@dataclass(frozen=True)
class Cell:
    """A field of the schedule in one hour: what one offer stands in."""

    resource: str
    market: str
    day: date
    hour: int
    field: str


@dataclass
class Page:
    """What stands on the schedule of one resource for one market and day."""

    type: str
    whole_day: dict[str, Any] = field(default_factory=dict)
    hours: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Market:
    """The state of the simulated market."""

    resources: dict[str, str]
    """By resource: `drr1` or `drr2`."""
    seed: int = 1
    pages: dict[tuple[str, str, date], Page] = field(default_factory=dict)
    written: dict[Cell, list[str]] = field(default_factory=dict)
    """By cell: the digests of the curves that stood there, the newest last."""
    prices: dict[str, Decimal] = field(default_factory=dict)
    """By product, where somebody ordered one."""
    overrides: dict[tuple[str, date, int], Decimal] = field(default_factory=dict)
    deployments: list[tuple[str, datetime, Decimal]] = field(default_factory=list)
    disqualified: set[tuple[str, str]] = field(default_factory=set)
    """Resource and product."""

    # ------------------------------------------------------------------------------------------ gates

    def closed(self, market: str, day: date, hour: int, now: datetime) -> bool:
        """Tell whether the gate for an hour has closed."""
        if market == "day-ahead":
            gate = datetime.combine(day - timedelta(days=1), DAY_AHEAD_GATE, NEW_YORK)
        else:
            gate = begin(day, hour) - REAL_TIME_GATE
        return now >= gate

    # ------------------------------------------------------------------------------------------ schedule

    def apply(self, resource: str, offer: dict[str, Any], day: date, hours: set[int]) -> bool:
        """Put the named *hours* of *offer* on the schedule; return whether a curve came back that had been replaced."""
        page = self.pages.setdefault((resource, offer["market"], day), Page(self.resources[resource]))
        stale = False
        for name, value in offer.items():
            if isinstance(value, list):
                for content in value:
                    if content["hour"] in hours:
                        cell = Cell(resource, offer["market"], day, content["hour"], name)
                        merge(page.hours.setdefault(name, {}).setdefault(content["hour"], {}), content)
                        stale |= self._remember(cell, page)
            else:
                merge(page.whole_day, {name: value})
        return stale

    def _remember(self, cell: Cell, page: Page) -> bool:
        """Note the curve that stands in *cell* now; tell whether it is one that another had replaced."""
        curve = curve_of(page.hours[cell.field][cell.hour])
        if cell.field not in FIELDS[page.type] or not curve:
            return False
        history, digest = self.written.setdefault(cell, []), sha256(repr(curve).encode()).hexdigest()
        known = digest in history[:-1] and history[-1] != digest
        if not history or history[-1] != digest:
            history.append(digest)
        return known

    def take_back(self, resource: str, market: str, day: date, hour: int) -> None:
        """Cancel what stands in an hour: the curves stay, their status sells nothing any more."""
        page = self.pages[resource, market, day]
        for name, kind in FIELDS[page.type].items():
            content = page.hours.get(name, {}).get(hour)
            if content is None or not curve_of(content):
                continue
            if kind == "energy":
                page.hours.setdefault(COMMIT[page.type], {})[hour] = {"hour": hour, "status": "NotParticipating"}
            else:
                detail_of(content)["dispatchStatus"] = TAKEN_BACK.get(kind, "NotParticipating")

    def schedule(self, market: str, day: date, resources: Iterable[str]) -> dict[str, Any]:
        """Return the MultiVariantScheduleOffer that stands."""
        found = []
        for resource in resources:
            pages = [
                page
                for (name, one, of), page in self.pages.items()
                if name == resource and of == day and market in {one, "both"}
            ]
            offers = [
                {**page.whole_day, **{name: [hours[h] for h in sorted(hours)] for name, hours in page.hours.items()}}
                for page in pages
            ]
            if offers:
                found.append({"pnodeName": resource, "offers": copy.deepcopy(offers)})
        return {"day": day.isoformat(), "resources": found}

    # ------------------------------------------------------------------------------------------ clearing

    def price(self, kind: str, market: str, day: date, hour: int) -> Decimal:
        """Return the simulated price."""
        if kind in self.prices:
            return self.prices[kind]
        low, high = PRICES[kind]
        cents = round((low + (high - low) * uniform(self.seed, f"price|{kind}|{market}|{day}|{hour}")) * 100)
        return Decimal(cents) / 100

    def cleared(self, resource: str, kind: str, market: str, day: date, hour: int) -> Decimal:
        """Return the MW that are bought: all blocks that ask no more than the price."""
        page = self.pages.get((resource, market, day))
        if page is None or (resource, kind) in self.disqualified:
            return Decimal(0)
        commit = page.hours.get(COMMIT[page.type], {}).get(hour, {}).get("status", "Economic")
        price, best = self.price(kind, market, day, hour), Decimal(0)
        for name, of in FIELDS[page.type].items():
            content = page.hours.get(name, {}).get(hour)
            if of != kind or content is None or (kind == "energy" and commit != "Economic"):
                continue
            if (detail_of(content) or {}).get("dispatchStatus", "Economic") == "Economic":
                best = max([best, *(Decimal(mw) for mw, asked in curve_of(content) if asked <= price)])
        return best

    def offered(self, resource: str, market: str, day: date, hour: int) -> bool:
        """Tell whether any curve stands for the hour."""
        page = self.pages.get((resource, market, day))
        if page is None:
            return False
        return any(curve_of(page.hours.get(name, {}).get(hour, {})) for name in FIELDS[page.type])

    def results(self, day: date, resources: Iterable[str]) -> dict[str, Any]:
        """Return the day-ahead results; the gate must have closed."""
        names = {
            "clearedEnergy": "energy",
            "clearedRegulation": "reg",
            "clearedSpin": "spin",
            "clearedSupplemental": "supplemental",
            "clearedShortTerm": "short-term-reserve",
        }
        return {
            "day": day.isoformat(),
            "pnodes": [
                {
                    "pnodeName": resource,
                    "hours": [
                        {
                            "hour": hour,
                            **{
                                label: {
                                    "mw": self.cleared(resource, kind, "day-ahead", day, hour),
                                    "price": self.price(kind, "day-ahead", day, hour),
                                    "capped": False,
                                }
                                for label, kind in names.items()
                            },
                        }
                        for hour in range(1, 25)
                    ],
                }
                for resource in resources
            ],
        }

    def instructions(self, resource: str, day: date, now: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
        """Yield when and what *resource* was told for each five minutes of *day* so far, labelled by their end."""
        for hour in range(1, 25):
            if not any(self.offered(resource, market, day, hour) for market in ("day-ahead", "real-time")):
                continue
            said = self._instruction(resource, day, hour)
            for number in range(12):
                start = begin(day, hour) + number * FIVE_MINUTES
                if start - FIVE_MINUTES <= now:
                    yield start - FIVE_MINUTES, {**said, "interval": label(start + FIVE_MINUTES)}

    def _instruction(self, resource: str, day: date, hour: int) -> dict[str, Any]:
        ahead = {kind: self.cleared(resource, kind, "day-ahead", day, hour) for kind in PRICES}
        real_time = (
            self.cleared(resource, "energy", "real-time", day, hour)
            if self.offered(resource, "real-time", day, hour)
            else Decimal(0)
        )
        energy = max(ahead["energy"], real_time)
        energy = min(energy, self.overrides.get((resource, day, hour), energy))
        mcp = {kind: self.price(kind, "real-time", day, hour) for kind in PRICES}
        return {
            "pnodeName": resource,
            "energyDispatch": {"mw": energy, "lmp": mcp["energy"], "udeFlag": False},
            "regulationDispatch": {"mw": ahead["reg"], "mcp": mcp["reg"], "mileageMCP": Decimal(1)},
            "spinningReserveDispatch": {"mw": ahead["spin"], "mcp": mcp["spin"]},
            "supplementalReserveDispatch": {"mw": ahead["supplemental"], "mcp": mcp["supplemental"]},
            "shortTermReserveDispatch": {"mw": ahead["short-term-reserve"], "mcp": mcp["short-term-reserve"]},
            "rampCapabilityUpDispatch": {"mw": 0, "mcp": 0},
            "rampCapabilityDownDispatch": {"mw": 0, "mcp": 0},
        }

    def qualification(self, market: str, day: date, resources: Iterable[str]) -> dict[str, Any]:
        """Return the QualificationStatus."""

        def may(resource: str, kind: str) -> bool:
            return (resource, kind) not in self.disqualified

        return {
            "day": day.isoformat(),
            "resources": [
                {
                    "pnodeName": resource,
                    "offers": [
                        {
                            "offerType": OFFER_TYPES[self.resources[resource]],
                            "market": market,
                            "regulationQualified": may(resource, "reg") and self.resources[resource] == "drr2",
                            "spinQualified": may(resource, "spin"),
                            "onlineSupplementalQualified": may(resource, "supplemental"),
                            "offlineSupplementalQualified": may(resource, "supplemental"),
                            "offlineShortTermQualified": may(resource, "short-term-reserve"),
                            "rampCapabilityQualified": False,
                        }
                    ],
                }
                for resource in resources
            ],
        }


def begin(day: date, hour: int) -> datetime:
    """Return the instant at which hour ending *hour* begins."""
    return datetime.combine(day, time(), EST) + (hour - 1) * HOUR


def label(instant: datetime) -> str:
    """Return *instant* as the specification writes it."""
    return instant.astimezone(EST).replace(microsecond=0).isoformat()


def today(now: datetime) -> date:
    """Return the market day."""
    return now.astimezone(EST).date()


def merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Put what *above* names over *below*; null is a value: it deletes what stood there."""
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            merge(below[name], value)
        else:
            below[name] = copy.deepcopy(value)


def detail_of(content: dict[str, Any]) -> Any:
    """Return the one object in an hour's *content*, None where it is deleted."""
    return next((value for name, value in content.items() if name.endswith("HourlyDetail")), None)


def curve_of(content: dict[str, Any]) -> list[tuple[Decimal, Decimal]]:
    """Return the curve in an hour's *content*, empty where there is none."""
    detail = detail_of(content)
    if not isinstance(detail, dict):
        return []
    if detail.get("targetDemandReductionMW") is not None and detail.get("energyOfferPrice") is not None:
        return [(Decimal(detail["targetDemandReductionMW"]), Decimal(detail["energyOfferPrice"]))]
    segments = (detail.get("offerPriceCurve") or {}).get("priceCurveSegments", [])
    return [(Decimal(point["mw"]), Decimal(point["price"])) for point in segments]
