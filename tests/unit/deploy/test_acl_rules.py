"""Who may read and write what, as a table written out by hand; and that it is what the processes ask for."""

from collections.abc import Iterable
from typing import Any

import pytest
from doubles.rights import RW, TABLE

from bidding.agents import feed
from bidding.app import USED
from deploy.broker import acl_rules
from deploy.broker.acl_rules import ALL, Kind, Operation, Role, Rule
from pipeline.archive_schemas import ARCHIVED
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import ACKS, COMMANDS, HOST_TICKS, TOPICS, Topic

ROLES = {role.name: role for role in (*acl_rules.roles("firmwatt"), acl_rules.FLEET)}


def allowed(role: Role, topic: str) -> set[str]:
    """Return what *role* may do to the topic of this very name."""
    return {
        str(operation)
        for rule in role.rules
        for operation in rule.operations
        if rule.kind is Kind.TOPIC and (topic.startswith(rule.name) if rule.prefixed else topic == rule.name)
    }


def names(topics: Iterable[Topic[Any]]) -> set[str]:
    return {topic.name for topic in topics}


def readable(role: str) -> set[str]:
    return {topic.name for topic in ALL if "Read" in allowed(ROLES[role], topic.name)}


def test_every_topic_has_a_line_and_every_line_a_topic() -> None:
    """Who adds a topic decides who reads and writes it."""
    assert set(TABLE) == names((*TOPICS, *MARKET_TOPICS))


@pytest.mark.parametrize("topic", sorted(TABLE))
def test_everybody_may_do_what_the_table_says_and_nothing_else(topic: str) -> None:
    rights = {name: allowed(role, topic) & RW for name, role in ROLES.items()}

    assert {name: right for name, right in rights.items() if right} == TABLE[topic]


def test_only_dispatch_commands() -> None:
    """One writer of commands, whatever else the roles come to hold."""
    assert [name for name, role in ROLES.items() if "Write" in allowed(role, COMMANDS.name)] == ["dispatch"]


def test_a_host_writes_its_ticks_and_answers_and_belongs_to_no_group() -> None:
    collector, actuator = ROLES["collector"], ROLES["actuator"]

    assert [(rule.name, list(rule.operations)) for rule in collector.rules] == [(HOST_TICKS.name, ["Write"])]
    assert [(rule.name, list(rule.operations)) for rule in actuator.rules] == [
        (COMMANDS.name, ["Read"]),
        (ACKS.name, ["Write"]),
    ]
    assert all(role.per_host is (name in {"collector", "actuator"}) for name, role in ROLES.items())


def test_only_workers_make_topics() -> None:
    makers = {name for name, role in ROLES.items() for topic in TABLE if "Create" in allowed(role, topic)}

    assert makers == {"worker"}
    assert all("Create" in allowed(ROLES["worker"], topic) for topic in TABLE)


def test_a_workers_tables_and_groups_begin_with_its_group() -> None:
    """Faust's application id is the group `plant`; `plants` is somebody else's."""
    worker = acl_rules.worker("plant")
    groups = {(rule.name, rule.prefixed) for rule in worker.rules if rule.kind is Kind.GROUP}

    assert allowed(worker, "plant-site-partials-changelog") == {"Read", "Write", "Create"}
    assert allowed(worker, "plants") == allowed(worker, "firmwatt-site-partials-changelog") == set()
    assert groups == {("plant", False), ("plant-", True)}


def test_who_looks_changes_nothing() -> None:
    operations = {operation for rule in ROLES["monitor"].rules for operation in rule.operations}

    assert operations == {Operation.READ, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS}
    assert all(Operation.READ not in rule.operations for rule in ROLES["monitor"].rules if rule.kind is Kind.GROUP)


def test_bidding_may_read_what_it_listens_to_and_write_what_else_it_uses() -> None:
    """Not a topic more: it uses none that it neither reads nor writes."""
    written = {topic.name for topic in ALL if "Write" in allowed(ROLES["dispatch"], topic.name)}

    assert readable("dispatch") == names((*feed.KEPT, *feed.LIVE))
    assert readable("dispatch") | written == names(USED)


def test_whoever_archives_may_read_all_that_is_archived() -> None:
    assert names(ARCHIVED) <= readable("archive")
    assert readable("archive") <= readable("worker")


def test_a_mirror_writes_only_at_the_portfolio() -> None:
    """At a site it reads what goes up; there it writes that, its own books, and nothing that comes down."""
    site, portfolio = acl_rules.mirror_from_site("plant"), acl_rules.mirror_to_portfolio(["site-1", "site-2"])

    assert Operation.WRITE not in {operation for rule in site.rules for operation in rule.operations}
    assert allowed(site, "telemetry.host.v1") == {"Read", "DescribeConfigs"}
    assert "Write" in allowed(portfolio, "telemetry.host.v1") & allowed(portfolio, "mm2-offsets.site-1.internal")
    assert "Create" in allowed(portfolio, "site-2.checkpoints.internal")
    assert allowed(portfolio, COMMANDS.name) == allowed(portfolio, "site-3.checkpoints.internal") == set()
    groups = {rule.name for rule in portfolio.rules if rule.kind is Kind.GROUP}
    assert groups == {"firmwatt-mirror", "site-1-mm2", "site-2-mm2"}
    assert acl_rules.roles("plant")[-1] == site
    assert acl_rules.roles("plant", ["site-1", "site-2"])[-1] == portfolio


def test_a_mirror_writes_commands_only_at_a_site_that_takes_them_from_the_portfolio() -> None:
    """With `commands = true` they are read above, written below, and nowhere both."""
    site, portfolio = acl_rules.roles("plant", commanded_by="hq")[-1], acl_rules.roles("plant", ["s1"], "hq")[-1]

    assert allowed(site, COMMANDS.name) == {"Write", "Create", "DescribeConfigs"}
    assert allowed(site, "mm2-offsets.hq.internal") == {"Read", "Write", "Create", "DescribeConfigs"}
    assert Rule(Kind.GROUP, "hq-mm2", (Operation.READ,), "shares the work of bringing commands") in site.rules
    assert "Write" not in allowed(site, "telemetry.host.v1") | allowed(site, "control.ack.v1")
    assert allowed(portfolio, COMMANDS.name) == {"Read", "DescribeConfigs"}


def test_what_a_host_may_do_does_not_depend_on_who_commands_it() -> None:
    """It reads commands and acknowledges them, whether they were written at its site or come down to it."""
    own, above = acl_rules.roles("plant")[:2], acl_rules.roles("plant", commanded_by="hq")[:2]

    assert own == above
    assert allowed(own[1], COMMANDS.name) == {"Read"}
    assert allowed(own[1], "control.ack.v1") == {"Write"}


def test_every_rule_has_a_reason() -> None:
    assert all(rule.reason for role in ROLES.values() for rule in role.rules)
