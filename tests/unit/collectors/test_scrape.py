"""An engine scraped over real HTTP, and how its counters go on through restarts, gaps and replicas that come and go."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pytest
from doubles import pages
from doubles.commands import NOON
from doubles.engine_layouts import LAYOUTS
from doubles.engine_server import Engine, Play, playing
from doubles.pages import Page
from hypothesis import given
from hypothesis import strategies as st

from collectors import SourceError, engines
from collectors.exposition import Sample
from collectors.scrape import EngineReading, EngineSection, Scraper, step
from collectors.series import MAX_MISSING, State
from collectors.tokens import Tokens
from pipeline.errors import ConfigError
from pipeline.settings import load_each

TESTS = Path(__file__).parents[2]
MIB = 1 << 20
TOKENS = "vllm:generation_tokens_total"
CREATED = "vllm:generation_tokens_created"
VLLM = EngineSection(kind="vllm", url="http://engine", job="chat")


@contextmanager
def scraping(play: Play, timeout_s: float = 20.0) -> Iterator[tuple[Engine, Scraper]]:
    """Yield an engine and what scrapes it; the pages' sizes cost time on a busy machine, hence the patience."""
    with playing(play) as engine:
        scraper = Scraper(EngineSection(kind=play.kind, url=engine.url, job="chat", timeout_s=timeout_s))
        yield engine, scraper
        scraper.close()


def follow(*found: Sequence[Sample]) -> list[EngineReading]:
    """Return what a vLLM is read as that shows *found*, one page a second."""
    state, readings = State(), []
    for second, page in enumerate(found):
        state, reading = step(VLLM, engines.load("vllm"), state, page, NOON + timedelta(seconds=second))
        readings.append(reading)
    return readings


def replicas(*counts: float | None, created: float | None = None) -> list[Sample]:
    """Return the generated tokens of replicas 0, 1 …; those with None are not on the page."""
    there = [(str(engine), count) for engine, count in enumerate(counts) if count is not None]
    began = [Sample(CREATED, {"engine": engine}, created) for engine, _ in there if created is not None]
    return [*began, *(Sample(TOKENS, {"engine": engine}, count) for engine, count in there)]


def tokens(readings: Sequence[EngineReading]) -> list[tuple[float | None, int]]:
    """Return counts and epochs."""
    return [(reading.tokens.tokens_total, reading.tokens.epoch) for reading in readings]


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("is_openmetrics", [False, True])
def test_a_minute_of_every_engine_is_6000_tokens(kind: str, is_openmetrics: bool) -> None:  # noqa: FBT001 - a parameter
    """Ten requests of 600 tokens, in whichever format the engine answers; then it restarts, and 10 s are 1000."""
    with scraping(Play(kind, tokens_per_s=100, always_openmetrics=is_openmetrics)) as (engine, scraper):
        before = scraper.read(NOON)
        engine.advance(60)
        after = scraper.read(NOON + timedelta(seconds=60))
        engine.restart()
        engine.advance(10)
        restarted = scraper.read(NOON + timedelta(seconds=70))

    assert (before.tokens.tokens_total, after.tokens.tokens_total) == (0, 6000)
    assert restarted.tokens.tokens_total == (0 if restarted.counted_at_finish else 1000)
    assert [reading.tokens.epoch for reading in (before, after, restarted)] == [0, 0, 1]
    assert (after.running, after.waiting) == (10, 3)
    assert after.at == NOON + timedelta(seconds=60)


def test_an_engine_that_counts_at_the_end_says_nothing_for_a_minute_and_then_all() -> None:
    with scraping(Play("tensorrt_llm", tokens_per_s=100)) as (engine, scraper):
        found = []
        for _ in range(4):
            engine.advance(20)
            found.append(scraper.read(NOON).tokens.tokens_total)

    assert found == [0, 0, 6000, 6000]


def test_the_classic_format_is_asked_for_over_one_kept_connection() -> None:
    with pages.serve({"/metrics": Page("vllm:generation_tokens_total 5\n")}) as server:
        scraper = Scraper(EngineSection(kind="vllm", url=server.url, job="chat"))
        for _ in range(3):
            scraper.read(NOON)
        scraper.close()

        assert server.connections == 1
        assert [request.headers["accept"] for request in server.requests] == ["text/plain;version=0.0.4"] * 3


def test_a_page_of_8_mib_is_read_right() -> None:
    with scraping(Play("vllm", tokens_per_s=100, page_bytes=8 * MIB)) as (engine, scraper):
        engine.advance(7)
        reading = scraper.read(NOON)
        with urlopen(f"{engine.url}/metrics") as reply:
            assert len(reply.read()) == 8 * MIB

    assert (reading.tokens.tokens_total, reading.running) == (700, 10)
    assert reading.ttft is not None
    assert sum(reading.ttft.counts) == 10


def test_a_larger_page_is_refused_and_the_next_is_read_again() -> None:
    with scraping(Play("vllm", tokens_per_s=100, page_bytes=9 * MIB)) as (engine, scraper):
        with pytest.raises(SourceError, match="larger than 8388608 bytes"):
            scraper.read(NOON)
        engine.play.page_bytes = 0
        engine.advance(7)

        assert scraper.read(NOON).tokens == Tokens(700, 2000)


@pytest.mark.parametrize("slowness", [{"delay_s": 30.0}, {"drip_bytes_per_s": 50.0}])
def test_a_slow_page_is_given_up_in_time_and_the_next_counts_on(slowness: dict[str, float]) -> None:
    """Late to begin, or a few bytes at a time; what it did meanwhile is not lost."""
    with scraping(Play("vllm", tokens_per_s=100), timeout_s=0.3) as (engine, scraper):
        assert _patiently(scraper).tokens == Tokens(0, 2000)
        engine.advance(5)
        for name, value in slowness.items():
            setattr(engine.play, name, value)
        started = time.monotonic()
        with pytest.raises(SourceError, match=r"no whole page within 0\.3 s"):
            scraper.read(NOON)
        took_s = time.monotonic() - started
        engine.play.delay_s, engine.play.drip_bytes_per_s = 0.0, None

        assert took_s < 5
        assert _patiently(scraper).tokens == Tokens(500, 2000)


def _patiently(scraper: Scraper) -> EngineReading:
    """Read, on a machine so busy that a fast page may be late too."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return scraper.read(NOON)
        except SourceError:
            assert time.monotonic() < deadline


def test_an_engine_that_is_not_there_is_an_error_that_names_it() -> None:
    with playing(Play("vllm")) as engine:
        url = engine.url

    with pytest.raises(SourceError, match=f"{url}/metrics: Connection refused"):
        Scraper(EngineSection(kind="vllm", url=url, job="chat")).read(NOON)


def test_what_is_no_metrics_page_is_an_error_that_names_it() -> None:
    """TensorRT-LLM's iteration statistics are at the path that others use."""
    with pages.serve({"/metrics": Page("[]", content_type=pages.JSON)}) as server:
        scraper = Scraper(EngineSection(kind="tensorrt_llm", url=f"{server.url}/metrics", job="chat"))

        with pytest.raises(SourceError, match=rf"{server.url}/metrics: JSON and no metrics; check the path"):
            scraper.read(NOON)
        scraper.close()


def test_a_bearer_token_is_sent_and_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cr3t\n")
    secret.chmod(0o600)

    def section(url: str) -> EngineSection:
        return EngineSection(kind="vllm", url=url, job="chat", timeout_s=20, token_file=str(secret))

    with pages.serve({"/metrics": Page(f"{TOKENS} 5\n")}, authorization="Bearer s3cr3t") as server:
        scraper = Scraper(section(server.url))
        assert scraper.read(NOON).tokens == Tokens(5)
        server.authorization = "Bearer another"
        with pytest.raises(SourceError, match="401 Unauthorized") as refused:
            scraper.read(NOON)
        scraper.close()

    assert "s3cr3t" not in f"{refused.value!r} {vars(scraper)} {scraper.section}"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        Scraper(section("http://engine"))


def test_a_certificate_is_checked_against_the_ca_file(tmp_path: Path) -> None:
    certificate = pages.certificate(tmp_path)
    with pages.serve({"/metrics": Page(f"{TOKENS} 5\n")}, tls=certificate) as server:
        trusting = EngineSection(
            kind="vllm", url=server.url, job="chat", timeout_s=20, ca_file=str(certificate.ca_file)
        )
        scraper = Scraper(trusting)

        assert scraper.read(NOON).tokens == Tokens(5)
        scraper.close()
        with pytest.raises(SourceError):
            Scraper(EngineSection(kind="vllm", url=server.url, job="chat", timeout_s=20)).read(NOON)


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://h:8000", "http://h:8000/prometheus/metrics"),
        ("http://h:8000/", "http://h:8000/prometheus/metrics"),
        ("http://h:8000/own", "http://h:8000/own"),
        ("http://h:8000?model=m", "http://h:8000/prometheus/metrics?model=m"),
    ],
)
def test_an_engines_usual_path_is_known(url: str, asked: str) -> None:
    scraper = Scraper(EngineSection(kind="tensorrt_llm", url=url, job="chat"))

    assert scraper._endpoint.url == asked


def test_engines_are_tables_of_the_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "firmwatt.toml"
    config.write_text('[[engine]]\nkind = "vllm"\nurl = "http://h:1"\njob = "a"\n\n'
                      '[[engine]]\nkind = "tgi"\nurl = "http://h:2"\ngpus = ["GPU-1"]\nwindow_s = 30\n')  # fmt: skip

    assert load_each(config, "engine", EngineSection) == [
        EngineSection(kind="vllm", url="http://h:1", job="a"),
        EngineSection(kind="tgi", url="http://h:2", gpus=("GPU-1",), window_s=30),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('kind = "vlm"\njob = "a"', "no engine 'vlm'; have dynamo, llama_cpp, lmdeploy, nim, sglang, tensorrt_llm"),
        ('kind = "vllm"', "give `job`, or `gpus` whose job it is"),
        (
            'kind = "vllm"\njob = "a"\nperiod_ms = 1000',
            "unknown key 'period_ms'; it is given in another unit: period_s",
        ),
        ('kind = "vllm"\njob = "a"\ntimeout_s = 0', "timeout_s"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    config = tmp_path / "firmwatt.toml"
    config.write_text(f'\n[[engine]]\nurl = "http://h:1"\n{line}\n')

    with pytest.raises(ConfigError, match=r"line [2-6]") as caught:
        load_each(config, "engine", EngineSection)

    assert reason in str(caught.value)


def test_a_lower_count_is_a_restart_that_counts_on_from_the_new_one() -> None:
    assert tokens(follow(replicas(1000), replicas(1600), replicas(40), replicas(90))) == [
        (1000, 0),
        (1600, 0),
        (40, 1),
        (90, 1),
    ]


def test_a_restart_that_soon_counts_more_than_before_shows_by_its_beginning() -> None:
    """A minute without an answer, and the new process is already further than the old one was."""
    assert tokens(follow(replicas(100, created=1e9), replicas(500, created=1e9 + 61))) == [(100, 0), (500, 1)]


def test_the_processs_start_shows_it_as_well() -> None:
    start = [[Sample("process_start_time_seconds", {}, at)] for at in (1e9, 1e9 + 1, 1e9 + 61)]

    found = follow(*([*replicas(100 * n), *began] for n, began in enumerate(start, 1)))

    assert tokens(found) == [(100, 0), (200, 0), (300, 1)]  # a second is the clock's doing, a minute is not


def test_a_restart_of_one_replica_is_one_of_the_engine() -> None:
    """Replica 1 has counted more meanwhile than replica 0 has lost."""
    assert tokens(follow(replicas(1000, 500), replicas(10, 5000))) == [(1500, 0), (5010, 1)]


def test_a_replica_that_is_away_takes_nothing_back_and_brings_nothing_twice() -> None:
    """Replica 1 is missing for a page in which replica 0 counts 100, and has counted 300 when it is back."""
    found = follow(replicas(1000, 500), replicas(1100, None), replicas(1200, 800))

    assert tokens(found) == [(1500, 0), (1600, 0), (2000, 0)]


def test_a_replica_that_joins_counts_from_zero() -> None:
    assert tokens(follow(replicas(1000), replicas(1100, 30))) == [(1000, 0), (1130, 0)]


@pytest.mark.parametrize(("back", "total"), [(800, (820, 1)), (5, (25, 2))])
def test_a_replica_that_was_away_over_anothers_restart_brings_nothing_twice(
    back: float, total: tuple[float, int]
) -> None:
    """It went on from 500 and brings 300, or it restarted as well, which is one more epoch."""
    found = follow(replicas(1000, 500), replicas(10), replicas(20, back))

    assert tokens(found) == [(1500, 0), (510, 1), total]


def test_a_page_without_the_counter_leaves_the_tokens_unknown() -> None:
    other = [Sample("vllm:num_requests_running", {}, 2)]

    found = follow(replicas(1000), other, replicas(1100))

    assert tokens(found) == [(1000, 0), (None, 0), (1100, 0)]
    assert [reading.running for reading in found] == [None, 2, None]


def test_a_better_counter_that_appears_is_another_counter() -> None:
    """SGLang's live one is there with the first log interval; the sums are not comparable."""
    engine, section = engines.load("sglang"), EngineSection(kind="sglang", url="http://engine", job="chat")
    finished = Sample("sglang:generation_tokens_total", {}, 500)
    live = Sample("sglang:realtime_tokens_total", {"mode": "decode"}, 900)

    state, first = step(section, engine, State(), [finished], NOON)
    _, second = step(section, engine, state, [finished, live], NOON)

    assert tokens([first, second]) == [(500, 0), (900, 1)]
    assert [first.counted_at_finish, second.counted_at_finish] == [True, False]


def test_latencies_are_counted_since_the_epoch_began() -> None:
    def page(*counts: float) -> list[Sample]:
        name = "vllm:time_to_first_token_seconds_bucket"
        return [Sample(name, {"le": le}, count) for le, count in zip(("0.1", "0.5", "+Inf"), counts, strict=True)]

    found = follow(page(5, 7, 8), page(5, 9, 11), page(0, 1, 1))

    assert [(r.ttft.counts, r.tokens.epoch) for r in found if r.ttft] == [
        ((5, 2, 1), 0),
        ((5, 4, 2), 0),
        ((0, 1, 0), 1),
    ]


@pytest.mark.parametrize("le", ["", "half", "NaN"])
def test_a_bucket_without_a_bound_is_an_error(le: str) -> None:
    with pytest.raises(SourceError, match="malformed"):
        follow([Sample("vllm:time_to_first_token_seconds_bucket", {"le": le}, 1)])


def test_labels_that_are_made_up_all_the_time_do_not_fill_the_memory() -> None:
    def page(start: int) -> list[Sample]:
        return [Sample(TOKENS, {"engine": str(start + n)}, 1) for n in range(MAX_MISSING // 2 + 1)]

    found = follow(page(0), page(10**6), page(2 * 10**6))

    assert tokens(found) == [(5001, 0), (10002, 0), (5001, 1)]


#: What two replicas do before a page: tokens made, whether each restarts first, whether each is missing from the page.
DOINGS = st.tuples(
    st.tuples(st.integers(0, 500), st.integers(0, 500)),
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(st.booleans(), st.booleans()),
)


@given(st.lists(DOINGS, min_size=2, max_size=30))
def test_tokens_are_never_taken_back_and_never_counted_twice(
    doings: list[tuple[tuple[int, int], tuple[bool, bool], tuple[bool, bool]]],
) -> None:
    """Whoever restarts or is missing: differences within an epoch are no less than 0, and together no more than all."""
    counts, made, found = [0, 0], 0, []
    for more, restarts, missing in doings:
        counts = [more[n] + (0 if restarts[n] else counts[n]) for n in range(2)]
        made += sum(more)
        found.append(replicas(*(None if missing[n] else counts[n] for n in range(2))))

    known = [reading.tokens for reading in follow(*found)]

    differences = [
        later.tokens_total - earlier.tokens_total
        for earlier, later in pairwise(known)
        if later.epoch == earlier.epoch and later.tokens_total is not None and earlier.tokens_total is not None
    ]
    assert min(differences, default=0) >= 0
    assert sum(differences) <= made


@given(st.lists(DOINGS, max_size=30), st.integers(1, 7))
def test_however_often_it_is_scraped_the_tokens_are_the_same(
    doings: list[tuple[tuple[int, int], tuple[bool, bool], tuple[bool, bool]]], every: int
) -> None:
    """Nobody restarts; both are on the first and the last page, and are missing from others."""
    counts, found = [7, 11], [replicas(7, 11)]
    for more, _, missing in doings:
        counts = [counts[n] + more[n] for n in range(2)]
        found.append(replicas(*(None if missing[n] else counts[n] for n in range(2))))
    found.append(replicas(*counts))

    last = follow(found[0], *found[1:-1:every], found[-1])[-1].tokens

    assert last == Tokens(sum(counts), None, 0)


def test_the_stand_in_runs_as_a_process_of_its_own() -> None:
    """For benchmarks: in real time, until its input ends."""
    command = [sys.executable, "-m", "doubles.engine_server", "vllm", "1000", str(MIB)]
    with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        scraper = Scraper(EngineSection(kind="vllm", url=process.stdout.readline().strip(), job="chat", timeout_s=20))
        deadline = time.monotonic() + 20
        while (counted := scraper.read(NOON).tokens.tokens_total or 0) < 100:
            assert time.monotonic() < deadline
        scraper.close()
        process.stdin.close()
        assert process.wait(timeout=20) == 0

    assert counted < 30_000
