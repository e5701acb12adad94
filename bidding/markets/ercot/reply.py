"""What ERCOT answers: `ResponseMessage`, awards, notifications, cancellations. Pure; any bytes, one line on refusal."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

from bidding.markets import Notice
from bidding.markets.ercot import names
from bidding.markets.ercot.decode import Transaction, transactions
from bidding.markets.ercot.hours import hours, read, read_date, read_interval, token
from bidding.markets.ercot.names import EWS, MESSAGE, clark
from bidding.markets.ercot.xml import Element, children, find, gunzip, name, number, one_line, parse, required, text
from pipeline.errors import VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Award

OK, ERROR, FATAL = "OK", "ERROR", "FATAL"
_MRID = re.compile(r"([^.]{1,64})\.(\d{8})\.(?:REB\.([^.]{1,64})|ASO\.([^.]{1,64})\.([^.]{1,32}))(?:\.([0-9R-]{1,7}))?")
_ALL = {names.ENERGY_BID: (names.ENERGY,), names.DOWN: (names.REG_DOWN,), names.ONLINE: tuple(names.BLOCK_PRICES)}


@dataclass(frozen=True)
class Reply:
    """One answer, its payload still XML."""

    code: str
    """`OK`, `ERROR` (no) or `FATAL` (ERCOT failed)."""
    errors: tuple[str, ...]
    at: datetime | None
    verb: str
    noun: str
    message_id: str
    payload: Element | None

    @property
    def why(self) -> str:
        """Its errors in one line."""
        return "; ".join(self.errors) or "no reason given"


@dataclass(frozen=True)
class Key:
    """What an mRID says."""

    resource: str
    kind: str
    """`RTMEnergyBid`, `Reg-Down` or `REGUP-RRS-ONNS`."""
    hours: tuple[Interval, ...]


def read_reply(root: Element) -> Reply:
    """Read a `ResponseMessage`, or the `FaultMessage` of a SOAP fault; raise `VenueError` on anything else."""
    if root.tag not in {clark(MESSAGE, "ResponseMessage"), clark(MESSAGE, "FaultMessage")}:
        raise VenueError(f"not an answer of ERCOT's but {one_line(name(root), 40)!r}")
    header, reply = find(root, "Header"), find(root, "Reply")
    if reply is None:
        raise VenueError("an answer without a Reply")
    code, at = required(reply, "ReplyCode"), text(reply, "Timestamp")
    if code not in {OK, ERROR, FATAL}:
        raise VenueError(f"an answer with the unknown ReplyCode {one_line(code, 40)!r}")
    return Reply(
        code=code,
        errors=tuple(one_line(error.text or "") for error in children(reply, "Error")),
        at=read(at) if at else None,
        verb="" if header is None else text(header, "Verb"),
        noun="" if header is None else text(header, "Noun"),
        message_id="" if header is None else text(header, "MessageID"),
        payload=_payload(root),
    )


def read_fault(root: Element) -> tuple[str, str]:
    """Return a SOAP fault's code and what it says; raise `VenueError` where *root* is none."""
    if name(root) != "Fault":
        raise VenueError(f"neither an answer of ERCOT's nor a fault but {one_line(name(root), 40)!r}")
    detail = find(root, "detail")
    inside = next(children(detail, "FaultMessage"), None) if detail is not None else None
    told = read_reply(inside).why if inside is not None else ""
    return text(root, "faultcode").rpartition(":")[2], one_line(
        f"{text(root, 'faultstring')} {told}"
    ) or "no reason given"


def bids(reply: Reply) -> Element | None:
    """Return the BidSet of *reply*, None where it carries none."""
    return reply.payload if reply.payload is not None and reply.payload.tag == clark(EWS, "BidSet") else None


def read_awards(reply: Reply, resource: str) -> tuple[Award, ...]:
    """
    Return what the Day-Ahead Market bought of *resource*; hours in which it bought nothing are left out.

    ERCOT knows neither our offers nor an award's own name: the name is the hourly mRID that *Services Organization*
    gives as an example for awards. Awards of what we do not sell, and kinds that are newer than these schemas, are
    passed over.
    """
    if reply.payload is None:
        return ()
    if reply.payload.tag != clark(EWS, "AwardSet"):
        raise VenueError(f"not an AwardSet but {one_line(name(reply.payload), 40)!r}")
    at = reply.at or datetime.min.replace(tzinfo=UTC)
    return tuple(
        award
        for awarded in children(reply.payload, "AwardedAS")
        if text(awarded, "resource") == resource and text(awarded, "asType") in names.AWARDED
        for curve in children(awarded, "awardedMW")
        if (award := _award(awarded, curve, at)) is not None
    )


def read_notices(reply: Reply, resource: str) -> tuple[Notice, ...]:
    """
    Return what the second phase of validation took back of *resource*, one notice for each hour and product.

    ERCOT cancels a key, not a product: all products under it are named, offered or not.
    """
    root = bids(reply)
    if root is None:
        return ()
    read_date(required(root, "tradingDate"))
    submitted = text(root, "submitTime")
    at = read(submitted) if submitted else reply.at
    found = [bid for bid in transactions(root) if bid.status == "CANCELED"]
    return tuple(
        _notice(bid, key.resource, product, hour, at or hour.start)
        for bid in found
        if (key := read_mrid(bid.mrid, bid.span)).resource == resource
        for hour in key.hours
        for product in _ALL[key.kind]
    )


def read_notifications(reply: Reply) -> Iterator[Transaction]:
    """Yield what ERCOT told of bids, newest last as it returned them."""
    if reply.payload is None:
        return
    if reply.payload.tag != clark(EWS, "NotificationMessages"):
        raise VenueError(f"not NotificationMessages but {one_line(name(reply.payload), 40)!r}")
    for message in children(reply.payload, "ResponseMessage"):
        root = bids(read_reply(message))
        if root is not None:
            yield from transactions(root)


def read_mrid(mrid: str, span: Interval | None = None) -> Key:
    """Return what *mrid* names; without hours of its own, those of *span*, or all of its day."""
    match = _MRID.fullmatch(mrid)
    if match is None:
        raise VenueError(f"not an mRID of ours: {one_line(mrid, 80)!r}")
    _, written, load, resource, kind, named = match.groups()
    day = read_date(f"{written[:4]}-{written[4:6]}-{written[6:]}")
    if kind not in {names.DOWN, names.ONLINE, None}:
        raise VenueError(f"not an offer of ours: {one_line(mrid, 80)!r}")
    return Key(resource or load, kind or names.ENERGY_BID, _named_hours(day, named, span))


def _named_hours(day: date, named: str | None, span: Interval | None) -> tuple[Interval, ...]:
    all_hours = hours(day)
    if named is None:
        return tuple(hour for hour in all_hours if span is None or hour.start in span)
    tokens = [token(hour) for hour in all_hours]
    first, _, last = named.partition("-")
    wanted = [one if one.endswith("R") else one.zfill(2) for one in (first, last or first)]
    if not set(wanted) <= set(tokens) or tokens.index(wanted[0]) > tokens.index(wanted[1]):
        raise VenueError(f"{day} has no hours {one_line(named, 20)!r}")
    return all_hours[tokens.index(wanted[0]) : tokens.index(wanted[1]) + 1]


def _payload(root: Element) -> Element | None:
    """Return the first document in the payload, unpacked where it travelled compressed."""
    payload = find(root, "Payload")
    if payload is None:
        return None
    for packed, unpack in (("Compressed", gunzip), ("Document", str.encode)):
        if content := text(payload, packed):
            return parse(unpack(content))
    return next((child for child in children(payload) if name(child) != "format"), None)


def _award(awarded: Element, curve: Element, at: datetime) -> Award | None:
    """Return what one curve of an award says: the blocks are added up, their price is the service's clearing price."""
    span = read_interval(required(curve, "startTime"), required(curve, "endTime"))
    blocks = [
        (number(block, "xvalue"), number(block, name(price)))
        for block in children(curve, "OnLineReserves", "RegDown")
        for price in children(block, "RRS", "REGDN", *names.BLOCK_PRICES.values())
    ]
    bought = [(mw, price) for mw, price in blocks if mw > 0]
    if not bought:
        return None
    resource, service = required(awarded, "resource"), required(awarded, "asType")
    day = read_date(required(awarded, "tradingDate"))
    return Award(
        award_id=f"{required(awarded, 'qse')}.{day:%Y%m%d}.ASO.{resource}.{service}.{token(span)}",
        offer_id="",
        resource=resource,
        product=names.AWARDED[service],
        interval=span,
        quantity_mw=sum((mw for mw, _ in bought), Decimal(0)),
        price_per_mwh=min(price for _, price in bought),
        currency="USD",
        awarded_at=at,
    )


def _notice(bid: Transaction, resource: str, product: str, hour: Interval, at: datetime) -> Notice:
    parts = (bid.mrid, bid.external_id, product, hour.start.isoformat())
    return Notice(
        notice_id=sha256("\x1f".join(parts).encode()).hexdigest()[:32],
        resource=resource,
        product=product,
        interval=hour,
        reason="; ".join(bid.reasons) or "cancelled by ERCOT's second phase of validation",
        issued_at=at,
    )
