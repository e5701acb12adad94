"""
An inference engine that serves its metrics page over real HTTP and computes nothing but the numbers on it.

    with playing(Play("sglang", tokens_per_s=100)) as engine:
        engine.url                     # http://127.0.0.1:PORT, the page at the engine's usual path
        engine.advance(60)             # a minute passes at once
        engine.restart()               # everything counts from zero again

As a process of its own, in real time, for benchmarks: it says its URL and serves until its input ends.

    PYTHONPATH=tests python -m doubles.engine_server vllm 100 8388608        kind, tokens a second, bytes of the page

What it plays: ten requests at a time, all in step, 600 tokens each, the next ten as soon as they are through. So at
100 tokens a second ten requests end every minute, at once. Counters that grow with every iteration show 100 tokens a
second; those of finished requests show nothing for a minute and then 6000. `Play.ahead` puts them out of step.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from doubles.engine_layouts import LAYOUTS
from doubles.pages import CLASSIC, OPENMETRICS, Page, Request, Server, serve
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest as classic
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

REQUESTS = 10
REQUEST_TOKENS = 600
PROMPT_TOKENS = 200
TTFT_S = 0.3
ITL_S = 0.02
BOUNDS_S = (0.01, 0.025, 0.1, 0.5, 1.0)
BEGAN_S = 1_784_700_000.0
PADDING = 'go_gc_duration_seconds_padding{{le="{0}",model_name="meta-llama/Llama-3.1-8B-Instruct",engine="0"}} {0}\n'


@dataclass
class Play:
    """What the engine does, and how it answers. May be changed while it is played."""

    kind: str
    tokens_per_s: float = 100.0
    ahead: tuple[float, ...] = (0.0,) * REQUESTS
    """How much of each of the first requests is through when it begins: 0 to 1."""
    always_openmetrics: bool = False
    """Whatever it is asked for."""
    page_bytes: int = 0
    """Padded to this size."""
    delay_s: float = 0.0
    """Of every page."""
    drip_bytes_per_s: float | None = None


class Engine(Collector):
    """A running engine."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.url = ""
        self.layout = LAYOUTS[play.kind]
        self._began_s = 0.0
        self._now_s = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._lock = threading.Lock()

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        with self._lock:
            self._now_s += seconds

    def restart(self) -> None:
        """Begin again with nothing counted."""
        with self._lock:
            self._began_s = self._now_s

    @property
    def generated(self) -> float:
        """Tokens generated since it began."""
        return self.play.tokens_per_s * (self._now_s - self._began_s)

    def answer(self, request: Request) -> Page:
        """Return the page, in the format that is asked for."""
        if request.path.partition("?")[0] != self.layout.path:
            return Page("no such page\n", status=404)
        asked = OPENMETRICS.partition(";")[0] in request.headers.get("accept", "")
        is_openmetrics = self.play.always_openmetrics or asked
        with self._lock:
            body = (openmetrics if is_openmetrics else classic)(self._registry)
        return Page(
            self._padded(body, is_openmetrics=is_openmetrics),
            content_type=OPENMETRICS if is_openmetrics else CLASSIC,
            delay_s=self.play.delay_s,
            drip_bytes_per_s=self.play.drip_bytes_per_s,
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they stand: prometheus_client asks."""
        layout, ended = self.layout, self._ended
        lengths = REQUEST_TOKENS * ended
        started = REQUESTS + ended
        if layout.is_python:
            yield GaugeMetricFamily("process_start_time_seconds", "Start.", value=BEGAN_S + self._began_s)
        yield from self._counter(layout.live, self.generated, layout.live_labels)
        yield from self._counter(layout.finished, lengths)
        yield from self._counter(layout.prompt, PROMPT_TOKENS * started)
        yield from self._histogram(layout.finished_lengths, ended, REQUEST_TOKENS)
        yield from self._histogram(layout.prompt_lengths, started, PROMPT_TOKENS)
        yield from self._gauge(layout.running, REQUESTS)
        yield from self._gauge(layout.waiting, 3)
        yield from self._histogram(layout.ttft, started, TTFT_S)
        yield from self._histogram(layout.itl, int(self.generated), ITL_S)

    @property
    def _ended(self) -> int:
        """Requests that have ended since it began."""
        through = self.generated / (REQUESTS * REQUEST_TOKENS)
        return sum(int(through + ahead) for ahead in self.play.ahead)

    def _counter(self, name: str, count: float, labels: Mapping[str, str] | None = None) -> Iterator[Metric]:
        if name:
            all_labels = {**self.layout.labels, **(labels or {})}
            family = CounterMetricFamily(name, "Tokens.", labels=list(all_labels))
            created = BEGAN_S + self._began_s if self.layout.is_python else None
            family.add_metric(list(all_labels.values()), count, created=created)
            yield family

    def _gauge(self, name: str, figure: float) -> Iterator[Metric]:
        if name:
            family = GaugeMetricFamily(name, "Requests.", labels=list(self.layout.labels))
            family.add_metric(list(self.layout.labels.values()), figure)
            yield family

    def _histogram(self, name: str, count: int, each: float) -> Iterator[Metric]:
        """Yield *count* observations, all of them *each*."""
        if name:
            buckets = [
                (f"{bound:.1f}" if bound == 1 else f"{bound:g}", count if each <= bound else 0) for bound in BOUNDS_S
            ]
            family = HistogramMetricFamily(name, "Histogram.", labels=list(self.layout.labels))
            family.add_metric(list(self.layout.labels.values()), [*buckets, ("+Inf", count)], sum_value=count * each)
            yield family

    def _padded(self, body: bytes, *, is_openmetrics: bool) -> bytes:
        """Return *body* after lines of no interest, as long as wanted to the byte."""
        missing = self.play.page_bytes - len(body)
        if missing <= 0:
            return body
        line = (b"# HELP padding " if is_openmetrics else b"") + PADDING.format(1).encode()
        comment = missing % len(line)
        return line * (missing // len(line)) + _comment(comment) + body


def _comment(length: int) -> bytes:
    """Return a line of *length* bytes that says nothing."""
    return b"#" + b" " * (length - 2) + b"\n" if length > 1 else b"\n" * length


@contextmanager
def playing(play: Play) -> Iterator[Engine]:
    """Serve *play* until the block ends; time stands still unless it is told to pass."""
    engine = Engine(play)
    with serve(answer=engine.answer) as server:
        engine.url = server.url
        yield engine


def main(kind: str, tokens_per_s: float, page_bytes: int) -> None:
    """Serve in real time until standard input ends."""
    engine = Engine(Play(kind, tokens_per_s=tokens_per_s, page_bytes=page_bytes))
    server = Server(answer=engine.answer)
    ended = threading.Event()

    def pass_time() -> None:
        before_s = time.monotonic()
        while not ended.wait(0.05):
            now_s = time.monotonic()
            engine.advance(now_s - before_s)
            before_s = now_s

    clock = threading.Thread(target=pass_time)
    server.start()
    clock.start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    sys.stdin.read()
    ended.set()
    clock.join()
    server.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
