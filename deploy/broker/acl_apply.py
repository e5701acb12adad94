"""Put access rules and passwords on a running broker, as its administrator: a shell over librdkafka's admin client."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka import admin as library

from deploy.broker.acl_formats import Holder
from deploy.broker.acl_rules import Kind, Operation
from pipeline.errors import EnvironmentProblem
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka

log = logging.getLogger(__name__)

#: confluent-kafka 2.16 exports less to type checkers than to its users, and asks them for `str` where it wants None.
admin: Any = library

ANSWER_S = 20.0
ITERATIONS = 4096
"""Of SCRAM, the least that Kafka takes; passwords here are 256 bits of chance, which need no more."""

KINDS = {
    Kind.TOPIC: admin.ResourceType.TOPIC,
    Kind.GROUP: admin.ResourceType.GROUP,
    Kind.CLUSTER: admin.ResourceType.BROKER,
}
OPERATIONS = {
    Operation.READ: admin.AclOperation.READ,
    Operation.WRITE: admin.AclOperation.WRITE,
    Operation.CREATE: admin.AclOperation.CREATE,
    Operation.DESCRIBE: admin.AclOperation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS: admin.AclOperation.DESCRIBE_CONFIGS,
}


def bindings(holding: Iterable[Holder]) -> set[Any]:
    """Return what *holding* may do, an operation each. Pure."""
    return {
        admin.AclBinding(
            KINDS[rule.kind],
            rule.name,
            admin.ResourcePatternType.PREFIXED if rule.prefixed else admin.ResourcePatternType.LITERAL,
            f"User:{name}",
            "*",
            OPERATIONS[operation],
            admin.AclPermissionType.ALLOW,
        )
        for holder in holding
        for name in holder.names
        for rule in holder.role.rules
        for operation in rule.operations
    }


def apply(kafka: Kafka, holding: Iterable[Holder], passwords: Mapping[str, str]) -> None:
    """
    Let exactly what *holding* says be allowed to its principals, and set their new *passwords*.

    Rules for anybody else stay. Raise `EnvironmentProblem` where the broker will not have it.
    """
    client = admin.AdminClient(for_librdkafka(kafka), logger=log)
    wanted = bindings(holding)
    ours = {binding.principal for binding in wanted}
    try:
        known = set(client.describe_acls(_everything(), request_timeout=ANSWER_S).result())
        _wait(client.create_acls(list(new), request_timeout=ANSWER_S) if (new := wanted - known) else {})
        old = [_exactly(binding) for binding in known - wanted if binding.principal in ours]
        _wait(client.delete_acls(old, request_timeout=ANSWER_S) if old else {})
        changes = [_upsertion(name, password) for name, password in passwords.items()]
        _wait(client.alter_user_scram_credentials(changes, request_timeout=ANSWER_S) if changes else {})
    except KafkaException as error:
        raise EnvironmentProblem(f"the broker at {kafka.bootstrap} takes no access rules: {error}") from error


def _wait(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result()


def _everything() -> Any:
    return admin.AclBindingFilter(
        admin.ResourceType.ANY,
        None,
        admin.ResourcePatternType.ANY,
        None,
        None,
        admin.AclOperation.ANY,
        admin.AclPermissionType.ANY,
    )


def _exactly(binding: Any) -> Any:
    return admin.AclBindingFilter(
        binding.restype,
        binding.name,
        binding.resource_pattern_type,
        binding.principal,
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def _upsertion(name: str, password: str) -> Any:
    info = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_512, ITERATIONS)
    return admin.UserScramCredentialUpsertion(name, info, password.encode())
