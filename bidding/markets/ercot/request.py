"""What we ask of ERCOT, as `RequestMessage`. Pure: nonces, ids and instants are handed in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from lxml import etree

from bidding.markets.ercot.encode import stripped
from bidding.markets.ercot.hours import write
from bidding.markets.ercot.names import EWS, MAX_PAYLOAD_BYTES, MESSAGE, clark
from bidding.markets.ercot.xml import Element, parse

TRANSACTIONS, INFORMATION = "MarketTransactions", "MarketInfo"
"""The operations of Nodal.wsdl that take our requests."""


@dataclass(frozen=True)
class Sender:
    """Who asks: the QSE's short name, and the user that ERCOT logs."""

    source: str
    user: str


@dataclass(frozen=True)
class Request:
    """One request before it is addressed, dated and signed."""

    operation: str
    verb: str
    noun: str
    market: str = ""
    day: date | None = None
    option: str = ""
    ids: tuple[str, ...] = ()
    payload: bytes | None = None
    """A document of ours; its comments stay at home."""


def create(document: bytes) -> Request:
    """Submit a BidSet. ERCOT takes `create` for a set that it has already as `change`."""
    return Request(TRANSACTIONS, "create", "BidSet", payload=document)


def cancel(mrids: Sequence[str]) -> Request:
    """Take hours back."""
    return Request(TRANSACTIONS, "cancel", "BidSet", ids=tuple(mrids))


def get_bids(mrids: Sequence[str]) -> Request:
    """Ask what is held of these hours."""
    return Request(TRANSACTIONS, "get", "BidSet", ids=tuple(mrids))


def get_awards(day: date) -> Request:
    """Ask what the Day-Ahead Market bought for *day*."""
    return Request(INFORMATION, "get", "AwardSet", market="DAM", day=day)


def get_cancelled(day: date, kind: str) -> Request:
    """Ask what the second phase of validation cancelled of bids of *kind* for *day*."""
    return Request(INFORMATION, "get", "P2ValidationSet", day=day, option=kind)


def get_notifications(start: datetime, end: datetime, mrids: Iterable[str]) -> Request:
    """Ask for what ERCOT told of bids that were submitted in [start, end), a day at most."""
    query = etree.Element(clark(EWS, "NotificationQuery"), nsmap={"ews": EWS})
    for tag, content in [("startTime", write(start)), ("endTime", write(end)), *(("mRID", mrid) for mrid in mrids)]:
        etree.SubElement(query, clark(EWS, tag)).text = content
    return Request(INFORMATION, "get", "BidSetNotifications", payload=etree.tostring(query))


def message(request: Request, sender: Sender, nonce: str, now: datetime) -> Element:
    """Return *request* as `RequestMessage`; the nonce names the message, and ERCOT returns it with the answer."""
    root = etree.Element(clark(MESSAGE, "RequestMessage"), nsmap={"msg": MESSAGE})
    header = _add(root, "Header")
    _add(header, "Verb", request.verb)
    _add(header, "Noun", request.noun)
    replay = _add(header, "ReplayDetection")
    _add(replay, "Nonce", nonce)
    _add(replay, "Created", write(now))
    _add(header, "Revision", "1")
    _add(header, "Source", sender.source)
    _add(header, "UserID", sender.user)
    _add(header, "MessageID", nonce)
    _add_parameters(root, request)
    if request.payload is not None:
        _add(root, "Payload").append(stripped(parse(request.payload, MAX_PAYLOAD_BYTES)))
    return root


def _add_parameters(root: Element, request: Request) -> None:
    told = [("MarketType", request.market), ("TradingDate", request.day.isoformat() if request.day else "")]
    told += [("Option", request.option), *(("ID", mrid) for mrid in request.ids)]
    parameters = [(tag, content) for tag, content in told if content]
    if parameters:
        section = _add(root, "Request")
        for tag, content in parameters:
            _add(section, tag, content)


def _add(parent: Element, tag: str, content: str | None = None) -> Element:
    child = etree.SubElement(parent, clark(MESSAGE, tag))
    child.text = content
    return child
