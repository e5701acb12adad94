"""
Programs of the site's own that tell and set how many requests an engine takes at once.

    options.show = ["/usr/local/bin/chat-admission", "show"]              prints  64 40  or  unlimited 40  or  64
    options.set = ["/usr/local/bin/chat-admission", "set", "{limit}"]     is given  20  or  unlimited

The first word is the limit, the second, which may be left out, how many are running. Exit code 0 says that it is done,
anything else that it is not, with the reason as the last line on standard error. No shell is involved.
"""

import math

from collectors.admission import Admitted
from collectors.levers import LeverError
from collectors.levers import _programs as programs
from pipeline.settings import Positive, Section

LIMIT = "{limit}"
UNLIMITED = "unlimited"
BOTH = 2
"""Words of a reply that has all there may be."""


class Settings(Section, frozen=True, kw_only=True):
    """``options`` of an endpoint `via` command."""

    show: tuple[str, ...]
    set: tuple[str, ...]
    timeout_s: Positive = 5.0
    """For one run of a program, seconds of the machine; then it is killed."""


def connect(settings: Settings) -> "Command":
    """Return the endpoint; raise `ConfigError` for programs that cannot be run."""
    programs.check(settings.show, "show")
    programs.check(settings.set, "set", LIMIT)
    return Command(settings)


class Command:
    """One engine behind two programs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def read(self) -> Admitted:
        """Run `show`."""
        words = self._run(self._settings.show).decode(errors="replace").split()
        try:
            limit, running = words if len(words) == BOTH else (*words, "")
            return Admitted(None if limit == UNLIMITED else _count(limit), _count(running) if running else None)
        except ValueError as error:  # no number, no word, or too many
            said = " ".join(words)[: programs.SHOWN]
            raise LeverError(f"{self._settings.show[0]} printed {said!r}, and not LIMIT RUNNING") from error

    def limit(self, requests: int | None) -> float | None:
        """Run `set`."""
        word = UNLIMITED if requests is None else str(requests)
        self._run([self._settings.set[0], *(argument.replace(LIMIT, word) for argument in self._settings.set[1:])])
        return requests

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _run(self, command: tuple[str, ...] | list[str]) -> bytes:
        done = programs.run(command, self._settings.timeout_s)
        if done.code:
            raise LeverError(f"{command[0]} failed: {done.reason}")
        return done.output


def _count(word: str) -> float:
    """Return a number of requests; raise `ValueError` for anything else."""
    count = float(word)
    if not (count >= 0 and math.isfinite(count)):
        raise ValueError(word)
    return count
