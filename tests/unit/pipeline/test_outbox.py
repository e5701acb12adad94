"""What an agent has sent is settled once Kafka has acknowledged all of it, and not before."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import RequestTimedOutError

from pipeline.errors import BrokerGoneError
from pipeline.outbox import Outbox
from pipeline.topics import SITE_CAPACITY, Topic


class Broker:
    """Acknowledges when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    async def enqueue(self, topic: Topic[Any], message: Any) -> "asyncio.Future[Any]":
        del topic, message
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]


async def test_three_messages_are_under_way_at_once_and_settled_with_the_last_acknowledgement() -> None:
    kafka = Broker()
    sent = Outbox(kafka.enqueue, "kafka:9092")
    for number in range(3):
        await sent.put(SITE_CAPACITY, number)
    settling = asyncio.ensure_future(sent.settled())

    for acknowledged in (2, 0):
        kafka.asked[acknowledged].set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not settling.done()

    kafka.asked[1].set_result(None)
    await settling
    await sent.settled()


async def test_who_gives_up_waiting_leaves_the_messages_to_the_next_who_waits() -> None:
    kafka = Broker()
    sent = Outbox(kafka.enqueue, "kafka:9092")
    await sent.put(SITE_CAPACITY, 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sent.settled(), 0.01)

    next_one = asyncio.ensure_future(sent.settled())
    await asyncio.sleep(0)
    assert not next_one.done()
    kafka.asked[0].set_result(None)

    await next_one


async def test_what_is_never_acknowledged_is_said_with_where() -> None:
    kafka = Broker()
    sent = Outbox(kafka.enqueue, "kafka:9092")
    await sent.put(SITE_CAPACITY, 1)
    kafka.asked[0].set_exception(RequestTimedOutError())

    with pytest.raises(BrokerGoneError, match="kafka:9092"):
        await sent.settled()
