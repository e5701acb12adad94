"""
The errors the packages share, named by what to do next.

    FirmwattError
    ├── ConfigError            fix the settings or the command line, then start again
    │   └── UnknownPluginError   the name is not one of those installed
    ├── InsufficientDataError  wait for, or load, more history; nothing is offered meanwhile
    ├── EnvironmentProblem     fix the machine: no Java, no network, port in use, disk full
    ├── StuckError             start the process again: it goes on where its state says
    ├── FencedError            nothing: another process has taken over, this one must end
    ├── BrokerGoneError        start the broker again; what was acknowledged is safe
    │   └── NotAllowedError      it answers and says no: credentials, certificates or access rules
    └── VenueError             the venue answered or failed to
        ├── RejectedError        a definite no: do not repeat the document unchanged
        ├── GateClosedError      too late for this interval
        └── UnknownOutcomeError  ask the venue before doing anything else

A command line prints the text as one line and exits with `exit_code`; a traceback is a bug.
"""


class FirmwattError(Exception):
    """Base of all; its text is one line that says what to do."""

    exit_code = 1


class ConfigError(FirmwattError):
    """Settings or arguments that cannot work."""

    exit_code = 2


class UnknownPluginError(ConfigError):
    """A plug-in was named that is not there."""

    def __init__(self, package: str, name: str, have: list[str]) -> None:
        super().__init__(f"no {name!r} in {package}; have {', '.join(have) or 'none'}")
        self.package = package
        self.name = name
        self.have = have


class InsufficientDataError(FirmwattError):
    """History is too short for what was asked of it."""

    exit_code = 3

    def __init__(self, need: int, have: int, what: str) -> None:
        super().__init__(f"need {need} {what}, have {have}; load more history or wait until it has been metered")
        self.need = need
        self.have = have
        self.what = what


class EnvironmentProblem(FirmwattError):  # noqa: N818 - a problem of the machine, not of the program
    """The machine lacks something; the text names it and the remedy."""

    exit_code = 4


class StuckError(FirmwattError):
    """Records wait, and *part* of this process, ``rollup`` or ``faust``, takes none of them in."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(text)
        self.part = part


class FencedError(FirmwattError):
    """A newer process writes the journal, or speaks to the venue, in this one's place."""

    exit_code = 7


class BrokerGoneError(FirmwattError):
    """Kafka cannot be reached, or stopped answering."""

    exit_code = 5


class NotAllowedError(BrokerGoneError):
    """Kafka answers, and does not know us or does not let us; whoever can wait may try again."""


class VenueError(FirmwattError):
    """Something between us and the venue."""

    exit_code = 6


class RejectedError(VenueError):
    """The venue said no."""


class GateClosedError(RejectedError):
    """The venue said: too late."""


class UnknownOutcomeError(VenueError):
    """The request may or may not have been applied; only a query can tell."""
