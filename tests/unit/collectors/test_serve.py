"""The collector's pages, asked over a real socket."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors import serve
from pipeline.errors import ConfigError, EnvironmentProblem


class OneGauge(Collector):
    """A single figure."""

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield GaugeMetricFamily("firmwatt_gpu_power_watts", "Draw", value=629.45)


class Site:
    """A server on a free port, what it was told, and what it says of itself."""

    def __init__(self, *, push: bool = False) -> None:
        self.pushed: list[tuple[str, str]] = []
        self.sick: list[str] = []
        self.unready: list[str] = []
        pages = serve.Pages(OneGauge(), lambda: self.sick, lambda: self.unready, self.take if push else None)
        self.server = serve.start("127.0.0.1:0", pages)

    def take(self, name: str, text: str) -> None:
        """Keep what was pushed; the word `bad` is none."""
        if "bad" in text:
            raise ValueError("not a sample: 'bad'")
        self.pushed.append((name, text))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, str]:
        """Return status, content type and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, reply.headers.get("Content-Type", ""), text


@contextmanager
def site(*, push: bool = False) -> Iterator[Site]:
    """Yield a server that is gone afterwards."""
    made = Site(push=push)
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def test_metrics_are_prometheus_text() -> None:
    with site() as here:
        status, content_type, text = here.ask("GET", "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4")
    assert "firmwatt_gpu_power_watts 629.45\n" in text


def test_metrics_are_openmetrics_if_asked_for() -> None:
    with site() as here:
        _, content_type, text = here.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_health_and_readiness_say_why_not() -> None:
    with site() as here:
        assert here.ask("GET", "/healthz")[0] == 200
        here.sick, here.unready = ["no tick"], ["nvml: lost", "Kafka"]
        healthy, ready = here.ask("GET", "/healthz"), here.ask("GET", "/readyz")

    assert healthy[0] == ready[0] == 503
    assert json.loads(ready[2]) == {"ok": False, "reasons": ["nvml: lost", "Kafka"]}


def test_pushed_tokens_are_taken_where_that_is_allowed() -> None:
    with site(push=True) as here:
        done = here.ask("PUT", "/tokens/pretrain", b'firmwatt_job_tokens_total{job="p"} 5')
        bad = here.ask("PUT", "/tokens/pretrain", b"bad")

        assert here.pushed == [("pretrain", 'firmwatt_job_tokens_total{job="p"} 5')]
    assert done[0] == 204
    assert (bad[0], bad[2]) == (400, "not a sample: 'bad'\n")


def test_pushed_tokens_are_refused_where_nobody_allowed_them() -> None:
    with site() as here:
        status, _, text = here.ask("PUT", "/tokens/pretrain", b"x 1")

    assert status == 403
    assert "push = true" in text


def test_too_much_is_refused_unread() -> None:
    with site(push=True) as here:
        status, _, _ = here.ask("PUT", "/tokens/pretrain", None, **{"Content-Length": str((1 << 20) + 1)})

        assert status == 413
        assert here.pushed == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/metrics/x"), ("PUT", "/tokens"), ("PUT", "/other/x")]
)
def test_what_is_not_there_is_404(method: str, path: str) -> None:
    with site(push=True) as here:
        assert here.ask(method, path, b"" if method == "PUT" else None)[0] == 404


def test_a_port_in_use_is_one_line() -> None:
    with site() as here, pytest.raises(EnvironmentProblem, match="cannot listen on"):
        serve.start(f"127.0.0.1:{here.server.server_port}", serve.Pages(OneGauge(), list, list, None))


@pytest.mark.parametrize("listen", ["9465", "localhost", "127.0.0.1:http", ""])
def test_an_address_that_is_none_is_a_config_error(listen: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        serve.start(listen, serve.Pages(OneGauge(), list, list, None))
