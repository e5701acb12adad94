"""How a deployment is, said from what Kafka knows: numbers add up, and what is wrong is named with what to do."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from doubles.worker_status import capacity
from unit.pipeline.ticks import NOON, at

from pipeline.groups import Committed, GroupFacts, Member, Place
from pipeline.interval import Interval
from pipeline.messages.telemetry import SiteInterval
from pipeline.status import Group, Report, Seen, lines, report
from pipeline.topics import HOST_TICKS

MACHINE = 1_795_000_000.0
TICKS = [Place(HOST_TICKS.name, number) for number in range(2)]
PULSE = Place("site.partial.v1", 0)
TWO = (
    Member("worker-1/10.0.0.1", frozenset({TICKS[0]})),
    Member("worker-2/10.0.0.2", frozenset({TICKS[1]})),
)
ROLLUP, FAUST = Group("fw-rollup", frozenset({HOST_TICKS.name}), 30.0), Group("fw", frozenset(), 15.0)
FAUSTS = {FAUST.name: GroupFacts((Member("faust/10.0.0.1", frozenset({PULSE})),), {PULSE: Committed(9, "")})}


def interval(end: datetime, length_s: int = 300, **fields: Any) -> SiteInterval:
    """Return a closed interval of site-1."""
    return SiteInterval(
        site="site-1",
        interval=Interval(end - timedelta(seconds=length_s), end),
        revision=1,
        energy_kwh=4.7,
        hosts=10,
        hosts_partial=0,
        covered_share=1.0,
        partitions=8,
        partitions_expected=8,
        ticks=3000,
        ticks_missing=0,
        pools=(),
        simulated=True,
        **fields,
    )


def seen(**fields: Any) -> Seen:
    """
    Return a deployment in order: two workers, one telemetry partition each, nothing that waits for long.

    Partition 0 has read 100 of 130 records since the log begins at 40, and the first that waits is 6 s old.
    """
    known = Seen(
        now=NOON + timedelta(seconds=2),
        machine_s=MACHINE,
        groups=(ROLLUP, FAUST),
        places={ROLLUP.name: frozenset(TICKS), FAUST.name: frozenset({PULSE})},
        known={ROLLUP.name: GroupFacts(TWO, {TICKS[0]: Committed(100, "7"), TICKS[1]: Committed(50, "")}), **FAUSTS},
        begins={TICKS[0]: 40, TICKS[1]: 0, PULSE: 0},
        ends={TICKS[0]: 130, TICKS[1]: 50, PULSE: 10},
        waiting={ROLLUP.name: {TICKS[0]: MACHINE - 6}, FAUST.name: {PULSE: MACHINE - 0.5}},
        states={0: MACHINE - 8},
        capacities=(capacity(known_at=at(-1), load_kw=1.0), capacity()),
        intervals=(interval(at(-600)), interval(at(-300)), interval(at(-60), length_s=60)),
    )
    return replace(known, **fields)


def problems(**fields: Any) -> str:
    """Return what is wrong, a line each."""
    found = report(seen(**fields))
    assert found.healthy is not bool(found.problems)
    return "\n".join(found.problems)


def test_a_deployment_in_order_is_healthy_and_its_numbers_add_up() -> None:
    found = report(seen())

    assert (found.healthy, found.problems) == (True, ())
    rollup, faust = found.groups
    assert (rollup.members, rollup.held, rollup.partitions, rollup.lag) == (2, 2, 2, 30)
    assert (rollup.behind_s, rollup.furthest) == (6.0, "telemetry.host.v1:0")
    assert (faust.lag, faust.behind_s) == (1, 0.5)
    first, second = found.partitions
    assert (first.held_by, first.offset, first.end, first.state_age_s) == ("worker-1/10.0.0.1", 100, 130, 8.0)
    assert (second.lag, second.behind_s, second.state_age_s) == (0, 0.0, None)
    (site,) = found.sites
    assert (site.load_kw, site.age_s, site.tick_age_p99_s) == (56.0, 2.0, 1.25)
    assert site.intervals == {60: at(-60), 300: at(-300)}


def test_a_group_that_never_committed_begins_where_the_log_does() -> None:
    """The oldest 40 records are gone from Kafka: 130 − 40 wait."""
    found = report(seen(known={ROLLUP.name: GroupFacts(TWO), **FAUSTS}))

    assert [row.lag for row in found.partitions] == [90, 50]


def test_offsets_older_than_the_log_are_not_counted_as_lag() -> None:
    found = report(seen(known={ROLLUP.name: GroupFacts(TWO, {TICKS[0]: Committed(3, "")}), **FAUSTS}))

    assert found.partitions[0].lag == 90


def test_a_group_without_members_is_named() -> None:
    told = problems(known={ROLLUP.name: GroupFacts(), **FAUSTS})

    assert told == "fw-rollup: nobody works in it: start `firmwatt pipeline run`"


def test_a_telemetry_partition_that_nobody_holds_is_counted() -> None:
    told = problems(known={ROLLUP.name: GroupFacts(TWO[:1]), **FAUSTS})

    assert told.startswith("fw-rollup: nobody holds 1 of 2 partitions")


@pytest.mark.parametrize(("waited_s", "is_wrong"), [(30.0, False), (31.0, True)])
def test_a_group_lags_once_a_record_waits_longer_than_its_commits_explain(waited_s: float, *, is_wrong: bool) -> None:
    told = problems(waiting={ROLLUP.name: {TICKS[1]: MACHINE - waited_s}, FAUST.name: {}})

    assert ("fw-rollup: a record on telemetry.host.v1:1 has waited for 31 s" in told) is is_wrong


def test_an_old_figure_is_named_and_an_incomplete_one_too() -> None:
    assert "site-1: its newest figure is 11 s old" in problems(now=NOON + timedelta(seconds=11))
    told = problems(capacities=(msgspec.structs.replace(capacity(), partitions=7),))
    assert told.startswith("site-1: its figure has 7 of 8 partitions: ")
    assert "telemetry_sites" in told


def test_an_interval_that_is_overdue_is_named() -> None:
    """The last 5 minutes ended at 11:55; the next end at 12:00, and 40 s later they must be there."""
    late = {"capacities": (capacity(known_at=at(41)),), "intervals": (interval(at(-300)), interval(at(0), 60))}

    assert problems(now=at(40), **late) == ""
    assert problems(now=at(41), **late) == f"site-1: no interval of 300 s was closed after {at(-300).isoformat()}"


def test_loaded_history_is_no_closed_interval() -> None:
    """Back-filled days say nothing about whether anything runs."""
    found = report(seen(intervals=(interval(at(-300), source="backfill"),)))

    assert found.sites[0].intervals == {}


def test_no_figure_at_all_and_missing_topics_are_wrong() -> None:
    told = problems(capacities=(), missing=("site.partial.v1",))

    assert "topic site.partial.v1 does not exist" in told
    assert "no site has a figure" in told


def test_as_a_table_every_number_stands_under_its_head() -> None:
    shown = list(lines(report(seen())))

    heads, rollup = shown[0], shown[1]
    assert rollup[heads.index("lag") :].startswith("30 ")
    assert rollup[heads.index("furthest") :] == "telemetry.host.v1:0"
    assert shown[-1] == "healthy"
    assert "wrong: " in "\n".join(lines(report(seen(capacities=()))))


def test_as_json_it_can_be_read_back() -> None:
    found = report(seen())

    assert msgspec.json.decode(msgspec.json.encode(found), type=Report) == found
