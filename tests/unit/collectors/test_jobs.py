"""What jobs do at a tick: tokens, rates, watts and latencies, whoever counts them."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from doubles.commands import NOON
from doubles.engine_server import Play, playing
from doubles.rolled import counted
from hypothesis import given
from hypothesis import strategies as st

from collectors.buckets import from_cumulative, merged, since
from collectors.jobs import jobs
from collectors.mappings import Claim
from collectors.rates import MAX_JOBS, Rates
from collectors.scrape import EngineReading, EngineSection, Scraper
from collectors.tokens import Tokens
from collectors.trails import Bursts, Point, Rate, Trail
from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, LatencyBuckets, Tier, Workload

TRAIN = Claim(job="train", tier=Tier.T3, workload=Workload.TRAINING, served_model="llama-70b")
CHAT = Claim(job="chat", tier=Tier.T1, workload=Workload.INFERENCE)
INFINITE_S = 1e308


def at(second: float) -> datetime:
    """Return the instant *second* seconds after noon."""
    return NOON + timedelta(seconds=second)


def gpu(uuid: str, energy_j: float | None = None, job: str | None = None, epoch: int = 0) -> GpuSample:
    """Return a GPU, as claimed by *job*."""
    return GpuSample(uuid=uuid, model="H100", energy_j=energy_j, energy_epoch=epoch, job=job)


def engine(second: float, tokens: float | None, epoch: int = 0, **other: object) -> EngineReading:
    """Return what a vLLM of the job chat said *second* seconds after noon."""
    reading = EngineReading(
        kind="vllm",
        url="http://h:8000",
        job="chat",
        gpus=(),
        at=at(second),
        period_s=1.0,
        window_s=10.0,
        tokens=Tokens(tokens, None, epoch),
    )
    return replace(reading, **other)  # type: ignore[arg-type]  # whatever the test is about


def tick(
    second: float,
    rates: Rates,
    engines: Sequence[EngineReading] = (),
    gpus: Sequence[GpuSample] = (),
    tokens: Mapping[str, Tokens] | None = None,
) -> dict[str, JobSample]:
    """Return the jobs by name."""
    claims = {"chat": CHAT, "train": TRAIN}
    by_gpu = {sample.uuid: claims[sample.job] for sample in gpus if sample.job is not None}
    return {job.job: job for job in jobs(at(second), gpus, by_gpu, tokens or {}, engines, rates)}


def chats(
    engine_of: Callable[[int], EngineReading | None], seconds: int, rates: Rates | None = None
) -> list[JobSample]:
    """Return the job chat's samples, a tick a second; its GPU draws 500 W."""
    rates = rates or Rates()
    found = []
    for second in range(seconds):
        reading = engine_of(second)
        found.append(tick(second, rates, [reading] if reading else [], [gpu("a", 500.0 * second, "chat")])["chat"])
    return found


def test_a_job_is_whoever_claims_its_gpus_with_what_it_counts() -> None:
    """Two GPUs train, one is nobody's; a job that is elsewhere is not ours to publish."""
    gpus = [gpu("a", job="train"), gpu("b", job="train"), gpu("c")]

    found = tick(0, Rates(), gpus=gpus, tokens={"train": Tokens(1e6, None, 2), "elsewhere": Tokens(5)})

    assert found == {
        "train": JobSample(
            job="train",
            tier=Tier.T3,
            workload=Workload.TRAINING,
            served_model="llama-70b",
            tokens_total=1e6,
            gpus=("a", "b"),
        )
    }


def test_tokens_that_nobody_counts_are_absent() -> None:
    job = tick(0, Rates(), gpus=[gpu("a", job="chat")])["chat"]

    assert (job.tokens_total, job.prompt_tokens_total, job.tokens_per_s, job.engine) == (None, None, None, None)


def test_a_job_of_two_tiers_counts_as_the_more_protected() -> None:
    claims = {"a": Claim(job="j", tier=Tier.T3), "b": Claim(job="j", tier=Tier.T1)}

    (job,) = jobs(NOON, [gpu("a", job="j"), gpu("b", job="j")], claims, {}, [], Rates())

    assert job.tier is Tier.T1


def test_an_engine_gives_its_job_everything_it_knows() -> None:
    """100 tokens a second on one GPU that draws 500 W: 0.2 tokens per joule."""
    last = chats(lambda second: engine(second, 100.0 * second, running=3, waiting=1, served_model="llama-8b"), 12)[-1]

    assert last == JobSample(
        job="chat",
        tier=Tier.T1,
        workload=Workload.INFERENCE,
        served_model="llama-8b",
        engine="vllm",
        tokens_total=1100,
        tokens_per_s=100,
        tokens_per_s_per_w=0.2,
        running=3,
        waiting=1,
        gpus=("a",),
    )


def test_a_rate_waits_for_a_whole_window() -> None:
    """Ten seconds after the first reading, not before."""
    found = chats(lambda second: engine(second, 100.0 * second), 12)

    assert [job.tokens_per_s for job in found] == [None] * 10 + [100, 100]


def test_a_restart_leaves_the_rate_unknown_until_a_window_without_one_has_passed() -> None:
    """It restarts at second 11, and counts 50 a second from then on."""
    found = chats(lambda s: engine(s, 100.0 * s) if s < 11 else engine(s, 50.0 * (s - 11), epoch=1), 23)

    assert [job.tokens_per_s for job in found] == [None] * 10 + [100] + [None] * 10 + [50, 50]
    assert [job.epoch for job in found] == [0] * 11 + [1] * 12


def test_a_gap_leaves_it_unknown_as_well_and_a_missed_reading_does_not() -> None:
    """Readings 3 and 4 are missing; then those of seconds 15 to 18."""

    def reading(second: int) -> EngineReading | None:
        return None if second in {3, 4, 15, 16, 17, 18} else engine(second, 100.0 * second)

    found = chats(reading, 30)

    assert [second for second, job in enumerate(found) if job.tokens_per_s is not None] == [10, 11, 12, 13, 14, 29]
    assert [second for second, job in enumerate(found) if job.tokens_total is None] == [3, 4, 15, 16, 17, 18]
    assert {job.epoch for job in found} == {0}


def test_a_reading_given_twice_is_not_counted_twice() -> None:
    """An engine asked every second, at ticks ten times a second."""
    rates = Rates()
    found = []
    for tenth in range(111):
        reading = engine(tenth // 10, 100.0 * (tenth // 10))
        found.append(tick(tenth / 10, rates, [reading], [gpu("a", 50.0 * tenth, "chat")])["chat"])

    assert [job.tokens_per_s for job in found] == [None] * 100 + [100] * 11
    assert found[-1].tokens_per_s_per_w == pytest.approx(0.2)


def test_a_trail_keeps_its_window_and_takes_nothing_twice_or_backwards() -> None:
    trail = Trail()
    for second, total in ((0, 0.0), (5, 500.0), (5, 500.0), (3, 1e9), (10, 1000.0), (15, 1500.0)):
        trail.add(Point(at(second), total), 0, gap_s=60, keep_s=10)

    assert list(trail._points) == [Point(at(5), 500), Point(at(10), 1000), Point(at(15), 1500)]
    assert (trail.rate(10), trail.rate(11)) == (Rate(100, at(5), at(15)), None)


def at_finish(seconds: int, tokens_at: Callable[[int], float], running: float | None = 10.0) -> list[JobSample]:
    """Return the job chat's samples where tokens count when a request ends, a tick a second; its GPU draws 500 W."""
    return chats(
        lambda second: engine(second, tokens_at(second), running=running, counted_at_finish=True, window_s=60.0),
        seconds,
    )


def requests(tokens_per_s: float, ahead: Sequence[float] = (0.0,) * 10) -> Callable[[int], float]:
    """Return what ten requests of 600 tokens at a time have counted at a second; see `Play.ahead`."""
    return lambda second: 600.0 * sum(int(second * tokens_per_s / 6000 + part) for part in ahead)


def test_ten_ticks_a_second_leave_a_trail_of_one_point_a_second() -> None:
    trail = Trail()
    for tenth in range(1001):
        trail.add(Point(at(tenth / 10), 10.0 * tenth), 0, gap_s=3.5, keep_s=10)

    assert len(trail._points) == 11
    assert trail.rate(10) == Rate(100, at(90), at(100))


def off(rates: Sequence[float | None], expected: float) -> float:
    """Return by which part the rate is wrong that is most so; an unknown one is wholly."""
    return max(abs((rate or 0) / expected - 1) for rate in rates)


@pytest.mark.parametrize(
    ("tokens_per_s", "lasts_s", "tolerance"),
    [(300, 20, 0), (150, 40, 0), (100, 60, 0), (80, 75, 0), (40, 150, 0), (33, 181.8, 0.002), (20, 300, 0)],
)
def test_requests_that_end_all_at_once_are_a_steady_rate(tokens_per_s: int, lasts_s: float, tolerance: float) -> None:
    """
    At whatever second one looks, from the third burst on that is a window after the first, however long they last.

    33 tokens a second end between two readings: what is seen is up to a second late, of three times 181.8 at least.
    """
    found = at_finish(int(8 * lasts_s), requests(tokens_per_s))

    known = [job for job in found if job.tokens_per_s is not None]
    bursts = [
        second for second, (job, after) in enumerate(pairwise(found), 1) if after.tokens_total != job.tokens_total
    ]
    assert found[next(second for second in bursts[2:] if second - bursts[0] >= 60) :] == known
    assert off([job.tokens_per_s for job in known], tokens_per_s) <= tolerance + 1e-12
    assert off([job.tokens_per_s_per_w for job in known], tokens_per_s / 500) <= tolerance + 1e-12
    assert all(job.counted_at_finish for job in found)


EVENLY = [number / 10 for number in range(10)]
IN_THREE_GROUPS = [0.0] * 4 + [0.1] * 3 + [0.55] * 3
ANYHOW = [0.02, 0.07, 0.11, 0.3, 0.33, 0.38, 0.62, 0.7, 0.71, 0.95]
CLOSE_TOGETHER = [0.0, 0.01, 0.03, 0.04, 0.08, 0.12, 0.13, 0.2, 0.21, 0.25]


@pytest.mark.parametrize("tokens_per_s", [300, 150, 100, 80, 40, 33, 20])
@pytest.mark.parametrize(
    ("ahead", "tolerance"), [(EVENLY, 0.02), (IN_THREE_GROUPS, 0.1), (ANYHOW, 0.1), (CLOSE_TOGETHER, 0.1)]
)
def test_requests_out_of_step_are_the_same_rate(tokens_per_s: float, ahead: Sequence[float], tolerance: float) -> None:
    """Within a tenth from the first rate on, which is there by the fourth request of each; 2 % when they are even."""
    found = at_finish(max(600, int(9 * 6000 / tokens_per_s)), requests(tokens_per_s, ahead))

    known = [job for job in found if job.tokens_per_s is not None]
    assert off([job.tokens_per_s for job in known], tokens_per_s) <= tolerance
    assert off([job.tokens_per_s_per_w for job in known], tokens_per_s / 500) <= tolerance
    assert len(known) >= len(found) - max(4 * 6000 / tokens_per_s, 300) - 1


@pytest.mark.parametrize(("shortest", "longest", "tolerance"), [(500, 700, 0.03), (100, 1100, 0.1)])
def test_requests_of_any_length_are_the_same_rate(shortest: int, longest: int, tolerance: float) -> None:
    """Ten at a time, each at 10 tokens a second; the next begins when one ends. What chance adds is within a tenth."""
    dice = random.Random(1)
    ends: list[tuple[float, float]] = []
    for _ in range(10):
        second = -longest / 10 * dice.random()
        while second < 3600:
            tokens = dice.uniform(shortest, longest)
            second += tokens / 10
            ends.append((second, tokens))

    found = at_finish(3600, lambda second: sum(tokens for end, tokens in ends if 0 < end <= second))

    assert off([job.tokens_per_s for job in found[300:]], 100) <= tolerance


def test_one_request_after_another_is_exact_however_long_each_is() -> None:
    """50 tokens a second in requests of 100, 3000, 250 and 5000 tokens, again and again: 2, 60, 5 and 100 s each."""
    ends = [(167 * turn + end, 50.0 * (167 * turn + end)) for turn in range(9) for end in (2, 62, 67, 167)]

    found = at_finish(1500, lambda second: max((total for end, total in ends if end <= second), default=0.0))

    assert off([job.tokens_per_s for job in found[900:]], 50) <= 1e-12


def test_watts_are_those_of_the_span_of_the_rate() -> None:
    """Bursts every 40 s; the draw grows by 1 W a second, so that in the middle of 120 to 360 s it was 240 W."""
    rates = Rates()
    for second in range(380):
        reading = engine(second, requests(150)(second), running=10, counted_at_finish=True, window_s=60.0)
        found = tick(second, rates, [reading], [gpu("a", second**2 / 2, "chat")])["chat"]

    assert (found.tokens_per_s, found.tokens_per_s_per_w) == (150, 150 / 240)


@pytest.mark.parametrize("running", [10.0, None])
def test_an_engine_whose_requests_no_longer_end_is_unknown_and_not_idle(running: float | None) -> None:
    """The last ended at second 400; 40 s later others should have, and 80 s later nobody knows what it does."""
    found = at_finish(900, lambda second: requests(150)(min(second, 400)), running)

    assert {job.tokens_per_s for job in found[120:481]} == {150}
    assert {job.tokens_per_s for job in found[481:]} == {None}
    assert {job.tokens_per_s_per_w for job in found[481:]} == {None}


def test_a_rate_is_never_older_than_the_longest_request() -> None:
    """Bursts every 200 s; after the last, twice that would be 400."""
    found = at_finish(1900, lambda second: requests(30)(min(second, 1200)))

    assert [second for second, job in enumerate(found) if job.tokens_per_s is not None] == [*range(600, 1501)]


def test_requests_that_last_longer_than_five_windows_have_no_rate() -> None:
    """Ten minutes each: five of silence say nothing any more of what was before."""
    assert {job.tokens_per_s for job in at_finish(3000, requests(10))} == {None}


def test_an_engine_that_runs_nothing_and_counts_nothing_for_a_window_is_idle() -> None:
    """
    Busy for 400 s, idle for 200, busy again: what it counts then is no part of the idle time, nor of what was before.

    Zero from the second on at which nothing was counted for 60; the first burst after it ends 40 s after second 600.
    """

    def reading(second: int) -> EngineReading:
        tokens = requests(150)(min(second, 400)) + requests(75)(max(0, second - 599))
        running = 0.0 if 400 <= second < 600 else 10.0
        return engine(second, tokens, running=running, counted_at_finish=True, window_s=60.0)

    found = [job.tokens_per_s for job in chats(reading, 1000)]

    assert set(found[120:460]) == {150}
    assert set(found[460:600]) == {0}
    assert set(found[600:759]) == {None}
    assert off(found[759:], 75) <= 0.01


def test_an_engine_that_has_not_begun_is_idle_after_a_window() -> None:
    found = at_finish(62, lambda _: 0.0, running=0.0)

    assert [job.tokens_per_s for job in found] == [None] * 60 + [0, 0]
    assert found[-1].tokens_per_s_per_w == 0


@pytest.mark.parametrize("broken", ["restart", "gap"])
def test_bursts_on_either_side_of_a_restart_or_a_gap_are_not_joined(broken: str) -> None:
    """Bursts every 40 s; at second 410 it starts again, or four readings are missing. The next are at 440, 480, 520."""

    def reading(second: int) -> EngineReading | None:
        tokens = requests(150)(second)
        if broken == "gap":
            is_there = not 410 <= second < 414
            return engine(second, tokens, counted_at_finish=True, window_s=60.0) if is_there else None
        tokens -= 60000 * (second >= 410)
        return engine(second, tokens, int(second >= 410), counted_at_finish=True, window_s=60.0)

    found = [job.tokens_per_s for job in chats(reading, 600)]

    assert set(found[120:410]) == {150}
    assert set(found[410:520]) == {None}
    assert set(found[520:]) == {150}


def test_bursts_are_kept_as_long_as_they_are_needed_and_no_longer() -> None:
    """One a second: seven times the longest request. They are even, so the rate needs a window of them."""
    bursts = Bursts()
    for second in range(10_000):
        bursts.add(Point(at(second), 10.0 * second), 0, running=1, gap_s=3.5, window_s=60)

    assert len(bursts._increases) == 2101
    assert bursts.rate(60) == Rate(10, at(9939), at(9999))


@pytest.mark.parametrize("kind", ["vllm", "sglang", "tensorrt_llm", "dynamo", "nim", "tgi", "llama_cpp", "lmdeploy"])
def test_every_engine_serves_100_tokens_a_second_across_its_page(kind: str) -> None:
    """Over real HTTP: four minutes, a restart, four minutes; the tokens between ticks are what downstream adds up."""
    rates, ticks = Rates(), []
    with playing(Play(kind, tokens_per_s=100)) as server:
        scraper = Scraper(EngineSection(kind=kind, url=server.url, job="chat", timeout_s=20))
        for second in range(481):
            if second == 240:
                server.restart()
            reading = scraper.read(at(second))
            samples = [gpu("a", 500.0 * second, "chat")]
            found = jobs(at(second), samples, {"a": CHAT}, {}, [reading], rates)
            ticks.append(host_tick(second, samples, found))
            server.advance(1)
        scraper.close()

    first = 180 if reading.counted_at_finish else 10  # the third burst, or a window
    by_second = [tick.jobs[0].tokens_per_s for tick in ticks]
    known = [second for second, rate in enumerate(by_second) if rate is not None]
    total = counted(ticks)

    assert {by_second[second] for second in known} == {100}
    assert known == [*range(first, 240), *range(240 + first, 481)]
    assert total == (18000 + 24000 if reading.counted_at_finish else 23900 + 24000)  # 0…239 and 240…480


def test_an_engine_out_of_step_is_served_right_across_its_page() -> None:
    """A TensorRT-LLM of 150 tokens a second, over real HTTP; its requests last 40 s and end anyhow."""
    rates, found = Rates(), []
    with playing(Play("tensorrt_llm", tokens_per_s=150, ahead=tuple(ANYHOW))) as server:
        scraper = Scraper(EngineSection(kind="tensorrt_llm", url=server.url, job="chat", timeout_s=20))
        for second in range(400):
            found.append(tick(second, rates, [scraper.read(at(second))], [gpu("a", 500.0 * second, "chat")])["chat"])
            server.advance(1)
        scraper.close()

    known = [job.tokens_per_s for job in found if job.tokens_per_s is not None]
    assert len(known) >= 99
    assert off(known, 150) <= 0.1


def host_tick(second: int, gpus: Sequence[GpuSample], found: tuple[JobSample, ...]) -> HostTick:
    """Return the tick of one second."""
    return HostTick(host="h", site="s", boot="b", seq=second + 1, measured_at=at(second), gpus=tuple(gpus), jobs=found)


def test_watts_are_those_of_the_gpus_that_serve() -> None:
    """The job claims three; its engine runs on two of them, 400 and 600 W, and the rate is 100."""
    rates = Rates()
    for second in range(12):
        gpus = [gpu(uuid, watts * second, "chat") for uuid, watts in (("a", 400.0), ("b", 600.0), ("c", 9000.0))]
        found = tick(second, rates, [engine(second, 100.0 * second, gpus=("a", "b"))], gpus)["chat"]

    assert (found.tokens_per_s_per_w, found.gpus) == (0.1, ("a", "b", "c"))


@pytest.mark.parametrize(
    "energy",
    [
        lambda _: gpu("a", None, "chat"),
        lambda second: gpu("a", 500.0 * second, "chat", epoch=second // 6),
        lambda second: gpu("a", 500.0 * (second % 7), "chat"),
        lambda second: gpu("a", None if second in {31, 32, 33, 34} else 500.0 * second, "chat"),
        lambda second: gpu("a", 15000.0 * (second // 30), "chat"),
        lambda second: gpu("other", 500.0 * second, "chat"),
    ],
    ids=["no energy", "another epoch", "lower", "a gap", "read every 30 s only", "on another host"],
)
def test_without_the_draw_of_the_window_tokens_per_watt_are_unknown(energy: Callable[[int], GpuSample]) -> None:
    rates = Rates()
    for second in range(36):
        found = tick(second, rates, [engine(second, 100.0 * second, gpus=("a",))], [energy(second)])["chat"]

    assert (found.tokens_per_s, found.tokens_per_s_per_w) == (100, None)


def test_engines_of_one_job_are_added_up() -> None:
    """A vLLM of 100 and a TGI of 20 tokens a second, each over its own window."""
    rates = Rates()
    for second in range(200):
        one = engine(second, 100.0 * second, running=3, waiting=1, served_model="m")
        other = replace(one, kind="tgi", url="http://h:80", tokens=Tokens(1200.0 * (second // 60)))
        other = replace(other, counted_at_finish=True, window_s=60.0)
        found = tick(second, rates, [one, other], [gpu("a", 500.0 * second, "chat")])["chat"]

    assert (found.tokens_total, found.tokens_per_s, found.running, found.waiting) == (19900 + 3600, 120, 6, 2)
    assert (found.engine, found.counted_at_finish, found.served_model) == ("tgi+vllm", True, "m")
    assert found.tokens_per_s_per_w == 120 / 500


def test_the_restart_of_either_engine_is_one_of_the_job() -> None:
    """The other one makes up for what is lost, and more."""
    rates = Rates()
    found = []
    for second, (one, other) in enumerate([((100, 0), (100, 0)), ((9000, 0), (5, 1)), ((9100, 0), (9, 1))]):
        readings = [engine(second, *one), engine(second, *other, url="http://h:8001")]
        found.append(tick(second, rates, readings)["chat"])

    assert [(job.tokens_total, job.epoch) for job in found] == [(200, 0), (9005, 1), (9109, 1)]


def test_an_engine_that_falls_silent_makes_the_job_unknown_and_not_smaller() -> None:
    """Without it the sum would fall by its 5000 tokens, and grow by them in one second when it is back."""
    rates = Rates()
    found = []
    for second in range(4):
        readings = [engine(second, 100.0 * second, running=1)]
        if second != 2:
            readings.append(engine(second, 5000.0 + second, running=1, url="http://h:8001"))
        found.append(tick(second, rates, readings)["chat"])

    assert [(job.tokens_total, job.running, job.epoch) for job in found] == [
        (5000, 2, 0),
        (5101, 2, 0),
        (None, None, 0),
        (5303, 2, 0),
    ]


def test_an_engine_that_joins_opens_a_new_epoch() -> None:
    """It was there all the time and answers only now: its 5000 tokens were not made in this second."""
    rates = Rates()
    first = tick(0, rates, [engine(0, 100)])["chat"]
    second = tick(1, rates, [engine(1, 200), engine(1, 5000, url="http://h:8001")])["chat"]

    assert [(job.tokens_total, job.epoch) for job in (first, second)] == [(100, 0), (5200, 1)]


def test_a_job_that_moves_to_another_engine_opens_a_new_epoch() -> None:
    """From GPU a with 100 tokens to GPU b, whose engine had served somebody else 900 before."""
    rates = Rates()
    engines = [engine(0, 100, job="", gpus=("a",)), engine(0, 900, job="", gpus=("b",), url="http://h:8001")]
    gpus = [gpu("a"), gpu("b")]

    found = [jobs(at(n), gpus, {on: CHAT}, {}, engines, rates)[0] for n, on in enumerate("ab")]

    assert [(job.tokens_total, job.epoch) for job in found] == [(100, 0), (900, 1)]


def test_what_a_scraped_job_hands_in_itself_is_left_out() -> None:
    found = tick(0, Rates(), [engine(0, 100)], [gpu("a", job="chat")], {"chat": Tokens(7)})["chat"]

    assert found.tokens_total == 100


def test_an_engine_belongs_to_whoever_claims_its_gpus() -> None:
    """By the GPU itself or one of its MIG instances; without a claim, to nobody."""
    split = msgspec.structs.replace(gpu("b", job="train"), mig=("MIG-1", "MIG-2"))
    readings = [
        engine(0, 100, job="", gpus=("a",)),
        engine(0, 30, job="", gpus=("MIG-2",), url="http://h:8001"),
        engine(0, 5, job="", gpus=("c",), url="http://h:8002"),
    ]

    found = tick(0, Rates(), readings, [gpu("a", job="chat"), split, gpu("c")])

    assert {job: sample.tokens_total for job, sample in found.items()} == {"chat": 100, "train": 30}


def test_a_job_without_a_claimed_gpu_is_protected_most() -> None:
    """Its engine is here, so its tokens are too; whom the GPU belongs to nobody has said."""
    found = tick(0, Rates(), [engine(0, 100, gpus=("a",))], [gpu("a")])["chat"]

    assert (found.tier, found.workload, found.tokens_total, found.gpus) == (Tier.T0, Workload.INFERENCE, 100, ("a",))


def test_latencies_are_those_since_the_tick_before() -> None:
    """Three readings; the third is there twice; then a restart that has soon seen more than the run before."""
    readings = [
        engine(0, 0, ttft=buckets(5, 2, 1)),
        engine(1, 10, ttft=buckets(5, 4, 2)),
        engine(2, 20, ttft=buckets(6, 4, 2)),
        engine(2, 20, ttft=buckets(6, 4, 2)),
        engine(4, 1, epoch=1, ttft=buckets(9, 9, 9)),
        engine(5, 2, epoch=1, ttft=buckets(9, 10, 9)),
    ]
    rates = Rates()

    found = [tick(second, rates, [reading])["chat"].ttft for second, reading in enumerate(readings)]

    assert found == [None, buckets(0, 2, 1), buckets(1, 0, 0), None, None, buckets(0, 1, 0)]


def test_latencies_of_a_real_page_are_those_since_it_was_asked_before() -> None:
    """
    A vLLM of 100 tokens a second: each is one gap of 20 ms, and each new request one first token after 0.3 s.

    At ticks 2 and 61 it was not asked again; before 62 it starts again. Ten requests end at second 60, and ten begin.
    """
    rates, found = Rates(), []
    with playing(Play("vllm", tokens_per_s=100)) as server:
        scraper = Scraper(EngineSection(kind="vllm", url=server.url, job="chat", timeout_s=20))
        for second, passed_s in ((0, 0), (1, 1), (2, None), (60, 59), (61, None), (62, 1), (63, 1)):
            if second == 62:
                server.restart()
            if passed_s is not None:
                server.advance(passed_s)
                reading = scraper.read(at(second))
            found.append(tick(second, rates, [reading])["chat"])
        scraper.close()

    bounds_s = (0.01, 0.025, 0.1, 0.5, 1, INFINITE_S)

    def of(at_25_ms: float = 0, at_500_ms: float = 0) -> LatencyBuckets:
        return LatencyBuckets(le_s=bounds_s, counts=(0, at_25_ms, 0, at_500_ms, 0, 0))

    assert [job.itl for job in found] == [None, of(100), None, of(5900), None, None, of(100)]
    assert [job.ttft for job in found] == [None, of(), None, of(0, 10), None, None, of()]


def test_latencies_of_several_engines_are_merged() -> None:
    rates = Rates()
    for second in range(2):
        readings = [
            engine(second, 0, itl=buckets(second, 0, 0)),
            engine(second, 0, itl=buckets(0, 2 * second, 0), url="http://h:8001"),
        ]
        found = tick(second, rates, readings)["chat"]

    assert found.itl == buckets(1, 2, 0)


def buckets(*counts: float) -> LatencyBuckets:
    """Return what was counted up to 0.1 s, up to 0.5 s and above."""
    return LatencyBuckets(le_s=(0.1, 0.5, INFINITE_S), counts=counts)


def test_histograms_with_other_bounds_meet_at_those_they_share() -> None:
    """Up to 0.5 s there are 3 + 7, above 2."""
    other = LatencyBuckets(le_s=(0.2, 0.5, INFINITE_S), counts=(3, 4, 2))

    assert merged([buckets(1, 2, 0), other]) == LatencyBuckets(le_s=(0.5, INFINITE_S), counts=(10, 2))
    assert since(buckets(1, 2, 0), other) is None
    assert since(buckets(1, 2, 0), buckets(1, 1, 0)) is None
    assert merged([LatencyBuckets(le_s=(0.1,), counts=(1,)), LatencyBuckets(le_s=(0.2,), counts=(1,))]) is None
    assert (merged([]), from_cumulative([{}])) == (None, None)


def test_handed_in_tokens_have_a_rate_over_a_minute() -> None:
    """A training job of 1000 tokens a second on 500 W that says so every 30 s."""
    rates = Rates()
    for second in range(91):
        counted = Tokens(30_000.0 * (second // 30))
        found = tick(second, rates, gpus=[gpu("a", 500.0 * second, "train")], tokens={"train": counted})["train"]

    assert (found.tokens_per_s, found.tokens_per_s_per_w) == (1000, 2)


def test_a_counter_that_went_on_keeps_its_epoch_when_the_collector_is_killed() -> None:
    """The last tick published said 500 in epoch 3."""
    published = [JobSample(job="chat", tier=Tier.T1, workload=Workload.INFERENCE, engine="vllm",
                           tokens_total=500, epoch=3)]  # fmt: skip

    def resumed(reading: EngineReading) -> int:
        return tick(0, Rates(published), [reading])["chat"].epoch

    assert resumed(engine(0, 600)) == 3
    assert resumed(engine(0, 500)) == 3
    assert resumed(engine(0, 499)) == 4
    assert resumed(engine(0, 600, kind="sglang")) == 4


def test_two_engines_where_one_was_published_are_another_counter() -> None:
    published = [JobSample(job="chat", tier=Tier.T1, workload=Workload.INFERENCE, engine="vllm", tokens_total=500)]

    both = tick(0, Rates(published), [engine(0, 600), engine(0, 9000, url="http://h:8001")])["chat"]

    assert (both.engine, both.tokens_total, both.epoch) == ("vllm+vllm", 9600, 1)


def test_what_was_handed_in_goes_on_as_well() -> None:
    published = [JobSample(job="train", tier=Tier.T3, workload=Workload.TRAINING, tokens_total=500, epoch=2)]
    gpus = [gpu("a", job="train")]

    rates = Rates(published)
    unknown = tick(0, rates, gpus=gpus)["train"]
    known = tick(1, rates, gpus=gpus, tokens={"train": Tokens(700)})["train"]
    restarted = tick(2, rates, gpus=gpus, tokens={"train": Tokens(5, None, 1)})["train"]

    assert [(job.tokens_total, job.epoch) for job in (unknown, known, restarted)] == [(None, 2), (700, 2), (5, 3)]


def test_a_fall_while_nobody_looked_is_a_restart() -> None:
    """1000, unknown, 40: lower than what was known last."""
    rates = Rates()

    found = [tick(n, rates, [engine(n, count)])["chat"] for n, count in enumerate([1000, None, 40])]

    assert [(job.tokens_total, job.epoch) for job in found] == [(1000, 0), (None, 0), (40, 1)]


def test_jobs_that_come_and_go_do_not_fill_the_memory() -> None:
    rates = Rates()
    for number in range(2 * MAX_JOBS):
        rates.counted(f"job-{number}", Tokens(1.0), None, ())

    assert len(rates._jobs) == MAX_JOBS


COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.booleans(), st.booleans(), st.integers(1, 6)), max_size=40)


@given(COUNTS)
def test_no_rate_is_ever_negative_or_above_what_was_made(doings: list[tuple[int, bool, bool, int]]) -> None:
    """A counter that moves, restarts, falls silent and is read at odd times, as the scraper numbers its epochs."""
    rates, count, epoch, second, fastest = Rates(), 0, 0, 0, 0.0
    for more, restarts, is_silent, passed_s in doings:
        second += passed_s
        count, epoch = (more, epoch + 1) if restarts else (count + more, epoch)
        fastest = max(fastest, more / passed_s)
        readings = [] if is_silent else [engine(second, count, epoch)]
        for job in tick(second, rates, readings, [gpu("a", 500.0 * second, "chat")]).values():
            assert job.tokens_per_s is None or 0 <= job.tokens_per_s <= fastest + 1e-9
            assert job.tokens_per_s_per_w is None or 0 <= job.tokens_per_s_per_w <= (fastest + 1e-9) / 500


@given(COUNTS)
def test_nor_is_that_of_bursts(doings: list[tuple[int, bool, bool, int]]) -> None:
    """The same, where tokens count when a request ends, with windows of 4 s; idle where nothing is counted."""
    rates, count, epoch, second, fastest = Rates(), 0, 0, 0, 0.0
    for tokens, restarts, is_idle, passed_s in doings:
        second += 1 + passed_s // 2
        more = 0 if is_idle else tokens // 100
        count, epoch = (more, epoch + 1) if restarts else (count + more, epoch)
        fastest = max(fastest, more / (1 + passed_s // 2))
        reading = engine(second, count, epoch, running=0 if is_idle else 1, counted_at_finish=True, window_s=4.0)
        for job in tick(second, rates, [reading], [gpu("a", 500.0 * second, "chat")]).values():
            assert job.tokens_per_s is None or 0 <= job.tokens_per_s <= fastest + 1e-9
            assert job.tokens_per_s_per_w is None or 0 <= job.tokens_per_s_per_w <= (fastest + 1e-9) / 500


@given(COUNTS, st.integers(1, 5))
def test_however_often_it_ticks_the_tokens_between_first_and_last_are_the_same(
    doings: list[tuple[int, bool, bool, int]], every: int
) -> None:
    """Without restarts: what downstream adds up of all ticks, or of every so many."""
    count, readings = 0, [engine(0, 0)]
    for second, (more, *_) in enumerate(doings, 1):
        count += more
        readings.append(engine(second, count))
    chosen = [*readings[:-1:every], readings[-1]]

    rates, ticks = Rates(), []
    for number, reading in enumerate(chosen):
        ticks.append(host_tick(number, (), jobs(reading.at, [], {}, {}, [reading], rates)))

    assert counted(ticks) == count
