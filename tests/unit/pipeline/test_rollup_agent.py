"""The rollup's shell: what it hands to the state of a partition."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from pipeline.agents.rollup import Rollup
from pipeline.clock import Clock
from pipeline.settings import Kafka


@dataclass
class Consumer:
    """Has these records, as librdkafka hands out what trickles in: one partition's between those of others."""

    places: list[tuple[int, int]]

    def consume(self, most: int, timeout_s: float) -> list[Any]:
        """Return all."""
        del most, timeout_s
        return [Message(*place) for place in self.places]

    def assignment(self) -> list[int]:
        """Return none: nothing waits for it here."""
        return []


@dataclass
class Message:
    """A record."""

    number: int
    place: int

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.place


def test_what_trickles_in_of_several_partitions_is_taken_in_at_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taking in costs some ms a call, however few the records: with a call a run, 1,000 hosts were too many."""
    monkeypatch.setattr("pipeline.agents.rollup.partition_of", Message.partition)
    rollup = Rollup(
        kafka=Kafka(bootstrap="127.0.0.1:9"),
        group="g",
        site="site-1",
        lengths=(timedelta(minutes=1),),
        clock=Clock(),
        session_timeout_s=6.0,
    )
    taken: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(
        rollup, "_take_in", lambda number, records: taken.append((number, [record.place for record in records]))
    )
    rollup._consumer = Consumer([(2, 7), (0, 1), (2, 8), (0, 2), (1, 5), (2, 9)])

    rollup._read(0.1)

    assert taken == [(0, [1, 2]), (1, [5]), (2, [7, 8, 9])]
