"""
Why workers ended, across their lives: whoever is started again tells what ended its predecessors.

A small file in the worker's scratch folder, for nothing else outlives a process that leaves at once. Losing it loses
the history and no figure.
"""

from pathlib import Path

import msgspec

from pipeline import files
from pipeline.errors import BrokerGoneError, EnvironmentProblem, NotAllowedError, StuckError

_decoder = msgspec.json.Decoder(dict[str, int])


def reason(error: Exception) -> str:
    """Return in one word why *error* ends a worker. Pure."""
    match error:
        case StuckError():
            return f"{error.part}_stuck"
        case NotAllowedError():
            return "not_allowed"
        case BrokerGoneError():
            return "kafka_gone"
        case EnvironmentProblem():
            return "machine"
        case _:
            return "failed"


#: Every reason there is.
STOOD_STILL = "stood_still"
REASONS = ("rollup_stuck", "faust_stuck", "not_allowed", "kafka_gone", "machine", "failed", STOOD_STILL)


def read(file: Path) -> dict[str, int]:
    """Return how often workers ended for each reason, as *file* has it; what cannot be read is no history."""
    try:
        known = _decoder.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError):
        known = {}
    return {name: known.get(name, 0) for name in REASONS}


def note(file: Path, error: Exception) -> None:
    """Add one to *file*; a disk that does not take it is told of elsewhere."""
    add(file, reason(error))


def add(file: Path, reason: str) -> None:
    """Do the same, the reason given."""
    counts = read(file)
    counts[reason] += 1
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.replace(file, msgspec.json.encode(counts))
    except OSError:
        return
