"""
How inference engines say what they do: which lines of their metrics page count what. Data, no code.

An engine is one file here, whose name is the `kind` of an [[engine]] table:

    ENGINE = Engine(path="/metrics", generated=(Count("acme_tokens_total"),), …)

Where an engine has had several names for a thing they are all given, the best first: the first that is on the page
counts. Names are those of samples, suffix included; only of histograms, the family's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from pipeline import plugins

PROCESS_START = "process_start_time_seconds"
"""What client libraries say of their process; missing in prometheus_client's multiprocess mode."""


class Count:
    """A counter of tokens: the samples of these names, added up."""

    def __init__(self, *samples: str, where: Mapping[str, frozenset[str]] | None = None, finish: bool = False) -> None:
        """Take only samples whose labels are as in *where*; *finish*: a request's tokens are counted when it ends."""
        self.samples = samples
        self.where = MappingProxyType(dict(where or {}))
        self.finish = finish

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether a sample with these *labels* is part of it."""
        return all(labels.get(label) in values for label, values in self.where.items())

    @property
    def created(self) -> tuple[str, ...]:
        """Names of the samples that say when the counters began: prometheus_client writes them, others do not."""
        return tuple(f"{name.rpartition('_')[0]}_created" for name in self.samples)


@dataclass(frozen=True)
class Engine:
    """What to look for on one kind of engine's page."""

    path: str
    """Where the page is, if the settings' URL has no path."""
    generated: tuple[Count, ...]
    """Generated tokens."""
    prompt: tuple[Count, ...]
    """Prompt tokens, those found in a cache included where the engine counts them."""
    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    ttft: tuple[str, ...] = ()
    """Histograms of the time to the first token, seconds."""
    itl: tuple[str, ...] = ()
    """Histograms of the time between tokens, seconds."""
    model_label: str = "model_name"
    repeated_by: frozenset[str] = field(default_factory=frozenset)
    """Labels of processes that each report the whole engine's figures: of series that differ in them one counts."""

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The names of all samples that are looked at."""
        counts = [*self.generated, *self.prompt]
        return frozenset(
            [PROCESS_START, *self.running, *self.waiting]
            + [name for count in counts for name in (*count.samples, *count.created)]
            + [f"{name}_bucket" for name in (*self.ttft, *self.itl)]
        )


def kinds() -> list[str]:
    """Return the engines there are."""
    return plugins.available(__name__)


def load(kind: str) -> Engine:
    """Return the engine *kind*; raise `UnknownPluginError` that lists what there is."""
    engine: Engine = plugins.load(__name__, kind).ENGINE
    return engine
