"""
What Kafka promised against what Kafka has: the oracle of every test that breaks brokers. Pure.

A message is (host, seq). Acknowledged: the producer was told that it is safe. Read: a consumer that ran all the time
got it. In the log: a consumer that began after everything was over got it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Record:
    """One record in Kafka and the message in it."""

    partition: int
    offset: int
    host: str
    seq: int

    @property
    def message(self) -> tuple[str, int]:
        """What is in it."""
        return self.host, self.seq


@dataclass(frozen=True)
class Acknowledgement:
    """One message that the broker said it has. Instants in seconds of one monotonic clock."""

    partition: int
    host: str
    seq: int
    sent_at: float
    acknowledged_at: float


@dataclass(frozen=True)
class Verdict:
    """Counts of messages, except `duplicates`, of records. Only `acknowledged` and `duplicates` may be above zero."""

    acknowledged: int
    missing: int
    """Acknowledged, and not read or not in the log."""
    withdrawn: int
    """Read, and not in the log: whoever acted on them was misled."""
    out_of_order: int
    """Behind a later one of their host, each counted where it comes first."""
    duplicates: int
    """In the log more than once."""


def judge(acknowledged: Iterable[Acknowledgement], read: Sequence[Record], log: Sequence[Record]) -> Verdict:
    """Compare; *read* and *log* in the order of their partitions' offsets."""
    promised = {(each.host, each.seq) for each in acknowledged}
    seen, kept = {record.message for record in read}, Counter(record.message for record in log)
    return Verdict(
        acknowledged=len(promised),
        missing=len(promised - (seen & kept.keys())),
        withdrawn=len(seen - kept.keys()),
        out_of_order=out_of_order(read) + out_of_order(log),
        duplicates=kept.total() - len(kept),
    )


def out_of_order(records: Iterable[Record]) -> int:
    """Return how many messages of *records* come first behind a later one of their host."""
    newest, seen, wrong = defaultdict[str, int](int), set(), 0
    for record in records:
        if record.message not in seen:
            wrong += record.seq < newest[record.host]
            newest[record.host] = max(newest[record.host], record.seq)
            seen.add(record.message)
    return wrong


def longest_gap_s(
    acknowledged: Iterable[Acknowledgement], partitions: Iterable[int], began: float, ended: float
) -> float:
    """
    Return the longest time from *began* to *ended* in which one of *partitions* acknowledged nothing, seconds.

    By partition, because those that the failed node did not lead go on and would hide the gap.
    """
    at = _by_partition(each for each in acknowledged if began < each.acknowledged_at < ended)
    return max(
        later - earlier
        for partition in partitions
        for earlier, later in pairwise([began, *sorted(each.acknowledged_at for each in at[partition]), ended])
    )


def recovered_at(acknowledged: Iterable[Acknowledgement], partitions: Iterable[int], failed_at: float) -> float | None:
    """Return when each of *partitions* had acknowledged something sent after *failed_at*; None while one has not."""
    at = _by_partition(each for each in acknowledged if each.sent_at > failed_at)
    firsts = [min((each.acknowledged_at for each in at[partition]), default=None) for partition in partitions]
    known = [first for first in firsts if first is not None]
    return max(known) if len(known) == len(firsts) else None


def _by_partition(acknowledged: Iterable[Acknowledgement]) -> Mapping[int, list[Acknowledgement]]:
    at = defaultdict(list)
    for each in acknowledged:
        at[each.partition].append(each)
    return at
