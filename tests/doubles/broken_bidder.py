"""Five planted bugs, each in the one part it belongs to. The harness has to catch every one of them."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
from doubles.bidder import Build
from pydantic import BaseModel

from bidding.chain import Record, chained
from bidding.entries import Sent
from bidding.journal import INSERT, Journal
from bidding.markets import Receipt
from bidding.standby import Primary
from bidding.states import DocumentRecord
from bidding.submit import Submitter
from pipeline.errors import EnvironmentProblem
from pipeline.messages.market import Offer

MOST_TRIES = 200
"""To write behind another writer; a broken build must not keep a processor busy for ever."""


class BlindRetry(Submitter):
    """Sends again what it got no answer to, without asking."""

    async def _ask_about(self, name: str, offers: Sequence[Offer]) -> list[Offer]:
        del name
        return list(offers)

    async def _still_absent(self, name: str, offers: Sequence[Offer]) -> bool:
        del name, offers
        return True


class MarkBeforeSend(Submitter):
    """Writes down that the venue has it, then sends."""

    async def _send_now(self, document: DocumentRecord, offers: Sequence[Offer]) -> list[Offer]:
        self._book.write(Sent(document_id=document.document_id, attempt=document.attempts + 1))
        status = "withdrawn" if document.withdraws else "accepted"
        for offer in offers:
            self._book.write(
                Receipt(offer_id=offer.offer_id, receipt="", status=status, accepted_mw=Decimal(offer.quantity_mw))
            )
        try:
            answer: Mapping[str, Receipt] = {r.offer_id: r for r in await self._request(document, offers)}
        except Exception:  # noqa: BLE001 - it thinks that it need not know
            return []
        self._take(answer)
        return []


class Buffered(Journal):
    """Says that a record is on disk before it is; those not written yet are what a power cut would take."""

    WRITES_EVERY = 8

    def append(self, at: datetime, kind: str, payload: BaseModel | msgspec.Struct) -> Record:
        """Return at once; every eighth time write them all."""
        body = payload.model_dump_json().encode() if isinstance(payload, BaseModel) else msgspec.json.encode(payload)
        record = chained(self._last, at, kind, body, self.epoch)
        self._last = record
        waiting: list[Record] = self.__dict__.setdefault("waiting", [])
        waiting.append(record)
        if len(waiting) >= self.WRITES_EVERY:
            self.write_out()
        return record

    def write_out(self) -> None:
        """Write what waits."""
        waiting: list[Record] = self.__dict__.get("waiting", [])
        with self._as_primary():
            for record in waiting:
                self._database.execute(INSERT, _row(record))
        waiting.clear()

    def __exit__(self, *reason: object) -> None:
        if reason[0] is None:
            self.write_out()
        super().__exit__(*reason)


class Unfenced(Journal):
    """Whoever has it open writes."""

    def append(self, at: datetime, kind: str, payload: BaseModel | msgspec.Struct) -> Record:
        """Write behind whatever is there, whosesoever it is."""
        body = payload.model_dump_json().encode() if isinstance(payload, BaseModel) else msgspec.json.encode(payload)
        for _ in range(MOST_TRIES):
            found = self._database.execute("SELECT number, hash FROM records ORDER BY number DESC LIMIT 1").fetchone()
            number, digest = found or (0, "")
            last = Record(at=at, kind="", payload=msgspec.Raw(b""), hash=digest, number=number)
            record = chained(last if found else None, at, kind, body, self.epoch)
            try:
                self._database.execute(INSERT, _row(record))
            except sqlite3.Error:
                continue  # the other one was quicker
            return record
        raise EnvironmentProblem(f"the journal {self.path} takes no record: {MOST_TRIES} tries")

    def beat(self) -> None:
        """Beat, whoever is the primary."""
        self._database.execute("UPDATE lease SET beat = beat + 1")


class Unguarded(Primary):
    """Never doubts that it is the primary."""

    def check(self) -> None:
        """Find nothing wrong."""

    async def run(self) -> None:
        """Beat on."""
        while True:
            self._journal.beat()
            await asyncio.sleep(self._takeover_s / 6)


class Anonymous(Submitter):
    """Tells the venue no epoch that could be too low."""

    async def _request(self, document: DocumentRecord, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        if document.withdraws:
            return await self._market.withdraw(offers, 0)
        return await self._market.submit(document.content, offers, 0)


class GateOff(Submitter):
    """Does not look at gates."""

    def _gate_closed(self, offer: Offer) -> bool:
        del offer
        return False


def _row(record: Record) -> tuple[object, ...]:
    payload = bytes(record.payload).decode()
    return record.number, record.epoch, record.at.isoformat(), record.kind, payload, record.hash


def blind_retry() -> Build:
    """Return the build that retries blindly."""
    return Build(submitter=BlindRetry)


def mark_before_send() -> Build:
    """Return the build that marks offers as done before it sends them."""
    return Build(submitter=MarkBeforeSend)


def no_fsync() -> Build:
    """Return the build that does not wait for the disk."""
    return Build(journal=Buffered)


def no_fencing() -> Build:
    """Return the build in which a stale primary goes on."""
    return Build(journal=Unfenced, primary=Unguarded, submitter=Anonymous)


def gate_off() -> Build:
    """Return the build that sends after the gate."""
    return Build(submitter=GateOff)


SYMPTOM = {
    "blind retry": "duplicates",
    "mark before send": "lost",
    "no fsync": "duplicates",
    "no fencing": "duplicates",
    "gate off": "after_gate",
}
"""What each bug has to show by, whatever else it does."""

PLANTED = {
    "blind retry": blind_retry,
    "mark before send": mark_before_send,
    "no fsync": no_fsync,
    "no fencing": no_fencing,
    "gate off": gate_off,
}
