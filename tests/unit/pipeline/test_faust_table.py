"""A Faust table is what all writers of its changelog have said together, whoever wrote last."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP

from pipeline.faust_table import Table
from pipeline.streams import faust

LOG = TP("group-heights-changelog", 0)


@dataclass
class Record:
    """A record of a changelog, as Faust hands it on: key and value, and where it stood."""

    key: bytes
    value: bytes | None
    offset: int
    tp: TP = LOG

    @property
    def message(self) -> "Record":
        return self

    @property
    def partition(self) -> int:
        number: int = self.tp.partition
        return number


def heights() -> tuple[Table[int], Any]:
    """Return a table of which the higher state holds, and Faust's table in it; nothing connects."""
    app: Any = faust.App("group", broker="kafka://127.0.0.1:9", store="memory://")
    table: Table[int] = Table(app, "heights", int, 2, max)
    return table, app.tables["heights"]


def test_a_state_that_was_written_later_but_knows_less_takes_nothing_back() -> None:
    """7 is what the owner wrote; 5 came after it from a worker that woke without its partitions."""
    table, inside = heights()
    inside.apply_changelog_batch(
        [Record(b"peak", b"\x05", 0), Record(b"peak", b"\x07", 1), Record(b"peak", b"\x05", 2)]
    )

    assert dict(table) == {"peak": 7}


def test_a_large_state_takes_less_than_it_says_and_one_of_before_is_still_read() -> None:
    """A thousand times one letter. What a predecessor wrote is plain msgpack; what is put together is compressed."""
    app: Any = faust.App("group", broker="kafka://127.0.0.1:9", store="memory://")
    table: Table[str] = Table(app, "words", str, 2, max)
    inside = app.tables["words"]

    inside.apply_changelog_batch(
        [
            Record(key, msgspec.msgpack.encode(letter * 1000), 0)
            for key, letter in ((b"x", "a"), (b"y", "b"), (b"y", "c"))
        ]
    )

    assert dict(table) == {"x": "a" * 1000, "y": "c" * 1000}
    assert len(inside._data.data[b"y"]) < 100


def test_a_key_that_is_gone_leaves_nothing_behind() -> None:
    """Keys of intervals come and go for years."""
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"peak", b"\x07", 0), Record(b"hill", b"\x01", 1), Record(b"hill", None, 2)])

    del inside._data[b"peak"]

    assert not table
    assert inside._data._key_partition == {}


def test_a_key_that_was_deleted_is_gone_until_it_is_written_again() -> None:
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"peak", b"\x07", 0), Record(b"peak", None, 1), Record(b"hill", b"\x01", 2)])
    assert dict(table) == {"hill": 1}

    inside.apply_changelog_batch([Record(b"peak", b"\x02", 3)])

    assert table["peak"] == 2


async def test_who_follows_a_partition_keeps_it_and_goes_on_from_where_it_is() -> None:
    """Partition 0 is its own, partition 1 it follows: neither is read again from the beginning."""
    other = TP(LOG.topic, 1)
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"mine", b"\x01", 8), Record(b"theirs", b"\x02", 4, other)])

    await inside.on_recovery_completed({LOG}, {other})

    assert dict(table) == {"mine": 1, "theirs": 2}
    assert (inside.persisted_offset(LOG), inside.persisted_offset(other)) == (8, 4)
    assert table.recoveries == 1


async def test_what_belongs_to_others_is_let_go_of_and_read_anew_when_it_comes_back() -> None:
    other = TP(LOG.topic, 1)
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"mine", b"\x01", 8), Record(b"theirs", b"\x02", 4, other)])

    await inside.on_recovery_completed({LOG}, set())

    assert dict(table) == {"mine": 1}
    assert inside.persisted_offset(other) is None


def test_what_was_written_here_need_not_be_read_again() -> None:
    """Kafka acknowledges 12 and then, late, 11."""
    _, inside = heights()
    inside.data.set_persisted_offset(LOG, 12)
    inside.data.set_persisted_offset(LOG, 11)

    assert inside.persisted_offset(LOG) == 12


def test_what_is_changed_is_seen_at_once_and_reaches_faust_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key peak goes from 7 to 9 in two steps, hill goes: two messages to the changelog, not three, and none before."""
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"peak", b"\x07", 0), Record(b"hill", b"\x01", 1)])
    told = changelog(inside, monkeypatch)

    table["peak"] = 8
    table["peak"] = 9
    del table["hill"]

    assert (dict(table), len(table), "hill" in table, told) == ({"peak": 9}, 1, False, [])
    with pytest.raises(KeyError):
        del table["hill"]
    table.write()
    assert (dict(table), told) == ({"peak": 9}, [(b"peak", b"\x09"), (b"hill", None)])
    table.write()
    assert len(told) == 2


async def test_a_change_made_before_the_table_was_filled_anew_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 and a deletion were made from what was known; meanwhile another worker had written 9."""
    table, inside = heights()
    inside.apply_changelog_batch([Record(b"peak", b"\x07", 0), Record(b"hill", b"\x01", 1)])
    told = changelog(inside, monkeypatch)
    table["peak"] = 8
    del table["hill"]

    inside.apply_changelog_batch([Record(b"peak", b"\x09", 2)])
    await inside.on_recovery_completed({LOG}, set())

    assert dict(table) == {"peak": 9, "hill": 1}
    table.write()
    assert (dict(table), told) == ({"peak": 9, "hill": 1}, [])


def test_a_change_that_an_event_from_before_a_rebalance_makes_after_it_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One event was in hand, half handled, when the group went from generation 4 to 5; the next is of 5."""
    table, inside = heights()
    told = changelog(inside, monkeypatch)
    inside.app.consumer_generation_id = 5
    events = [SimpleNamespace(message=SimpleNamespace(generation_id=number, partition=0)) for number in (4, 5)]

    for key, event in zip(("stale", "fresh"), events, strict=True):
        monkeypatch.setattr("pipeline.faust_table.current_event", lambda event=event: event)
        table[key] = 1
    monkeypatch.setattr("pipeline.faust_table.ref", lambda event: event)
    table.write()

    assert (dict(table), told) == ({"fresh": 1}, [(b"fresh", b"\x01")])


def changelog(inside: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes | None]]:
    """Return where what Faust's table sends to its changelog turns up; nobody handles an event here."""
    told: list[tuple[bytes, bytes | None]] = []
    monkeypatch.setattr(inside, "on_key_set", lambda key, value: told.append((key, value)))
    monkeypatch.setattr(inside, "on_key_del", lambda key: told.append((key, None)))
    return told
