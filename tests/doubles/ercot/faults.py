"""Faults to order. A draw depends on the seed and the request's number only, so that a run can be repeated."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass
class Faults:
    """Shares of requests, changed at run time by `POST /faults`."""

    lose_replies: float = 0.0
    """State-changing requests applied, then the connection closed without an answer."""
    late_replies: float = 0.0
    late_s: float = 0.5
    reject_share: float = 0.0
    """BidSets refused at once."""
    partial_share: float = 0.0
    """BidSets of which one hour turns out wrong."""
    cancel_share: float = 0.0
    """Hours that the second phase of validation takes back, at the next question after they were accepted."""
    fatal_share: float = 0.0
    """State-changing requests applied, and answered with ReplyCode FATAL."""
    mixed_up: float = 0.0
    """State-changing requests applied, and answered with the answer to the message before."""
    bad_signatures: float = 0.0
    """State-changing requests applied, and answered with something else than was signed."""
    fault_queries: bool = False
    """Queries suffer the same."""
    seed: int = 1

    def hits(self, share: float, number: int, purpose: str) -> bool:
        """Tell whether request *number* draws a fault that happens to *share* of them."""
        return self.draw(number, purpose) < share

    def draw(self, number: int, purpose: str) -> float:
        """Return a number in [0, 1)."""
        digest = sha256(f"{self.seed}\x1f{number}\x1f{purpose}".encode()).digest()
        return int.from_bytes(digest[:8]) / 2**64

    def put(self, changes: dict[str, object]) -> None:
        """Take over *changes*; an unknown name is a `KeyError`."""
        for name, given in changes.items():
            if name not in vars(self):
                raise KeyError(name)
            setattr(self, name, type(getattr(self, name))(given))
