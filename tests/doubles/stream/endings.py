"""How workers may end under which faults; any other end is a failure of its own, however right the figures. Pure."""

from collections.abc import Collection, Mapping, Sequence
from signal import SIGKILL, SIGTERM

from doubles.stream.faults import OF_THE_LINE, Kind

from pipeline.errors import BrokerGoneError

STOOD_STILL = "stood still for"
"""What `pipeline.fence` says."""


def unexpected(
    faults: Sequence[Kind], codes: Mapping[int, int], complaints: Sequence[str], allowed: Collection[int] = ()
) -> list[str]:
    """
    Return the ends that *faults* do not account for.

    A stop ends a worker by the fence, at most one for each; SIGKILL as often as it was sent; a line that is away with
    the code for it; and one asked to leave within its first milliseconds has no handler yet. *allowed* are further
    codes.
    """
    may = {-SIGTERM, *allowed} | ({BrokerGoneError.exit_code} if set(faults) & set(OF_THE_LINE) else set())
    fenced = [told for told in complaints if STOOD_STILL in told]
    others = [
        told for told in complaints if told not in fenced and not any(f"ended with {code}:" in told for code in may)
    ]
    found = [f"nothing done to it accounts for this: {told}" for told in others]
    if len(fenced) > faults.count(Kind.STOP):
        found.append(f"{len(fenced)} workers stood still, {faults.count(Kind.STOP)} were stopped: {fenced[-1]}")
    if codes.get(-SIGKILL, 0) > faults.count(Kind.KILL):
        found.append(f"{codes[-SIGKILL]} ends by SIGKILL, of which {faults.count(Kind.KILL)} are ours: no memory left?")
    return found
