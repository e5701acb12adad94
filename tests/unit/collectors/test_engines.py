"""
What each kind of engine's page says: two pages of each, written by hand, one second apart.

On the second one the numbers are worked out beside it; the pages are in tests/data/engines.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.commands import NOON
from doubles.pages import CLASSIC
from prometheus_client.parser import text_string_to_metric_families

from collectors import engines
from collectors.buckets import since
from collectors.exposition import Sample, samples
from collectors.http import Page
from collectors.scrape import EngineReading, EngineSection, step
from collectors.series import State
from collectors.tokens import Tokens
from pipeline.messages.telemetry import LatencyBuckets

PAGES = Path(__file__).parents[2] / "data" / "engines"
INFINITE_S = 1e308


@dataclass(frozen=True)
class Expected:
    """What the two pages of one kind say."""

    before: Tokens
    after: Tokens
    running: float
    waiting: float
    ttft: LatencyBuckets | None
    """Between the two."""
    itl: LatencyBuckets | None
    model: str | None
    at_finish: bool = False


def buckets(**counts: float) -> LatencyBuckets:
    """Return the counts by bound in milliseconds, `more` above."""
    bounds = [INFINITE_S if name == "more" else float(name.removeprefix("ms_")) / 1000 for name in counts]
    return LatencyBuckets(le_s=tuple(bounds), counts=tuple(counts.values()))


EXPECTED = {
    "vllm": Expected(  # replicas 0 and 1 added up: 1000 + 2000, then 1060 + 2040
        before=Tokens(3000, 17000),
        after=Tokens(3100, 17500),
        running=5 + 4,
        waiting=2 + 1,
        ttft=buckets(ms_100=1, ms_500=2, more=1),  # cumulative 6 8 9, then 7 11 13
        itl=buckets(ms_25=50, more=10),
        model="llama-8b",
    ),
    "sglang": Expected(  # replica 0: ranks 0 and 1 say the same, one of them late; replica 1: rank 2
        before=Tokens(5000 + 700, 10000 + 30000 + 500),
        after=Tokens(5400 + 800, 11000 + 30000 + 500 + 64),
        running=7 + 2,
        waiting=0,
        ttft=buckets(ms_400=0, more=2),
        itl=buckets(ms_20=450, more=50),
        model="qwen-32b",
    ),
    "tensorrt_llm": Expected(
        before=Tokens(12000, 2560),
        after=Tokens(18000, 3840),
        running=8,
        waiting=0,
        ttft=buckets(ms_250=8, more=2),
        itl=buckets(ms_100=10, more=0),
        model="nemotron-nano",
        at_finish=True,
    ),
    "dynamo": Expected(  # an older one, without the counter of output tokens
        before=Tokens(30000, 25000),
        after=Tokens(30900, 26500),
        running=11,
        waiting=0,
        ttft=buckets(ms_0=0, ms_470=3, more=0),
        itl=buckets(ms_10=700, more=300),
        model="deepseek-r1",
        at_finish=True,
    ),
    "nim": Expected(
        before=Tokens(64, 100),
        after=Tokens(164, 150),
        running=2,
        waiting=5,
        ttft=buckets(ms_20=0, more=1),
        itl=buckets(ms_10=90, more=9),
        model="meta/llama-3.1-8b-instruct",
    ),
    "tgi": Expected(
        before=Tokens(2800, 700),
        after=Tokens(4000, 900),
        running=6,
        waiting=0,
        ttft=None,
        itl=buckets(ms_20=2, more=0),
        model=None,
        at_finish=True,
    ),
    "llama_cpp": Expected(
        before=Tokens(1000, 300),
        after=Tokens(1256, 420),
        running=1,
        waiting=0,
        ttft=None,
        itl=None,
        model=None,
        at_finish=True,
    ),
    "lmdeploy": Expected(
        before=Tokens(2500, 5000),
        after=Tokens(2620, 5750),
        running=3,
        waiting=4,
        ttft=buckets(ms_250=0, ms_1000=3, more=0),
        itl=buckets(ms_25=100, more=17),
        model="internlm3-8b",
    ),
}


def readings(kind: str, *pages: str | list[Sample]) -> list[EngineReading]:
    """Return what an engine of *kind* is read as, one page a second."""
    section = EngineSection(kind=kind, url="http://engine", job="chat")
    engine, state, found = engines.load(kind), State(), []
    for number, page in enumerate(pages):
        parsed = samples(Page(200, CLASSIC, page.encode()), engine.wanted) if isinstance(page, str) else page
        state, reading = step(section, engine, state, parsed, NOON + timedelta(seconds=number))
        found.append(reading)
    return found


def recorded(kind: str) -> list[str]:
    """Return the two pages of *kind*."""
    return [(PAGES / f"{kind}_{number}.prom").read_text() for number in (1, 2)]


def between(before: LatencyBuckets | None, after: LatencyBuckets | None) -> LatencyBuckets | None:
    """Return what was observed between two readings."""
    return since(before, after) if before and after else None


def test_every_kind_of_engine_has_its_pages() -> None:
    assert sorted(EXPECTED) == engines.kinds()


@pytest.mark.parametrize("kind", EXPECTED)
def test_two_pages_say_what_the_engine_did_between_them(kind: str) -> None:
    expected = EXPECTED[kind]

    before, after = readings(kind, *recorded(kind))

    assert (before.tokens, after.tokens) == (expected.before, expected.after)
    assert (after.running, after.waiting) == (expected.running, expected.waiting)
    assert between(before.ttft, after.ttft) == expected.ttft
    assert between(before.itl, after.itl) == expected.itl
    assert after.served_model == expected.model
    assert after.counted_at_finish is expected.at_finish
    assert after.window_s == (60 if expected.at_finish else 10)


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_page_read_by_lines_says_the_same_as_one_parsed_whole(kind: str) -> None:
    """Nothing the engine looks at is lost with the lines that are skipped."""
    page = recorded(kind)[1]
    whole = [
        Sample(sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    ]

    assert readings(kind, whole) == readings(kind, page)


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_engine_that_has_served_nobody_yet_is_unknown_and_not_idle(kind: str) -> None:
    """Families without a sample, as Dynamo's before the first request."""
    (reading,) = readings(kind, "# HELP other Something.\n# TYPE other gauge\nother 1\n")

    assert reading.tokens == Tokens(None, None, 0)
    assert (reading.running, reading.waiting, reading.ttft, reading.itl) == (None, None, None, None)


def test_an_old_vllm_calls_the_latency_of_tokens_otherwise() -> None:
    old = [page.replace("inter_token_latency", "time_per_output_token") for page in recorded("vllm")]

    before, after = readings("vllm", *old)

    assert between(before.itl, after.itl) == EXPECTED["vllm"].itl


def test_a_vllm_with_both_names_counts_each_token_once() -> None:
    both = [page + page[page.index("# HELP vllm:inter") :].replace("inter_token_latency", "time_per_output_token")
            for page in recorded("vllm")]  # fmt: skip

    before, after = readings("vllm", *both)

    assert between(before.itl, after.itl) == EXPECTED["vllm"].itl


def test_a_sglang_without_the_live_counter_has_each_token_in_a_latency() -> None:
    """First tokens in one histogram, the others in the other: 50 + 5600, then 52 + 6100. Prompts wait for the end."""
    old = ["\n".join(line for line in page.splitlines() if "realtime" not in line) for page in recorded("sglang")]

    before, after = readings("sglang", *old)

    assert (before.tokens, after.tokens) == (Tokens(5650, 38000), Tokens(6152, 38000))
    assert not after.counted_at_finish


def test_the_oldest_sglang_counts_when_a_request_ends() -> None:
    (reading,) = readings("sglang", 'sglang:generation_tokens_total{model_name="m"} 4800\n')

    assert reading.tokens == Tokens(4800)
    assert (reading.counted_at_finish, reading.window_s) == (True, 60)


def test_a_sglang_that_counts_only_decoding_live_has_its_prompts_in_the_other_counter() -> None:
    """One name for both, told apart by a label: 38000 when requests end, until prefilling shows as well."""
    live = 'sglang:realtime_tokens_total{mode="decode"} 900\n'
    ended = "sglang:prompt_tokens_total 38000\n"
    prefill = 'sglang:realtime_tokens_total{mode="prefill_compute"} 70000\n'

    found = readings("sglang", live + ended, live, live + prefill + ended)

    assert [reading.tokens for reading in found] == [Tokens(900, 38000, 0), Tokens(900, None, 0), Tokens(900, 70000, 1)]


def test_a_newer_dynamo_counts_while_requests_run() -> None:
    page = recorded("dynamo")[0] + 'dynamo_frontend_output_tokens_total{model="deepseek-r1"} 34062\n'

    (reading,) = readings("dynamo", page)

    assert reading.tokens == Tokens(34062, 25000)
    assert (reading.counted_at_finish, reading.window_s) == (False, 10)


def test_two_models_of_one_dynamo_are_added_up_and_neither_is_named() -> None:
    page = recorded("dynamo")[0]

    (reading,) = readings("dynamo", page + page.replace("deepseek-r1", "qwen"))

    assert reading.tokens == Tokens(60000, 50000)
    assert (reading.running, reading.served_model) == (24, None)


def test_llama_cpps_page_inside_a_json_string_is_read() -> None:
    page = recorded("llama_cpp")[0]

    assert readings("llama_cpp", json.dumps(page)) == readings("llama_cpp", page)


def test_a_counter_wants_the_sample_that_says_when_it_began() -> None:
    """By prometheus_client's way of naming it."""
    wanted = engines.load("vllm").wanted

    assert {"vllm:generation_tokens_total", "vllm:generation_tokens_created", "process_start_time_seconds"} <= wanted
