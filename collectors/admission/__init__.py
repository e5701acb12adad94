"""
How an inference engine, or the gateway in front of it, is told how many requests it takes at once; one way per file.

The file name is the `via` of a ``[[lever.admission.endpoint]]``:

    class Settings(Section, frozen=True, kw_only=True): ...      # its `options`
    def connect(settings: Settings) -> Admission: ...            # opens nothing yet; `ConfigError` for what cannot work

What is over the limit waits or is turned away, as the engine or gateway does it; what runs already ends by itself.
Calls block for as long as the engine does, no longer than the settings' own bound, and never come from two threads at
once. Whatever goes wrong is a `LeverError` of one line.
"""

from typing import NamedTuple, Protocol


class Admitted(NamedTuple):
    """Requests at once, of all engines behind one endpoint."""

    limit: float | None
    """None: as many as come."""
    running: float | None
    """Now, queued ones not counted; None where it is not told."""


class Admission(Protocol):
    """Everything the lever may ask of an engine."""

    def read(self) -> Admitted:
        """Return what it takes and what it has; raise `LeverError` when it does not answer."""
        ...

    def limit(self, requests: int | None) -> float | None:
        """
        Let it take so many requests at once, None for as many as come; raise `LeverError` when it refuses.

        Return the limit that this is to the engine: as many or, where it counts in larger steps, the next more.
        """
        ...

    def close(self) -> None:
        """Let go of the connection; the next call opens another."""
        ...
