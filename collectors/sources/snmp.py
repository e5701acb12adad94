"""
Rack PDUs and UPSs by SNMP, v2c and v3: active power and energy, all of them asked at once.

A PDU that does not answer is one trouble beside the others' figures; one that measures current only has no power, and
watts are not made up for it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from collectors.sources._meters import Answer, Meters, need, refuse_twins
from collectors.sources._pdus import total
from collectors.sources._snmp_settings import Pdu
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Covers, MeterSample
from pipeline.secret_files import Secret
from pipeline.settings import Positive, Section

AUTH = {
    "MD5": "USM_AUTH_HMAC96_MD5",
    "SHA": "USM_AUTH_HMAC96_SHA",
    "SHA224": "USM_AUTH_HMAC128_SHA224",
    "SHA256": "USM_AUTH_HMAC192_SHA256",
    "SHA384": "USM_AUTH_HMAC256_SHA384",
    "SHA512": "USM_AUTH_HMAC384_SHA512",
}
PRIV = {
    "DES": "USM_PRIV_CBC56_DES",
    "AES": "USM_PRIV_CFB128_AES",
    "AES192": "USM_PRIV_CFB192_AES",
    "AES256": "USM_PRIV_CFB256_AES",
}
SHORTEST_PASSPHRASE = 8
"""RFC 3414, 11.2: passphrases of the user-based security model are at least eight characters long."""
OBJECTS_AT_ONCE = 24
"""A request of so many objects and its reply fit into one datagram of 1500 bytes, which no management card refuses."""


class Settings(Section, frozen=True, kw_only=True):
    """``[source.snmp]``."""

    pdu: tuple[Pdu, ...] = ()
    period_s: Positive = 5.0
    """Management cards refresh their readings every few seconds, and answer slowly."""
    timeout_s: Positive = 2.0
    """For one request, its repetition at half time included."""

    def __post_init__(self) -> None:
        """Raise `ValueError` where two meters share a name."""
        refuse_twins(pdu.meter for pdu in self.pdu)


def connect(settings: Settings) -> Meters:
    """Return the source, its secrets read; raise `ConfigError` where pysnmp or a secret is missing."""
    need("pysnmp", "snmp")
    return Meters((Agent(pdu, settings.timeout_s) for pdu in settings.pdu), settings.period_s)


class AgentError(Exception):
    """One device did not answer as it should; the text says why."""


class Agent:
    """One device: an SNMP engine of its own, so that users of the same name may have different keys."""

    def __init__(self, pdu: Pdu, timeout_s: float) -> None:
        self._pdu = pdu
        self._figures = pdu.figures
        self._timeout_s = timeout_s
        self._community = secret_files.read(pdu.community_file) if pdu.version == "2c" else None
        self._auth_key = _passphrase(pdu.auth_key_file) if pdu.version == "3" else None
        self._priv_key = _passphrase(pdu.priv_key_file) if pdu.version == "3" and pdu.priv_key_file else None
        self._engine: Any = None  # pysnmp ships no types

    async def measure(self, now: datetime) -> Answer:
        """Return the device's figures, or why there are none."""
        try:
            objects = await self._objects()
        except AgentError as error:
            if self._pdu.version == "3":
                self.close()  # forget the engine id and its clock: another card may answer there next
            return Answer(troubles=(f"{self._where}: {error}",))
        power_w, energy_j = total(self._figures.power, objects), total(self._figures.energy, objects)
        lacking = f"{self._where}: it has no power object of {self._pdu.model}; current alone is no power"
        troubles = () if power_w is not None else (lacking,)
        if power_w is None and energy_j is None:
            return Answer(troubles=troubles)
        covers = Covers(self._pdu.covers)
        sample = MeterSample(meter=self._pdu.meter, covers=covers, power_w=power_w, energy_j=energy_j, read_at=now)
        return Answer(sample, troubles)

    def close(self) -> None:
        """Close the socket."""
        if self._engine is not None:
            self._engine.close_dispatcher()
            self._engine = None

    @property
    def _where(self) -> str:
        return f"{self._pdu.meter} ({self._pdu.host}:{self._pdu.port})"

    async def _objects(self) -> Mapping[str, int]:
        """Return the whole numbers among the objects that the device has."""
        from pysnmp.error import PySnmpError  # type: ignore[import-untyped]  # pysnmp ships no types
        from pysnmp.hlapi.v3arch import asyncio as hlapi  # type: ignore[import-untyped]  # the same

        oids, found = self._figures.oids, dict[str, int]()
        try:
            target = await hlapi.UdpTransportTarget.create(
                (self._pdu.host, self._pdu.port), timeout=self._timeout_s / 2, retries=1
            )
            for start in range(0, len(oids), OBJECTS_AT_ONCE):
                found |= await self._get(hlapi, target, oids[start : start + OBJECTS_AT_ONCE])
        except (PySnmpError, OSError) as failure:
            raise AgentError(str(failure)) from failure
        return found

    async def _get(self, hlapi: Any, target: Any, oids: tuple[str, ...]) -> Mapping[str, int]:
        if self._engine is None:
            self._engine = hlapi.SnmpEngine()
        failure, status, _, values = await hlapi.get_cmd(
            self._engine,
            self._credentials(hlapi),
            target,
            hlapi.ContextData(contextName=self._pdu.context.encode()),
            *(hlapi.ObjectType(hlapi.ObjectIdentity(oid)) for oid in oids),
            lookupMib=False,
        )
        if failure is not None:
            raise AgentError(self._explained(type(failure).__name__, str(failure)))
        if status:
            raise AgentError(f"the device refuses: {status.prettyPrint()}")
        whole = (hlapi.Integer32, hlapi.Unsigned32, hlapi.Gauge32, hlapi.Counter32, hlapi.Counter64)
        return {str(oid): int(count) for oid, count in values if isinstance(count, whole)}

    def _credentials(self, hlapi: Any) -> Any:
        if self._community is not None:
            return hlapi.CommunityData(self._community.reveal(), mpModel=1)
        auth_key, priv_key = self._auth_key, self._priv_key
        return hlapi.UsmUserData(
            self._pdu.user,
            authKey=auth_key.reveal() if auth_key else None,
            privKey=priv_key.reveal() if priv_key else None,
            authProtocol=getattr(hlapi, AUTH[self._pdu.auth]),
            privProtocol=getattr(hlapi, PRIV[self._pdu.priv]) if priv_key else hlapi.USM_PRIV_NONE,
        )

    def _explained(self, kind: str, text: str) -> str:
        """Return what to look at; agents are silent to a community that they do not know."""
        key = "community_file" if self._pdu.version == "2c" else "context"
        return {
            "RequestTimedOut": f"no answer within {self._timeout_s:g} s: is it up, and is {key} right?",
            "UnsupportedSecurityLevel": "the device wants it otherwise encrypted: set priv_key_file, or leave it out",
            "UnknownUserName": f"the device knows no user {self._pdu.user!r}",
            "WrongDigest": "the key in auth_key_file, or auth, is not the device's",
            "DecryptionError": "the key in priv_key_file, or priv, is not the device's",
        }.get(kind, text)


def _passphrase(path: str) -> Secret:
    secret = secret_files.read(path)
    if len(secret.reveal()) < SHORTEST_PASSPHRASE:
        raise ConfigError(f"the passphrase in {path} is shorter than {SHORTEST_PASSPHRASE} characters (RFC 3414)")
    return secret
