"""HTTPS with ERCOT: what may be repeated is, what may not is not; every failure says what to do next."""

import asyncio
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
from msgspec import Meta

from bidding.markets.ercot.keys import Signer, Trust, load_authorities, load_signer
from bidding.markets.ercot.names import ACTION, MAX_REPLY_BYTES
from bidding.markets.ercot.reply import ERROR, FATAL, Reply, read_fault, read_reply
from bidding.markets.ercot.request import Request, Sender, message
from bidding.markets.ercot.security import sign, unsigned, verify
from bidding.markets.ercot.xml import Element, name
from pipeline.clock import Clock
from pipeline.errors import ConfigError, GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.settings import Positive, Section

CLIENT_ERROR, SERVER_ERROR = 400, 500
CLOSED = "closed"
"""A refusal with this word in it came too late. ERCOT publishes no list of its texts: unverified."""


class ErcotVenue(Section, frozen=True, kw_only=True):
    """``[venue.ercot]``. Times are the machine's: a network does not know of fast clocks."""

    url: str = ""
    """Where EWS answers, ``https://…``; ERCOT gives it to the QSE, for its test environment (MOTE) another."""
    qse: str = ""
    """The QSE's registered short name: Source of every message, first part of every mRID."""
    user: str = ""
    """UserID: who ERCOT logs as the sender."""
    certificate_file: str = ""
    """PEM, the certificate that ERCOT issued: TLS client and signer of messages."""
    key_file: str = ""
    """PEM, its RSA key, not encrypted; nobody but its owner may read it."""
    ca_file: str = ""
    """PEM, the authorities that issued ERCOT's certificates; no other is believed, not even the system's."""
    reply_signer: str = ""
    """Common name in the certificate that signs ERCOT's answers; empty: any that `ca_file` issued, other QSEs' too."""
    accept_sha1: bool = False
    """Believe answers signed with SHA-1. ERCOT's documents say that it signs so; we sign with SHA-256 anyway."""
    timeout_s: Positive = 20.0
    submit_timeout_s: Positive = 60.0
    tries: Annotated[int, Meta(ge=1)] = 3
    """How often a query is made."""
    pause_s: Positive = 0.5
    """Between two tries."""


@dataclass(frozen=True)
class Signed:
    """A message ready to leave, and the nonce that the answer has to name."""

    nonce: str
    octets: bytes


class Session:
    """Signed messages there, verified answers back."""

    def __init__(
        self, http: httpx.AsyncClient, settings: ErcotVenue, clock: Clock, signer: Signer, trust: Trust
    ) -> None:
        self._http = http
        self._clock = clock
        self._signer = signer
        self._trust = trust
        self.settings = settings

    async def change(self, request: Request) -> Reply:
        """
        Send a *request* that changes something, once; return the answer if it is `OK`.

        Raise `RejectedError` or `GateClosedError` on ERCOT's signed no, `VenueError` where nothing was sent, and
        `UnknownOutcomeError` for everything else: only a query can tell then.
        """
        told = f"{request.verb} {request.noun}"
        signed = self._signed(request)
        try:
            reply = await self._exchange(request, signed, self.settings.submit_timeout_s)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise VenueError(f"no ERCOT at {self.settings.url}: nothing was sent, so nothing was applied") from error
        except httpx.TransportError as error:
            raise UnknownOutcomeError(f"ERCOT may or may not have applied {told}: {error!r}") from error
        except (RejectedError, UnknownOutcomeError):
            raise
        except VenueError as error:
            raise UnknownOutcomeError(f"ERCOT's answer to {told} is not to be believed: {error}") from error
        if reply.code == FATAL:
            raise UnknownOutcomeError(f"ERCOT failed over {told}: {reply.why}")
        if reply.code == ERROR:
            kind = GateClosedError if CLOSED in reply.why.lower() else RejectedError
            raise kind(f"ERCOT refused {told}: {reply.why}")
        return reply

    async def query(self, request: Request) -> Reply:
        """Return the answer to *request*, which changes nothing and is therefore repeated; else raise `VenueError`."""
        told = f"{request.verb} {request.noun}"
        failure: Exception | None = None
        for attempt in range(self.settings.tries):
            await asyncio.sleep(self.settings.pause_s if attempt else 0)
            try:
                reply = await self._exchange(request, self._signed(request), self.settings.timeout_s)
            except (httpx.TransportError, UnknownOutcomeError) as error:
                failure = error
                continue
            if reply.code == FATAL:
                failure = VenueError(reply.why)
                continue
            if reply.code == ERROR:
                raise VenueError(f"ERCOT refused {told}: {reply.why}")
            return reply
        raise VenueError(
            f"ERCOT at {self.settings.url} did not answer {told} in {self.settings.tries} tries: {failure!r}"
        ) from failure

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _signed(self, request: Request) -> Signed:
        """Return *request* under a name that was never used: 128 random bits, which no restart repeats."""
        now, nonce = self._clock.now(), secrets.token_hex(16)
        sender = Sender(self.settings.qse, self.settings.user)
        return Signed(nonce, sign(message(request, sender, nonce, now), self._signer, now))

    async def _exchange(self, request: Request, signed: Signed, timeout_s: float) -> Reply:
        headers = {"content-type": "text/xml; charset=utf-8", "soapaction": f'"{ACTION}{request.operation}"'}
        async with self._http.stream(
            "POST", self.settings.url, content=signed.octets, timeout=timeout_s, headers=headers
        ) as response:
            body = await _bounded(response)
        if CLIENT_ERROR <= response.status_code < SERVER_ERROR:
            raise RejectedError(
                f"ERCOT's front door refused {request.verb} {request.noun}: HTTP {response.status_code}"
            )
        root = self._believed(body, response.status_code)
        reply = read_reply(root)
        if reply.message_id != signed.nonce:
            raise UnknownOutcomeError(f"ERCOT answered another message than {request.verb} {request.noun}")
        return reply

    def _believed(self, body: bytes, status: int) -> Element:
        """Return what the signed *body* holds; a fault raises, and is a no only where it is signed and blames us."""
        if status >= SERVER_ERROR and not body:
            raise UnknownOutcomeError(f"ERCOT failed without a word: HTTP {status}")
        try:
            root = verify(body, self._trust, self._clock.now())
        except VenueError as error:
            raise UnknownOutcomeError(f"{error}{_unsigned_fault(body)}") from error
        if name(root) != "Fault":
            return root
        code, why = read_fault(root)
        if code == "Client":
            raise RejectedError(f"ERCOT refused: {why}")
        raise UnknownOutcomeError(f"ERCOT failed: {why}")


def open_session(settings: ErcotVenue, clock: Clock) -> Session:
    """Return a session; nothing is sent yet. Raise `ConfigError` for settings that cannot work."""
    for needed in ("url", "qse", "user", "certificate_file", "key_file", "ca_file"):
        if not getattr(settings, needed):
            raise ConfigError(f"[venue.ercot] {needed} is missing; ERCOT gives it to the QSE")
    if not settings.url.startswith("https://"):
        raise ConfigError(f"[venue.ercot] url {settings.url!r} does not start with https://")
    certificate, key, ca = Path(settings.certificate_file), Path(settings.key_file), Path(settings.ca_file)
    signer = load_signer(certificate, key)
    trust = Trust(load_authorities(ca), settings.reply_signer, settings.accept_sha1)
    try:
        httpx.URL(settings.url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"[venue.ercot] url {settings.url!r}: {error}") from error
    http = httpx.AsyncClient(verify=_context(certificate, key, ca), trust_env=False)
    return Session(http, settings, clock, signer, trust)


def _context(certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    """Return how we speak TLS: 1.2 at least, our certificate shown, ERCOT's demanded from the pinned authorities."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(ca)
    context.load_cert_chain(certificate, key)
    return context


async def _bounded(response: httpx.Response) -> bytes:
    """Return the body of *response*, at most as much as is ever read of an answer."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > MAX_REPLY_BYTES:
            raise UnknownOutcomeError(f"ERCOT's answer is longer than {MAX_REPLY_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def _unsigned_fault(body: bytes) -> str:
    """Return what an unsigned fault says, for the log; it decides nothing."""
    try:
        return f"; unsigned fault: {read_fault(unsigned(body))[1]}"
    except VenueError:
        return ""
