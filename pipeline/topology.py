"""The topology as text: a table for people, ``KafkaTopic`` objects for a cluster that Strimzi manages. Pure."""

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from pipeline.kafka import partitions_of, topic_settings
from pipeline.settings import Kafka
from pipeline.tables import columns
from pipeline.topics import Topic


def table(topics: Iterable[Topic[Any]], kafka: Kafka) -> Iterator[str]:
    """Yield the topics: name, partitions, how long they are kept, what they carry, what else is set."""
    rows = (
        (
            topic.name,
            partitions_of(kafka, topic),
            _kept(topic),
            topic.type.__name__,
            " ".join(f"{name}={value}" for name, value in topic.settings),
        )
        for topic in topics
    )
    return columns(("topic", "partitions", "kept", "carries", "settings"), *rows)


def _kept(topic: Topic[Any]) -> str:
    if topic.retention is None:
        return "newest per key"
    if "retention.ms" in dict(topic.settings):
        return "by size"
    return f"{topic.retention / timedelta(hours=1):g} h"


def strimzi(topics: Iterable[Topic[Any]], kafka: Kafka, cluster: str, replication: int) -> Iterator[str]:
    """
    Yield a ``KafkaTopic`` for each of *topics* of the Strimzi-managed *cluster*, as YAML documents.

    API ``v1``, which Strimzi serves from 0.49 on (Strimzi proposal 113).
    """
    for topic in topics:
        yield f"""\
---
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {topic.name}
  labels:
    strimzi.io/cluster: {json.dumps(cluster)}
spec:
  partitions: {partitions_of(kafka, topic)}
  replicas: {replication}
  config:"""
        yield from (f"    {name}: {json.dumps(value)}" for name, value in topic_settings(topic).items())
