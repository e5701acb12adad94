"""The desk: every view answers while files appear, nobody can write, and each figure is shown once."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import polars as pl
import pytest
from doubles import archived
from unit.pipeline.ticks import H100, NOON, at

from pipeline import archive, desk, storage
from pipeline.archive_schemas import SCHEMAS
from pipeline.desk_cli import as_csv, as_json, as_table, main, query
from pipeline.desk_views import VIEWS
from pipeline.errors import ConfigError
from pipeline.interval import Interval
from pipeline.market_topics import AWARDS, DISPATCHES, OFFER_EVENTS, OFFERS, PERFORMANCE, STATEMENTS
from pipeline.messages.control import AckStatus, CommandAck, LeaseCommand, PoolCap, SignedCommand
from pipeline.messages.market import (
    Award,
    Dispatch,
    Offer,
    OfferEvent,
    OfferState,
    OfferStep,
    Performance,
    Statement,
    StatementLine,
)
from pipeline.messages.telemetry import PoolInterval, PoolLoad, SiteCapacity, SiteInterval, Tier, Workload
from pipeline.store import interval_history
from pipeline.topics import ACKS, COMMANDS, SITE_CAPACITY, SITE_INTERVALS, Topic

MINUTE = Interval(NOON, at(60))

READER = """
import sys, time, duckdb
views, seconds = sys.argv[2].split(","), float(sys.argv[3])
until, rounds = time.monotonic() + seconds, 0
print("reading", flush=True)
while time.monotonic() < until:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        for view in views:
            rows = connection.execute(f"SELECT * FROM {view}").fetchall()
            if view == "acks":
                assert len(rows) % 10 == 0, f"torn read: {len(rows)}"
    rounds += 1
print(rounds)
"""


def site_interval(revision: int = 1, energy_kwh: float = 1.0, **fields: Any) -> SiteInterval:
    pool = PoolInterval(
        tier=Tier.T3,
        workload=Workload.INFERENCE,
        gpu_model=H100,
        served_model="llama-70b",
        gpu_energy_kwh=0.5,
        tokens=900_000.0,
    )
    settings: dict[str, Any] = {
        "site": "site-1",
        "interval": MINUTE,
        "hosts": 1,
        "hosts_partial": 0,
        "covered_share": 1.0,
    }
    settings |= {"partitions": 8, "partitions_expected": 8, "ticks": 60, "ticks_missing": 0}
    return SiteInterval(revision=revision, energy_kwh=energy_kwh, pools=(pool,), simulated=True, **(settings | fields))


def site_capacity(seconds: float) -> SiteCapacity:
    relief = tuple(0.1 * level for level in range(15))
    pools = tuple(
        PoolLoad(
            tier=tier,
            workload=Workload.INFERENCE,
            gpu_model=H100,
            gpus=1,
            power_kw=0.6,
            relief_kw=relief,
            max_w=700.0,
            tokens_per_s=tokens,
        )
        for tier, tokens in ((Tier.T1, 100.0), (Tier.T3, None))
    )
    return SiteCapacity(
        site="site-1",
        as_of=at(seconds),
        known_at=at(seconds + 1),
        partitions=8,
        partitions_expected=8,
        hosts=1,
        hosts_stale=0,
        gpus=2,
        load_kw=1.2,
        pools=pools,
        ticks_open=5,
        age_p50_ms=1.0,
        age_p99_ms=2.0,
        simulated=True,
    )


OFFER = Offer(
    offer_id="o1",
    resource="r1",
    site="site-1",
    venue="sandbox",
    product="energy-dr",
    interval=MINUTE,
    steps=tuple(
        OfferStep(
            quantity_mw=Decimal(quantity),
            price_per_mwh=Decimal(90),
            tier=Tier.T3,
            tokens_forgone_per_mwh=Decimal("1.5"),
            token_cost_per_mwh=Decimal(1),
            service_credit_per_mwh=Decimal(0),
            restart_cost_per_mwh=Decimal(0),
        )
        for quantity in ("0.1", "0.2")
    ),
    currency="USD",
    as_of=NOON,
    baseline_method="caiso-10-in-10",
    baseline_kw=1000.0,
    firm_kw=300.0,
    confidence=0.95,
    simulated=True,
)


def offer_event(state: OfferState, seconds: float = 0) -> OfferEvent:
    return OfferEvent(offer_id="o1", state=state, at=at(seconds))


AWARD = Award(
    award_id="a1",
    offer_id="o1",
    resource="r1",
    product="energy-dr",
    interval=MINUTE,
    quantity_mw=Decimal("0.3"),
    price_per_mwh=Decimal("95.25"),
    currency="USD",
    awarded_at=NOON,
)
DISPATCH = Dispatch(
    dispatch_id="d1", award_id="a1", resource="r1", interval=MINUTE, reduction_mw=Decimal("0.3"), issued_at=NOON
)
PERFORMED = Performance(
    award_id="a1",
    resource="r1",
    site="site-1",
    interval=MINUTE,
    baseline_method="caiso-10-in-10",
    unadjusted_baseline_kw=1000.0,
    adjustment_ratio=1.1,
    baseline_kw=1100.0,
    baseline_days=("2026-07-22",),
    load_kw=800.0,
    reduction_kw=300.0,
    awarded_kw=300.0,
    delivered_kw=300.0,
    shortfall_kw=0.0,
    covered_share=1.0,
    simulated=True,
)


def command(host: str) -> SignedCommand:
    lease = LeaseCommand(
        command_id=f"c-{host}",
        host=host,
        seq=1,
        kind="economic",
        award_id="a1",
        dispatch_id="d1",
        issued_at=NOON,
        not_before=NOON,
        expires_at=at(60),
        caps=(PoolCap(tier=Tier.T3, gpu_model=H100, cap_w=300.0),),
    )
    return SignedCommand(host=host, key_id="k1", payload=msgspec.json.encode(lease), signature=b"s")


def ack(host: str, status: AckStatus = AckStatus.APPLIED, latency_ms: float = 10.0) -> CommandAck:
    return CommandAck(
        host=host,
        command_id=f"c-{host}",
        seq=1,
        status=status,
        reason=None,
        issued_at=NOON,
        acknowledged_at=at(1),
        latency_ms=latency_ms,
        before_w=600.0,
        after_w=300.0,
        gpus=(),
        simulated=True,
    )


def statement(issuer: str, total: str) -> Statement:
    line = StatementLine(
        award_id="a1",
        interval=MINUTE,
        baseline_kwh=Decimal("18.333"),
        metered_kwh=Decimal("13.333"),
        awarded_kwh=Decimal(5),
        delivered_kwh=Decimal(5),
        shortfall_kwh=Decimal(0),
        price_per_mwh=Decimal("95.25"),
        energy_amount=Decimal(total),
        shortfall_amount=Decimal(0),
        total=Decimal(total),
    )
    return Statement(
        statement_id="s1",
        issuer=issuer,
        resource="r1",
        currency="USD",
        lines=(line,),
        total=Decimal(total),
        issued_at=NOON,
        simulated=True,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    desk.build(tmp_path / "desk.duckdb", storage.at(tmp_path / "archive"))
    return tmp_path


def put(place: Path, topic: Topic[Any], *messages: Any, first: int = 0) -> None:
    archived.put(storage.at(place / "archive"), topic, *messages, first=first)


def ask(place: Path, sql: str) -> list[tuple[Any, ...]]:
    return query(place / "desk.duckdb", sql)[1]


def test_every_view_answers_with_nothing_before_the_first_message(place: Path) -> None:
    assert [ask(place, f"SELECT * FROM {view.name}") for view in VIEWS] == [[]] * len(VIEWS)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_and_each_of_its_columns_is_documented_and_says_whether_it_is_simulated(
    place: Path, view: Any
) -> None:
    columns = ask(place, f"SELECT column_name, comment FROM duckdb_columns() WHERE table_name = '{view.name}'")
    comments = ask(place, f"SELECT comment FROM duckdb_views() WHERE view_name = '{view.name}'")

    assert comments == [(view.comment,)]
    assert dict(columns) == view.columns
    assert "simulated" in view.columns


def test_of_one_interval_the_highest_revision_is_shown_and_metered_beats_loaded_history(place: Path) -> None:
    """Revision 2 says 2 kWh over a minute: 120 kW. Redelivered revision 1 changes nothing."""
    history = pl.DataFrame({"start": [NOON - timedelta(minutes=1), NOON], "load_kw": [60.0, 60.0]})
    archive.backfill(storage.at(place / "archive"), "site-1", history, timedelta(minutes=1), NOON, simulated=True)
    put(place, SITE_INTERVALS, site_interval(1), site_interval(2, 2.0), site_interval(1))

    assert ask(place, "SELECT revision, energy_kwh, load_kw, source FROM intervals ORDER BY interval_start") == [
        (0, 1.0, 60.0, "backfill"),
        (2, 2.0, 120.0, "metered"),
    ]
    minute = timedelta(minutes=1)
    past = interval_history(place / "archive", "site-1", at(60), minute)
    assert past.select("load_kw", "source").rows() == [(60.0, "backfill"), (120.0, "metered")]
    assert interval_history(place / "archive", "site-1", at(59), minute).height == 1
    assert interval_history(place / "archive", "site-2", at(60), minute).is_empty()


def test_a_minute_measured_in_part_is_shown_with_the_mean_of_that_part(place: Path) -> None:
    """
    3 kWh of three quarters of a minute's host-seconds are 240 kW, and not the 180 that look like load gone away.

    With nothing measured, or a partition missing of which nobody knows how many hosts it has, there is no mean.
    """

    def minute(number: int, **fields: Any) -> SiteInterval:
        interval = Interval(at(60 * number), at(60 * number + 60))
        return site_interval(interval=interval, **fields)

    part = minute(0, energy_kwh=3.0, covered_share=0.75)
    put(place, SITE_INTERVALS, part, minute(1, energy_kwh=0.0, covered_share=0.0), minute(2, partitions=7))

    rows = ask(place, "SELECT load_kw, covered_share, energy_kwh FROM intervals ORDER BY interval_start")

    assert rows == [(240.0, 0.75, 3.0), (None, 0.0, 0.0), (None, 1.0, 1.0)]


def test_an_interval_nobody_measured_is_a_gap_in_the_history(place: Path) -> None:
    put(place, SITE_INTERVALS, site_interval(energy_kwh=0.0, covered_share=0.0))

    assert interval_history(place / "archive", "site-1", at(60), timedelta(minutes=1)).is_empty()


def test_capacity_is_one_row_a_second_with_the_relief_of_each_tier(place: Path) -> None:
    """Two pools at 1.4 kW each at the lowest cap; T2 has none. Tokens of one pool are known."""
    put(place, SITE_CAPACITY, site_capacity(1), site_capacity(1), site_capacity(2))

    rows = ask(place, "SELECT relief_kw, relief_t1_kw, relief_t2_kw, relief_t3_kw, tokens_per_s FROM capacity")

    assert rows == [(pytest.approx(2.8), pytest.approx(1.4), 0, pytest.approx(1.4), 100.0)] * 2


def test_tokens_per_watt_is_tokens_over_joules(place: Path) -> None:
    """900 000 tokens for half a kilowatt-hour, 1.8 MJ, are 0.5 tokens a joule."""
    put(place, SITE_INTERVALS, site_interval())

    assert ask(place, "SELECT tier, served_model, tokens_per_joule FROM tokens_per_watt") == [("T3", "llama-70b", 0.5)]


def test_an_offer_shows_the_latest_step_of_its_life_once(place: Path) -> None:
    put(place, OFFERS, OFFER, OFFER)
    states = [OfferState.INTENT, OfferState.SENT, OfferState.UNKNOWN, OfferState.ACCEPTED, OfferState.SENT]
    put(place, OFFER_EVENTS, *map(offer_event, states))

    assert ask(place, "SELECT offer_id, state, quantity_mw FROM offers") == [("o1", "accepted", Decimal("0.3"))]


@pytest.mark.parametrize("redelivered", [0, 1, 2])
def test_an_offer_sent_again_is_sent_whatever_is_redelivered_after_it(place: Path, redelivered: int) -> None:
    """Sent, unknown, sent again: a state may be reached twice, and what happened last is the state."""
    put(place, OFFERS, OFFER)
    life = [offer_event(OfferState.SENT, 1), offer_event(OfferState.UNKNOWN, 2), offer_event(OfferState.SENT, 3)]
    put(place, OFFER_EVENTS, *life, life[redelivered])

    assert ask(place, "SELECT state, state_at FROM offers") == [("sent", at(3))]


def test_a_dispatch_shows_how_its_hosts_answered(place: Path) -> None:
    """Three hosts commanded: one in 10 ms, one in 30 ms, one refused; the median of two is 20 ms."""
    put(place, OFFERS, OFFER)
    put(place, AWARDS, AWARD, AWARD)
    put(place, DISPATCHES, DISPATCH, DISPATCH)
    put(place, COMMANDS, *map(command, ("h1", "h2", "h3", "h1")))
    put(place, ACKS, ack("h1"), ack("h2", latency_ms=30.0), ack("h3", AckStatus.REFUSED), ack("h1"))

    assert ask(place, "SELECT hosts_commanded, hosts_applied, hosts_refused, latency_p50_ms FROM dispatches") == [
        (3, 2, 1, 20.0)
    ]
    assert ask(place, "SELECT award_id, price_per_mwh, simulated FROM awards") == [("a1", Decimal("95.25"), True)]


def test_both_statements_stand_side_by_side(place: Path) -> None:
    put(place, PERFORMANCE, PERFORMED, PERFORMED)
    put(place, STATEMENTS, statement("firmwatt", "0.48"), statement("sandbox", "0.47"), statement("firmwatt", "0.48"))

    assert ask(place, "SELECT our_total, venue_total, difference FROM statements") == [
        (Decimal("0.48"), Decimal("0.47"), Decimal("0.01"))
    ]
    assert ask(place, "SELECT reduction_kw, baseline_days FROM performance") == [(300.0, ["2026-07-22"])]


def test_every_view_answers_from_another_process_while_files_appear(place: Path) -> None:
    """Batches of ten acknowledgements: a reader that saw part of a file would count another number."""
    names = ",".join(view.name for view in VIEWS)
    words = [sys.executable, "-c", READER, str(place / "desk.duckdb"), names, "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        first, until = 0, time.monotonic() + 2.5
        while time.monotonic() < until:
            put(place, ACKS, *(ack(f"h{first + number}") for number in range(10)), first=first)
            put(place, SITE_CAPACITY, site_capacity(first), first=first)
            first += 10
        desk.build(place / "desk.duckdb", storage.at(place / "archive"))
        rounds = int(reader.stdout.readline())

    assert reader.returncode == 0
    assert rounds > 1
    assert first > 20


def test_the_desk_refuses_to_be_written(place: Path) -> None:
    with pytest.raises(ConfigError, match="read-only"):
        query(place / "desk.duckdb", "CREATE TABLE mine AS SELECT 1")


def test_bad_sql_is_duckdb_s_reason_in_one_line(place: Path) -> None:
    with pytest.raises(ConfigError, match="Parser Error") as failure:
        query(place / "desk.duckdb", "SELEC 1")

    assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 2


def test_no_desk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make demo"):
        query(tmp_path / "none.duckdb", "SELECT 1")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (as_table, "a    b\n───  ─\n1.5\n(1 row)"),
        (as_json, '[\n  {\n    "a": "1.5",\n    "b": null\n  }\n]'),
        (as_csv, "a,b\n1.5,"),
    ],
)
def test_results_as_table_json_and_csv(form: Callable[..., str], text: str) -> None:
    assert form(["a", "b"], [(Decimal("1.50"), None)]) == text.replace('"1.5"', '"1.50"')


def test_the_command_lists_the_views(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--desk", str(place / "desk.duckdb")]) == 0

    shown = capsys.readouterr().out
    assert all(view.name in shown for view in VIEWS)


def test_every_archived_topic_has_a_source_and_can_be_opened_by_name(place: Path) -> None:
    with duckdb.connect(str(place / "desk.duckdb"), read_only=True) as connection:
        for topic in SCHEMAS:
            assert connection.execute(f"SELECT count(*) FROM archive.{desk.source_name(topic)}").fetchone() == (0,)
