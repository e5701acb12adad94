"""
How a broker is secured, and where its keys are: a folder in its data folder, all of it for its owner alone.

    security/
      security.json              how clients prove who they are, and whose groups the rules are for
      ca.pem, ca.key             the authority that clients trust, made once
      server.pem                 what the broker shows to clients, new at each start
      node.pem, nodes.pem        what nodes show to each other, made once, and whom they believe
      clients/NAME.toml          a ready ``[kafka]`` section for each principal
      clients/NAME.password      or NAME.pem and NAME.key, new at each start

`keys` makes them. To give a principal a new password, remove the file of the old one and start the broker again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from deploy.broker import acl_rules
from deploy.broker.secure_properties import ADMIN, Files, Variant
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.settings import Kafka

GROUP = "firmwatt"
DESCRIPTION = "security.json"


@dataclass(frozen=True)
class Security:
    """How one broker is secured, and where its keys are."""

    folder: Path
    variant: Variant
    group: str
    """What ``[pipeline] group`` says: the rules name the workers' groups and tables by it."""

    @property
    def authority(self) -> Path:
        """The certificate that clients trust, PEM."""
        return self.folder / "ca.pem"

    @property
    def description(self) -> Path:
        """What tells variant and group; without it the broker is not secured."""
        return self.folder / DESCRIPTION

    @property
    def files(self) -> Files:
        """What the node reads."""
        return Files(self.folder / "server.pem", self.authority, self.folder / "node.pem", self.folder / "nodes.pem")

    @property
    def roles(self) -> tuple[acl_rules.Role, ...]:
        """Everybody whom rules allow something; one machine may simulate its hosts."""
        return (*acl_rules.roles(self.group), acl_rules.FLEET)

    @property
    def principals(self) -> tuple[str, ...]:
        """The administrator, then one for each role."""
        return (ADMIN, *(role.name for role in self.roles))

    def of_client(self, principal: str, ending: str) -> Path:
        """Return the file of *principal* with *ending*."""
        return self.folder / "clients" / f"{principal}.{ending}"

    def kafka(self, principal: str, bootstrap: str) -> Kafka:
        """Return the settings with which *principal* is let in at *bootstrap*."""
        if self.variant is Variant.SCRAM:
            return Kafka(
                bootstrap=bootstrap,
                security="sasl_ssl",
                username=principal,
                password_file=str(self.of_client(principal, "password")),
                ca_file=str(self.authority),
            )
        return Kafka(
            bootstrap=bootstrap,
            security="ssl",
            certificate_file=str(self.of_client(principal, "pem")),
            key_file=str(self.of_client(principal, "key")),
            ca_file=str(self.authority),
        )


def of(data: Path) -> Security | None:
    """Return how the broker in *data* is secured; None if it is not. Raise `EnvironmentProblem` if nobody can tell."""
    file = Security(_folder(data), Variant.SCRAM, GROUP).description
    try:
        seen = json.loads(file.read_text(encoding="utf-8"))
        return Security(_folder(data), Variant(seen["variant"]), str(seen["group"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentProblem(
            f"{file} does not tell how the broker is secured: restore it, or use another folder"
        ) from error


def chosen(data: Path, variant: Variant | None, group: str | None, *, used: bool) -> Security | None:
    """
    Return how the broker in *data* shall be secured: as asked for, as it is if nothing was asked, None for not at all.

    *used* tells whether there is storage already: it keeps the security, or the lack of it, that it was made with.
    Raise `ConfigError` where that is not what was asked for, `EnvironmentProblem` where it was secured and how is lost.
    """
    known = of(data)
    if known is None and used and _was_secured(data):
        raise EnvironmentProblem(
            f"{_folder(data) / DESCRIPTION} is gone, and the broker must not let in everybody: restore it, as in "
            f'{{"variant": "scram", "group": "{GROUP}"}}, or the whole folder from a copy, or use another --data'
        )
    if known is None and variant is None:
        return None
    if known is None and used:
        raise ConfigError(f"the broker in {data} was made without security: give another --data for a secured one")
    if known and variant not in {None, known.variant}:
        raise ConfigError(f"the broker in {data} was made with --secure {known.variant}: give that, or another --data")
    return Security(
        _folder(data),
        known.variant if known else variant or Variant.SCRAM,
        group or (known.group if known else GROUP),
    )


def _was_secured(data: Path) -> bool:
    """Tell whether what is left in *data*, its keys or the settings of its last start, is of a secured broker."""
    if _folder(data).exists():
        return True
    try:
        return "\nauthorizer.class.name=" in (data / "server.properties").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False


def _folder(data: Path) -> Path:
    return data.absolute() / "security"
