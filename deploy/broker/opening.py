"""The start of a secured broker: keys before it runs, rules and passwords once it answers to its administrator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from deploy.broker import acl_formats, keys, secure_properties
from deploy.broker.security import Security
from pipeline.clock import Clock
from pipeline.settings import Kafka


@dataclass(frozen=True)
class Opening:
    """What a start has to bring along and to do."""

    security: Security
    users: str
    """Arguments that make the users when storage is formatted (`keys.users`); empty where it is already."""
    changed: tuple[str, ...]
    """Whose passwords the broker does not know yet."""

    @classmethod
    def prepare(cls, security: Security, *, used: bool) -> Self:
        """Make keys and certificates; *used* tells whether there is storage, and users in it."""
        new = keys.prepare(security, Clock().now(), used=used)
        return cls(security, "" if used else keys.users(security), tuple(new) if used else ())

    def secured(self, settings: Mapping[str, str], broker_port: int) -> dict[str, str]:
        """Return *settings* of the node with everything secured."""
        return secure_properties.secured(settings, self.security.variant, self.security.files, broker_port)

    def admit(self, kafka: Kafka) -> None:
        """Let the principals in by *kafka*, the administrator's way to the running broker."""
        from deploy.broker import acl_apply

        holding = acl_formats.holders(self.security.roles, "", ())
        passwords = {name: keys.password(self.security, name) for name in self.changed}
        acl_apply.apply(kafka, holding, passwords)
        keys.write_clients(self.security, kafka.bootstrap)
