"""A document before the gate, and what the gate says to it."""

from dataclasses import dataclass

from bidding.rules.refusal import Refusal
from pipeline.messages.market import Offer


@dataclass(frozen=True)
class Outgoing:
    """One document before it leaves."""

    offers: tuple[Offer, ...]
    content: bytes = b""
    """As it would travel; empty: not encoded yet, so its size is not looked at."""


@dataclass(frozen=True)
class Leaves:
    """It may be sent, now."""

    offers: tuple[Offer, ...]
    document: str
    """Content hash."""
    approved_by: tuple[str, ...] = ()
    """Empty: it was below all limits."""


@dataclass(frozen=True)
class Held:
    """It is sound, and above a limit: it waits for people."""

    offers: tuple[Offer, ...]
    document: str
    why: tuple[Refusal, ...]
    """The limits it is above."""
    needs: int
    """So many more people."""
    approved_by: tuple[str, ...]
    refused: tuple[Refusal, ...]
    """Approvals that do not count, and why."""

    def __str__(self) -> str:
        return f"document {self.document[:12]} needs {self.needs} more approvals: {'; '.join(map(str, self.why))}"


@dataclass(frozen=True)
class Refused:
    """It must not be sent."""

    offers: tuple[Offer, ...]
    document: str
    refusals: tuple[Refusal, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.refusals))


Decision = Leaves | Held | Refused
