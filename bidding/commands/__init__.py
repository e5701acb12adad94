"""
`firmwatt bid ACTION`, one file an action or a pair of them: `add(actions)` describes it, the rest does it.

Nothing heavy is imported until an action runs.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path


def with_config(parser: ArgumentParser) -> None:
    """Give *parser* the settings file that nearly every action needs."""
    parser.add_argument("--config", type=Path, required=True, help="settings file")


def say(text: str) -> None:
    """Print *text*: a command line talks."""
    print(text)  # noqa: T201 - the one place


def warn(text: str) -> None:
    """Print *text* beside the output proper."""
    print(text, file=sys.stderr)  # noqa: T201 - the same
