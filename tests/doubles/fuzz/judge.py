"""What a decoder may do with any bytes: return, or raise a `VenueError` of one line, and that quickly."""

import time
from collections.abc import Callable

from pipeline.errors import VenueError

Target = Callable[[bytes], object]

QUICK_S = 0.1
ATTEMPTS = 5
"""A slow run counts only when it is slow every time: caches fill, and a garbage collection is not the decoder's."""


class DecoderError(AssertionError):
    """A decoder did what it may not; the text says what."""


def judge(target: Target, data: bytes) -> None:
    """Run *target* on *data*; raise `DecoderError` on another error, on several lines or on more than 100 ms of CPU."""
    for _ in range(ATTEMPTS):
        took_s = _once(target, data)
        if took_s <= QUICK_S:
            return
    raise DecoderError(f"took {took_s:.3f} s of CPU on {len(data)} bytes, may take {QUICK_S} s")


def _once(target: Target, data: bytes) -> float:
    begun = time.thread_time()
    try:
        target(data)
    except VenueError as error:
        text = str(error)
        if not text.strip() or len(text.splitlines()) != 1:
            raise DecoderError(f"its error is not one line: {text!r}") from error
        if not text.isprintable():
            raise DecoderError(f"its error is not printable: {text!r}") from error
    except Exception as error:
        raise DecoderError(f"raised {type(error).__name__}: {error!r}") from error
    return time.thread_time() - begun
