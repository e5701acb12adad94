"""Trouble on purpose: replies lost or late, offers rejected or taken in part. Pure; deterministic by seed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bidding.sandbox.draws import uniform
from bidding.sandbox.wire import Share, Wire


class Reply(StrEnum):
    """What becomes of an answer after the request was applied."""

    SENT = "sent"
    LATE = "late"
    LOST = "lost"


class FaultShares(Wire):
    """How often, as shares of requests, and how late, in machine seconds."""

    lose_replies: Share = 0.0
    late_replies: Share = 0.0
    late_s: Annotated[float, Field(ge=0)] = 2.0
    reject_share: Share = 0.0
    partial_share: Share = 0.0
    cancel_share: Share = 0.0
    fault_queries: bool = False
    """Whether queries lose their replies too, or only requests that change something."""


class FaultChange(Wire):
    """A change of some shares; what is left out stays."""

    lose_replies: Share | None = None
    late_replies: Share | None = None
    late_s: Annotated[float, Field(ge=0)] | None = None
    reject_share: Share | None = None
    partial_share: Share | None = None
    cancel_share: Share | None = None
    fault_queries: bool | None = None


@dataclass(frozen=True)
class Faults:
    """Who is hit: a function of the seed and of a text that names the request."""

    shares: FaultShares
    seed: int

    def reply(self, request: str) -> Reply:
        """Return the fate of the answer to *request*."""
        if self._hits("lose", request, self.shares.lose_replies):
            return Reply.LOST
        if self._hits("late", request, self.shares.late_replies):
            return Reply.LATE
        return Reply.SENT

    def rejects(self, request: str) -> bool:
        """Tell whether the venue turns down the offer in *request* for no reason of its rules."""
        return self._hits("reject", request, self.shares.reject_share)

    def takes_part(self, request: str) -> bool:
        """Tell whether the venue accepts only part of the offer in *request*."""
        return self._hits("partial", request, self.shares.partial_share)

    def takes_back(self, request: str) -> bool:
        """Tell whether the venue will take back what it accepts in *request*."""
        return self._hits("cancel", request, self.shares.cancel_share)

    def changed(self, change: FaultChange) -> "Faults":
        """Return these faults with *change* to their shares."""
        return Faults(self.shares.model_copy(update=change.model_dump(exclude_none=True)), self.seed)

    def _hits(self, fault: str, request: str, share: float) -> bool:
        return uniform(self.seed, f"{fault}|{request}") < share
