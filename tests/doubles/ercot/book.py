"""
What the mock market holds: every hour of every bid, as it came, judged later; awards; what it told.

A BidSet is scanned at once and judged when it is due: so many machine milliseconds and so many questions later. An hour
that turns out wrong leaves what stood there before. The second phase of validation may take back what was accepted.
"""

import copy
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

from doubles.ercot.checks import BidError, bid_problems, scan
from doubles.ercot.faults import Faults
from lxml import etree

from bidding.markets.ercot.hours import hours, token
from bidding.markets.ercot.names import BLOCK_PRICES, EWS, REG_DOWN, ZONE
from bidding.products import Rules
from pipeline.interval import Interval

NS = f"{{{EWS}}}"
SERVICES = {
    "REGUP": "Reg-Up",
    "RRSPF": "RRSPF",
    "RRSFF": "RRSFF",
    "RRSUF": "RRSUF",
    "ONNS": "On-Non-Spin",
    "ECRS": "ECRSS",
}
PRODUCT = {tag: product for product, tag in BLOCK_PRICES.items()} | {"REGDN": REG_DOWN}
MRID = re.compile(r"([^.]+)\.(\d{8})\.((?:REB\.[^.]+)|(?:ASO\.[^.]+\.[^.]+))(?:\.([0-9R]+)(?:-([0-9R]+))?)?")


@dataclass
class Entry:
    """One hour of one bid, as it was submitted."""

    number: int
    tag: str
    key: str
    day: date
    hour: Interval
    mrid: str
    external_id: str
    element: etree._Element
    submitted_at: datetime
    due: float
    polls: int
    status: str = "SUBMITTED"
    errors: list[str] = field(default_factory=list)
    doomed: bool = False
    """The second phase will take it back."""
    wrong: bool = False
    """It will be found wrong, to order."""


@dataclass
class Award:
    """What was bought of one service in one hour, block by block."""

    resource: str
    service: str
    tag: str
    hour: Interval
    day: date
    blocks: list[tuple[Decimal, Decimal]]


class Book:
    """The market's memory; one lock around all of it is its caller's."""

    def __init__(self, qse: str, rules: dict[str, Rules], faults: Faults, judge_ms: float, judge_polls: int) -> None:
        self.qse = qse
        self.rules = rules
        self.faults = faults
        self.judge_s = judge_ms / 1000
        self.judge_polls = judge_polls
        self.entries: list[Entry] = []
        self.told: list[Entry] = []
        """Judged, in the order in which that was told."""
        self.awards: dict[date, list[Award]] = {}
        self.bodies: set[str] = set()
        self.counts = dict.fromkeys(
            ("submissions_applied", "duplicate_submissions", "stale", "after_gate", "replies_lost", "refused"), 0
        )

    def submit(self, root: etree._Element, now: datetime, number: int, body: str) -> list[Entry]:
        """Take a BidSet in; return its hours in order. Raise `BidError` where nothing of it is taken."""
        day, found = scan(root, self.rules, now)
        if all(problem == "closed" for _, _, _, problem in found):
            self.counts["after_gate"] += 1
            raise BidError(f"BAD BIDSET: the market for {day} is closed")
        if self.faults.hits(self.faults.reject_share, number, "reject"):
            self.counts["refused"] += 1
            raise BidError("BAD BIDSET: refused to order")
        self.counts["submissions_applied"] += 1
        self.counts["duplicate_submissions"] += body in self.bodies
        self.bodies.add(body)
        partial = self.faults.hits(self.faults.partial_share, number, "partial")
        picked = int(self.faults.draw(number, "picked") * len(found))
        taken = [self._taken(bid, key, hour, now, number) for bid, key, hour, _ in found]
        for place, (entry, (_, _, _, problem)) in enumerate(zip(taken, found, strict=True)):
            entry.wrong = partial and place == picked
            if problem:
                entry.status, entry.errors = "ERRORS", [f"the market for {entry.mrid} is closed"]
        self.counts["stale"] += any(self._stale(entry) for entry in taken)
        self.entries += taken
        return taken

    def _taken(self, bid: etree._Element, key: str, hour: Interval, now: datetime, number: int) -> Entry:
        day = hour.start.astimezone(ZONE).date()
        return Entry(
            number=number,
            tag=etree.QName(bid).localname,
            key=key,
            day=day,
            hour=hour,
            mrid=f"{self.qse}.{day:%Y%m%d}.{key}.{token(hour)}",
            external_id=bid.findtext(f"{NS}externalId") or "",
            element=copy.deepcopy(bid),
            submitted_at=now,
            due=time.monotonic() + self.judge_s,
            polls=self.judge_polls,
            doomed=self.faults.hits(self.faults.cancel_share, number, f"cancel {token(hour)}"),
        )

    def _stale(self, entry: Entry) -> bool:
        """Tell whether *entry* brings back what something else has stood in the place of already."""
        before = [one for one in self.entries if one.mrid == entry.mrid]
        return (
            bool(before)
            and before[-1].external_id != entry.external_id
            and any(one.external_id == entry.external_id for one in before)
        )

    def settle(self, now: datetime, *, asked: bool = False) -> None:
        """Judge what is due, and clear the markets whose gate has closed by *now*."""
        for entry in self.entries:
            if asked and entry.doomed and entry.status == "ACCEPTED":
                self.take_back(entry, "taken back by the second phase, to order")
            if entry.status != "SUBMITTED":
                continue
            if entry.due <= time.monotonic() and entry.polls <= 0:
                self._judge(entry)
            elif asked:
                entry.polls -= 1
        for day in {entry.day for entry in self.entries if entry.tag == "ASOffer"} - set(self.awards):
            if now >= self.rules["reg-up"].gate_closes(hours(day)[0]):
                self._clear(day)

    def _judge(self, entry: Entry) -> None:
        entry.errors = ["an hour found wrong to order"] if entry.wrong else bid_problems(entry.element, self.rules)
        entry.status = "ERRORS" if entry.errors else "ACCEPTED"
        self.told.append(entry)
        if entry.status == "ACCEPTED":
            for other in self.entries:
                if other.mrid == entry.mrid and other.status == "ACCEPTED" and other.number < entry.number:
                    other.status = "OVERWRITTEN"

    def standing(self, mrids: set[str]) -> Iterator[Entry]:
        """Yield the newest of what stands, or is being judged, under each of *mrids*."""
        for mrid in sorted(mrids):
            alive = [one for one in self.entries if one.mrid == mrid and one.status in {"SUBMITTED", "ACCEPTED"}]
            if alive:
                yield alive[-1]

    def take_back(self, entry: Entry, reason: str) -> None:
        """Cancel *entry* late."""
        entry.status, entry.errors = "P2", [reason]

    def cancel(self, mrids: set[str], now: datetime) -> list[Entry]:
        """Cancel hours for the QSE; raise `BidError` after the gate."""
        found = [one for one in self.entries if one.mrid in mrids and one.status in {"SUBMITTED", "ACCEPTED"}]
        for entry in found:
            if now >= self.rules[product_of(entry.element)].gate_closes(entry.hour):
                self.counts["after_gate"] += 1
                raise BidError(f"INVALID REQUEST: the market of {entry.mrid} is closed")
        for entry in found:
            entry.status = "CANCELED"
        return found

    def named(self, mrid: str) -> set[str]:
        """Return the hourly mRIDs that *mrid* means; none where it is not one of this QSE's."""
        match = MRID.fullmatch(mrid)
        if match is None or match[1] != self.qse:
            return set()
        day = date(int(match[2][:4]), int(match[2][4:6]), int(match[2][6:]))
        tokens = [token(hour) for hour in hours(day)]
        first, last = match[4] or tokens[0], match[5] or match[4] or tokens[-1]
        if first not in tokens or last not in tokens:
            return set()
        wanted = tokens[tokens.index(first) : tokens.index(last) + 1]
        return {f"{match[1]}.{match[2]}.{match[3]}.{one}" for one in wanted}

    def _clear(self, day: date) -> None:
        """Buy of each service every block that asks for no more than a simulated clearing price."""
        found: list[Award] = []
        for entry in self.entries:
            if entry.day != day or entry.tag != "ASOffer" or entry.status not in {"SUBMITTED", "ACCEPTED"}:
                continue
            if entry.status == "SUBMITTED":
                self._judge(entry)
                if entry.status != "ACCEPTED":
                    continue
            found += list(self._bought(entry))
        self.awards[day] = found

    def _bought(self, entry: Entry) -> Iterator[Award]:
        blocks: dict[str, list[tuple[Decimal, Decimal]]] = {}
        for block in entry.element.iter(f"{NS}OnLineReserves", f"{NS}RegDown"):
            mw = Decimal(block.findtext(f"{NS}xvalue") or "0")
            for tag in PRODUCT:
                if (price := block.findtext(f"{NS}{tag}")) is not None:
                    clears = self.clearing_price(tag, entry.hour)
                    blocks.setdefault(tag, []).append((mw if Decimal(price) <= clears else Decimal(0), clears))
        for tag, bought in blocks.items():
            resource = entry.element.findtext(f"{NS}resource") or ""
            yield Award(resource, SERVICES.get(tag, "Reg-Down"), tag, entry.hour, entry.day, bought)

    def clearing_price(self, tag: str, hour: Interval) -> Decimal:
        """Return the simulated price of a service in an hour: 2 to 30 per MW."""
        digest = sha256(f"{self.faults.seed}\x1f{tag}\x1f{hour.start.isoformat()}".encode()).digest()
        return Decimal(200 + int.from_bytes(digest[:4]) % 2800) / 100


def product_of(bid: etree._Element) -> str:
    """Return the product whose gate *bid* keeps: all reserves have the same."""
    return "energy-rt" if etree.QName(bid).localname == "RTMEnergyBid" else "reg-up"


def day_of(submitted: datetime, start: datetime, end: datetime) -> bool:
    """Tell whether a query for [start, end) is about what was *submitted* then; a day at most may be asked for."""
    return start <= submitted < end and end - start <= timedelta(days=1)
