"""Access rules as text for any cluster: lines for ``kafka-acls.sh``, JSON, or Strimzi's ``KafkaUser`` objects. Pure."""

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.broker.acl_rules import Kind, Role, Rule
from pipeline.errors import ConfigError

#: Hosts are named as DNS does (RFC 1123, section 2.1); Kubernetes names objects so, in small letters.
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
#: What marks the prefix of principals that clients prove by a certificate: the beginning of its subject.
SUBJECT = "CN="
#: Principals in one line: each line costs the start of a JVM, and 200 names stay far below what a shell takes.
PRINCIPALS_A_LINE = 200

ABOUT = """\
# Access rules of firmwatt. Run where Kafka's tools are, with the brokers and an administrator's client settings:
#   BOOTSTRAP=kafka-1:9093 ADMIN=admin.properties sh this-file
# It adds rights and takes none away: what an earlier one granted and this one does not is for you to remove.
# Kafka authorises by topic, not by key: who may read control.command.v1 reads the commands of all hosts, which are
# signed and not secret; only dispatch may write them.
"""


@dataclass(frozen=True)
class Holder:
    """All principals that have one role."""

    role: Role
    names: tuple[str, ...]
    """Without Kafka's ``User:``."""


def holders(roles: Sequence[Role], prefix: str, hosts: Sequence[str]) -> list[Holder]:
    """
    Return who holds each of *roles*: a name with *prefix*, or one for each of *hosts* where the role is a host's.

    Raise `ConfigError` for a host's name that is none.
    """
    for host in hosts:
        if not HOST.fullmatch(host):
            raise ConfigError(f"{host!r} is no host name: letters, digits, points, hyphens and underscores")
    return [
        Holder(
            role,
            tuple(f"{prefix}{role.name}-{host}" for host in hosts)
            if role.per_host and hosts
            else (f"{prefix}{role.name}",),
        )
        for role in roles
    ]


def commands(holding: Sequence[Holder]) -> str:
    """Return lines for a shell; running them twice changes nothing more."""
    lines = [ABOUT]
    for holder in holding:
        lines.append(f"# {holder.role.name}: {holder.role.purpose}")
        for rule in holder.role.rules:
            lines.append(f"#   {rule.reason}")
            lines += [_command(rule, names) for names in _chunks(holder.names)]
        lines.append("")
    return "\n".join(lines)


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), PRINCIPALS_A_LINE):
        yield names[start : start + PRINCIPALS_A_LINE]


def _command(rule: Rule, names: Sequence[str]) -> str:
    words = ["--add"]
    words += [word for name in names for word in ("--allow-principal", f"User:{name}")]
    words += [word for operation in rule.operations for word in ("--operation", operation)]
    words += ["--cluster"] if rule.kind is Kind.CLUSTER else [f"--{rule.kind}", rule.name]
    words += ["--resource-pattern-type", "prefixed"] if rule.prefixed else []
    tool = 'kafka-acls.sh --bootstrap-server "${BOOTSTRAP:?}" --command-config "${ADMIN:?}"'
    return f"{tool} {shlex.join(words)}"


def as_json(holding: Sequence[Holder]) -> str:
    """Return one object with every rule of every principal, for other tools."""
    rules = [
        {
            "principal": f"User:{name}",
            "role": holder.role.name,
            "resource": rule.kind,
            "name": rule.name,
            "pattern": "prefixed" if rule.prefixed else "literal",
            "operations": list(rule.operations),
            "reason": rule.reason,
        }
        for holder in holding
        for name in holder.names
        for rule in holder.role.rules
    ]
    return json.dumps({"rules": rules}, indent=2)


def strimzi(holding: Sequence[Holder], cluster: str) -> str:
    """
    Return a ``KafkaUser`` for every principal of the Strimzi-managed *cluster*, one YAML document each.

    API ``v1``, which Strimzi serves from 0.49 on (Strimzi proposal 113). Names that begin with `SUBJECT` are users with
    certificates, all others with SCRAM-SHA-512 passwords; Strimzi makes both. Raise `ConfigError` for a name that
    Kubernetes would refuse.
    """
    return "".join(_user(holder.role, name, cluster) for holder in holding for name in holder.names)


def _user(role: Role, name: str, cluster: str) -> str:
    plain = name.removeprefix(SUBJECT)
    if not OBJECT.fullmatch(plain):
        raise ConfigError(f"Kubernetes takes no object named {plain!r}: small letters, digits, points and hyphens only")
    document = f"""\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaUser
metadata:
  name: {json.dumps(plain)}
  labels:
    strimzi.io/cluster: {json.dumps(cluster)}
spec:
  # {role.purpose}
  authentication:
    type: {"tls" if name != plain else "scram-sha-512"}
  authorization:
    type: simple
    acls:
"""
    return document + "".join(map(_acl, role.rules))


def _acl(rule: Rule) -> str:
    pattern = f"""
          name: {json.dumps(rule.name)}
          patternType: {"prefix" if rule.prefixed else "literal"}"""
    return f"""\
      # {rule.reason}
      - resource:
          type: {rule.kind}{"" if rule.kind is Kind.CLUSTER else pattern}
        operations: [{", ".join(rule.operations)}]
"""
