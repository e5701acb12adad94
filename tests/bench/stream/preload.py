"""
A topic full of a fleet's ticks, as fresh when Kafka stamps them as live ones: nothing is late or quarantined.

A second of the fleet takes as long as it takes to write it; the next tick of each host is measured then.
"""

from dataclasses import dataclass

from bench.stream.fleet import Fleet
from confluent_kafka import Producer

from pipeline.clock import Clock
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

#: As collectors send them: keyed, acknowledged by all, by Kafka's own hash of the key, which aiokafka uses too.
SENDING = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 400_000,
    "message.max.bytes": 4 * 2**20,
    "log_level": 0,
}
#: A collector is a producer of its own, and Kafka stores what a producer sends at once as one batch: a tick each.
ALONE = {"batch.num.messages": 1}


@dataclass(frozen=True)
class Preloaded:
    """What lies in the topic of host ticks."""

    kafka: Kafka
    hosts: int
    seconds: int

    @property
    def messages(self) -> int:
        """How many ticks."""
        return self.hosts * self.seconds


def producer(kafka: Kafka, **more: object) -> Producer:
    """Return a producer of telemetry."""
    return Producer(for_librdkafka(kafka) | SENDING | more)


def send(out: Producer, topic: str, key: bytes, payload: bytes) -> None:
    """Queue a record; wait where the queue is full."""
    while True:
        try:
            out.produce(topic, payload, key=key)
        except BufferError:
            out.poll(0.05)
        else:
            return


def preload(kafka: Kafka, hosts: int, seconds: int, gpus: int = 8) -> Preloaded:
    """Write *seconds* ticks of each host, one record a batch, and return once all are acknowledged."""
    fleet, clock, out = Fleet(range(hosts), gpus), Clock(), producer(kafka, **ALONE)
    for _ in range(seconds):
        for key, frame in fleet.tick(clock.now()):
            send(out, HOST_TICKS.name, key, frame)
        out.flush()  # what waits for its turn here would be late
    return Preloaded(kafka, hosts, seconds)
