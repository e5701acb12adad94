"""`deploy.broker.jars`: only the pinned bytes get into the cache, wherever they come from."""

import errno
import hashlib
from pathlib import Path

import pytest

from deploy.broker import jars
from deploy.broker.download import first_cause
from deploy.broker.lock import Jar
from pipeline.errors import EnvironmentProblem

CONTENT = b"a jar"
JAR = Jar("g.roup", "a", "1", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty home, no programs, and a proxy that nobody runs: port 9 of loopback."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    return tmp_path


def in_local_repository(home: Path, content: bytes) -> None:
    file = home / ".m2" / "repository" / JAR.path
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


async def test_a_jar_in_the_local_maven_repository_is_taken_from_there(offline: Path) -> None:
    in_local_repository(offline, CONTENT)

    (file,) = await jars.ensure(offline / "cache", [JAR])

    assert file.read_bytes() == CONTENT


async def test_a_damaged_jar_in_the_cache_is_fetched_anew(offline: Path) -> None:
    in_local_repository(offline, CONTENT)
    (offline / "cache").mkdir()
    (offline / "cache" / JAR.name).write_bytes(CONTENT[:2])

    (file,) = await jars.ensure(offline / "cache", [JAR])

    assert file.read_bytes() == CONTENT


async def test_other_bytes_in_the_local_repository_are_passed_over(offline: Path) -> None:
    in_local_repository(offline, b"something else")

    with pytest.raises(EnvironmentProblem, match=r"1 jars .* could not be fetched, g\.roup:a:1 first"):
        await jars.ensure(offline / "cache", [JAR])

    assert not (offline / "cache" / JAR.name).exists()


async def test_other_bytes_as_fetched_are_refused_by_name(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Maven that delivers something else under the right name: the folder is what follows -DoutputDirectory=."""
    program(
        offline / "bin",
        "mvn",
        f"for word; do case $word in -DoutputDirectory=*) folder=${{word#*=}};; esac; done; "
        f'/bin/mkdir -p "$folder/$(/usr/bin/dirname {JAR.path})"; echo evil > "$folder/{JAR.path}"',
    )
    monkeypatch.setenv("PATH", str(offline / "bin"))
    monkeypatch.delenv("HTTPS_PROXY")

    with pytest.raises(EnvironmentProblem, match=r"g\.roup:a:1 as fetched is not the file that was pinned"):
        await jars.ensure(offline / "cache", [JAR])

    assert [file.name for file in (offline / "cache").iterdir()] == [".lock"]


async def test_a_fetch_that_was_killed_leaves_nothing_behind_for_ever(offline: Path) -> None:
    in_local_repository(offline, CONTENT)
    (offline / "cache" / ".fetch-old").mkdir(parents=True)

    await jars.ensure(offline / "cache", [JAR])

    assert {file.name for file in (offline / "cache").iterdir()} == {".lock", JAR.name}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    full = jars.problem(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    refused = jars.problem(tmp_path, PermissionError(errno.EACCES, "Permission denied", "/file"))

    assert str(full).startswith(f"no space left for {tmp_path}")
    assert str(refused) == "cannot write /file: Permission denied"


def test_the_reason_is_the_first_error_without_colours() -> None:
    log = "\x1b[0mDownloading\n\x1b[31m[ERROR] No plugin found\x1b[0m\n[ERROR] Help 1\n"

    assert jars.reason(log) == "No plugin found"
    assert jars.reason("") == "no word"


def test_the_first_cause_of_a_chain_is_what_a_user_can_act_on() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    outer = RuntimeError("Max retries exceeded")
    outer.__context__ = refused

    assert first_cause(outer) == "[Errno 111] Connection refused"
