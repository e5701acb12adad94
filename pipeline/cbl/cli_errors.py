"""How `firmwatt baseline` ends where there is no baseline: exit code 2, in one line."""

from pipeline.errors import InsufficientDataError


class TooLittleHistoryError(InsufficientDataError):
    """History is too short for what was asked of it; programs that call the command line wait for this code."""

    exit_code = 2
