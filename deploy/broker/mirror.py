"""
MirrorMaker 2 as one process on this machine: start, stop, and know which of the two it is.

It keeps nothing here: how far each link has come is written on the target beside what was mirrored. The data folder
holds the settings of the last start, the log and ``mirror.json``, which names the process. Several folders run side by
side, for different targets.
"""

import json
import subprocess
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from deploy import supervise
from deploy.broker import jars, java, mirror_properties, mirror_secrets, properties, state
from deploy.broker.lock import MIRROR, pinned
from deploy.broker.mirror_settings import Mirror, upward
from deploy.broker.state import State
from pipeline import files
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kafka import ensure_topics

START_S = 90.0
SPACE_MB = 50
SMALLEST_HEAP_MB = 128
PROGRAM = "org.apache.kafka.connect.mirror.MirrorMaker"
STARTED = "Kafka MirrorMaker started"
"""In the log once every worker is on its way (`MirrorMaker.start` of 4.3)."""

#: Mirrors that die with this process, by pid: whoever starts a child must also reap it.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """A mirror that had started when this was written."""

    pid: int
    data: Path
    log: Path


async def start(mirror: Mirror, data: Path, *, heap_mb: int = 256, detach: bool) -> Process:
    """
    Return a mirror that has started, the running one of *data* if there is one.

    The portfolio must answer: what the mirror knows is there, and the mirrored topics are made there first, as
    `pipeline.topics` declares them. A site may be away. With *detach* the mirror outlives this process; without, it
    dies with the calling thread (see `deploy.supervise`). Raise `ConfigError`, `BrokerGoneError` or
    `EnvironmentProblem` with nothing left running.
    """
    if heap_mb < SMALLEST_HEAP_MB:
        raise ConfigError(f"a heap of {heap_mb} MB is too small for a mirror; give {SMALLEST_HEAP_MB} or more")
    try:
        with state.alone(data := _folder(data), "the mirror"):
            return _running(data) or await _start(mirror, data, heap_mb, detach=detach)
    except OSError as error:
        raise jars.problem(data, error) from error


def _folder(data: Path) -> Path:
    """Make *data* and return it as an absolute path."""
    data = data.absolute()
    if {":", "}"} & set(str(data)):  # a reference to a secret ends there
        raise ConfigError(f"a data folder may not have a colon or a brace in its name: {data}")
    data.mkdir(parents=True, exist_ok=True)
    return data


def stop(data: Path) -> bool:
    """
    Stop the mirror of *data* and return once it is gone; tell whether one ran.

    It gets 20 s to note how far it has come before it is killed; without that, some records are mirrored twice.
    """
    data = data.absolute()
    if running := _running(data):
        _end(running.pid, data, state.STOP_S)
    _file(data).unlink(missing_ok=True)
    return running is not None


def find(data: Path) -> tuple[State, Process | None]:
    """Tell what became of the mirror of *data*; no process if none was started or the last one was stopped."""
    process = _read(data := data.absolute())
    if process is None:
        return State.STOPPED, None
    return (State.RUNNING if _lives(process) else State.DEAD), process


def last_words(process: Process) -> str:
    """Return the line of its log that tells most about the end of *process*."""
    return properties.last_meaningful_line(_text(_output(process.data)) + _text(process.log))


async def _start(mirror: Mirror, data: Path, heap_mb: int, *, detach: bool) -> Process:
    """Find what a mirror needs, launch it and wait until it has started."""
    program = java.find()
    jars.require_space(data, SPACE_MB)
    settings = _prepare(mirror, data)
    topics = dict.fromkeys(chain.from_iterable(link.topics for link in upward(mirror)))
    await ensure_topics(mirror.target, topics, mirror.target.replication)
    classpath = ":".join(map(str, await jars.ensure(jars.cache_folder(), pinned(MIRROR))))

    argv = [str(program), f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"]
    argv += [f"-Dlog4j2.configurationFile={data / 'log4j2.properties'}", "-cp", classpath, PROGRAM, str(settings)]
    process = Process(_launch(argv, data, detach=detach), data, _log(data))
    try:
        files.replace(_file(data), json.dumps({"pid": process.pid}).encode())
        await _started(process)
    except BaseException:  # a cancellation too: nothing may be left running
        _end(process.pid, data, 0)
        _file(data).unlink(missing_ok=True)
        raise
    return process


def _prepare(mirror: Mirror, data: Path) -> Path:
    """Write what the process reads at its start, and put the log of the one before aside; return its settings."""
    secrets = data / "secrets.properties"
    files.replace_privately(secrets, properties.render(mirror_secrets.read(mirror)).encode("ascii"))
    files.replace(_settings(data), properties.render(mirror_properties.render(mirror, secrets)).encode("ascii"))
    files.replace(data / "log4j2.properties", properties.render(mirror_properties.logging(_log(data))).encode("ascii"))
    for file in (_log(data), _output(data)):
        if file.exists():
            file.replace(f"{file}.1")
    return _settings(data)


def _launch(argv: list[str], data: Path, *, detach: bool) -> int:
    if detach:
        return supervise.start_detached(argv, log=_output(data))
    child = supervise.start(argv, log=_output(data))
    _children[child.pid] = child
    return child.pid


async def _started(process: Process) -> None:
    """Return once *process* says that it has started; raise `EnvironmentProblem` if it ends or takes too long."""
    try:
        await supervise.until(lambda: STARTED in _text(process.log) or not _lives(process), START_S)
    except TimeoutError as error:
        raise EnvironmentProblem(
            f"the mirror did not start within {START_S:.0f} s ({process.log}): {last_words(process)}"
        ) from error
    if not _lives(process):
        raise EnvironmentProblem(f"the mirror ended ({process.log}): {last_words(process)}")


def _end(pid: int, data: Path, grace_s: float) -> None:
    state.end(pid, _settings(data), grace_s)
    if child := _children.pop(pid, None):
        supervise.kill(child)


def _running(data: Path) -> Process | None:
    now, process = find(data)
    return process if now is State.RUNNING else None


def _lives(process: Process) -> bool:
    return state.runs_on(process.pid, _settings(process.data))


def _read(data: Path) -> Process | None:
    try:
        return Process(int(json.loads(_file(data).read_text(encoding="utf-8"))["pid"]), data, _log(data))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(data: Path) -> Path:
    return data / "mirror.json"


def _settings(data: Path) -> Path:
    """Return the settings file. Its name on a command line identifies the process."""
    return data / "mirror.properties"


def _log(data: Path) -> Path:
    return data / "mirror.log"


def _output(data: Path) -> Path:
    """Return where goes what Java itself has to say."""
    return data / "mirror.out"


def _text(file: Path) -> str:
    """Return what *file* holds; an absent file holds nothing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
