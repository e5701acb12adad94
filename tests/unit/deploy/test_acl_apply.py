"""Putting rules on a broker: exactly what is to be allowed to ours, and nothing changed for anybody else."""

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaException

from deploy.broker import acl_apply
from deploy.broker.acl_formats import Holder
from deploy.broker.acl_rules import Kind, Operation, Role, Rule
from pipeline.errors import EnvironmentProblem
from pipeline.settings import Kafka

KAFKA = Kafka(bootstrap="127.0.0.1:9")


def holder(name: str, *topics: str) -> Holder:
    """Return one that may read *topics*."""
    rules = tuple(Rule(Kind.TOPIC, topic, (Operation.READ,), "reads it") for topic in topics)
    return Holder(Role(name, "reads", rules), (name,))


def done(value: Any = None) -> "Future[Any]":
    """Return a future that has come true."""
    future: Future[Any] = Future()
    future.set_result(value)
    return future


@dataclass
class Broker:
    """Keeps rules as Kafka does: a filter takes away what it matches in every word."""

    rules: set[Any] = field(default_factory=set)
    refuses: bool = False
    changes: list[str] = field(default_factory=list)

    def __call__(self, *_: Any, **__: Any) -> "Broker":
        """Be the client, whatever its settings."""
        return self

    def describe_acls(self, *_: Any, **__: Any) -> "Future[Any]":
        """Return all rules."""
        return done(list(self.rules))

    def create_acls(self, new: Iterable[Any], **_: Any) -> dict[Any, "Future[Any]"]:
        """Add rules, or refuse."""
        self.changes.append("create")
        if self.refuses:
            failed: Future[Any] = Future()
            failed.set_exception(KafkaException("not authorized"))
            return {"rule": failed}
        self.rules |= set(new)
        return {}

    def delete_acls(self, filters: Iterable[Any], **_: Any) -> dict[Any, "Future[Any]"]:
        """Take rules away."""
        self.changes.append("delete")
        words = ("restype", "name", "resource_pattern_type", "principal", "host", "operation", "permission_type")
        for one in filters:
            gone = {rule for rule in self.rules if all(getattr(rule, word) == getattr(one, word) for word in words)}
            self.rules -= gone
        return {}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    known = Broker()
    monkeypatch.setattr(acl_apply.admin, "AdminClient", known)
    return known


def allowed(broker: Broker) -> set[tuple[str, str]]:
    """Return who may do something to what."""
    return {(rule.principal.removeprefix("User:"), rule.name) for rule in broker.rules}


def test_rights_that_a_principal_no_longer_needs_are_taken_away(broker: Broker) -> None:
    """A worker of another group, an older release: what it could read then it cannot any more."""
    broker.rules = acl_apply.bindings([holder("worker", "old.v1", "kept.v1"), holder("somebody", "theirs.v1")])

    acl_apply.apply(KAFKA, [holder("worker", "kept.v1", "new.v1")], {})

    assert allowed(broker) == {("worker", "kept.v1"), ("worker", "new.v1"), ("somebody", "theirs.v1")}
    assert broker.changes == ["create", "delete"], "nobody is without rights in between"


def test_rules_that_are_as_they_should_be_are_left_alone(broker: Broker) -> None:
    broker.rules = acl_apply.bindings([holder("worker", "kept.v1")])

    acl_apply.apply(KAFKA, [holder("worker", "kept.v1")], {})

    assert broker.changes == []


def test_a_broker_that_refuses_is_one_line(broker: Broker) -> None:
    broker.refuses = True

    with pytest.raises(EnvironmentProblem, match="takes no access rules"):
        acl_apply.apply(KAFKA, [holder("worker", "kept.v1")], {})
