"""`firmwatt collect import`: read power, limits and energy from what nvidia-smi or an exporter has printed."""

import argparse
import sys
from pathlib import Path

from collectors import captures
from collectors.captures import report
from collectors.captures.values import CaptureError
from pipeline.errors import ConfigError

STANDARD_INPUT = "-"


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(prog="firmwatt collect import", description=__doc__)
    grammar.add_argument(
        "file",
        metavar="FILE",
        help="`nvidia-smi -q -x`, `-q` or `--query-gpu … --format=csv`, a session of them, or the page of a GPU "
        "exporter; `-`: standard input",
    )
    grammar.add_argument("--json", action="store_true", help="one JSON document: a GPU is one object, unknown is null")
    grammar.add_argument(
        "--snapshot",
        metavar="NAME",
        help="which state of a file with many: its name (idle, load) or its number from 1; the newest by default",
    )
    return grammar


def main(argv: list[str]) -> int:
    """Print the file's GPUs and their sums; notes go to standard error, too."""
    arguments = parser().parse_args(argv)
    name = "standard input" if arguments.file == STANDARD_INPUT else arguments.file
    try:
        capture = captures.read(content_of(arguments.file))
        snapshot = captures.chosen(capture, arguments.snapshot)
    except CaptureError as error:
        raise CaptureError(f"{name} {error}") from error
    for note in report.notes(capture, snapshot):
        print(f"{name}: {note}", file=sys.stderr)  # noqa: T201 - a command line talks
    text = report.as_json(capture, snapshot) if arguments.json else report.as_table(snapshot)
    sys.stdout.buffer.write(f"{text}\n".encode())  # UTF-8 in any locale: a name may hold what another cannot say
    return 0


def content_of(file: str) -> bytes:
    """Return the bytes of *file*, and no more than tell that it is too large; `ConfigError` if it cannot be read."""
    try:
        if file == STANDARD_INPUT:
            return sys.stdin.buffer.read(captures.LIMIT_B + 1)
        with Path(file).open("rb") as stream:
            return stream.read(captures.LIMIT_B + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
