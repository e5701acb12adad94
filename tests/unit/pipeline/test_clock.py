"""A clock that may run fast, shared by many processes."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.clock import Clock
from pipeline.errors import ConfigError

ORIGIN = datetime(2026, 7, 23, 17, tzinfo=UTC)


def test_a_clock_at_double_speed_shows_two_minutes_after_one() -> None:
    """Sixty machine seconds are 120 seconds of the clock, and the other way round."""
    clock = Clock(ORIGIN, started=1000.0, speed=2.0)

    assert clock.at(1060.0) == ORIGIN + timedelta(minutes=2)
    assert clock.wall_seconds(timedelta(minutes=2)) == 60.0


def test_a_clock_survives_the_way_to_another_process() -> None:
    """What `str` writes, `parse` reads."""
    clock = Clock(ORIGIN, started=1764000000.123456, speed=2.5)

    assert Clock.parse(str(clock)) == clock


def test_no_word_means_real_time() -> None:
    """The machine's 0 is 1970."""
    assert Clock.parse("").at(0.0) == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("word", ["noon", "2026-07-23T00:00:00+00:00@x@1", "2026-07-23T00:00:00+00:00@0@-1"])
def test_a_word_that_is_no_clock_is_refused(word: str) -> None:
    """The message names the word."""
    with pytest.raises(ConfigError, match="clock"):
        Clock.parse(word)
