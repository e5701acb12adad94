"""`doubles.acked_and_read` and `doubles.cluster`: what counts as lost, and who leads."""

from pathlib import Path

import pytest
from doubles.acked_and_read import Acknowledgement, Record, Verdict, judge, longest_gap_s, recovered_at
from doubles.cluster import Member, elected, settings


def acknowledged(*seqs: int, host: str = "h") -> list[Acknowledgement]:
    return [Acknowledgement(0, host, seq, sent_at=float(seq), acknowledged_at=float(seq)) for seq in seqs]


def records(*seqs: int, host: str = "h") -> list[Record]:
    return [Record(0, offset, host, seq) for offset, seq in enumerate(seqs)]


def at(partition: int, *instants: float, sent_at: float = 0.0) -> list[Acknowledgement]:
    return [Acknowledgement(partition, "h", 1, sent_at, instant) for instant in instants]


def test_what_is_acknowledged_and_read_and_in_the_log_is_all_there() -> None:
    assert judge(acknowledged(1, 2, 3), records(1, 2, 3), records(1, 2, 3)) == Verdict(
        acknowledged=3, missing=0, withdrawn=0, out_of_order=0, duplicates=0
    )


def test_acknowledged_and_nowhere_is_missing() -> None:
    """Of 1 to 4, 2 and 4 never came."""
    assert judge(acknowledged(1, 2, 3, 4), records(1, 3), records(1, 3)).missing == 2


def test_a_seq_of_another_host_does_not_stand_in() -> None:
    both = [*acknowledged(1, host="a"), *acknowledged(1, host="b")]

    verdict = judge(both, records(1, host="a"), records(1, host="a"))

    assert (verdict.acknowledged, verdict.missing) == (2, 1)


def test_in_the_log_and_never_read_is_missing() -> None:
    assert judge(acknowledged(1, 2), records(1), records(1, 2)).missing == 1


def test_read_and_later_gone_from_the_log_is_missing_and_withdrawn() -> None:
    verdict = judge(acknowledged(1, 2), records(1, 2), records(1))

    assert (verdict.missing, verdict.withdrawn) == (1, 1)


def test_what_was_sent_and_never_acknowledged_may_be_there_or_not() -> None:
    """3 arrived, 4 did not; nobody was promised either."""
    verdict = judge(acknowledged(1, 2), records(1, 2, 3), records(1, 2, 3))

    assert (verdict.acknowledged, verdict.missing, verdict.duplicates) == (2, 0, 0)


def test_a_batch_that_was_sent_twice_is_duplicates_and_no_disorder() -> None:
    verdict = judge(acknowledged(1, 2, 3), records(1, 2, 1, 2, 3), records(1, 2, 1, 2, 3))

    assert (verdict.duplicates, verdict.out_of_order) == (2, 0)


def test_a_message_first_seen_behind_a_later_one_is_disorder() -> None:
    """3 overtook 2, in the log only."""
    assert judge(acknowledged(1, 2, 3), records(1, 2, 3), records(1, 3, 2)).out_of_order == 1


def test_each_host_has_an_order_of_its_own() -> None:
    mixed = [Record(0, 0, "a", 5), Record(0, 1, "b", 1), Record(0, 2, "a", 6), Record(0, 3, "b", 2)]

    assert judge([], mixed, mixed).out_of_order == 0


def test_a_partition_that_goes_on_does_not_hide_the_gap_of_another() -> None:
    """Partition 1 is silent from 2 to 9."""
    both = [*at(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), *at(1, 1, 2, 9)]

    assert longest_gap_s(both, range(2), began=0, ended=10) == 7


def test_a_gap_may_reach_to_the_end_and_begins_no_earlier_than_asked() -> None:
    """From 4, the last one, to 10; what was before 3 does not count."""
    assert longest_gap_s(at(0, -9, 3.5, 4), range(1), began=3, ended=10) == 6
    assert longest_gap_s([], range(1), began=3, ended=10) == 7


def test_recovery_needs_every_partition_and_something_sent_after_the_failure() -> None:
    """Acknowledged at 9 but sent at 4, before the failure at 5, proves nothing."""
    before, after = at(1, 9, sent_at=4), at(1, 11, sent_at=6)

    assert recovered_at([*at(0, 7, 8, sent_at=6), *before], range(2), failed_at=5) is None
    assert recovered_at([*at(0, 7, 8, sent_at=6), *before, *after], range(2), failed_at=5) == 11


def test_the_controllers_leader_is_that_of_the_newest_epoch() -> None:
    """The file of a node that is down tells of its own time; -1 is nobody."""
    old, new = '{"leaderId":1,"leaderEpoch":2}', '{"leaderId":3,"leaderEpoch":7}'

    assert elected([old, new, ""]) == 3
    assert elected([old, '{"leaderId":-1,"leaderEpoch":8}']) is None
    assert elected([]) is None


def test_three_nodes_keep_three_copies_and_acknowledge_with_two() -> None:
    members = [
        Member(number, Path(f"/n{number}"), 20_000 + number, 21_000 + number, 22_000 + number) for number in (1, 2, 3)
    ]

    found = settings(members[1], members)

    assert found["node.id"] == "2"
    assert found["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"
    assert found["min.insync.replicas"] == "2"
    assert found["unclean.leader.election.enable"] == "false"
    assert {value for name, value in found.items() if name.endswith("replication.factor")} == {"3"}


@pytest.mark.parametrize("name", ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic", "default"])
def test_no_internal_topic_is_left_with_one_copy(name: str) -> None:
    member = Member(1, Path("/n"), 1, 2, 3)

    assert settings(member, [member])[f"{name}.replication.factor"] == "3"
