"""
An archive on a disk that fills up: a small file system of its own, and a file that takes what is left of it.

Mounting needs root. The workers' other files, and Kafka's, are elsewhere.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from doubles.stream.run import Outcome, finished
from doubles.stream.stage import Scenario, Stage, place
from doubles.stream.workers import Workforce

from pipeline.errors import EnvironmentProblem
from pipeline.settings import Kafka

SIZE_MB = 48
FULL_S, AGAIN_S = 30.0, 60.0
PIECE_B = 4096


def may_mount() -> None:
    """Raise `PermissionError` where we may not mount a file system."""
    if os.geteuid() != 0:
        raise PermissionError(
            errno.EPERM, "the part `disk` mounts a file system and needs root; leave it out by --part"
        )


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a file system of its own at *folder*; raise `PermissionError` where we may not mount one."""
    may_mount()
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "firmwatt-archive", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left; return the file that does."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for piece in (2**20, PIECE_B):
            try:
                while True:
                    file.write(bytes(piece))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


def run(folder: Path, kafka: Kafka, scenario: Scenario, fillings: int) -> Outcome:
    """Fill the archive's disk again and again; each time the workers must end for it and go on once there is room."""
    with (
        small_disk(folder / f"disk-{scenario.seed}") as disk,
        Stage(
            scenario, kafka, Workforce(place(folder, kafka, scenario, disk / "archive")), None, Random(scenario.seed)
        ) as stage,
    ):
        plan, load, told = stage.begin()
        for _ in range(fillings):
            stage.wait(scenario.before_s + stage.random.uniform(0, 2))
            _fill_and_free(stage, disk)
        stage.wait(scenario.before_s)
        return finished(stage, plan, load, told, [], allowed={EnvironmentProblem.exit_code})


def _fill_and_free(stage: Stage, disk: Path) -> None:
    before = stage.force.codes[EnvironmentProblem.exit_code]
    ballast = fill(disk)
    stage.until(
        lambda: stage.force.codes[EnvironmentProblem.exit_code] > before, FULL_S, "a worker to end for the full disk"
    )
    ballast.unlink()
    stage.until(lambda: all(member.ready for member in stage.force.working), AGAIN_S, "workers on a disk with room")
    stage.recovered("room on the disk")
