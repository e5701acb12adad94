"""`deploy.broker.java`: which Java will do."""

from pathlib import Path

import pytest

from deploy.broker import java


@pytest.mark.parametrize(
    ("answer", "release"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ('java version "1.8.0_402"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21.0.2"', 21),
        ("java: command not found", None),
    ],
)
def test_the_release_is_read_from_what_java_says(answer: str, release: int | None) -> None:
    assert java.major(answer) == release


def fake_java(folder: Path, version: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return program


def test_java_home_comes_before_the_path_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, on_path = (fake_java(tmp_path / v, v) for v in ("11.0.1", "21.0.1", "17.0.1"))
    monkeypatch.setenv("PATH", f"{on_path.parent}:/bin")

    monkeypatch.setenv("JAVA_HOME", str(new.parent.parent))
    assert java.on_system() == new

    monkeypatch.setenv("JAVA_HOME", str(old.parent.parent))
    assert java.on_system() == on_path


def test_a_java_that_does_not_run_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))

    assert java.on_system() is None
