"""`firmwatt pipeline topics`, `doctor` and `status` against a real Kafka, in order and out of order."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from integration.workers import Deployment, deployment, wait_for

from deploy.broker import node
from pipeline import cli
from pipeline.clock import Clock, wall
from pipeline.kafka import ensure_topics
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, ROLLUP_STATE, SITE_CAPACITY, TOPICS

pytestmark = pytest.mark.broker

EVERY = (*TOPICS, *MARKET_TOPICS)


@pytest.fixture
def bare_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """Yield the settings of a broker without any topic."""
    started = asyncio.run(node.start(tmp_path / "broker", heap_mb=256, detach=False))
    try:
        yield started.kafka
    finally:
        node.stop(tmp_path / "broker")


def told(place: Deployment, command: str, *words: str) -> int:
    return cli.main([command, "--config", str(place.config), *words])


async def spoil(kafka: Kafka) -> None:
    """Make every topic, but ticks with three partitions and their senders' stamps, and no states."""
    await ensure_topics(kafka, [topic for topic in EVERY if topic not in {HOST_TICKS, ROLLUP_STATE}])
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        wrong = NewTopic(HOST_TICKS.name, 3, 1, topic_configs={"message.timestamp.type": "CreateTime"})
        await admin.create_topics([wrong])
        deadline = time.monotonic() + 30
        while not {HOST_TICKS.name, SITE_CAPACITY.name} <= set(await admin.list_topics()):
            assert time.monotonic() < deadline, "topics that were created are not listed"
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


async def delete(kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


def test_the_doctor_finds_what_is_wrong_and_is_content_once_it_is_done(
    bare_kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three topics' faults, then what the doctor says is done, then nothing is left but a note on one broker."""
    place = deployment(tmp_path, bare_kafka, Clock())
    asyncio.run(spoil(bare_kafka))

    assert told(place, "doctor") == 1
    failures = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert failures == [
        "FAIL  topics: missing, or hidden from us: rollup.state.v1",
        "FAIL  topic telemetry.host.v1: 3 partitions instead of 8",
        "FAIL  topic telemetry.host.v1: retention.ms is 604800000 instead of 172800000",
        "FAIL  topic telemetry.host.v1: message.timestamp.type is CreateTime instead of LogAppendTime",
    ]

    asyncio.run(delete(bare_kafka, HOST_TICKS.name))
    assert told(place, "topics", "--create") == 0
    capsys.readouterr()
    assert told(place, "doctor") == 0
    shown = capsys.readouterr().out
    assert "ok    topics: 17 as declared" in shown
    assert "ok    rights: may read 17 topics, write 8 and join 3 groups" in shown
    assert "note  replication: 1 broker(s)" in shown
    assert "note  clock: not compared: no tick came" in shown


def test_the_doctor_says_in_a_line_that_nobody_answers_and_that_settings_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = deployment(tmp_path, Kafka(bootstrap="127.0.0.1:9"), Clock())
    assert told(place, "doctor") == 1
    assert "FAIL  Kafka: no Kafka at 127.0.0.1:9" in capsys.readouterr().out

    place.config.write_text(f"{place.config.read_text()}\nkeep_dayz = 3\n")
    assert told(place, "doctor") == 1
    shown = capsys.readouterr().out
    assert "FAIL  settings: " in shown
    assert "did you mean 'keep_days'?" in shown
    assert "Kafka" not in shown, "what cannot be known is not looked at"


async def forget(kafka: Kafka, age_s: float) -> None:
    """Leave a record unread that was written *age_s* ago."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        await producer.send_and_wait(
            SITE_CAPACITY.name, b"{}", partition=2, timestamp_ms=round((wall() - age_s) * 1000)
        )
    finally:
        await producer.stop()


def test_a_deployment_without_workers_says_who_is_missing_and_what_waits(
    fresh_kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = deployment(tmp_path, fresh_kafka, Clock())
    asyncio.run(forget(fresh_kafka, 600.0))

    assert told(place, "status", "--json") == 1

    found = json.loads(capsys.readouterr().out)
    archive = next(row for row in found["groups"] if row["group"] == f"{place.site}-archive")
    assert (archive["lag"], archive["furthest"], archive["members"]) == (1, "site.capacity.v1:2", 0)
    assert 600 <= archive["behind_s"] < 700
    assert [row["held_by"] for row in found["partitions"]] == [None] * 8
    said = "\n".join(found["problems"])
    assert f"{place.site}-rollup: nobody works in it" in said
    assert f"{place.site}-archive: a record on site.capacity.v1:2 has waited" in said
    assert "no site has a figure" in said


def test_a_deployment_is_healthy_while_a_worker_lives_and_not_once_it_was_killed(
    fresh_kafka: Kafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = deployment(tmp_path, fresh_kafka, Clock())

    def status() -> int:
        capsys.readouterr()
        return told(place, "status", "--json")

    with place.worker("worker-1") as process:
        wait_for(lambda: status() == 0, 60, "the deployment to be healthy")
        status()
        found = json.loads(capsys.readouterr().out)
        assert {row["held_by"].partition("/")[0] for row in found["partitions"]} == {"worker-1"}
        assert [site["site"] for site in found["sites"]] == [place.site]
        process.kill()
        wait_for(lambda: status() == 1, 30, "the death to be noticed")
        status()
        assert json.loads(capsys.readouterr().out)["problems"]
