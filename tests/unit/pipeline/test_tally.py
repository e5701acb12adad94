"""What a rollup counts for its page, from ticks that went through a real partition."""

from datetime import timedelta

from doubles.rolled import MINUTE, feed, fresh
from unit.pipeline.ticks import at, steady, tick

from pipeline.tally import Tally


def test_redelivered_ticks_are_counted_by_partition_whatever_the_state_brought_along() -> None:
    """The partition came from another worker with 100 redeliveries; two more are two here."""
    partition = feed(fresh(6), steady(5))
    partition.counts["redelivered"] = 100
    tally, before = Tally(), dict(partition.counts)

    feed(partition, [tick(3), tick(4)])
    tally.took(6, before, partition.counts)

    assert tally.irregular == {(6, "redelivered"): 2}


def test_closed_intervals_their_holes_and_corrections_are_counted_by_length() -> None:
    """
    Ticks 10 to 19 of the first minute are missing; they arrive ten minutes late.

    That is a hole of 10 ticks in one 1-minute and one 5-minute interval, and then a correction of each.
    """
    partition = fresh(0, MINUTE, 5 * MINUTE)
    everything = list(steady(330))
    tally = Tally()

    feed(partition, [one for one in everything if not 10 <= one.seq - 1 < 20])
    tally.told(partition, partition.due(at(331)))
    assert dict(tally.intervals) == {60: 5, 300: 1}
    assert dict(tally.ticks_missing) == {60: 10, 300: 10}
    assert not tally.corrections

    feed(partition, [one for one in everything if 10 <= one.seq - 1 < 20], delay_s=600)
    tally.told(partition, partition.due(at(940)))
    assert tally.corrections[60] == tally.corrections[300] == 1


def test_gauges_are_the_newest_and_open_intervals_are_counted() -> None:
    """At 12:01:30 only the second minute is open: the first was closed at 12:01:05."""
    partition, tally = feed(fresh(2), steady(90)), Tally()

    for seconds in (89, 90):
        tally.told(partition, partition.due(at(seconds)))

    assert tally.gauges[2, "site-1"].as_of == at(90)
    assert tally.gauges[2, "site-1"].hosts == 1
    assert tally.open_intervals == {2: 1}


def test_only_partitions_whose_figures_kafka_has_are_published() -> None:
    tally = Tally()

    tally.acknowledged([0, 1], 100.0)
    tally.acknowledged([1], 101.0)

    assert tally.published_at == {0: 100.0, 1: 101.0}


def test_lengths_are_those_of_the_intervals() -> None:
    partition, tally = feed(fresh(0, timedelta(seconds=20)), steady(70)), Tally()

    tally.told(partition, partition.due(at(71)))

    assert dict(tally.intervals) == {20: 3}
