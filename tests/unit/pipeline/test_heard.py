"""A portfolio whose settings name no sites consists of those that spoke within the hour."""

from datetime import datetime

from unit.pipeline.ticks import at

from pipeline.heard import Heard


def test_a_site_belongs_for_an_hour_after_its_last_word() -> None:
    clock = [at(0)]
    heard = Heard(lambda: clock[0])
    heard.note("north", at(0))
    heard.note("south", at(0))
    heard.note("south", at(1800))

    assert list(heard) == ["north", "south"]

    clock[0] = at(3601)

    assert list(heard) == ["south"]
    assert len(heard) == 1
    assert "north" not in heard


def test_a_site_that_spoke_long_ago_does_not_belong_because_we_hear_of_it_now() -> None:
    """After an outage old figures are read once more, and not in order."""

    def now() -> datetime:
        return at(7200)

    heard = Heard(now)
    heard.note("north", at(7100))
    heard.note("north", at(0))
    heard.note("gone", at(0))

    assert list(heard) == ["north"]
    assert "nobody" not in heard
