"""``[venue.miso]``: where MISO's Market User Interface is, who we are to it, and what our resources are there."""

import ssl
import stat
from pathlib import Path
from typing import Annotated, Literal

import httpx
from msgspec import Meta

from pipeline.errors import ConfigError
from pipeline.settings import Positive, Section

OWNER_ONLY = 0o600
NAME = "miso"
PLAIN = "^[!-~]*$"
"""Printable ASCII: what a header may hold."""

Money = Annotated[float, Meta(ge=0, le=9999.99)]
"""Dollars, to the cent."""
Megawatts = Annotated[float, Meta(ge=0, le=99_999)]
Span = Annotated[str, Meta(pattern=r"^([0-9]{1,3}:[0-5][0-9])?$")]
"""``hhh:mm``, the specification's own form; empty: not sent, MISO's default for the resource holds."""

_WHOLE_CENTS = 1e-6


class Resource(Section, frozen=True, kw_only=True):
    """
    ``[[venue.miso.resource]]``: one demand response resource.

    What is left at its default of 0 or empty is not sent, so that MISO's registered default holds.
    """

    name: Annotated[str, Meta(min_length=1, max_length=30)]
    """Its commercial pricing node, which is also its name here: MISO's names are at most 30 characters."""
    type: Literal["drr1", "drr2"]
    """DRR type I: one block, on or off. Type II: dispatched along a curve every five minutes."""
    schedule_type: Literal["Price", "Cost"] = "Price"
    shutdown_cost: Money = 0.0
    """Type I, $ an interruption."""
    curtailment_price: Money = 0.0
    """Type I, $ an hour of interruption, beside the energy's price."""
    min_interruption: Span = ""
    max_interruption: Span = ""
    min_non_interruption: Span = ""
    max_daily_stops: Annotated[int, Meta(ge=0, le=24)] = 0
    max_daily_curtailment_mwh: Megawatts = 0.0
    startup_cost: Money = 0.0
    """Type II, $ a start, hot, intermediate and cold alike."""
    no_load_cost: Money = 0.0
    """Type II, $ an hour."""
    max_mw: Megawatts = 0.0
    """Type II, upper economic limit of every offered hour; the lower is 0."""
    ramp_mw_per_min: Megawatts = 0.0
    """Type II."""
    min_run: Span = ""
    max_daily_starts: Annotated[int, Meta(ge=0, le=24)] = 0
    mileage_price: Money = 0.0
    """Type II, $ a MW of regulation mileage."""
    supplemental: Literal["offline", "online"] = "offline"
    """Type II: which of MISO's two supplemental offers `supplemental` is; a load that is not curtailing is offline."""

    def __post_init__(self) -> None:
        """Refuse what MISO's schema would: parts of cents, parts of 0.1 MW."""
        for name in ("shutdown_cost", "curtailment_price", "startup_cost", "no_load_cost", "mileage_price"):
            _whole(name, getattr(self, name) * 100, "0.01")
        for name in ("max_daily_curtailment_mwh", "max_mw", "ramp_mw_per_min"):
            _whole(name, getattr(self, name) * 10, "0.1")


class MisoVenue(Section, frozen=True, kw_only=True):
    """``[venue.miso]``. Times are the machine's: a network does not know of fast clocks."""

    url: str = "https://markets.midwestiso.org/dart2"
    """The specification's production server; the customer connectivity environment is https://cce.midwestiso.org/dart2."""
    participant: Annotated[str, Meta(max_length=40, pattern=PLAIN)] = ""
    """The asset owner's NERC id, which is in every path."""
    acting_participant: Annotated[str, Meta(max_length=40, pattern=PLAIN)] = ""
    """Sent as `x-acting-participant` where the certificate may act for others; empty: not sent."""
    certificate_file: str = ""
    """PEM, our certificate and those between it and its authority."""
    key_file: str = ""
    """PEM, its private key, not encrypted; mode 0600."""
    ca_file: str = ""
    """PEM, the authorities that may vouch for MISO; empty: those of the system."""
    timeout_s: Positive = 10.0
    submit_timeout_s: Positive = 10.0
    tries: Annotated[int, Meta(ge=1)] = 5
    """How often a query is made; nothing that changes something is ever repeated."""
    pause_s: Positive = 0.2
    """Between two tries."""
    max_answer_mb: Annotated[int, Meta(ge=1, le=256)] = 16
    """A longer answer is not read to its end."""
    interval_label: Literal["ends", "begins"] = "ends"
    """Whether MISO's five-minute labels name the end or the beginning; hours are labelled by their end. Unverified."""
    max_transactions: Annotated[int, Meta(ge=1)] = 500
    """How many transactions are looked through for an offer that the book does not show."""
    resource: tuple[Resource, ...] = ()
    """``[[venue.miso.resource]]``, one table each."""

    def __post_init__(self) -> None:
        """Refuse two resources of one name."""
        names = [resource.name for resource in self.resource]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"resource {twice[0]!r} is there twice")


def check(settings: MisoVenue) -> None:
    """Raise `ConfigError` for what is missing or cannot work, before anything is sent."""
    try:
        url = httpx.URL(settings.url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"[venue.miso] url {settings.url!r}: {error}") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"[venue.miso] url {settings.url!r} does not start with https:// and a host")
    if url.scheme == "http" and url.host not in {"127.0.0.1", "localhost", "::1"}:
        raise ConfigError(f"[venue.miso] url {settings.url!r}: offers leave this machine by https:// only")
    if not settings.participant:
        raise ConfigError("[venue.miso] participant is missing: set it to the asset owner's NERC id")
    if not settings.resource:
        raise ConfigError("[venue.miso] has no resource: write one [[venue.miso.resource]] with name and type for each")
    if settings.url.startswith("https") and not (settings.certificate_file and settings.key_file):
        raise ConfigError("[venue.miso] certificate_file and key_file are missing: MISO knows us by our certificate")


def tls(settings: MisoVenue) -> ssl.SSLContext:
    """Return what proves who we are and checks who answers; raise `ConfigError` on files that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"[venue.miso] ca_file {settings.ca_file} cannot be used: {_reason(error)}") from error
    if not settings.certificate_file:
        return context
    _owner_only(Path(settings.key_file))
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file, password=_refuse_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"[venue.miso] certificate_file {settings.certificate_file} and key_file {settings.key_file} "
            f"cannot be used together: {_reason(error)}"
        ) from error
    return context


def _owner_only(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"[venue.miso] cannot read key_file {path}: {error.strerror}") from error
    if mode & ~OWNER_ONLY:
        raise ConfigError(f"[venue.miso] key_file {path} has mode {mode:04o}, must be 0600; run chmod 600 {path}")


def _refuse_password() -> str:
    raise ValueError("the key is encrypted")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or error)


def _whole(name: str, parts: float, step: str) -> None:
    if abs(parts - round(parts)) > _WHOLE_CENTS:
        raise ValueError(f"{name} must be a multiple of {step}")
