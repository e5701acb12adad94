"""
Make what `security` describes: authority, certificates, passwords, and each client's settings.

Long-lived are the authority, the certificate of the inner listeners and the passwords; everything issued is renewed at
each start, so that a broker that is started once a year never shows an old certificate.
"""

import json
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from deploy import toml
from deploy.broker.certificates import AUTHORITY_FOR, Pair, authority, issued
from deploy.broker.properties import HOST
from deploy.broker.secure_properties import ADMIN, MECHANISM, NODE, Variant
from deploy.broker.security import Security
from pipeline import files, secret_files
from pipeline.errors import EnvironmentProblem

HOSTS = ("localhost", HOST)
PASSWORD_BYTES = 32


def prepare(security: Security, now: datetime, *, used: bool) -> list[str]:
    """
    Make what is missing of *security*'s files, renew what is issued, return whose passwords are new.

    *used* tells whether there is storage, and with it an administrator: without his password nobody gets a new one,
    which is an `EnvironmentProblem`.
    """
    is_scram = security.variant is Variant.SCRAM
    if used and is_scram and not security.of_client(ADMIN, "password").exists():
        raise EnvironmentProblem(f"{security.of_client(ADMIN, 'password')} is gone: restore it, or use another folder")
    (security.folder / "clients").mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (security.folder.parent, security.folder):  # storage holds what Kafka keeps of passwords
        folder.chmod(0o700)
    ca = _once(security.authority, security.folder / "ca.key", lambda: authority("firmwatt broker authority", now))
    node = _once(
        security.files.nodes,
        security.folder / "node.key",
        lambda: issued(None, NODE, now, hosts=HOSTS, until=now + AUTHORITY_FOR),
    )
    _write_store(security.files.node, node)
    _write_store(security.files.server, issued(ca, "firmwatt-broker", now, hosts=HOSTS))
    new = _passwords(security) if is_scram else []
    if not is_scram:
        _certificates(security, ca, now)
    described = {"variant": security.variant, "group": security.group}
    files.replace_privately(security.description, json.dumps(described).encode())
    return new


def _once(certificate: Path, key: Path, make: Callable[[], Pair]) -> Pair:
    """Return the pair in the two files, made if either is missing; raise `EnvironmentProblem` if they hold none."""
    if not (certificate.exists() and key.exists()):
        made = make()
        files.replace_privately(key, made.key_pem)
        files.replace_privately(certificate, made.certificate_pem)
    try:
        return Pair.from_pem(key.read_bytes(), certificate.read_bytes())
    except ValueError as error:
        raise EnvironmentProblem(f"{certificate} and {key} are damaged: restore them, or use another folder") from error


def _write_store(path: Path, pair: Pair) -> None:
    """Write key and certificate into one file, as Kafka reads them (KIP-651)."""
    files.replace_privately(path, pair.key_pem + pair.certificate_pem)


def _passwords(security: Security) -> list[str]:
    missing = [name for name in security.principals if not security.of_client(name, "password").exists()]
    for name in missing:
        word = secrets.token_urlsafe(PASSWORD_BYTES)
        files.replace_privately(security.of_client(name, "password"), f"{word}\n".encode())
    return missing


def _certificates(security: Security, ca: Pair, now: datetime) -> None:
    for name in security.principals:
        pair = issued(ca, name, now)
        files.replace_privately(security.of_client(name, "key"), pair.key_pem)
        files.replace_privately(security.of_client(name, "pem"), pair.certificate_pem)


def users(security: Security) -> str:
    """
    Return arguments of ``kafka-storage format``, one a line, that make every principal a user with his password.

    They go into a file, because everybody on the machine can read a command line. Empty where there are no passwords.
    """
    if security.variant is not Variant.SCRAM:
        return ""
    return "".join(
        f"--add-scram\n{MECHANISM}=[name={name},password={password(security, name)}]\n" for name in security.principals
    )


def password(security: Security, principal: str) -> str:
    """Return the password of *principal*, for the call that needs it and for nothing else."""
    return secret_files.read(security.of_client(principal, "password")).reveal()


def write_clients(security: Security, bootstrap: str) -> None:
    """Write a ready ``[kafka]`` section for each principal, now that *bootstrap* is known."""
    for principal in security.principals:
        text = toml.table("kafka", security.kafka(principal, bootstrap))
        files.replace_privately(security.of_client(principal, "toml"), text.encode())
