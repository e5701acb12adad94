"""What the archive's loop publishes before its time."""

from aiokafka import TopicPartition

from pipeline.agents.archive import too_much


def test_the_largest_partitions_go_first_until_the_rest_is_little_enough() -> None:
    """Thirty-two partitions just below the bound of one each would be a gigabyte together."""
    sizes = {TopicPartition("t", number): size for number, size in enumerate((30, 50, 10, 40))}

    assert [place.partition for place in too_much(sizes, 50)] == [1, 3]
    assert too_much(sizes, 130) == []
    assert too_much({}, 0) == []
