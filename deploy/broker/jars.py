"""
The jars in the user's cache folder: complete and exactly as pinned, or an error that says what to do.

Where they come from, in this order: the local Maven repository; Maven, if it is installed, with all its settings; the
resolver of the `jgo` package. Where only proxy variables know the way out, `jgo` goes before Maven, which ignores them.
Only a jar with the recorded SHA-256 gets its final name, by an atomic rename, so two users of one cache do not disturb
each other and an interrupted download leaves nothing that counts.
"""

import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deploy import supervise
from deploy.broker import maven
from deploy.broker.lock import KAFKA_VERSION, Jar, pinned
from pipeline.errors import EnvironmentProblem

NEEDED_MB = 100
FETCH_S = 600.0
LOCK_S = 900.0
REASON_CHARACTERS = 300
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

#: Puts jars into a folder and returns why it failed, or None.
Source = Callable[[Sequence[Jar]], Awaitable[str | None]]


def cache_folder() -> Path:
    """Return where the jars live: ``$XDG_CACHE_HOME/firmwatt/kafka-VERSION``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "firmwatt" / f"kafka-{KAFKA_VERSION}"


async def ensure(cache: Path, jars: Sequence[Jar] | None = None) -> list[Path]:
    """Return the files of *jars* (by default the broker's) in *cache*, fetching what is missing or damaged."""
    jars = pinned() if jars is None else jars
    if missing_from(cache, jars):
        try:
            async with _locked(cache):
                await _fill(cache, missing_from(cache, jars))
        except OSError as error:
            raise problem(cache, error) from error
    return [cache / jar.name for jar in jars]


def missing_from(cache: Path, jars: Sequence[Jar]) -> list[Jar]:
    """Return those of *jars* that *cache* does not hold byte for byte."""
    return [jar for jar in jars if not jar.matches(cache / jar.name)]


def problem(folder: Path, error: OSError) -> EnvironmentProblem:
    """Say in one line why *folder* cannot be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return EnvironmentProblem(f"no space left for {folder}: free some, or choose another folder")
    return EnvironmentProblem(f"cannot write {error.filename or folder}: {error.strerror}")


def require_space(folder: Path, needed_mb: int) -> None:
    """Raise `EnvironmentProblem` if the disk under *folder*, which exists, has less than *needed_mb* free."""
    if (free_mb := shutil.disk_usage(folder).free // 2**20) < needed_mb:
        raise EnvironmentProblem(
            f"no space left for {folder}: {free_mb} MB free, {needed_mb} MB needed; free some, or choose another folder"
        )


@asynccontextmanager
async def _locked(cache: Path) -> AsyncIterator[None]:
    """Make *cache* and hold it for ourselves; the lock ends with the process that holds it."""
    with _lock_file(cache) as lock:
        try:
            await supervise.until(lambda: _taken(lock.fileno()), LOCK_S)
        except TimeoutError as error:
            raise EnvironmentProblem(f"another process has been filling {cache} for {LOCK_S:.0f} s: end it") from error
        yield


def _lock_file(cache: Path) -> IO[str]:
    cache.mkdir(parents=True, exist_ok=True)
    return (cache / ".lock").open("w")


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _fill(cache: Path, missing: Sequence[Jar]) -> None:
    if not missing:
        return
    _remove_leftovers(cache)
    require_space(cache, NEEDED_MB)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
        fetch = Fetch(Path(folder), maven.load(Path.home(), os.environ), dict(os.environ))
        missing = _adopt(fetch.local_repository(), missing, fetch.folder, cache)
        reasons = []
        for source in fetch.sources():
            if not missing:
                return
            reasons.append(await source(missing))
            missing = _adopt(fetch.folder, missing, fetch.folder, cache)
    if missing:
        raise EnvironmentProblem(
            f"{len(missing)} jars of Apache Kafka could not be fetched, {missing[0].coordinates} first "
            f"({'; '.join(filter(None, reasons))}): set HTTPS_PROXY or ~/.m2/settings.xml, "
            f"or copy the jars into {cache}"
        )


def _remove_leftovers(cache: Path) -> None:
    """Remove what a fetch that was killed left behind."""
    for leftover in cache.glob(".fetch-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _adopt(repository: Path, jars: Sequence[Jar], scratch: Path, cache: Path) -> list[Jar]:
    """
    Copy into *cache*, by way of *scratch* on the same disk, what *repository* holds of *jars*; return the others.

    A file with other bytes than recorded is passed over in a *repository* of somebody else; in *scratch* it is what we
    fetched ourselves, and is refused.
    """
    for jar in jars:
        found = repository / jar.path
        if jar.matches(found):
            part = scratch / "part"
            shutil.copyfile(found, part)
            part.replace(cache / jar.name)
        elif repository == scratch and found.exists():
            found.unlink()
            raise EnvironmentProblem(
                f"{jar.coordinates} as fetched is not the file that was pinned (its SHA-256 differs): refused; "
                "see whether a proxy, a mirror or the local Maven repository holds something else"
            )
    return missing_from(cache, jars)


@dataclass(frozen=True)
class Fetch:
    """The ways to get jars into *folder*; each returns why it failed, or None."""

    folder: Path
    settings: maven.Settings
    environment: dict[str, str]

    def local_repository(self) -> Path:
        """Return where Maven keeps what it has fetched for other projects."""
        return self.settings.local_repository or Path.home() / ".m2" / "repository"

    def sources(self) -> list[Source]:
        """Return the ways to try, in order."""
        ways: list[Source] = [self.by_maven, self.by_jgo]
        return ways[::-1] if maven.only_variables_know_the_proxy(self.settings, self.environment) else ways

    async def by_maven(self, jars: Sequence[Jar]) -> str | None:
        """Let Maven copy *jars*, in one call for all."""
        if not (program := shutil.which("mvn")):
            return "no mvn on the path"
        project = self.folder / "pom.xml"
        project.write_text(maven.pom((jar.group, jar.artifact, jar.version) for jar in jars), encoding="utf-8")
        goal = ["dependency:copy-dependencies", "-Dmdep.useRepositoryLayout=true", f"-DoutputDirectory={self.folder}"]
        return await self._run("mvn", [program, "-q", "-B", "-f", str(project), *goal], self.environment)

    async def by_jgo(self, jars: Sequence[Jar]) -> str | None:
        """Let `jgo` download *jars*, in a process of its own."""
        mirror = ["--from", self.settings.mirror] if self.settings.mirror else []
        argv = [sys.executable, "-m", "deploy.broker.download", *mirror, str(self.folder)]
        environment = maven.environment_for_requests(self.settings, self.environment, maven.system_bundles())
        return await self._run("jgo", [*argv, *(jar.coordinates for jar in jars)], environment)

    async def _run(self, name: str, argv: Sequence[str], environment: dict[str, str]) -> str | None:
        log = self.folder / f"{name}.log"
        try:
            code = await supervise.run(argv, log=log, timeout_s=FETCH_S, env=environment)
        except TimeoutError:
            return f"{name}: no end after {FETCH_S:.0f} s"
        return f"{name}: {reason(log.read_text(errors='replace'))}" if code else None


def reason(log: str) -> str:
    """Return the first line of *log* that says what went wrong, shortened. Pure."""
    lines = [line.strip() for line in COLOUR.sub("", log).splitlines() if line.strip()]
    telling = next((line for line in lines if "ERROR" in line or "Error" in line), lines[-1] if lines else "no word")
    return telling.removeprefix("[ERROR] ")[:REASON_CHARACTERS]
