"""
What the gate goes by: ``[bidding.limits]``, ``collars``, ``approvers``, ``quality`` and ``[[bidding.obligations]]``.

The defaults are assumptions that let a site of some megawatts offer by itself; the owner sets his own. Power in MW,
money in the currency of the product, spans in seconds. No limit is switched off: an absurd one shows in the file.
"""

import base64
import binascii
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

import msgspec

from bidding.products import Family
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Instant
from pipeline.settings import Positive, Section

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
KEY_BYTES = 32


class Limits(Section, frozen=True, kw_only=True):
    """``[bidding.limits]``: beyond the first group nothing leaves; beyond ``alone_…`` two people have to agree."""

    resource_mw: Decimal = Decimal(50)
    """Promised by one resource at any instant, all venues and products together."""
    venue_mw: Decimal = Decimal(100)
    """Promised to one venue at any instant."""
    resource_day_money: Decimal = Decimal(2_000_000)
    """Worst case of one resource's local day, by currency: MW × hours × price × shortfall factor, nothing delivered."""
    venue_day_money: Decimal = Decimal(4_000_000)
    """Worst case of one venue's local day."""
    expected_day_money: Decimal = Decimal(200_000)
    """Expected loss of one resource's local day: that much at the offered price, times what confidence leaves open."""
    worst_price: Literal["cap", "offer"] = "cap"
    """What a missing MWh is charged at in the worst case: the venue's price cap, or the offer's dearest step."""
    price_move: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    """Largest change of price at any quantity against the last accepted revision, as a share of it."""
    price_move_floor: Decimal = Decimal(10)
    """Changes of price up to this much per MWh are never too large."""
    quantity_move_mw: Decimal = Decimal(25)
    """Largest change of quantity against the last accepted revision."""
    offers_per_minute: Count = 2000
    """Runaway guard: so many offers in any minute."""
    offers_per_day: Count = 100_000
    """Runaway guard: so many offers in a local day."""

    alone_mw: Decimal = Decimal(10)
    """A document of more MW, at its highest instant, needs approval."""
    alone_money: Decimal = Decimal(500_000)
    """A document with a higher worst case needs approval."""
    alone_price_move: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    """A document that moves a price by a larger share needs approval."""
    alone_resources: Count = 20
    """A document for more resources needs approval."""
    alone_offers: Count = 500
    """A document of more offers needs approval."""
    approvals: Annotated[int, msgspec.Meta(ge=2)] = 2
    """So many different people."""
    approval_valid_s: Positive = 900
    """An approval that is older counts no more."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for amounts below zero or that are no numbers; the reader names the line."""
        for name in self.__struct_fields__:
            amount = getattr(self, name)
            if isinstance(amount, Decimal) and not (amount.is_finite() and amount >= 0):
                raise ValueError(f"{name} must be a number from 0 up, got {amount}")


class Collars(Section, frozen=True, kw_only=True):
    """``[bidding.collars]``: how far a price may be from what stands behind it."""

    below_cost: Share = 0.0
    """A step may ask this share less than its tokens, credits and restarts cost; 0: never below cost."""
    above_cost: Annotated[float, msgspec.Meta(ge=0)] = 10.0
    """And at most this many times its cost more than it; a step without cost has no upper collar from here."""
    below_reference: Share = 1.0
    """A price may be this share below the reference price of its interval, where there is one; 1: any."""
    above_reference: Annotated[float, msgspec.Meta(ge=0)] = 20.0
    """And at most this many times the reference price above it."""
    reference_floor: Decimal = Decimal(50)
    """Reference prices nearer to zero than this count as this much: a collar around 0 would close."""


class Effect(StrEnum):
    """What an obligation does to what may be sold."""

    BARS = "bars"
    """Nothing of the families it names may be sold."""
    REDUCES = "reduces"
    """Its power is not for sale."""


class Obligation(Section, frozen=True, kw_only=True):
    """``[[bidding.obligations]]``: a duty to curtail that bars or reduces what may be sold."""

    name: str
    source: str
    """Docket, order, section, contract, and whether it was read: ``PUCT Docket 59220, 23 Jul 2026 (RN-1)``."""
    effect: Effect
    mw: Decimal | None = None
    """What it takes of the firm power; with `bars` left out."""
    share: Share | None = None
    """Or its share of the firm power."""
    resources: tuple[str, ...] = ()
    """Whom it concerns; empty: all."""
    venues: tuple[str, ...] = ()
    """Empty: all."""
    families: tuple[Family, ...] = ()
    """Empty: all; ``energy``, ``capacity``, …"""
    begins: Instant | None = None
    """None: it stands already."""
    ends: Instant | None = None
    """None: it has no end."""
    verified: bool = False
    """Somebody has read the primary source."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for an obligation that says too little or too much: its line is named by the reader."""
        if not self.name.strip() or not self.source.strip():
            raise ValueError("an obligation needs a name and a source, such as a docket and its date")
        amounts = sum(amount is not None for amount in (self.mw, self.share))
        if self.effect is Effect.REDUCES and amounts != 1:
            raise ValueError(f"obligation {self.name!r} reduces by either mw or share; give one of them")
        if self.effect is Effect.BARS and amounts:
            raise ValueError(f'obligation {self.name!r} bars all sale; mw and share belong to effect = "reduces"')
        if self.mw is not None and not (self.mw.is_finite() and self.mw >= 0):
            raise ValueError(f"obligation {self.name!r}: mw must be a number from 0 up, got {self.mw}")
        if self.begins is not None and self.ends is not None and self.ends <= self.begins:
            raise ValueError(f"obligation {self.name!r} must end after it begins")

    @property
    def cited(self) -> str:
        """Its source, and whether that was read."""
        return f"{self.name}: {self.source}" + ("" if self.verified else " (unverified)")


class Quality(Section, frozen=True, kw_only=True):
    """
    ``[bidding.quality]``: from which telemetry on offers are restricted; knowledge/reliability.md A4.

    Spans are the machine's, because telemetry comes by its time; `at_speed` gives those of a clock that runs faster.
    """

    reducing_lost: Share = 0.2
    """Above this share of hosts or MW lost only withdrawals and lower revisions leave."""
    halted_lost: Share = 0.5
    """Above this share nothing but withdrawals and queries leaves."""
    reducing_age_s: Positive = 5
    """The newest whole message is older than this."""
    halted_age_s: Positive = 10
    """There is no whole message younger than this."""
    hysteresis: Share = 0.25
    """Better only once the figure is this share below the threshold it exceeded …"""
    recover_s: Positive = 15
    """… and has been for this long; then one state at a time. After a start, too: from HALTED it takes two."""

    def at_speed(self, speed: float) -> "Quality":
        """Return the same in seconds of a clock that runs at *speed*; below 1 the machine's are kept."""
        factor = max(1.0, speed)
        return msgspec.structs.replace(
            self,
            reducing_age_s=self.reducing_age_s * factor,
            halted_age_s=self.halted_age_s * factor,
            recover_s=self.recover_s * factor,
        )

    def __post_init__(self) -> None:
        """Raise `ValueError` for thresholds out of order."""
        if self.reducing_lost > self.halted_lost or self.reducing_age_s > self.halted_age_s:
            raise ValueError("reducing_… must not be above halted_…")


Approvers = dict[str, str]
"""``[bidding.approvers]``: ``name = "base64 of 32 bytes"``, the public half of what `firmwatt bid keygen` made."""


def approver_keys(approvers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the approvers' public keys; raise `ConfigError` for what is none, and for one key under two names."""
    keys: dict[str, bytes] = {}
    for name, text in approvers.items():
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"[bidding.approvers] {name} is not base64: {error}") from error
        if len(key) != KEY_BYTES:
            raise ConfigError(f"[bidding.approvers] {name} has {len(key)} bytes, an Ed25519 public key has {KEY_BYTES}")
        if key in keys.values():
            raise ConfigError(f"[bidding.approvers] {name} has another's key; two people need two keys")
        keys[name] = key
    return keys
