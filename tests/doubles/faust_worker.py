"""The Faust half of a pipeline worker as a process, without telemetry: BOOTSTRAP PARTITIONS GROUP FOLDER."""

import asyncio
import logging
import os
import signal
import sys
from collections import Counter

from pipeline import app, streams
from pipeline.clock import Clock
from pipeline.fence import Fence
from pipeline.kafka import Sender
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka
from pipeline.streams import use_quick_transport


async def run(kafka: Kafka, settings: Pipeline) -> None:
    """Work until SIGTERM; say ``ready`` once the tables are filled."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with Sender(kafka) as sender:
        application = app.build(
            kafka,
            settings,
            sender.enqueue,
            Clock().now,
            fence=Fence.of_session(settings.session_timeout_s),
            passed_over=Counter(),
        )
        use_quick_transport(application, loop)
        await application.start()
        await application.tables.wait_until_recovery_completed()
        sys.stderr.write("ready\n")
        await stop.wait()
        await application.stop()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    bootstrap, partitions, group, folder = sys.argv[1:]
    streams.TOGETHER = int(os.environ.get("TOGETHER", streams.TOGETHER))
    standbys = int(os.environ.get("STANDBYS", "0"))
    asyncio.run(
        run(
            Kafka(bootstrap=bootstrap, telemetry_partitions=int(partitions)),
            Pipeline(group=group, data=folder, standby_replicas=standbys),
        )
    )
