"""
One real Apache Kafka node on this machine: start until healthy, stop, and know which of the two it is.

A data folder is a broker: it holds the messages, the settings of the last start, the log and ``broker.json``, which
names address and process. Several folders run side by side.
"""

import asyncio
import base64
import fcntl
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy import supervise
from deploy.broker import jars, java, ports, properties, state
from deploy.broker.state import Node, State, Status
from pipeline.errors import ConfigError, EnvironmentProblem

__all__ = ["Node", "State", "Status", "start", "status", "stop"]

HEALTHY_S = 60.0
FORMAT_S = 60.0
ANSWER_MS = 2000
POLL_S = 0.1
STORAGE = "kafka"
STORAGE_MB = 200
SMALLEST_HEAP_MB = 128

#: Brokers that die with this process, by pid: whoever starts a child must also reap it.
_children: dict[int, subprocess.Popen[bytes]] = {}

status = state.status


async def start(data: Path, *, port: int | None = None, heap_mb: int = 512, detach: bool) -> Node:
    """
    Return a healthy broker of *data*, the running one if there is one.

    Without *port* the last one is used again if it is free, else a free one is chosen. With *detach* the broker
    outlives this process; without, it dies with the calling thread (see `deploy.supervise`). Raise `ConfigError` or
    `EnvironmentProblem` with nothing left running.
    """
    if heap_mb < SMALLEST_HEAP_MB:
        raise ConfigError(f"a heap of {heap_mb} MB is too small for a broker; give {SMALLEST_HEAP_MB} or more")
    try:
        with _alone(data := _folder(data)):
            if running := _running(data, port):
                await _healthy(running)
                return running
            return await _start(data, port, heap_mb, detach=detach)
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


@contextmanager
def _alone(data: Path) -> Iterator[None]:
    """Refuse two starts in one folder at the same time."""
    with (data / ".starting").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentProblem(f"another process is starting the broker in {data}: wait for it") from error
        yield


def _running(data: Path, port: int | None) -> Node | None:
    found = status(data)
    if found.state is not State.RUNNING or found.node is None:
        return None
    if port and found.node.bootstrap != f"{properties.HOST}:{port}":
        raise ConfigError(f"the broker in {data} already runs at {found.node.bootstrap}; stop it to change its port")
    return found.node


async def _start(data: Path, port: int | None, heap_mb: int, *, detach: bool) -> Node:
    """Find what a broker needs, format its storage if it has none, launch it and wait until it is healthy."""
    program = java.find()
    jars.require_space(data, STORAGE_MB)
    classpath = ":".join(map(str, await jars.ensure(jars.cache_folder())))
    virtual_machine = [str(program), f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-Dlog4j2.level=WARN"]

    settings = state.properties(data)
    chosen = ports.check(port) if port else ports.free(preferred=properties.last_port(_text(settings)))
    settings.write_text(properties.render(properties.server(data / STORAGE, chosen, ports.free())), encoding="ascii")
    log = data / "broker.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))

    await _format(data, log, [*virtual_machine, "-cp", classpath])
    launch = _detached if detach else _tied
    pid = launch([*virtual_machine, "-cp", classpath, "kafka.Kafka", str(settings)], log)
    node = Node(f"{properties.HOST}:{chosen}", pid, data, log)
    try:
        state.write(node)
        await _healthy(node)
    except BaseException:  # a cancellation too: nothing may be left running
        state.terminate(pid, data, grace_s=0)
        _reap(pid)
        state.forget(data)
        raise
    return node


def _tied(argv: Sequence[str], log: Path) -> int:
    process = supervise.start(argv, log=log)
    _children[process.pid] = process
    return process.pid


def _detached(argv: Sequence[str], log: Path) -> int:
    return supervise.start_detached(argv, log=log)


def _reap(pid: int) -> None:
    if process := _children.pop(pid, None):
        supervise.kill(process)


async def _format(data: Path, log: Path, java_command: Sequence[str]) -> None:
    """
    Give the storage of *data* a cluster id, unless it has one.

    Kafka writes ``meta.properties`` last and by rename, so storage without it was never used and is formatted anew.
    """
    if (data / STORAGE / "meta.properties").exists():
        return
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(state.properties(data))]
    if await supervise.run([*java_command, *tool], log=log, timeout_s=FORMAT_S):
        raise EnvironmentProblem(
            f"cannot format {data / STORAGE} ({log}): {properties.last_meaningful_line(_text(log))}"
        )


async def _healthy(node: Node) -> None:
    """Return once *node* answers for its own cluster; raise `EnvironmentProblem` if it ends or takes too long."""
    cluster = properties.cluster_id(_text(node.data / STORAGE / "meta.properties"))
    deadline = time.monotonic() + HEALTHY_S
    while time.monotonic() < deadline:
        if not state.is_ours(node.pid, node.data):
            raise EnvironmentProblem(
                f"the broker ended ({node.log}): {properties.last_meaningful_line(_text(node.log))}"
            )
        if await _cluster_at(node.bootstrap) == cluster:
            return
        await asyncio.sleep(POLL_S)
    raise EnvironmentProblem(
        f"no answer from the broker within {HEALTHY_S:.0f} s ({node.log}): "
        f"{properties.last_meaningful_line(_text(node.log))}"
    )


async def _cluster_at(bootstrap: str) -> str | None:
    """Return the id of the cluster that answers at *bootstrap*; None while nobody does."""
    if not ports.answers(bootstrap):
        return None
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    import pipeline.kafka  # noqa: F401 - silences aiokafka's log; what it says reaches us as exceptions

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ANSWER_MS)
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
