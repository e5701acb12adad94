"""
Who stopped, who let go on, who approved: documents of the action log, and what they add up to. Pure.

    halt ──▶ halted ──▶ resume, by a named person with a reason ──▶ open      a halt voids approvals given before it

A halt of the data cannot be lifted while the data are bad. The three switches, record, file and signal, make the same
document; the file also holds by itself for as long as it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, StringConstraints, TypeAdapter
from pydantic import Field as Described

from pipeline.messages.market import Document

Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Source(StrEnum):
    """Which switch was thrown."""

    RECORD = "record"
    """By command: `firmwatt bid halt`."""
    FILE = "file"
    SIGNAL = "signal"
    DATA = "data"
    """Telemetry that cannot be trusted."""


class Halted(Document):
    """Nothing leaves from here on but withdrawals and queries."""

    kind: Literal["halted.v1"] = "halted.v1"
    by: Said
    at: AwareDatetime
    why: Said
    source: Source


class Resumed(Document):
    """A person lets offers leave again."""

    kind: Literal["resumed.v1"] = "resumed.v1"
    by: Said
    at: AwareDatetime
    why: Said
    data_well: bool
    """Telemetry was no longer HALTED when this was said: as the process saw it, not the person."""


class Approval(Document):
    """A person agrees that exactly this document leaves. Natural key (document, by)."""

    kind: Literal["approval.v1"] = "approval.v1"
    document: Hash
    """`bidding.gate.approval.content_hash`."""
    by: Said
    """A name in ``[bidding.approvers]``."""
    at: AwareDatetime
    signature: str
    """Base64, Ed25519 over `bidding.gate.approval.signed_bytes`."""


Action = Annotated[Halted | Resumed | Approval, Described(discriminator="kind")]
_ACTION: TypeAdapter[Halted | Resumed | Approval] = TypeAdapter(Action)


def action(payload: bytes | str) -> Halted | Resumed | Approval:
    """Return the document in an action record's *payload*; raise pydantic's `ValidationError` on anything else."""
    return _ACTION.validate_json(payload)


@dataclass(frozen=True)
class Control:
    """What the action log adds up to."""

    halt: Halted | None = None
    """The newest that stands."""
    approvals: Mapping[str, tuple[Approval, ...]] = field(default_factory=dict)
    """By document, as they came; `bidding.gate.approval` judges them."""

    def apply(self, record: Halted | Resumed | Approval) -> "Control":
        """Return the state after *record*; what cannot be obeyed changes nothing."""
        if isinstance(record, Halted):
            if self.halt is not None and self.halt.source is Source.DATA:  # its condition outlasts a later halt
                record = record.model_copy(update={"source": Source.DATA})
            return Control(halt=record)
        if isinstance(record, Resumed):
            return self if self.objection(record) else replace(self, halt=None)
        had = self.approvals.get(record.document, ())
        return replace(self, approvals={**self.approvals, record.document: (*had, record)})

    def objection(self, resumed: Resumed) -> str:
        """Return why *resumed* lifts nothing, in one line; empty where it does."""
        if self.halt is None:
            return "nothing is halted"
        if resumed.at < self.halt.at:
            return f"said at {resumed.at.isoformat()}, before the halt at {self.halt.at.isoformat()}; resume again"
        if self.halt.source is Source.DATA and not resumed.data_well:
            return "telemetry is still HALTED; wait until it is well again, then resume"
        return ""
