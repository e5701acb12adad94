"""
Tokens, queues and latencies of one inference engine, from its metrics page.

A page that is late, too big or garbled leaves them unknown; they are never zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from collectors import SourceError, engines
from collectors.engines import Engine
from collectors.exposition import Sample, samples
from collectors.http import Endpoint
from collectors.series import State, follow, gauge, histogram, total
from collectors.tokens import Tokens
from pipeline import secret_files
from pipeline.messages.telemetry import LatencyBuckets
from pipeline.settings import Positive, Section

ACCEPT = "text/plain;version=0.0.4"
"""The classic format; not every engine asks, and some answer with OpenMetrics all the same."""
LIVE_WINDOW_S = 10.0
FINISH_WINDOW_S = 60.0
"""Where requests count at their end: the shortest span of a rate. `collectors.trails` takes as much as it needs."""


class EngineSection(Section, frozen=True, kw_only=True):
    """``[[engine]]``: one inference server beside this collector. Spans in seconds of the shared clock."""

    kind: str
    """Plug-in name in `collectors.engines`."""
    url: str
    """http://HOST:PORT; without a path, the engine's usual one."""
    job: str = ""
    """Whose tokens these are; empty: of the job that claims `gpus`."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that serve; empty: those that the job claims."""
    period_s: Positive = 2.0
    """An engine's page of 300 kB costs as much as the GPUs beside it; rates are over ten seconds or more."""
    timeout_s: Positive = 0.8
    """For the whole page, seconds of the machine."""
    window_s: Positive | None = None
    """
    Over what span tokens per second are taken; left out: 10, or 60 where tokens count when a request ends.

    There it is the shortest, and requests may last five times as long.
    """
    token_file: str = ""
    """File of a bearer token, mode 0600."""
    ca_file: str = ""

    def __post_init__(self) -> None:
        if self.kind not in (have := engines.kinds()):
            raise ValueError(f"no engine {self.kind!r}; have {', '.join(have)}")
        if not self.job and not self.gpus:
            raise ValueError("give `job`, or `gpus` whose job it is")


@dataclass(frozen=True)
class EngineReading:
    """What one engine has counted. Absent is None. Counters and buckets go on from reading to reading."""

    kind: str
    url: str
    job: str
    gpus: tuple[str, ...]
    at: datetime
    """When the page was asked for."""
    period_s: float
    window_s: float
    tokens: Tokens = field(default_factory=Tokens)
    counted_at_finish: bool = False
    running: float | None = None
    waiting: float | None = None
    ttft: LatencyBuckets | None = None
    """Since the epoch began, like the tokens: `collectors.jobs` subtracts."""
    itl: LatencyBuckets | None = None
    served_model: str | None = None

    @property
    def name(self) -> str:
        """What tells it from the host's other engines."""
        return f"{self.kind} {self.url}"


class Scraper:
    """One engine and the connection to it. `read` is called by one thread at a time, every `period_s`."""

    def __init__(self, section: EngineSection) -> None:
        """Raise `ConfigError` for a secret that cannot be read, `SourceError` for a bad URL; connect to nothing yet."""
        self.section = section
        self.period_s = section.period_s
        self._engine = engines.load(section.kind)
        self._state = State()
        headers = {"Accept": ACCEPT}
        if section.token_file:
            headers["Authorization"] = f"Bearer {secret_files.read(section.token_file).reveal()}"
        self._endpoint = Endpoint(
            page_url(section.url, self._engine), headers=headers, timeout_s=section.timeout_s, ca_file=section.ca_file
        )

    def read(self, now: datetime) -> EngineReading:
        """Return what the engine has counted; raise `SourceError` if its page cannot be had or read."""
        page = self._endpoint.get()
        try:
            found = samples(page, self._engine.wanted)
            self._state, reading = step(self.section, self._engine, self._state, found, now)
        except SourceError as error:
            raise SourceError(f"{self._endpoint.url}: {error}") from error
        return reading

    def close(self) -> None:
        """Close the connection; the next `read` opens another."""
        self._endpoint.close()


def page_url(url: str, engine: Engine) -> str:
    """Return the address of the page: *url*, with the engine's own path if it has none."""
    parts = urlsplit(url)
    return url if parts.path not in {"", "/"} else parts._replace(path=engine.path).geturl()


def step(
    section: EngineSection, engine: Engine, state: State, found: Sequence[Sample], at: datetime
) -> tuple[State, EngineReading]:
    """Return the state and the reading after a page with the samples *found*, asked for *at*. Pure."""
    state = follow(engine, state, found)
    choice = state.choice
    at_finish = choice.generated is not None and choice.generated.finish
    return state, EngineReading(
        kind=section.kind,
        url=section.url,
        job=section.job,
        gpus=section.gpus,
        at=at,
        period_s=section.period_s,
        window_s=section.window_s or (FINISH_WINDOW_S if at_finish else LIVE_WINDOW_S),
        tokens=Tokens(total(state, choice.generated), total(state, choice.prompt), state.epoch),
        counted_at_finish=at_finish,
        running=gauge(engine, engine.running, found),
        waiting=gauge(engine, engine.waiting, found),
        ttft=histogram(state, choice.ttft),
        itl=histogram(state, choice.itl),
        served_model=only(sample.labels.get(engine.model_label) for sample in found),
    )


def only(names: Iterable[str | None]) -> str | None:
    """Return the one name there is, None where there are several."""
    known = {name for name in names if name}
    return known.pop() if len(known) == 1 else None
