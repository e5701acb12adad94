"""Jobs paused and resumed by programs of the site's own, which are real processes here: what they get, and how long."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collectors.levers import FREE, Found, LeverError, Reading, apply
from collectors.levers import _programs as programs
from collectors.levers.command import Command, Settings, connect
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


class Site:
    """Programs in a folder: each writes down its arguments, one a line, and then does what its script says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, state in (("pause", "paused"), ("resume", "running")):
            self.program(name, f'echo {state} >"{folder}/now"')
        self.program("state", f'cat "{folder}/now"')

    def program(self, name: str, script: str) -> str:
        """Write a program and return its path."""
        file = self.folder / name
        file.write_text(f'#!/bin/sh\nprintf "%s\\n" "$#" "$@" >>"$0.calls"\n{script}\n')
        file.chmod(0o755)
        return str(file)

    def calls(self, name: str) -> list[str]:
        """Return the count of arguments and the arguments of all runs of a program."""
        record = self.folder / f"{name}.calls"
        return record.read_text().splitlines() if record.exists() else []

    def lever(self, *, asks: bool = True, **settings: Any) -> Command:
        """Return a lever that may touch jobs called tune-something."""
        told: dict[str, Any] = {
            "jobs": ("tune-*",),
            "pause": (str(self.folder / "pause"), "{job}"),
            "resume": (str(self.folder / "resume"), "{job}"),
            "state": (str(self.folder / "state"), "{job}") if asks else (),
        }
        return connect(Settings(**(told | settings)))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Programs that work."""
    return Site(tmp_path)


def refusal_of(lever: Command, level: float = 0, job: str = "tune-1") -> LeverError:
    """Return what the lever says when *job* cannot be set."""
    with pytest.raises(LeverError) as refused:
        lever.set(job, level)
    return refused.value


# Which jobs


def test_jobs_that_a_pattern_names_are_found(site: Site) -> None:
    lever = site.lever(jobs=("tune-*", "batch-[0-9]"))

    assert lever.kind is Kind.RUN
    assert lever.find(NOON, ("tune-b", "tune-a", "Tune-c", "chat-70b", "batch-7", "batch-77")) == (
        Found("batch-7"),
        Found("tune-a"),
        Found("tune-b"),
    )


def test_without_patterns_nothing_is_touched(site: Site) -> None:
    lever = site.lever(jobs=())

    assert lever.find(NOON, ("tune-1", "chat-70b")) == ()
    assert refusal_of(lever).trouble is Trouble.NOT_SUPPORTED
    assert site.calls("pause") == []


@pytest.mark.parametrize("name", ["", "-rf", "--all", "a\0b", "a\nb", "a\rb"])
def test_a_name_that_no_program_can_be_told_is_never_passed_on(site: Site, name: str) -> None:
    lever = site.lever(jobs=("*",))
    with pytest.raises(LeverError) as told:
        lever.read(name)

    assert lever.find(NOON, (name,)) == ()
    assert (told.value.trouble, refusal_of(lever, 0, name).trouble) == (Trouble.NOT_SUPPORTED, Trouble.NOT_SUPPORTED)
    assert (site.calls("state"), site.calls("pause")) == ([], [])


# What it sets and reads


def test_a_job_is_paused_and_resumed(site: Site) -> None:
    lever = site.lever()
    paused, resumed = apply(lever, "tune-1", 0), apply(lever, "tune-1", 1)

    assert paused == Reading(subject="tune-1", lowest=0, highest=1, requested=0, enforced=0)
    assert resumed.requested == 1
    assert (site.calls("pause"), site.calls("resume")) == (["1", "tune-1"], ["1", "tune-1"])


def test_no_shell_sees_a_jobs_name(site: Site) -> None:
    """It is one argument, whatever is in it, also where it is part of one."""
    name = f"tune-$(touch {site.folder}/broken) ; * ' \" `id`"
    lever = site.lever(jobs=("*",), pause=(str(site.folder / "pause"), "--job={job}", "-v", "{job}"))
    lever.set(name, 0)

    assert site.calls("pause") == ["3", f"--job={name}", "-v", name]
    assert not (site.folder / "broken").exists()


def test_without_state_it_knows_what_it_asked_for_and_nothing_else(site: Site) -> None:
    lever = site.lever(asks=False)
    before = lever.read("tune-1").requested
    lever.set("tune-1", 0)
    held = lever.read("tune-1").requested
    lever.set("tune-1", FREE)

    assert (before, held, lever.read("tune-1").requested) == (None, 0, 1)
    assert site.calls("state") == []


def test_a_job_that_is_gone_is_forgotten(site: Site) -> None:
    lever = site.lever(asks=False)
    lever.set("tune-1", 0)
    lever.find(NOON, ())

    assert lever.read("tune-1").requested is None


def test_what_a_program_refused_is_not_taken_for_done(site: Site) -> None:
    lever = site.lever(asks=False)
    site.program("pause", "exit 1")
    refusal_of(lever)

    assert lever.read("tune-1").requested is None


@pytest.mark.parametrize("printed", ["", "stopped", "running paused", "RUNNING", "\\377"])
def test_a_state_that_is_none_is_an_error(site: Site, printed: str) -> None:
    site.program("state", f"printf '{printed}'")
    with pytest.raises(LeverError, match="and not running or paused") as told:
        site.lever().read("tune-1")

    assert told.value.trouble is Trouble.FAILED


def test_a_program_that_says_yes_and_does_nothing_is_found_out(site: Site) -> None:
    site.program("pause", "exit 0")
    (site.folder / "now").write_text("running\n")
    with pytest.raises(LeverError) as told:
        apply(site.lever(), "tune-1", 0)

    assert told.value.trouble is Trouble.NOT_TAKEN


@pytest.mark.parametrize("level", [0.5, -1, float("nan")])
def test_half_a_job_is_out_of_range(site: Site, level: float) -> None:
    assert refusal_of(site.lever(), level).trouble is Trouble.OUT_OF_RANGE
    assert (site.calls("pause"), site.calls("resume")) == ([], [])


# Programs that misbehave


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo once >&2; echo 'no such unit' >&2; echo >&2; exit 3", "no such unit"),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "signal 9"),
        ("printf 'red \\033[31mtext' >&2; exit 1", "red [31mtext"),
        ("printf '%0300d' 1 >&2; exit 1", "0" * 200),
        ("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 1", "end"),
    ],
)
def test_a_program_that_fails_is_quoted(site: Site, script: str, reason: str) -> None:
    site.program("pause", script)
    refused = refusal_of(site.lever())

    assert (refused.trouble, str(refused)) == (Trouble.FAILED, f"{site.folder}/pause failed: {reason}")


def test_a_program_that_hangs_is_killed_with_all_it_has_started(site: Site) -> None:
    """The grandchild would keep a pipe open; here it is killed, and nothing waits for it."""
    site.program("pause", f'sleep 60 & echo $! >"{site.folder}/child"; wait')
    began = time.monotonic()
    refused = refusal_of(site.lever(timeout_s=0.5))

    assert (refused.trouble, "did not end within 0.5 s" in str(refused)) == (Trouble.HANGS, True)
    assert time.monotonic() - began < 5
    assert not _is_alive(int((site.folder / "child").read_text()))


def _is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie, after it has had time to go."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.01)
    return True


def test_a_child_that_lives_on_holds_nothing_up(site: Site) -> None:
    site.program("pause", f'sleep 5 & echo $! >"{site.folder}/child"')
    began = time.monotonic()
    site.lever(asks=False).set("tune-1", 0)
    os.kill(int((site.folder / "child").read_text()), 9)

    assert time.monotonic() - began < 3


def test_a_program_reads_nothing_from_us(site: Site) -> None:
    """Our own standard input is a pipe here on which nothing comes."""
    program = site.program("pause", "cat")
    kept, (reads, writes) = os.dup(0), os.pipe()
    os.dup2(reads, 0)
    try:
        done = programs.run([program], 2)
    finally:
        os.dup2(kept, 0)
        for end in (kept, reads, writes):
            os.close(end)

    assert (done.code, done.output) == (0, b"")


def test_of_what_is_printed_only_the_beginning_is_read(site: Site) -> None:
    program = site.program("state", "head -c 100000 /dev/zero | tr '\\0' x")

    assert programs.run([program], 10).output == b"x" * 4096


def test_a_program_that_has_gone_meanwhile_is_said(site: Site) -> None:
    lever = site.lever()
    (site.folder / "pause").unlink()
    missing = refusal_of(lever)
    (site.folder / "resume").chmod(0o644)
    closed = refusal_of(lever, 1)

    assert (missing.trouble, "No such file or directory" in str(missing)) == (Trouble.FAILED, True)
    assert (closed.trouble, "Permission denied" in str(closed)) == (Trouble.NO_PERMISSION, True)


# Settings


def test_programs_that_cannot_be_run_are_refused_at_the_start(site: Site, tmp_path: Path) -> None:
    there = str(site.folder / "pause")
    (tmp_path / "text").write_text("no program")
    for change, reason in (
        ({"pause": ()}, "pause: give a program"),
        ({"resume": ("resume-job", "{job}")}, "resume: write the full path of 'resume-job'"),
        ({"pause": (str(tmp_path / "none"), "{job}")}, "pause: .*/none is no program"),
        ({"pause": (str(tmp_path / "text"), "{job}")}, "is no program that we may run"),
        ({"pause": (str(tmp_path), "{job}")}, "is no program that we may run"),
        ({"pause": (there,)}, "pause: no argument has {job} in it"),
        ({"resume": (there, "job")}, "resume: no argument has {job} in it"),
        ({"pause": (site.program("{job}", ""),)}, "pause: no argument has {job} in it"),
        ({"state": (there,)}, "state: no argument has {job} in it"),
    ):
        with pytest.raises(ConfigError, match=reason):
            site.lever(**change)


def test_a_settings_file_is_as_the_docs_say(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('[lever.command]\njobs = ["tune-*"]\npause = ["/bin/p", "{job}"]\nresume = ["/bin/r", "{job}"]\n')
    settings = load(file, "lever.command", Settings)

    assert (settings.jobs, settings.pause, settings.state) == (("tune-*",), ("/bin/p", "{job}"), ())
