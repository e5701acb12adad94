"""Chance that can be repeated, and the trouble it decides on: draws depend on the seed and the request number only."""

from dataclasses import dataclass, fields, replace
from hashlib import sha256


def uniform(seed: int, name: str) -> float:
    """Return a number in [0, 1), the same for the same *seed* and *name* everywhere."""
    return int.from_bytes(sha256(f"{seed}|{name}".encode()).digest()[:6]) / 2**48


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as shares of requests; spans are the machine's seconds."""

    seed: int = 1
    lose_replies: float = 0.0
    late_replies: float = 0.0
    late_s: float = 2.0
    reject_share: float = 0.0
    partial_share: float = 0.0
    cancel_share: float = 0.0
    fault_queries: bool = False

    def hits(self, fault: str, request: int, share: float) -> bool:
        """Tell whether *fault* strikes the request of this number."""
        return uniform(self.seed, f"{fault}|{request}") < share

    def chosen(self, fault: str, request: int, things: list[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return about half of *things*, at least one."""
        if not things:
            return set()
        drawn = {one for one in things if uniform(self.seed, f"{fault}|{request}|{one}") < 0.5}
        return drawn or {things[request % len(things)]}

    def changed(self, change: dict[str, float]) -> "Faults":
        """Return these faults with *change*; raise `ValueError` on a name that is none."""
        known = {entry.name for entry in fields(self)}
        if unknown := sorted(set(change) - known):
            raise ValueError(f"no fault is called {unknown[0]!r}; have {', '.join(sorted(known))}")
        return replace(self, **change)  # type: ignore[arg-type]  # one dict for all of them
