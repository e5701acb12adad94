"""What tests share: a real Apache Kafka, started only if a test asks for it, and the folder of real data."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from deploy.broker import node
from pipeline.settings import Kafka

ROOT = Path(__file__).parent.parent
HEAP_MB = 256

# Property tests check what holds, not how fast a shared machine is.
settings.register_profile("firmwatt", deadline=None)
settings.load_profile("firmwatt")


@contextmanager
def broker(data: Path) -> Iterator[Kafka]:
    """Yield the settings of a broker of its own in *data*, with all topics; it dies with this process."""
    from pipeline.kafka import ensure_topics
    from pipeline.market_topics import MARKET_TOPICS
    from pipeline.topics import TOPICS

    started = asyncio.run(node.start(data, heap_mb=HEAP_MB, detach=False))
    try:
        asyncio.run(ensure_topics(started.kafka, [*TOPICS, *MARKET_TOPICS]))
        yield started.kafka
    finally:
        node.stop(data)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Yield the settings of the broker that all share: use your own host, site and resource names and groups."""
    with broker(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture
def fresh_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """Yield the settings of a broker that this test alone uses; some seconds slower than `kafka`."""
    with broker(tmp_path / "broker") as found:
        yield found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data and schemas: ``FIRMWATT_SHARED``, by default ``../shared``."""
    folder = Path(os.environ.get("FIRMWATT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set FIRMWATT_SHARED")
    return folder
