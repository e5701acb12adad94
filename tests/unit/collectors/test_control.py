"""Talking to a running collector over its socket."""

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from collectors import control
from collectors.control import Answer, Request
from pipeline.errors import EnvironmentProblem


def obeying(requests: list[Request], answer: str = "") -> Callable[[Request], Awaitable[str]]:
    """Return somebody who notes *requests* and says *answer*."""

    async def obey(request: Request) -> str:
        requests.append(request)
        return answer

    return obey


async def test_a_request_is_obeyed_and_consented_to(tmp_path: Path) -> None:
    obeyed: list[Request] = []
    async with await control.serve(tmp_path / "state" / "collect.sock", obeying(obeyed)):
        answer = await asyncio.to_thread(control.ask, tmp_path / "state" / "collect.sock", Request("release", 30))

    assert answer == Answer()
    assert obeyed == [Request("release", 30)]


async def test_only_its_owner_may_talk_to_it(tmp_path: Path) -> None:
    async with await control.serve(tmp_path / "collect.sock", obeying([])):
        assert stat.S_IMODE((tmp_path / "collect.sock").stat().st_mode) == 0o600


async def test_what_could_not_be_done_is_said(tmp_path: Path) -> None:
    path = tmp_path / "collect.sock"
    async with await control.serve(path, obeying([], "nvml hangs in its driver")):
        answer = await asyncio.to_thread(control.ask, path, Request("release"))

    assert answer.refused == "nvml hangs in its driver"


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3601.0])
async def test_a_span_that_makes_no_sense_is_refused_and_not_obeyed(tmp_path: Path, seconds: float) -> None:
    obeyed: list[Request] = []
    async with await control.serve(tmp_path / "collect.sock", obeying(obeyed)):
        answer = await asyncio.to_thread(control.ask, tmp_path / "collect.sock", Request("fast", seconds))

    assert "seconds must be" in answer.refused
    assert obeyed == []


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"do": "explode"}\n', b"x" * 100_000 + b"\n", b""])
async def test_nonsense_changes_nothing_and_the_next_one_is_heard(tmp_path: Path, line: bytes) -> None:
    obeyed: list[Request] = []
    path = tmp_path / "collect.sock"
    async with await control.serve(path, obeying(obeyed)):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line)
        writer.write_eof()
        await reader.read()
        writer.close()
        await asyncio.to_thread(control.ask, path, Request("resume"))

    assert obeyed == [Request("resume")]


async def test_a_socket_left_by_a_killed_collector_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "collect.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async with await control.serve(path, obeying([])):
        assert await asyncio.to_thread(control.ask, path, Request("resume")) == Answer()


async def test_a_folder_deeper_than_a_socket_address_is_no_obstacle(tmp_path: Path) -> None:
    """unix(7) allows 108 bytes."""
    path = tmp_path / ("d" * 120) / "collect.sock"
    async with await control.serve(path, obeying([])):
        assert await asyncio.to_thread(control.ask, path, Request("resume")) == Answer()


def test_nobody_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="is `firmwatt collect run` up"):
        control.ask(tmp_path / "collect.sock", Request("resume"))
