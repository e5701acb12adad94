"""
One real Apache Kafka node on this machine: start until healthy, stop, and know which of the two it is.

A data folder is a broker: it holds the messages, the settings of the last start, the log and ``broker.json``, which
names address and process. Several folders run side by side.
"""

import asyncio
import base64
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy import supervise
from deploy.broker import jars, java, ports, properties, security, state
from deploy.broker.opening import Opening
from deploy.broker.properties import Proxied
from deploy.broker.secure_properties import Variant
from deploy.broker.security import Security
from deploy.broker.state import Node, State, Status
from pipeline import files
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka

__all__ = ["Node", "Proxied", "State", "Status", "Variant", "kill", "launch", "new_cluster", "start", "status", "stop"]

HEALTHY_S = 240.0
FORMAT_S = 60.0
ANSWER_MS = 10_000
POLL_S = 0.1
STORAGE = "kafka"
STORAGE_MB = 200
SMALLEST_HEAP_MB = 128

#: Brokers that die with this process, by pid: whoever starts a child must also reap it.
_children: dict[int, subprocess.Popen[bytes]] = {}

status = state.status


async def start(
    data: Path,
    *,
    port: int | None = None,
    heap_mb: int = 512,
    detach: bool,
    proxied: Proxied | None = None,
    secure: Variant | None = None,
    group: str | None = None,
) -> Node:
    """
    Return a healthy broker of *data*, the running one if there is one.

    Without *port* the last one is used again if it is free, else a free one is chosen. With *detach* the broker
    outlives this process; without, it dies with the calling thread (see `deploy.supervise`). With *proxied* it listens
    on a second port for clients. With *secure* it lets in only those whom it knows, and them to what the rules for the
    workers' *group* allow; a broker stays as secure as it was made. Raise `ConfigError` or `EnvironmentProblem` with
    nothing left running.
    """
    if heap_mb < SMALLEST_HEAP_MB:
        raise ConfigError(f"a heap of {heap_mb} MB is too small for a broker; give {SMALLEST_HEAP_MB} or more")
    try:
        with state.alone(data := _folder(data), "the broker"):
            guard = security.chosen(data, secure, group, used=_is_formatted(data))
            if running := _running(data, port):
                await _healthy(running)
                return running
            return await _start(data, port, heap_mb, proxied, guard, detach=detach)
    except OSError as error:
        raise jars.problem(data, error) from error


def stop(data: Path) -> bool:
    """
    Stop the broker of *data* and return once it is gone; tell whether one ran.

    It gets 20 s to close its files before it is killed.
    """
    found = status(data := data.absolute())
    if found.node and found.state is State.RUNNING:
        state.terminate(found.node.pid, data)
        _reap(found.node.pid)
    state.forget(data)
    return found.state is State.RUNNING


def _folder(data: Path) -> Path:
    """Make *data* and return it as an absolute path."""
    if "," in str(data):  # log.dirs is a list, and knows no quotes
        raise ConfigError(f"a data folder may not have a comma in its name: {data}")
    data.mkdir(parents=True, exist_ok=True)
    return data.absolute()


def _running(data: Path, port: int | None) -> Node | None:
    found = status(data)
    if found.state is not State.RUNNING or found.node is None:
        return None
    if port and found.node.bootstrap != f"{properties.HOST}:{port}":
        raise ConfigError(f"the broker in {data} already runs at {found.node.bootstrap}; stop it to change its port")
    return found.node


async def _start(
    data: Path, port: int | None, heap_mb: int, proxied: Proxied | None, guard: Security | None, *, detach: bool
) -> Node:
    """Choose ports, launch the node that has them and wait until it is healthy."""
    chosen = ports.check(port) if port else ports.free(preferred=properties.last_port(_text(state.properties(data))))
    settings = properties.server(data / STORAGE, chosen, ports.free())
    opening = Opening.prepare(guard, used=_is_formatted(data)) if guard else None
    if opening:
        settings = opening.secured(settings, ports.free())
    if proxied:
        settings = properties.behind(settings, proxied)
    users = opening.users if opening else ""
    node = await launch(data, settings, port=chosen, heap_mb=heap_mb, detach=detach, users=users)
    try:
        await _healthy(node)
        if opening:
            await asyncio.to_thread(opening.admit, node.kafka)
    except BaseException:  # a cancellation too: nothing may be left running
        kill(node)
        state.forget(data)
        raise
    return node


async def launch(
    data: Path,
    settings: Mapping[str, str],
    *,
    port: int,
    heap_mb: int,
    detach: bool,
    cluster: str | None = None,
    users: str = "",
    java_options: Sequence[str] = (),
) -> Node:
    """
    Start a node in the absolute folder *data* with *settings*, which let it listen on *port*; do not wait for it.

    Storage that was never used is formatted for *cluster*, by default one of its own, with *users*, which are arguments
    of Kafka's tool (`keys.users`). *java_options* come after our own. Raise `EnvironmentProblem` if Java, jars or space
    are missing, or if the storage cannot be formatted.
    """
    program = java.find()
    jars.require_space(data, STORAGE_MB)
    classpath = ":".join(map(str, await jars.ensure(jars.cache_folder())))
    virtual_machine = [str(program), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-Dlog4j2.level=WARN"]
    virtual_machine += java_options

    state.properties(data).write_text(properties.render(settings), encoding="ascii")
    log = data / "broker.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))

    if not _is_formatted(data):
        await _format(data, log, [*virtual_machine, "-cp", classpath], cluster or new_cluster(), users)
    start_java = _detached if detach else _tied
    pid = start_java([*virtual_machine, "-cp", classpath, "kafka.Kafka", str(state.properties(data))], log)
    node = Node(f"{properties.HOST}:{port}", pid, data, log)
    try:
        state.write(node)
    except OSError:
        kill(node)
        raise
    return node


def kill(node: Node) -> None:
    """End *node* by SIGKILL and return once it is gone; its folder still describes it, as after any such end."""
    if state.is_ours(node.pid, node.data):
        os.kill(node.pid, signal.SIGKILL)
    state.terminate(node.pid, node.data, grace_s=0)
    _reap(node.pid)


def new_cluster() -> str:
    """Return the id of a cluster that does not exist yet, in Kafka's form: 16 bytes in URL-safe base 64, no padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _tied(argv: Sequence[str], log: Path) -> int:
    process = supervise.start(argv, log=log)
    _children[process.pid] = process
    return process.pid


def _detached(argv: Sequence[str], log: Path) -> int:
    return supervise.start_detached(argv, log=log)


def _reap(pid: int) -> None:
    if process := _children.pop(pid, None):
        supervise.kill(process)


def _is_formatted(data: Path) -> bool:
    """
    Tell whether the storage of *data* may have been used.

    Kafka writes ``meta.properties`` last and by rename, so storage without it was never used and is formatted anew.
    """
    return (data / STORAGE / "meta.properties").exists()


async def _format(data: Path, log: Path, java_command: Sequence[str], cluster: str, users: str) -> None:
    """
    Give the storage of *data* the id of its *cluster*, and its *users*.

    Users come in a file, because everybody on the machine can read a command line, and Kafka's tool prints what it
    keeps of their passwords: both lie only where their owner reads, and only as long as it runs. What it says of an
    argument with a password is no part of the error either.
    """
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(state.properties(data))]
    if not users:
        code = await _tool([*java_command, *tool], log)
        said = _text(log) if code else ""
    else:
        with tempfile.TemporaryDirectory(prefix=".format-", dir=data) as folder:
            arguments, private_log = Path(folder) / "users", Path(folder) / "log"
            files.replace_privately(arguments, users.encode())
            code = await _tool([*java_command, *tool, f"@{arguments}"], private_log)
            said = "\n".join(line for line in _text(private_log).splitlines() if "password=" not in line)
    if code:
        raise EnvironmentProblem(f"cannot format {data / STORAGE} ({log}): {properties.last_meaningful_line(said)}")


async def _tool(argv: Sequence[str], log: Path) -> int:
    """Run Kafka's storage tool; a `TimeoutError` is an `OSError`, and no disk is to blame for it."""
    try:
        return await supervise.run(argv, log=log, timeout_s=FORMAT_S)
    except TimeoutError as error:
        raise EnvironmentProblem(
            f"Kafka's storage tool did not end within {FORMAT_S:g} s: the machine is too busy; start the broker again"
        ) from error


async def _healthy(node: Node) -> None:
    """Return once *node* answers for its own cluster; raise `EnvironmentProblem` if it ends or takes too long."""
    cluster = properties.cluster_id(_text(node.data / STORAGE / "meta.properties"))
    deadline = time.monotonic() + HEALTHY_S
    while time.monotonic() < deadline:
        if not state.is_ours(node.pid, node.data):
            raise EnvironmentProblem(
                f"the broker ended ({node.log}): {properties.last_meaningful_line(_text(node.log))}"
            )
        if await _cluster_at(node.kafka) == cluster:
            return
        await asyncio.sleep(POLL_S)
    raise EnvironmentProblem(
        f"no answer from the broker within {HEALTHY_S:.0f} s ({node.log}): "
        f"{properties.last_meaningful_line(_text(node.log))}"
    )


async def _cluster_at(kafka: Kafka) -> str | None:
    """Return the id of the cluster that answers to *kafka*; None while nobody does."""
    if not ports.answers(kafka.bootstrap):
        return None
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    import pipeline.kafka  # noqa: F401 - silences aiokafka's log; what it says reaches us as exceptions

    admin = AIOKafkaAdminClient(**for_aiokafka(kafka), request_timeout_ms=ANSWER_MS)
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    except (KafkaError, OSError):
        return None
    finally:
        await admin.close()


def _text(file: Path) -> str:
    """Return what *file* holds; an absent file holds nothing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
