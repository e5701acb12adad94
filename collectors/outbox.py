"""Messages on their way to Kafka: whoever posts never waits, and what does not arrive is counted."""

import asyncio
from typing import Any, Generic, TypeVar

from pipeline.kafka import Sender
from pipeline.topics import Topic

M = TypeVar("M")

MAX_UNACKNOWLEDGED = 60
"""While this many messages hang, further ones are counted as not sent rather than piled up in memory."""
SLOW_AFTER = 5
"""More messages than this without acknowledgement: Kafka is away."""
FLUSH_S = 2.0
"""How long `close` waits for acknowledgements, seconds of the machine."""


class Outbox(Generic[M]):
    """Sends in the background, in the order posted."""

    def __init__(self, sender: Sender, topic: Topic[M]) -> None:
        self._sender = sender
        self._topic = topic
        self._pending: set[asyncio.Task[None]] = set()
        self.acknowledged = 0
        self.unsent = 0

    def post(self, message: M) -> None:
        """Send *message* in the background, or count it as unsent while too many others hang."""
        if len(self._pending) >= MAX_UNACKNOWLEDGED:
            self.unsent += 1
            return
        task = asyncio.create_task(self._sender.send(self._topic, message))
        self._pending.add(task)
        task.add_done_callback(self._done)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the way to Kafka, None if nothing is."""
        return "messages are not acknowledged" if len(self._pending) > SLOW_AFTER else None

    async def close(self) -> None:
        """Wait a little for what is on its way, then give up on the rest."""
        if not self._pending:
            return
        _, hanging = await asyncio.wait(self._pending, timeout=FLUSH_S)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._pending.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.unsent += 1
        else:
            self.acknowledged += 1
