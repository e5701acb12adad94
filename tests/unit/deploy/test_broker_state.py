"""`deploy.broker.state` and `ports`: what a data folder says, and whom a process number belongs to."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.broker import cli, ports, state
from deploy.broker import node as broker
from deploy.broker.properties import HOST
from deploy.broker.state import Node, State, Status
from pipeline.errors import ConfigError, EnvironmentProblem


def node(data: Path, pid: int) -> Node:
    return Node("127.0.0.1:4000", pid, data, data / "broker.log")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    state.write(node(tmp_path, 7))

    assert state.read(tmp_path) == node(tmp_path, 7)
    assert [file.name for file in tmp_path.iterdir()] == ["broker.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_damaged_description_is_none(tmp_path: Path, text: str) -> None:
    state.file(tmp_path).write_text(text)

    assert state.status(tmp_path) == Status(State.STOPPED, None)


def test_another_process_with_the_old_number_is_not_the_broker(tmp_path: Path) -> None:
    """This very process lives, and is no broker: it must not be taken for one, and never be ended."""
    state.write(node(tmp_path, os.getpid()))

    assert state.status(tmp_path).state is State.DEAD
    state.terminate(os.getpid(), tmp_path)


def test_a_process_with_the_settings_of_the_folder_on_its_command_line_is_the_broker(tmp_path: Path) -> None:
    wait = [sys.executable, "-c", "input()", str(state.properties(tmp_path))]
    with subprocess.Popen(wait, stdin=subprocess.PIPE) as process:
        state.write(node(tmp_path, process.pid))

        assert state.status(tmp_path).state is State.RUNNING
        state.terminate(process.pid, tmp_path)  # returns although nobody reaped it yet
        assert state.status(tmp_path).state is State.DEAD


def test_one_folder_is_started_by_one_process_at_a_time(tmp_path: Path) -> None:
    """Two nodes on one storage would destroy it; the lock goes with whoever held it, however he ends."""
    again = "import sys; from pathlib import Path; from deploy.broker import state\n"
    again += "with state.alone(Path(sys.argv[1]), 'the broker'): print('alone')"
    command = [sys.executable, "-c", again, str(tmp_path)]

    with state.alone(tmp_path, "the broker"):
        with (
            pytest.raises(EnvironmentProblem, match=r"another process is starting the broker in .*: wait for it"),
            state.alone(tmp_path, "the broker"),
        ):
            pass
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
    allowed = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert (allowed.returncode, allowed.stdout) == (0, "alone\n")


async def test_a_start_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(*_: object, **__: object) -> Node:
        raise AssertionError("a second broker was about to run on the same storage")

    monkeypatch.setattr(broker, "_start", start)

    with state.alone(tmp_path, "the broker"), pytest.raises(EnvironmentProblem, match="another process is starting"):
        await broker.start(tmp_path, detach=False)


def test_a_port_in_use_is_refused_and_passed_over(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(EnvironmentProblem, match=f"port {port} on 127.0.0.1 is in use"):
            ports.check(port)
        assert ports.free(preferred=port) != port
        assert ports.answers(f"127.0.0.1:{port}")

    assert ports.free(preferred=port) == port
    assert not ports.answers(f"127.0.0.1:{port}")


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_a_port_that_cannot_be_is_a_mistake_in_the_command(port: int) -> None:
    with pytest.raises(ConfigError, match="between 1 and 65535"):
        ports.check(port)


def test_a_status_is_a_sentence_or_an_object(tmp_path: Path) -> None:
    dead = Status(State.DEAD, node(Path("/data"), 7))

    assert cli.sentence(Status(State.STOPPED, None)) == "no broker is running"
    assert cli.sentence(dead).startswith("the broker at 127.0.0.1:4000 died")
    assert cli.as_object(dead) == (
        '{"state": "dead", "bootstrap": "127.0.0.1:4000", "pid": 7, "data": "/data", "log": "/data/broker.log"}'
    )


def test_a_heap_is_written_as_java_writes_it() -> None:
    assert [cli.megabytes(text) for text in ("512m", "2G")] == [512, 2048]
