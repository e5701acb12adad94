"""Starting the demo as a user does, and looking for what it may have left behind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

LONGEST_S = 240


def argv(runs: Path, *options: str) -> list[str]:
    """Return the command line of a small demo in *runs*."""
    return [sys.executable, "-m", "deploy", "demo", "--runs", str(runs), *options]


@contextmanager
def demo(runs: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a demo with its output piped; it has ended when the block is left."""
    process = subprocess.Popen(
        argv(runs, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def report_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a demo started with --json and return the report it printed."""
    out, err = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def left_running(runs: Path) -> list[str]:
    """Return the command lines of processes that still name *runs*."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(runs) in line and process.pid != os.getpid():
            found.append(line)
    return found


def the_run(runs: Path) -> Path:
    """Return the one run folder below *runs*."""
    (folder,) = (path for path in runs.iterdir() if path.is_dir() and not path.is_symlink())
    return folder
