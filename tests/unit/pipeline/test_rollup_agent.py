"""The rollup's shell: what it hands to the state of a partition."""

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.agents.rollup import Owned, Rollup
from pipeline.clock import Clock
from pipeline.errors import BrokerGoneError
from pipeline.rollup import Partition
from pipeline.settings import Kafka


@dataclass
class Consumer:
    """Has these records, as librdkafka hands out what trickles in: one partition's between those of others."""

    places: list[tuple[int | None, int]]

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

    number: int | None
    place: int

    def partition(self) -> int | None:
        return self.number

    def error(self) -> str | None:
        return "no coordinator" if self.number is None else None

    def offset(self) -> int:
        return self.place


def rollup() -> Rollup:
    return Rollup(
        kafka=Kafka(bootstrap="127.0.0.1:9"),
        group="g",
        site="site-1",
        lengths=(timedelta(minutes=1),),
        clock=Clock(),
        session_timeout_s=6.0,
    )


def test_what_the_consumer_says_of_itself_is_noted_and_the_records_beside_it_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of no partition has no place among the sorted ones."""
    monkeypatch.setattr("pipeline.agents.rollup.partition_of", Message.partition)
    mine, taken = rollup(), list[int]()
    monkeypatch.setattr(mine, "_take_in", lambda number, records: taken.extend([number] * len(records)))
    mine._consumer = Consumer([(1, 7), (None, 0), (0, 3)])

    mine._read(0.1)

    assert taken == [0, 1]
    assert mine.counts["kafka_errors"] == 1


def test_a_state_whose_figures_may_not_have_arrived_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """They left the state when they were sent. librdkafka revokes what is held when it is closed, and that saves."""
    mine, saved = rollup(), list[list[int]]()

    def close() -> None:
        saved.append(list(mine._owned))

    consumer = SimpleNamespace(subscribe=lambda *_, **__: None, close=close)
    monkeypatch.setattr("pipeline.agents.rollup.Consumer", lambda _: consumer)
    monkeypatch.setattr("pipeline.agents.rollup.Producer", lambda _: None)
    mine._owned[3] = Owned(Partition(3, mine.lengths, mine.site), target=0)

    def unacknowledged() -> None:
        raise BrokerGoneError("figures are not acknowledged")

    monkeypatch.setattr(mine, "_rounds", unacknowledged)
    with pytest.raises(BrokerGoneError):
        mine._work()

    assert saved == [[]]


def test_what_trickles_in_of_several_partitions_is_taken_in_at_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Taking in costs some ms a call, however few the records: with a call a run, 1,000 hosts were too many."""
    monkeypatch.setattr("pipeline.agents.rollup.partition_of", Message.partition)
    mine = rollup()
    taken: list[tuple[int, list[int]]] = []
    monkeypatch.setattr(
        mine, "_take_in", lambda number, records: taken.append((number, [record.place for record in records]))
    )
    mine._consumer = Consumer([(2, 7), (0, 1), (2, 8), (0, 2), (1, 5), (2, 9)])

    mine._read(0.1)

    assert taken == [(0, [1, 2]), (1, [5]), (2, [7, 8, 9])]
