"""
A mock of ERCOT's External Web Services as a process of its own: HTTPS with mutual TLS, signed SOAP, strict.

    python tests/doubles/ercot/server.py --folder DIR --shared DIR [--clock WORD] [--lose-replies 0.2] …

It makes its certificates in DIR (`certificates.py`), checks every message's signature with signxml and its form with
the published schemas, holds the book (`book.py`), and prints `ready URL CONTROL` on stderr. CONTROL is plain HTTP on
loopback, for tests: `GET /audit`, `POST /faults`, `POST /clock`, `POST /cancel`,
`POST /reset`. Requests go to `DIR/requests.jsonl`.

It is built from public documents. What they do not say is our reading: the README of `bidding/markets/ercot` lists it.
"""

import argparse
import json
import signal
import ssl
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cryptography import x509  # noqa: E402 - after the path
from doubles.ercot import certificates  # noqa: E402
from doubles.ercot.answers import CHANGES, Answers, fault  # noqa: E402
from doubles.ercot.book import Book  # noqa: E402
from doubles.ercot.checks import BidError  # noqa: E402
from doubles.ercot.faults import Faults  # noqa: E402
from lxml import etree  # noqa: E402
from signxml.verifier import SignatureConfiguration, XMLVerifier  # noqa: E402

from bidding.markets.ercot.keys import load_signer  # noqa: E402
from bidding.markets.ercot.names import MESSAGE, SOAP, WSSE, WSU  # noqa: E402
from bidding.markets.ercot.security import sign  # noqa: E402
from bidding.products.load import load  # noqa: E402
from pipeline.clock import Clock  # noqa: E402

CREATED_WINDOW = timedelta(minutes=5)
MAX_BODY = 3_000_000
RESOURCES = {"AIFAC_CLR1", "AIFAC_CLR2"}
MSG = f"{{{MESSAGE}}}"


class RefusedError(Exception):
    """The message is not who it says it is; answered with a fault."""


class Mock:
    """The market behind its two doors; one lock, one request at a time."""

    def __init__(self, wanted: argparse.Namespace, faults: Faults) -> None:
        self.faults = faults
        self.folder = Path(wanted.folder)
        self.clock = Clock.parse(wanted.clock)
        self.moved = timedelta(0)
        self.lock = threading.Lock()
        self.number = 0
        self.answered = b""
        self.nonces: set[str] = set()
        certificates.make(self.folder)
        self.signer = load_signer(self.folder / "ercot.pem", self.folder / "ercot.key")
        self.authority = x509.load_pem_x509_certificate((self.folder / "ca.pem").read_bytes())
        self._wanted = wanted
        self._rules = load("ercot", self.now().date())
        self._open_book()
        self.journal = Path(wanted.journal) if wanted.journal else None
        self._remember()
        self.log = (self.folder / "requests.jsonl").open("a", encoding="utf-8")

    def _open_book(self) -> None:
        """Begin with an empty book, at the clock's own time."""
        self.moved = timedelta(0)
        wanted = self._wanted
        self.book = Book(certificates.QSE, self._rules, self.faults, wanted.judge_ms, wanted.judge_polls)
        self.answers = Answers(self.book, Path(wanted.shared))

    def _remember(self) -> None:
        """Apply again, at their own instants, the changes that an earlier process wrote down."""
        lines = self.journal.read_text(encoding="utf-8").splitlines() if self.journal and self.journal.exists() else []
        for line in map(json.loads, lines):
            message = etree.fromstring(line["message"].encode())
            self.answers.answer(message, datetime.fromisoformat(line["at"]), line["number"], line["body"])
            self.number = line["number"]

    def _write_down(self, message: etree._Element, now: datetime, number: int, body: str) -> None:
        if self.journal:
            line = {"at": now.isoformat(), "number": number, "body": body, "message": etree.tostring(message).decode()}
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def now(self) -> datetime:
        """Return what the market's clock shows."""
        return self.clock.now() + self.moved

    def receive(self, raw: bytes) -> tuple[int, bytes | None, float]:
        """Return status, body (None: hang up) and delay of the answer to *raw*."""
        with self.lock:
            self.number += 1
            number, now = self.number, self.now()
            try:
                message = self._message(raw, now)
            except RefusedError as error:
                self._note(now, "refused", [], "", str(error))
                return 500, sign(fault(str(error), now), self.signer, now), 0.0
            asked = (message.findtext(f".//{MSG}Verb") or "", message.findtext(f".//{MSG}Noun") or "")
            body = _digest(message)
            if asked in CHANGES:
                self._write_down(message, now, number, body)
            root = self.answers.answer(message, now, number, body)
            code = root.findtext(f".//{MSG}ReplyCode") or ""
            mrids = [one.text or "" for one in root.iter("{*}mRID")]
            drawn = self._disturbed(asked, number)
            lost = "lose_replies" in drawn
            self.book.counts["replies_lost"] += lost
            self._note(now, " ".join(asked), mrids, body, f"{code}{' lost' if lost else ''}")
            if "fatal_share" in drawn:
                for found in root.iter(f"{MSG}ReplyCode"):
                    found.text = "FATAL"
            answered, before = sign(root, self.signer, now), self.answered
            self.answered = answered
            if "mixed_up" in drawn:
                answered = before
            if "bad_signatures" in drawn:
                answered = answered.replace(b"SUBMITTED", b"ACCEPTED")
        return 200, None if lost else answered, self.faults.late_s if "late_replies" in drawn else 0.0

    def _disturbed(self, asked: tuple[str, str], number: int) -> set[str]:
        """Return which faults of its answer request *number* drew."""
        if asked not in CHANGES and not self.faults.fault_queries:
            return set()
        shares = ("lose_replies", "late_replies", "fatal_share", "mixed_up", "bad_signatures")
        return {name for name in shares if self.faults.hits(getattr(self.faults, name), number, name)}

    def _message(self, raw: bytes, now: datetime) -> etree._Element:
        """Return the request in *raw*, once it is signed by the QSE, fresh and new."""
        if len(raw) > MAX_BODY or b"<!DOCTYPE" in raw:
            raise RefusedError("INVALID REQUEST: too long, or with a document type")
        try:
            envelope = etree.fromstring(raw)
            token = envelope.findtext(f".//{{{WSSE}}}BinarySecurityToken") or ""
            certificate = x509.load_pem_x509_certificate(
                f"-----BEGIN CERTIFICATE-----\n{token}\n-----END CERTIFICATE-----\n".encode()
            )
            certificate.verify_directly_issued_by(self.authority)
            config = SignatureConfiguration(expect_references=3, location=".//")
            signed = XMLVerifier().verify(envelope, x509_cert=certificate, id_attribute="Id", expect_config=config)
        except Exception as error:
            raise RefusedError(f"NOT AUTHORIZED: signature: {type(error).__name__}") from error
        parts = [one.signed_xml for one in (signed if isinstance(signed, list) else [signed])]
        by_tag = {one.tag: one for one in parts if one is not None}
        body, timestamp = by_tag.get(f"{{{SOAP}}}Body"), by_tag.get(f"{{{WSU}}}Timestamp")
        if body is None or timestamp is None or len(body) != 1:
            raise RefusedError("NOT AUTHORIZED: the body is not signed")
        message = body[0]
        self._check_header(message, certificate, now)
        return message

    def _check_header(self, message: etree._Element, certificate: x509.Certificate, now: datetime) -> None:
        if message.tag != f"{MSG}RequestMessage":
            raise RefusedError("INVALID REQUEST: no RequestMessage")
        duns = [found.value for found in certificate.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)]
        if message.findtext(f".//{MSG}Source") != certificates.QSE or duns != [certificates.DUNS]:
            raise RefusedError("NOT AUTHORIZED: Source is not the certificate's")
        nonce, created = message.findtext(f".//{MSG}Nonce"), message.findtext(f".//{MSG}Created")
        if not nonce or nonce in self.nonces:
            raise RefusedError("INVALID REQUEST: a nonce that was used before")
        if not created or abs(datetime.fromisoformat(created) - now) > CREATED_WINDOW:
            raise RefusedError("INVALID REQUEST: Created is too far from now")
        self.nonces.add(nonce)
        resources = {found.text for found in message.iter("{*}resource")}
        if not resources <= RESOURCES:
            raise RefusedError(f"NOT AUTHORIZED: not this QSE's: {resources - RESOURCES}")

    def _note(self, at: datetime, kind: str, keys: list[str], body: str, outcome: str) -> None:
        line = {"at": at.isoformat(), "kind": kind, "keys": keys, "body": body, "outcome": outcome}
        self.log.write(json.dumps(line) + "\n")
        self.log.flush()

    def control(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a test."""
        with self.lock:
            if path == "/audit":
                return self.book.counts
            if path == "/faults":
                self.faults.put(given)
            elif path == "/reset":
                self._open_book()
            elif path == "/clock":
                self.moved += datetime.fromisoformat(given["now"]).astimezone(UTC) - self.now()
            elif path == "/cancel":
                self.book.settle(self.now())
                for entry in list(self.book.standing(self.book.named(given["mrid"]))):
                    self.book.take_back(entry, given.get("reason", "taken back to order"))
            else:
                raise BidError(f"no such control: {path}")
            return {}


def _digest(message: etree._Element) -> str:
    payload = message.find(f"{MSG}Payload")
    return "" if payload is None else sha256(etree.tostring(payload, method="c14n", exclusive=True)).hexdigest()


class Door(BaseHTTPRequestHandler):
    """EWS's own door."""

    protocol_version = "HTTP/1.1"
    mock: Mock
    timeout = 30

    def do_POST(self) -> None:
        """Answer one message, or hang up."""
        status, body, delay = self.mock.receive(self.rfile.read(int(self.headers.get("content-length") or 0)))
        time.sleep(delay)
        if body is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-type", "text/xml; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing: there is a request log."""


class Control(Door):
    """The tests' door."""

    def do_GET(self) -> None:
        """Tell."""
        self._answer({})

    def do_POST(self) -> None:
        """Order."""
        self._answer(json.loads(self.rfile.read(int(self.headers.get("content-length") or 0))))

    def _answer(self, given: dict[str, Any]) -> None:
        try:
            told, status = self.mock.control(self.path, given), 200
        except (BidError, KeyError, ValueError) as error:
            told, status = {"error": str(error)}, 400
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Secured(ThreadingHTTPServer):
    """TLS, a handshake in each connection's own thread; whoever shows no certificate of ours is hung up on."""

    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, then serve."""
        request.settimeout(10)
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        try:
            super().finish_request(secured, client_address)
        finally:
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a caller go who hung up; anything else is our own mistake and ends the process."""
        if isinstance(sys.exception(), OSError):
            return
        super().handle_error(request, client_address)
        BROKEN.set()


BROKEN = threading.Event()


def main(argv: list[str]) -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="Mock ERCOT")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--shared", required=True)
    parser.add_argument("--clock", default="")
    parser.add_argument("--journal", default="", help="remembers changes over restarts")
    parser.add_argument("--judge-ms", type=float, default=0)
    parser.add_argument("--judge-polls", type=int, default=0)
    for name, default in vars(Faults()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=default)
    wanted = parser.parse_args(argv)
    faults = Faults()
    faults.put({name: _value(getattr(wanted, name)) for name in vars(faults)})
    mock = Mock(wanted, faults)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(mock.folder / "ercot.pem", mock.folder / "ercot.key")
    context.load_verify_locations(mock.folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    door = type("Door", (Door,), {"mock": mock})
    control = type("Control", (Control,), {"mock": mock})
    with Secured(("127.0.0.1", 0), door) as ews, ThreadingHTTPServer(("127.0.0.1", 0), control) as tests:
        ews.context = context
        tests.daemon_threads = True
        for server in (ews, tests):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stderr.write(f"ready https://127.0.0.1:{ews.server_port}/ews http://127.0.0.1:{tests.server_port}\n")
        sys.stderr.flush()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        for server in (ews, tests):
            server.shutdown()
    return 1 if BROKEN.is_set() else 0


def _value(given: object) -> object:
    if given in {"true", "false", "True", "False"}:
        return str(given).lower() == "true"
    return (
        float(given)
        if isinstance(given, str) and not given.isdigit()
        else int(given)
        if isinstance(given, str)
        else given
    )


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main(sys.argv[1:]))
