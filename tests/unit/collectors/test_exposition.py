"""Which lines of a page are read, and what is no metrics page."""

import json

import pytest
from doubles.pages import CLASSIC, JSON, OPENMETRICS
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest as classic
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from collectors import SourceError
from collectors.exposition import Sample, samples
from collectors.http import Page

PAGE = """
# HELP a:tokens_total Tokens.
# TYPE a:tokens_total counter
a:tokens_total{engine="0",model="say \\"hi\\" {x}"} 12.5
a:tokens_total{engine="1",model="m"} 3e2 1784700000000
# TYPE a:tokens_created gauge
a:tokens_created{engine="0",model="m"} 1.7e9
a:tokens_total_extra{engine="0"} 99
a:tokens 7
b_seconds_bucket{le="0.5"} 1
b_seconds_bucket{le="+Inf"} 2
b_seconds_sum 0.75
b_seconds_count 2
ab:tokens_total 4
"""


def page(body: str | bytes, content_type: str = CLASSIC, status: int = 200) -> Page:
    """Return a reply."""
    return Page(status, content_type, body.encode() if isinstance(body, str) else body)


def test_only_wanted_samples_are_read_under_the_names_they_have() -> None:
    assert samples(page(PAGE), {"a:tokens_total"}) == [
        Sample("a:tokens_total", {"engine": "0", "model": 'say "hi" {x}'}, 12.5),
        Sample("a:tokens_total", {"engine": "1", "model": "m"}, 300.0),
    ]


def test_a_family_brings_its_parts() -> None:
    assert [sample.name for sample in samples(page(PAGE), ["a:tokens", "b_seconds"])] == [
        "a:tokens_total",
        "a:tokens_total",
        "a:tokens_created",
        "a:tokens",
        "b_seconds_bucket",
        "b_seconds_bucket",
        "b_seconds_sum",
        "b_seconds_count",
    ]


def test_the_first_and_last_line_count_and_windows_line_ends_do_not() -> None:
    assert samples(page('x\t1\r\ny 2\r\nx{a="b"} 3'), ["x"]) == [Sample("x", {}, 1), Sample("x", {"a": "b"}, 3)]


def test_what_is_not_a_number_is_absent() -> None:
    assert samples(page('x NaN\nx{a="b"} +Inf\n'), ["x"]) == [Sample("x", {"a": "b"}, float("inf"))]


def test_unwanted_lines_may_say_anything() -> None:
    """An engine with a broken metric elsewhere still counts its tokens."""
    assert samples(page(b'# an engine\ny{label="\xff"} what?\nx 1\n'), ["x"]) == [Sample("x", {}, 1)]


class One(Collector):
    """One family."""

    def __init__(self, family: Metric) -> None:
        self.family = family

    def collect(self) -> list[Metric]:
        """Return it."""
        return [self.family]


class Both(Collector):
    """A counter and a histogram, for both formats to be written from."""

    def collect(self) -> list[Metric]:
        """Return them."""
        counter = CounterMetricFamily("a:tokens", "Tokens.", labels=["engine"])
        counter.add_metric(["0"], 12, created=1.7e9)
        histogram = HistogramMetricFamily("b_seconds", "Latency.", labels=["engine"])
        histogram.add_metric(["0"], [("0.5", 1), ("1.0", 1), ("+Inf", 2)], sum_value=2.25)
        unwanted = CounterMetricFamily("a:tokens_extra", "Other tokens.", value=5)
        return [counter, histogram, unwanted]


def test_openmetrics_says_the_same_as_the_classic_format() -> None:
    """
    Both as prometheus_client writes them; some servers send OpenMetrics whatever they are asked for.

    In it samples have lost the colon of their name, and their TYPE line has not (prometheus/client_python#1177).
    """
    registry = CollectorRegistry()
    registry.register(Both())
    wanted = ["a:tokens_total", "a:tokens_created", "b_seconds_bucket"]

    by_classic = samples(page(classic(registry)), wanted)
    by_openmetrics = samples(page(openmetrics(registry), OPENMETRICS), wanted)  # type: ignore[no-untyped-call]  # it has none

    assert sorted(by_openmetrics, key=repr) == sorted(by_classic, key=repr)
    assert [(sample.name, sample.value) for sample in by_openmetrics] == [
        ("a:tokens_total", 12),
        ("a:tokens_created", 1.7e9),
        ("b_seconds_bucket", 1),
        ("b_seconds_bucket", 1),
        ("b_seconds_bucket", 2),
    ]


def test_an_openmetrics_exemplar_is_passed_over() -> None:
    """They are allowed on counters only, so that the parser must be told that this is one."""
    body = (
        '# TYPE a:x counter\n# UNIT a:x tokens\n{}_x_total{{b="c"}} 5.0 # {{trace_id="e1"}} 1.0 1784700000.0\n# EOF\n'
    )

    for written in (body.format("a"), body.replace("{}_", "{}:").format("a")):
        assert samples(page(written, OPENMETRICS), ["a:x_total"]) == [Sample("a:x_total", {"b": "c"}, 5)]


def test_an_openmetrics_page_without_its_end_was_cut_off() -> None:
    with pytest.raises(SourceError, match="# EOF"):
        samples(page("# TYPE x counter\nx_total 5\n", OPENMETRICS), ["x_total"])


def test_a_page_inside_a_json_string_is_unquoted() -> None:
    """As llama.cpp's server sent it from build 7010 on."""
    assert samples(page(json.dumps('# TYPE x counter\nx{a="b"} 5\n'), JSON), ["x"]) == [Sample("x", {"a": "b"}, 5)]


def test_an_empty_page_says_nothing_and_is_no_error() -> None:
    """Dynamo's before its first request."""
    assert samples(page("\n"), ["x"]) == []
    assert samples(page("# EOF\n", OPENMETRICS), ["x"]) == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (page("gone", status=404), "the server answered 404 Not Found"),
        (page("x 1", status=503), "the server answered 503 Service Unavailable"),
        (page("x 1", status=799), "the server answered 799"),
        (
            page("<!doctype html>\n<title>Login</title>", "text/html"),
            "a web page and no metrics; check the path: <!doct",
        ),
        (page('[{"iter": 1}]', JSON), 'JSON and no metrics; check the path: [{"iter"'),
        (page('{"error": "no"}', JSON), 'JSON and no metrics; check the path: {"error"'),
        (page('"unfinished', JSON), "JSON and no metrics"),
        (page("How do you do?\n"), "not a metrics page: How do you do?"),
        (page(b"\x00\x01\x02\x03"), "not a metrics page"),
        (page("# TYPE x histogram\nx {count:1,sum:2}\n# EOF\n", OPENMETRICS), "a malformed metrics page"),
        (page('y 1\nx{a="b" 5\n'), "a malformed metrics page"),
        (page("y 1\nx five\n"), "a malformed metrics page"),
        (page(b'x{a="\xff"} 5\n'), "a malformed metrics page"),
    ],
)
def test_what_is_no_metrics_page_is_an_error_of_one_line(reply: Page, reason: str) -> None:
    with pytest.raises(SourceError) as caught:
        samples(reply, ["x"])

    assert str(caught.value).startswith(reason)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 160


LABELS = st.dictionaries(st.sampled_from(["a", "b", "le", "model_name"]), st.text(max_size=8))


@given(st.lists(st.tuples(LABELS, st.floats(allow_nan=False), st.none() | st.integers(0, 2**40)), max_size=8))
def test_a_sample_is_what_prometheus_client_reads(series: list[tuple[dict[str, str], float, int | None]]) -> None:
    """Whatever is in the labels: braces, quotes, hashes, line ends; with time stamps and without."""
    family = Metric("x", "Whatever.", "gauge")
    for labels, value, stamp_s in series:
        family.add_sample("x", labels, value, timestamp=stamp_s)
    registry = CollectorRegistry()
    registry.register(One(family))
    text = classic(registry)

    read = [sample for read in text_string_to_metric_families(text.decode()) for sample in read.samples]

    assert samples(page(text), ["x"]) == [Sample(sample.name, sample.labels, sample.value) for sample in read]


@pytest.mark.parametrize("sample", ["x 1_000", "x", 'x{a="b"}', "x 1 2 3", 'x{a="b"} 1 2 3', "x\t"])
def test_what_python_might_take_for_a_number_is_refused(sample: str) -> None:
    with pytest.raises(SourceError, match="malformed"):
        samples(page(f"# page\n{sample} \n"), ["x"])


@given(st.binary() | st.text().map(str.encode), st.sampled_from([CLASSIC, OPENMETRICS, JSON, ""]))
def test_no_page_does_worse_than_that(body: bytes, content_type: str) -> None:
    try:
        found = samples(page(body, content_type), ["x", "0"])
    except SourceError:
        return
    assert all(sample.value == sample.value for sample in found)


@given(st.text(alphabet='x_total{}="1. \n#EOFa,\\', max_size=60), st.sampled_from([CLASSIC, OPENMETRICS]))
def test_no_almost_page_either(body: str, content_type: str) -> None:
    """Text made of what pages are made of gets further into the parsers."""
    try:
        samples(page(body, content_type), ["x"])
    except SourceError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - it may also succeed
