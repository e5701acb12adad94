"""`deploy.broker.lock`: what is pinned, and what counts as the pinned file."""

from pathlib import Path

import pytest

from deploy.broker.lock import KAFKA, KAFKA_VERSION, MIRROR, Jar, parse, pinned

#: SHA-256 of the three bytes "abc" (FIPS 180-2, appendix B.1).
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def jar(sha256: str = ABC) -> Jar:
    return Jar("org.apache.kafka", "kafka-raft", "4.3.1", sha256)


def test_a_line_is_coordinates_and_checksum() -> None:
    assert parse(f"# a comment\n\norg.apache.kafka:kafka-raft:4.3.1 {ABC}  # raft\n") == (jar(),)


@pytest.mark.parametrize("line", ["kafka-raft:4.3.1 " + ABC, "g:a:1", "g:a:1 123", f"../g:a/b:1 {ABC}"])
def test_anything_else_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse(f"# first\n{line}\n")


def test_a_jar_knows_its_place_in_a_repository() -> None:
    assert jar().path == "org/apache/kafka/kafka-raft/4.3.1/kafka-raft-4.3.1.jar"
    assert jar().coordinates == "org.apache.kafka:kafka-raft:4.3.1"


def test_only_the_recorded_bytes_are_the_jar(tmp_path: Path) -> None:
    file = tmp_path / "file"

    assert not jar().matches(file)
    file.write_bytes(b"abc")
    assert jar().matches(file)
    file.write_bytes(b"abcd")
    assert not jar().matches(file)


@pytest.mark.parametrize("lock", [KAFKA, MIRROR])
def test_a_lock_pins_one_version_of_each_jar_and_kafka_itself(lock: Path) -> None:
    names = [(jar.group, jar.artifact) for jar in pinned(lock)]

    assert len(names) == len(set(names))
    assert {jar.version for jar in pinned(lock) if jar.group == "org.apache.kafka"} == {KAFKA_VERSION}


def test_two_locks_agree_on_what_both_programs_need() -> None:
    """Both fill one cache folder, where a jar is known by its file name alone."""
    broker, mirror = ({jar.name: jar for jar in pinned(lock)} for lock in (KAFKA, MIRROR))
    shared = broker.keys() & mirror.keys()

    assert "kafka-clients-4.3.1.jar" in shared
    assert {name: broker[name] for name in shared} == {name: mirror[name] for name in shared}
