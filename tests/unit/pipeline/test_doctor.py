"""The doctor: what a worker needs against what is there; whatever fails says what to do."""

from typing import Any

import pytest

from deploy.broker import acl_rules
from deploy.broker.acl_rules import Kind, Operation
from pipeline import doctor
from pipeline.cluster import TopicFacts
from pipeline.doctor import Check, Verdict
from pipeline.kafka import partitions_of, topic_settings
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, SITE_CAPACITY, TOPICS

KAFKA = Kafka()
EVERY = (*TOPICS, *MARKET_TOPICS)
HOSTS, CAPACITY = HOST_TICKS.name, SITE_CAPACITY.name


def facts(**changed: TopicFacts) -> dict[str, TopicFacts]:
    """Return a cluster on which every topic is as declared, in three copies, all rights granted."""
    return {
        topic.name: TopicFacts(
            partitions=partitions_of(KAFKA, topic),
            replicas=3,
            out_of_sync=0,
            settings={**topic_settings(topic), "min.insync.replicas": "2"},
            allowed=frozenset({"read", "write"}),
        )
        for topic in EVERY
    } | changed


def but(topic: str, **fields: Any) -> dict[str, TopicFacts]:
    """Return the same cluster with one topic otherwise; *settings* are added to those it has."""
    known = facts()
    one = known[topic]
    merged = {"settings": {**one.settings, **fields.pop("settings", {})}}
    values = {name: getattr(one, name) for name in ("partitions", "replicas", "out_of_sync", "settings", "allowed")}
    return known | {topic: TopicFacts(**(values | merged | fields))}


def failing(checks: Any) -> list[Check]:
    """Return the failures; each says what to do."""
    found = [check for check in checks if check.verdict is Verdict.FAIL]
    assert all(check.remedy for check in found)
    return found


def test_a_cluster_in_order_passes_in_few_words() -> None:
    checks = [*doctor.topics(KAFKA, facts()), *doctor.replication(facts(), 3), *doctor.rights(facts(), {"fw": True})]

    assert [check.verdict for check in checks] == [Verdict.OK] * 3
    assert not doctor.fails(checks)


def test_missing_topics_are_one_line_that_names_them() -> None:
    there = facts()
    del there[HOSTS], there[CAPACITY]

    (failure,) = failing(doctor.topics(KAFKA, there))

    assert HOSTS in failure.found
    assert CAPACITY in failure.found
    assert "topics --create" in failure.remedy


def test_telemetry_with_other_partitions_than_the_settings_say() -> None:
    (failure,) = failing(doctor.topics(KAFKA, but(HOSTS, partitions=12)))

    assert failure.found == "12 partitions instead of 8"
    assert "telemetry_partitions = 12" in failure.remedy
    assert not failing(doctor.topics(Kafka(telemetry_partitions=12), but(HOSTS, partitions=12) | state(12)))


def state(partitions: int) -> dict[str, TopicFacts]:
    """Return the rollup's states, which have as many partitions as the ticks."""
    return {"rollup.state.v1": but("rollup.state.v1", partitions=partitions)["rollup.state.v1"]}


def test_other_topics_with_wrong_partitions_are_made_anew() -> None:
    (failure,) = failing(doctor.topics(KAFKA, but(CAPACITY, partitions=1)))

    assert failure.found == "1 partitions instead of 4"
    assert "anew" in failure.remedy


@pytest.mark.parametrize(
    ("topic", "setting", "value"),
    [
        (HOSTS, "message.timestamp.type", "CreateTime"),
        (HOSTS, "retention.ms", "3600000"),
        ("rollup.state.v1", "max.message.bytes", "1048588"),
        ("site.host.v1", "cleanup.policy", "delete"),
    ],
)
def test_a_setting_that_differs_comes_with_the_command_that_sets_it(topic: str, setting: str, value: str) -> None:
    wanted = dict(facts()[topic].settings)[setting]

    (failure,) = failing(doctor.topics(KAFKA, but(topic, settings={setting: value})))

    assert failure.found == f"{setting} is {value} instead of {wanted}"
    assert failure.remedy.endswith(f"--entity-name {topic} --add-config {setting}={wanted}")


def test_settings_that_we_may_not_see_are_not_called_wrong() -> None:
    hidden = {name: TopicFacts(one.partitions, 3, 0, {}, one.allowed) for name, one in facts().items()}

    assert not failing(doctor.topics(KAFKA, hidden))


def test_one_copy_on_three_brokers_fails_and_on_one_broker_is_a_note() -> None:
    (failure,) = failing(doctor.replication(but(CAPACITY, replicas=1), 3))
    assert failure.name == f"topic {CAPACITY}"

    (noted,) = doctor.replication(but(CAPACITY, replicas=1), 1)
    assert noted.verdict is Verdict.NOTE


@pytest.mark.parametrize("in_sync", ["1", "3"])
def test_min_isr_must_survive_one_broker_and_not_need_all(in_sync: str) -> None:
    (failure,) = failing(doctor.replication(but(HOSTS, settings={"min.insync.replicas": in_sync}), 3))

    assert failure.found == f"min.insync.replicas is {in_sync} of 3"


def test_replicas_that_lag_are_named() -> None:
    (failure,) = failing(doctor.replication(but(CAPACITY, out_of_sync=2), 3))

    assert CAPACITY in failure.found


def test_each_right_that_is_refused_is_named() -> None:
    there = but(CAPACITY, allowed=frozenset({"read"}))

    found = failing(doctor.rights(there, {"fw": True, "fw-rollup": False}))

    assert [check.name for check in found] == [f"right to write {CAPACITY}", "right to join group fw-rollup"]


def test_what_the_doctor_asks_for_is_what_the_access_rules_grant() -> None:
    """No more, or a worker with its proper rights would fail; no less, or one would start that cannot write."""
    granted = {
        (rule.name, operation)
        for rule in acl_rules.worker("fw").rules
        if rule.kind is Kind.TOPIC and not rule.prefixed
        for operation in rule.operations
    }

    asked = {(topic.name, Operation.READ) for topic in doctor.READS}
    asked |= {(topic.name, Operation.WRITE) for topic in doctor.WRITES}

    assert asked == {(name, what) for name, what in granted if what in {Operation.READ, Operation.WRITE}}


@pytest.mark.parametrize(
    ("behind_s", "verdict"),
    [(0.0, "ok"), (0.9, "ok"), (1.1, "FAIL"), (-0.4, "ok"), (-0.6, "FAIL"), (None, "note")],
)
def test_clocks_are_apart_where_the_way_does_not_explain_it(behind_s: float | None, verdict: str) -> None:
    """A tick may be 0.5 s under way; a broker 0.5 s off is borne; a stamp from the future is never the way's fault."""
    assert doctor.clock(behind_s, way_s=0.5).verdict == verdict


@pytest.mark.parametrize(
    ("free", "size", "verdict"),
    [
        (20e9, 100e9, Verdict.OK),
        (9e9, 100e9, Verdict.FAIL),
        (0.9e9, 2e9, Verdict.FAIL),
    ],
)
def test_a_disk_must_have_a_tenth_and_a_gigabyte(free: float, size: float, verdict: Verdict) -> None:
    assert doctor.disk("/archive", int(free), int(size)).verdict is verdict


def test_a_missing_package_is_named_and_versions_are_shown() -> None:
    assert doctor.packages({"polars": "2.1.0", "duckdb": "1.5.6"}).found == "duckdb 1.5.6, polars 2.1.0"
    missing = doctor.packages({"polars": None, "duckdb": "1.5.6"})
    assert (missing.verdict, missing.found) == (Verdict.FAIL, "missing: polars")


def test_old_brokers_are_a_note() -> None:
    assert doctor.version(4).verdict is Verdict.OK
    assert doctor.version(0).verdict is Verdict.NOTE


def test_what_to_do_stands_below_what_is_wrong() -> None:
    shown = list(doctor.lines([doctor.ok("disk", "fine"), doctor.fail("topics", "missing: a", "make it")]))

    assert shown == ["ok    disk: fine", "FAIL  topics: missing: a", "      → make it"]
