"""The mock market's answers, message by message. Every one of them is checked against the published schemas."""

import secrets
from collections.abc import Callable, Iterable
from copy import deepcopy
from datetime import date, datetime
from pathlib import Path

from doubles.ercot.book import NS, Award, Book, Entry, day_of
from doubles.ercot.checks import BidError
from doubles.ercot.offers import schema
from lxml import etree

from bidding.markets.ercot.hours import write
from bidding.markets.ercot.names import EWS, MESSAGE, SOAP

MSG = f"{{{MESSAGE}}}"
MAX_NOTIFICATIONS = 1000
CHANGES = {("create", "BidSet"), ("change", "BidSet"), ("cancel", "BidSet")}


class Answers:
    """What is said to each verb and noun."""

    def __init__(self, book: Book, shared: Path) -> None:
        self.book = book
        self.shared = shared
        self._by: dict[tuple[str, str], Callable[[etree._Element, datetime, int, str], list[etree._Element]]] = {
            ("create", "BidSet"): self._create,
            ("change", "BidSet"): self._create,
            ("cancel", "BidSet"): self._cancel,
            ("get", "BidSet"): self._get,
            ("get", "AwardSet"): self._awards,
            ("get", "P2ValidationSet"): self._second_phase,
            ("get", "BidSetNotifications"): self._notifications,
        }

    def answer(self, message: etree._Element, now: datetime, number: int, body: str) -> etree._Element:
        """Return the `ResponseMessage` to a request that is who it says it is."""
        asked = (message.findtext(f".//{MSG}Verb") or "", message.findtext(f".//{MSG}Noun") or "")
        errors: list[str] = []
        payload: list[etree._Element] = []
        self.book.settle(now, asked=asked not in CHANGES)
        try:
            self._check_schema(message)
            payload = self._by.get(asked, _unknown)(message, now, number, body)
        except BidError as error:
            errors = [str(error)]
        return self.reply(message, now, payload, errors)

    def reply(
        self, message: etree._Element, now: datetime, payload: list[etree._Element], errors: list[str]
    ) -> etree._Element:
        """Return an answer to *message*, schema-valid or an `AssertionError`."""
        told = {
            "MessageID": message.findtext(f".//{MSG}MessageID") or "",
            "Noun": message.findtext(f".//{MSG}Noun") or "",
        }
        root = response("reply", told["Noun"], now, told["MessageID"], payload, errors)
        check(root, schema(self.shared, "Message"))
        for document in payload:
            kinds = {"BidSet": "ErcotTransactions", "AwardSet": "ErcotAwards"}
            kind = kinds.get(etree.QName(document).localname, "ErcotGetNotifications")
            check(document, schema(self.shared, kind))
        return root

    def _check_schema(self, message: etree._Element) -> None:
        """Raise `BidError` where the message, or the document in it, is not valid by the published schemas."""
        for root, kind in [(message, "Message"), *((one, _schema_of(one)) for one in _documents(message))]:
            validator = schema(self.shared, kind)
            if not validator.validate(etree.fromstring(etree.tostring(root))):
                raise BidError(f"BAD PAYLOAD: {validator.error_log}")

    def _create(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        root = next(iter(_documents(message)), None)
        if root is None or root.tag != f"{NS}BidSet":
            raise BidError("BAD PAYLOAD: no BidSet")
        taken = self.book.submit(root, now, number, body)
        return [bid_set(taken[0].day, now, taken)]

    def _cancel(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        del number, body
        mrids = self._named(message)
        if not mrids:
            raise BidError("INVALID REQUEST: nothing to cancel is named")
        found = self.book.cancel(mrids, now)
        return [bid_set(found[0].day, now, found)] if found else []

    def _get(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        del number, body
        found = list(self.book.standing(self._named(message)))
        return [bid_set(found[0].day, now, found, whole=True)] if found else []

    def _awards(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        del number, body, now
        day = date.fromisoformat(message.findtext(f".//{MSG}TradingDate") or "")
        root = etree.Element(f"{NS}AwardSet", nsmap={"ns2": EWS})
        _add(root, "tradingDate", day.isoformat())
        for award in self.book.awards.get(day, []):
            add_award(root, self.book.qse, award)
        return [root]

    def _second_phase(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        del number, body
        day = date.fromisoformat(message.findtext(f".//{MSG}TradingDate") or "")
        kind = message.findtext(f".//{MSG}Option")
        found = [one for one in self.book.entries if one.status == "P2" and one.day == day and one.tag == kind]
        return [bid_set(day, now, found)] if found else []

    def _notifications(self, message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
        del number, body
        query = next(iter(_documents(message)), None)
        if query is None:
            raise BidError("BAD PAYLOAD: no NotificationQuery")
        start, end = (datetime.fromisoformat(query.findtext(f"{NS}{tag}") or "") for tag in ("startTime", "endTime"))
        if (end - start).total_seconds() > 24 * 3600 or (now - start).days >= 4:
            raise BidError("INVALID REQUEST: a query spans a day at most, and goes back four")
        mrids = {one for given in query.iter(f"{NS}mRID") for one in self.book.named(given.text or "")}
        found = [one for one in self.book.told if one.mrid in mrids and day_of(one.submitted_at, start, end)]
        root = etree.Element(f"{NS}NotificationMessages", nsmap={None: EWS})  # type: ignore[dict-item]
        for number_of in sorted({one.number for one in found})[:MAX_NOTIFICATIONS]:
            together = [one for one in self.book.told if one.number == number_of]
            root.append(response("changed", "BidSet", now, "", [bid_set(together[0].day, now, together)], []))
        return [root]

    def _named(self, message: etree._Element) -> set[str]:
        return {one for given in message.iter(f"{MSG}ID") for one in self.book.named(given.text or "")}


def _unknown(message: etree._Element, now: datetime, number: int, body: str) -> list[etree._Element]:
    raise BidError("INVALID REQUEST: no such verb and noun here")


def response(  # noqa: PLR0917 - a message's parts, in its order
    verb: str, noun: str, now: datetime, message_id: str, payload: Iterable[etree._Element], errors: list[str]
) -> etree._Element:
    """Return a `ResponseMessage`."""
    root = etree.Element(f"{MSG}ResponseMessage", nsmap={"ns0": MESSAGE})
    header = etree.SubElement(root, f"{MSG}Header")
    for tag, content in (("Verb", verb), ("Noun", noun)):
        etree.SubElement(header, f"{MSG}{tag}").text = content
    replay = etree.SubElement(header, f"{MSG}ReplayDetection")
    etree.SubElement(replay, f"{MSG}Nonce").text = secrets.token_hex(16)
    etree.SubElement(replay, f"{MSG}Created").text = write(now)
    for tag, content in (("Revision", "1"), ("Source", "ERCOT"), ("MessageID", message_id)):
        etree.SubElement(header, f"{MSG}{tag}").text = content
    reply = etree.SubElement(root, f"{MSG}Reply")
    etree.SubElement(reply, f"{MSG}ReplyCode").text = "ERROR" if errors else "OK"
    for error in errors:
        etree.SubElement(reply, f"{MSG}Error").text = error
    etree.SubElement(reply, f"{MSG}Timestamp").text = write(now)
    if documents := list(payload):
        section = etree.SubElement(root, f"{MSG}Payload")
        section.extend(documents)
        etree.SubElement(section, f"{MSG}format").text = "XML"
    return root


def bid_set(day: date, now: datetime, entries: list[Entry], *, whole: bool = False) -> etree._Element:
    """Return what is said of *entries*: their names and states, and if *whole* their curves."""
    root = etree.Element(f"{NS}BidSet", nsmap={"ns1": EWS})
    _add(root, "tradingDate", day.isoformat())
    _add(root, "submitTime", write(now))
    for entry in entries:
        bid = etree.SubElement(root, f"{NS}{entry.tag}")
        whole_bid = deepcopy(entry.element)
        if whole:
            bid.extend([child for child in whole_bid if child.tag in {f"{NS}startTime", f"{NS}endTime"}])
        _add(bid, "mRID", entry.mrid)
        _add(bid, "externalId", entry.external_id)
        _add(bid, "status", {"P2": "CANCELED", "OVERWRITTEN": "ACCEPTED"}.get(entry.status, entry.status))
        for error in entry.errors:
            section = _add(bid, "error")
            _add(section, "severity", "ERROR")
            _add(section, "text", error)
        if whole:
            rest = {f"{NS}{tag}" for tag in ("startTime", "endTime", "externalId")}
            bid.extend([child for child in whole_bid if child.tag not in rest])
    return root


def fault(reason: str, now: datetime, *, ours: bool = False) -> etree._Element:
    """Return a SOAP fault that blames the sender, or where *ours* the market."""
    root = etree.Element(f"{{{SOAP}}}Fault", nsmap={"soap": SOAP})
    etree.SubElement(root, "faultcode").text = "soap:Server" if ours else "soap:Client"
    etree.SubElement(root, "faultstring").text = reason
    message = etree.SubElement(etree.SubElement(root, "detail"), f"{MSG}FaultMessage", nsmap={"ns0": MESSAGE})
    reply = etree.SubElement(message, f"{MSG}Reply")
    etree.SubElement(reply, f"{MSG}ReplyCode").text = "FATAL" if ours else "ERROR"
    etree.SubElement(reply, f"{MSG}Error").text = reason
    etree.SubElement(reply, f"{MSG}Timestamp").text = write(now)
    return root


def check(root: etree._Element, validator: etree.XMLSchema) -> None:
    """Raise `AssertionError` where our own answer is not one of ERCOT's."""
    assert validator.validate(etree.fromstring(etree.tostring(root))), validator.error_log


def _documents(message: etree._Element) -> list[etree._Element]:
    section = message.find(f"{MSG}Payload")
    return [] if section is None else [child for child in section if child.tag != f"{MSG}format"]


def _schema_of(document: etree._Element) -> str:
    return "ErcotGetNotifications" if document.tag == f"{NS}NotificationQuery" else "ErcotTransactions"


def _add(parent: etree._Element, tag: str, content: str | None = None) -> etree._Element:
    child = etree.SubElement(parent, f"{NS}{tag}")
    child.text = content
    return child


def add_award(root: etree._Element, qse: str, award: Award) -> None:
    """Add one award to an AwardSet."""
    awarded = _add(root, "AwardedAS")
    _add(awarded, "qse", qse)
    _add(awarded, "startTime", write(award.hour.start))
    _add(awarded, "endTime", write(award.hour.end))
    _add(awarded, "tradingDate", award.day.isoformat())
    _add(awarded, "marketType", "DAM")
    _add(awarded, "resource", award.resource)
    _add(awarded, "asType", award.service)
    curve = _add(awarded, "awardedMW")
    _add(curve, "startTime", write(award.hour.start))
    _add(curve, "endTime", write(award.hour.end))
    for place, (mw, price) in enumerate(award.blocks, start=1):
        block = _add(curve, "RegDown" if award.tag == "REGDN" else "OnLineReserves")
        _add(block, "xvalue", str(mw))
        _add(block, "RRS" if award.tag.startswith("RRS") else award.tag, f"{price:.2f}")
        _add(block, "block", str(place))
