"""
What the mock market finds wrong with a BidSet, first by form and gate, then by the rules that the schema cannot hold.

Written from the public rules (NP4-450-M and Nodal Protocols as knowledge about them was collected), not from our rule
layer, whose offers it has to catch out.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from lxml import etree

from bidding.markets.ercot.hours import hours
from bidding.markets.ercot.names import EWS, ZONE
from bidding.products import Rules
from pipeline.interval import Interval

NS = f"{{{EWS}}}"
BLOCKS = {"REGUP-RRS-ONNS": "OnLineReserves", "Reg-Down": "RegDown"}
PRICES = {
    "OnLineReserves": ("REGUP", "RRSPF", "RRSFF", "RRSUF", "ONNS", "ECRS"),
    "RegDown": ("REGDN",),
}
DAY_AHEAD_CAP, REAL_TIME_CAP, FLOOR = Decimal(5000), Decimal(2000), Decimal(-250)
MAX_EQUAL = 2


class BidError(Exception):
    """Nothing of the request is taken; the text is ERCOT's error."""


def scan(
    root: etree._Element, rules: dict[str, Rules], now: datetime
) -> tuple[date, list[tuple[etree._Element, str, Interval, str]]]:
    """Return the trading date, and of each bid its key, its hour, and `closed` where its gate is; or `BidError`."""
    day = date.fromisoformat(root.findtext(f"{NS}tradingDate") or "")
    bids = list(root.iter(f"{NS}ASOffer", f"{NS}RTMEnergyBid"))
    if not bids or len(bids) != len(root) - 1:
        raise BidError("BAD BIDSET: this counterpart takes ASOffer and RTMEnergyBid, nothing else")
    if len({bid.tag for bid in bids}) > 1:
        raise BidError("BAD BIDSET: one type of bid in a set")
    found = [(bid, *_scanned(bid, day, rules, now)) for bid in bids]
    names = [(key, hour) for _, key, hour, _ in found]
    if len(set(names)) < len(names):
        raise BidError("BAD BIDSET: the same hour twice")
    return day, found


def _scanned(bid: etree._Element, day: date, rules: dict[str, Rules], now: datetime) -> tuple[str, Interval, str]:
    hour = _hour(bid, day)
    resource, expires = bid.findtext(f"{NS}resource"), bid.findtext(f"{NS}expirationTime")
    if not resource or not expires or bid.findtext(f"{NS}status") is not None:
        raise BidError("BAD BIDSET: resource and expirationTime are required, status is ERCOT's")
    energy = bid.tag == f"{NS}RTMEnergyBid"
    _check_expiry(datetime.fromisoformat(expires).astimezone(ZONE), day, energy=energy)
    kind = bid.findtext(f"{NS}asType")
    if not energy and kind not in BLOCKS:
        raise BidError(f"BAD BIDSET: asType {kind} is not one for an AS offer")
    gate = rules["energy-rt" if energy else "reg-up"].gate_closes(hour)
    return f"REB.{resource}" if energy else f"ASO.{resource}.{kind}", hour, "closed" if now >= gate else ""


def _check_expiry(expires: datetime, day: date, *, energy: bool) -> None:
    """Refuse an expiry that the pages do not allow: reserves before the trade date, energy during it."""
    midnight = datetime.combine(day, datetime.min.time(), ZONE)
    after = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZONE)
    if (energy and not midnight <= expires <= after) or (not energy and not expires < midnight):
        raise BidError(f"BAD BIDSET: expirationTime {expires.isoformat()} is not one for {day}")


def _hour(bid: etree._Element, day: date) -> Interval:
    """Return the one hour of *bid*, of its own span and of its curve alike."""
    spans = [bid, *bid.iter(f"{NS}PriceCurve", f"{NS}ASPriceCurve")]
    bounds = {(_instant(at.findtext(f"{NS}startTime")), _instant(at.findtext(f"{NS}endTime"))) for at in spans}
    found = [hour for hour in hours(day) if (hour.start, hour.end) in bounds]
    if len(spans) != 2 or len(bounds) != 1 or len(found) != 1:
        raise BidError(f"BAD BIDSET: not one hour of {day}, with one curve; this counterpart takes them one by one")
    return found[0]


def _instant(text: str | None) -> datetime:
    if not text:
        raise BidError("BAD BIDSET: a bid or curve without its times")
    return datetime.fromisoformat(text).astimezone(tz=ZONE)


def bid_problems(bid: etree._Element, rules: dict[str, Rules]) -> list[str]:
    """Return what is wrong with *bid* beyond its form."""
    del rules
    if bid.tag == f"{NS}RTMEnergyBid":
        return list(_energy_problems(bid))
    return list(_reserve_problems(bid))


def _energy_problems(bid: etree._Element) -> Iterator[str]:
    points = [
        (Decimal(at.findtext(f"{NS}xvalue") or "nan"), Decimal(at.findtext(f"{NS}y1value") or "nan"))
        for at in bid.iter(f"{NS}CurveData")
    ]
    mws, prices = [mw for mw, _ in points], [price for _, price in points]
    if len(points) < MAX_EQUAL or mws[0] != 0 or mws[1] == 0 or mws[-1] < Decimal("0.1"):
        yield "the first point has to be 0 MW, the second not, the last at least 0.1 MW"
    if mws != sorted(mws):
        yield "MW may not fall"
    if prices != sorted(prices, reverse=True):
        yield "the price of an energy bid may not rise"
    if _runs(mws) > MAX_EQUAL or _runs(prices) > MAX_EQUAL:
        yield "more than two points in a row with one price or one quantity"
    if max(prices) > REAL_TIME_CAP or min(prices) < FLOOR:
        yield f"a price outside {FLOOR} to {REAL_TIME_CAP}"
    if any(mw != mw.quantize(Decimal("0.1")) for mw in mws):
        yield "more than one decimal of a MW"


def _reserve_problems(bid: etree._Element) -> Iterator[str]:
    wanted = BLOCKS[bid.findtext(f"{NS}asType") or ""]
    blocks = list(bid.iter(f"{NS}OnLineReserves", f"{NS}RegDown", f"{NS}OffLineNonSpin"))
    if any(block.tag != f"{NS}{wanted}" for block in blocks):
        yield f"blocks have to be {wanted}"
        return
    for block in blocks:
        mw = Decimal(block.findtext(f"{NS}xvalue") or "nan")
        told = [Decimal(price) for tag in PRICES[wanted] if (price := block.findtext(f"{NS}{tag}")) is not None]
        if not told or min(told) < 0 or max(told) > DAY_AHEAD_CAP:
            yield f"a block needs a price from 0 to {DAY_AHEAD_CAP}"
        if mw < Decimal("0.1") or mw != mw.quantize(Decimal("0.1")):
            yield "a block has at least 0.1 MW, in tenths"
        if block.findtext(f"{NS}block") not in {"FIXED", "VARIABLE"}:
            yield "a block is FIXED or VARIABLE"


def _runs(values: list[Decimal]) -> int:
    """Return the length of the longest run of equal neighbours."""
    longest = run = 1
    for before, after in pairwise(values):
        run = run + 1 if before == after else 1
        longest = max(longest, run)
    return longest
