"""The run in figures, from messages small enough to check by hand."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from deploy.demo import page, report
from deploy.demo.picture import Picture
from deploy.demo.report import Run
from pipeline.interval import Interval
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.market import Award, Offer, OfferStep, Performance, Statement, StatementLine
from pipeline.messages.telemetry import (
    CAP_SHARES,
    PoolInterval,
    PoolLoad,
    SiteCapacity,
    SiteInterval,
    Tier,
    Workload,
)

T0 = datetime(2026, 7, 24, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BEFORE, DURING = Interval(T0 - MINUTE, T0), Interval(T0, T0 + MINUTE)


def capacity(at: datetime, load_kw: float = 1000.0, ticks_open: int = 0) -> SiteCapacity:
    relief = tuple(300.0 * (1 - share) / 0.7 for share in CAP_SHARES)
    pool = PoolLoad(
        tier=Tier.T3,
        workload=Workload.TRAINING,
        gpu_model="H100",
        gpus=1000,
        power_kw=600.0,
        relief_kw=relief,
        max_w=700.0,
        tokens_per_s=5000.0,
    )
    return SiteCapacity(
        site="s",
        as_of=at,
        known_at=at,
        partitions=8,
        partitions_expected=8,
        hosts=201,
        hosts_stale=0,
        gpus=1608,
        load_kw=load_kw,
        pools=(pool,),
        ticks_open=ticks_open,
        age_p50_ms=400.0,
        age_p99_ms=1000.0,
        simulated=True,
    )


def interval(span: Interval, ticks: int, tokens: float | None, revision: int = 1) -> SiteInterval:
    """One pool of inference at 10 kWh a minute, that is 36 MJ."""
    pool = PoolInterval(
        tier=Tier.T2,
        workload=Workload.INFERENCE,
        gpu_model="H100",
        served_model="m",
        gpu_energy_kwh=10.0,
        tokens=tokens,
    )
    return SiteInterval(
        site="s",
        interval=span,
        revision=revision,
        energy_kwh=15.0,
        hosts=201,
        hosts_partial=0,
        covered_share=1.0,
        partitions=8,
        partitions_expected=8,
        ticks=ticks,
        ticks_missing=0,
        pools=(pool,),
        simulated=True,
    )


def ack(host: str, latency_ms: float, status: AckStatus = AckStatus.APPLIED) -> CommandAck:
    return CommandAck(
        host=host,
        command_id="c",
        seq=1,
        status=status,
        reason=None,
        issued_at=T0,
        acknowledged_at=T0,
        latency_ms=latency_ms,
        before_w=1.0,
        after_w=1.0,
        gpus=(),
        simulated=True,
    )


def line(total: str) -> StatementLine:
    return StatementLine(
        award_id="a",
        interval=DURING,
        baseline_kwh=Decimal("18.000"),
        metered_kwh=Decimal("15.000"),
        awarded_kwh=Decimal(4),
        delivered_kwh=Decimal("3.000"),
        shortfall_kwh=Decimal("1.000"),
        price_per_mwh=Decimal(500),
        energy_amount=Decimal("1.50"),
        shortfall_amount=Decimal("-0.50"),
        total=Decimal(total),
    )


def statement(issuer: str, total: str) -> Statement:
    return Statement(
        statement_id="st",
        issuer=issuer,
        resource="r",
        currency="USD",
        lines=(line(total),),
        total=Decimal(total),
        issued_at=T0,
        simulated=True,
    )


def a_run(**changes: object) -> Run:
    step = OfferStep(
        quantity_mw=Decimal("0.250"),
        price_per_mwh=Decimal("120.00"),
        tier=Tier.T3,
        tokens_forgone_per_mwh=Decimal(1000),
        token_cost_per_mwh=Decimal(100),
        service_credit_per_mwh=Decimal(0),
        restart_cost_per_mwh=Decimal(20),
    )
    offer = Offer(
        offer_id="o",
        resource="r",
        site="s",
        venue="sandbox",
        product="energy-dr",
        interval=DURING,
        steps=(step,),
        currency="USD",
        as_of=T0 - timedelta(seconds=30),
        baseline_method="caiso-10-in-10",
        baseline_kw=1080.0,
        firm_kw=290.0,
        confidence=0.95,
        simulated=True,
    )
    award = Award(
        award_id="a",
        offer_id="o",
        resource="r",
        product="energy-dr",
        interval=DURING,
        quantity_mw=Decimal("0.240"),
        price_per_mwh=Decimal(500),
        currency="USD",
        awarded_at=T0,
    )
    performance = Performance(
        award_id="a",
        resource="r",
        site="s",
        interval=DURING,
        baseline_method="caiso-10-in-10",
        unadjusted_baseline_kw=1070.0,
        adjustment_ratio=1.01,
        baseline_kw=1080.0,
        baseline_days=("2026-07-22",),
        load_kw=900.0,
        reduction_kw=180.0,
        awarded_kw=240.0,
        delivered_kw=180.0,
        shortfall_kw=60.0,
        covered_share=1.0,
        simulated=True,
    )
    run = Run(
        speed=2.0,
        description="SIMULATED fleet.",
        ticks_produced=300,
        intervals_planned=2,
        capacities=[capacity(T0 - MINUTE), capacity(T0, 900.0), capacity(T0 + MINUTE, ticks_open=50)],
        intervals=[interval(BEFORE, 100, 72e6), interval(DURING, 140, 36e6), interval(DURING, 150, 36e6, revision=2)],
        acks=[ack("h1", 300.0), ack("h2", 500.0), ack("h3", 9e9, AckStatus.REFUSED), ack("h1", 0, AckStatus.RELEASED)],
        offers=[offer],
        awards=[award],
        performance=[performance],
        statements=[statement("firmwatt", "1.00"), statement("sandbox", "1.00")],
        audit={"duplicate_submissions": 0},
    )
    for name, changed in changes.items():
        setattr(run, name, changed)
    return run


def test_ticks_are_those_of_the_highest_revision_plus_the_open_interval() -> None:
    """100 + 150 closed and 50 open make the 300 produced: nothing is lost."""
    told = report.summarise(a_run())

    assert told["ticks_aggregated"] == 300
    assert told["lost"] == 0


def test_a_lost_tick_shows() -> None:
    """301 produced, 300 seen."""
    assert report.summarise(a_run(ticks_produced=301))["lost"] == 1


def test_the_headline_figures() -> None:
    """180 of 240 kW is three quarters; the clock at double speed halves the machine's milliseconds."""
    told = report.summarise(a_run())

    assert (told["offered_kw"], told["awarded_kw"], told["delivered_kw"]) == (250.0, 240.0, 180.0)
    assert told["delivered_ratio"] == 0.75
    assert told["capacity_kw"] == {"T3": 300.0}
    assert (told["freshness_p50_ms"], told["freshness_p99_ms"]) == (200.0, 500.0)
    assert (told["command_to_ack_p50_ms"], told["command_to_ack_p99_ms"]) == (300.0, 500.0)
    assert (told["commands_applied"], told["commands_refused"]) == (2, 1)
    assert (told["hosts_commanded"], told["hosts_released"]) == (2, 1)
    assert (told["intervals_planned"], told["intervals_offered"], told["intervals_awarded"]) == (2, 1, 1)
    assert told["reduction_kw"] == 180.0


def test_tokens_per_joule_before_and_during() -> None:
    """72 million tokens over 36 MJ are 2 tokens/s/W; half the tokens at the same energy are 1."""
    told = report.summarise(a_run())

    assert (told["tokens_per_s_per_w_before"], told["tokens_per_s_per_w_during"]) == (2.0, 1.0)


def test_uncounted_tokens_are_a_gap_and_not_zero() -> None:
    """Nobody counted, so there is no figure."""
    told = report.summarise(a_run(intervals=[interval(DURING, 300, None)]))

    assert told["tokens_per_s_per_w_during"] is None


def test_statements_that_agree_and_that_do_not() -> None:
    """One cent apart is told, field by field."""
    assert report.summarise(a_run())["statements_agree"] is True

    told = report.summarise(a_run(statements=[statement("firmwatt", "1.00"), statement("sandbox", "0.99")]))

    assert told["statements_agree"] is False
    assert told["statement_differences"] == [
        {"award_id": "a", "figure": "total", "ours": "1.00", "theirs": "0.99"},
        {"award_id": "", "figure": "total", "ours": "1.00 USD", "theirs": "0.99 USD"},
    ]


def test_a_run_without_anything_says_so_with_nulls() -> None:
    """No figure is made up where nothing was measured."""
    told = report.summarise(Run(speed=1.0, description="SIMULATED", ticks_produced=0, intervals_planned=1))

    assert told["delivered_ratio"] is None
    assert told["settlement_usd"] is None
    assert told["statements_agree"] is False
    assert told["hosts"] is None


def test_a_loop_that_did_not_close_says_why() -> None:
    """Lost ticks, no offer, no award, statements apart: one sentence each; a closed loop has nothing to say."""
    whole = report.summarise(a_run())

    assert report.problem(whole, "no evidence") is None
    assert report.problem(whole | {"lost": 1}, "no evidence") == "1 of 300 ticks did not reach the site figures"
    assert str(report.problem(whole | {"offered_kw": None}, "no evidence")).startswith("nothing was offered")
    assert "no evidence" in str(report.problem(whole | {"offered_kw": None}, "no evidence"))
    assert "none was awarded" in str(report.problem(whole | {"awarded_kw": None}, "no evidence"))
    assert "differ" in str(report.problem(whole | {"statements_agree": False}, "no evidence"))


def test_the_page_stands_alone_and_says_that_it_is_simulated() -> None:
    """One file: plots inside, nothing fetched, the word simulated in it."""
    run = a_run()

    html = page.render(run, report.summarise(run))

    assert html.count("<svg") == 2
    assert "Simulated." in html
    assert "agree to the cent" in html
    assert "src=" not in html
    assert "<script" not in html
    assert "<link" not in html


def test_the_live_picture_knows_load_target_and_baseline() -> None:
    """Baseline 1 080 kW minus 240 kW awarded is a target of 840 kW, inside the interval only."""
    run, picture = a_run(), Picture()

    for message in (*run.capacities, *run.offers, *run.awards, *run.acks, *run.statements):
        picture.add(message, T0)

    assert picture.target_kw(T0) == pytest.approx(840.0)
    assert picture.target_kw(T0 + MINUTE) is None
    assert picture.baseline_kw(T0) == 1080.0
    assert (picture.applied, picture.refused) == (2, 1)
    assert picture.commanded_hosts - picture.released_hosts == {"h2"}
    assert picture.relief_kw() == {"T3": pytest.approx(300.0)}
