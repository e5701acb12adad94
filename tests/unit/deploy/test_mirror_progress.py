"""`deploy.broker.mirror_progress`: how far a link has come, from the records MirrorMaker 4.3.1 was seen to write."""

import json
import os
from pathlib import Path

from deploy.broker import mirror
from deploy.broker.mirror import Process
from deploy.broker.mirror_cli import as_object, sentences
from deploy.broker.mirror_progress import Progress, behind, failed, mirrored
from deploy.broker.state import State

OFFSETS = {
    b'["MirrorSourceConnector",{"cluster":"site-1","partition":3,"topic":"telemetry.host.v1"}]': b'{"offset":199}',
    b'["MirrorHeartbeatConnector",{"sourceClusterAlias":"site-1","targetClusterAlias":"portfolio"}]': b'{"offset":0}',
}
STATUSES = {
    b"status-connector-MirrorSourceConnector": b'{"state":"RUNNING","trace":null,"worker_id":"w","generation":2}',
    b"status-task-MirrorSourceConnector-0": b'{"state":"FAILED","trace":"...","worker_id":"w","generation":4}',
    b"status-topic-heartbeats:connector-MirrorHeartbeatConnector": b'{"topic":{"name":"heartbeats","task":0}}',
}
PLACE = ("telemetry.host.v1", 3)
RUNNING = Process(7, Path("/data"), Path("/data/mirror.log"))


def test_the_next_offset_is_the_one_after_the_last_mirrored() -> None:
    assert mirrored(OFFSETS) == {PLACE: 200}


def test_a_failed_task_is_named() -> None:
    assert failed(STATUSES) == ("task-MirrorSourceConnector-0",)


def test_behind_is_what_the_source_still_has_and_the_target_has_not() -> None:
    """250 sent and 200 mirrored: 50; of a partition never mirrored all 10; what was deleted up to 240 leaves 10."""
    assert behind({PLACE: 0}, {PLACE: 250}, {PLACE: 200}) == 50
    assert behind({("acks", 0): 0}, {("acks", 0): 10}, {}) == 10
    assert behind({PLACE: 240}, {PLACE: 250}, {PLACE: 200}) == 10


def test_a_topic_that_was_made_anew_is_not_negative() -> None:
    assert behind({PLACE: 0}, {PLACE: 5}, {PLACE: 200}) == 0


def test_each_link_is_told_with_what_to_do() -> None:
    links = [
        Progress("north->portfolio", (), 12),
        Progress("south->portfolio", (), None, "no Kafka at s:9092"),
        Progress("east->portfolio", ("task-MirrorSourceConnector-0",), 99),
    ]

    assert sentences(State.RUNNING, RUNNING, links).splitlines() == [
        "the mirror is running (pid 7, log /data/mirror.log)",
        "north->portfolio: 12 records behind",
        "south->portfolio: no Kafka at s:9092",
        "east->portfolio: task-MirrorSourceConnector-0 failed; stop the mirror and start it again",
    ]
    assert json.loads(as_object(State.RUNNING, RUNNING, links))["links"][0]["behind"] == 12


def test_without_a_process_nothing_else_is_claimed() -> None:
    assert sentences(State.STOPPED, None, []) == "no mirror is running"
    assert "died" in sentences(State.DEAD, RUNNING, [])
    assert json.loads(as_object(State.STOPPED, None, []))["pid"] is None


def test_a_process_that_merely_has_the_number_is_not_the_mirror(tmp_path: Path) -> None:
    """This test's own process lives, and was not started with the mirror's settings."""
    (tmp_path / "mirror.json").write_text(json.dumps({"pid": os.getpid()}))

    assert mirror.find(tmp_path)[0] is State.DEAD
    assert not mirror.stop(tmp_path)
    assert mirror.find(tmp_path) == (State.STOPPED, None)
