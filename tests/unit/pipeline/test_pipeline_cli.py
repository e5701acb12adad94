"""The commands: the topology, and the worker that is wired behind them."""

from asyncio import Future
from collections import Counter
from datetime import UTC, datetime

import pytest

from pipeline import app, cli
from pipeline.fence import Fence
from pipeline.market_topics import MARKET_TOPICS
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka
from pipeline.topics import TOPICS


def test_the_topology_lists_every_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["topics"]) == 0

    shown = capsys.readouterr().out
    assert all(topic.name in shown and topic.type.__name__ in shown for topic in (*TOPICS, *MARKET_TOPICS))


def test_the_faust_application_is_wired_without_connecting() -> None:
    """Four agents, of which two bring the sites together; one table; nothing listens at the address."""

    async def nowhere(topic: object, message: object) -> Future[object]:
        raise AssertionError(topic, message)

    built = app.build(
        Kafka(bootstrap="127.0.0.1:9,127.0.0.1:10"),
        Pipeline(group="wired"),
        nowhere,
        lambda: datetime.now(UTC),  # noqa: TID251 - never called
        fence=Fence(3600.0),
        passed_over=Counter(),
    )

    assert set(built.agents) == {"site", "interval", "portfolio-sites", "portfolio"}
    assert set(built.tables) == {"site-intervals"}
    assert [str(url) for url in built.conf.broker] == ["kafka://127.0.0.1:9", "kafka://127.0.0.1:10"]
