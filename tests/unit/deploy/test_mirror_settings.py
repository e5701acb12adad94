"""`[mirror]`: what goes up, what comes down, and what is refused before anything is started."""

from pathlib import Path

import pytest

from deploy.broker.mirror_settings import TOPICS, Mirror, Profile, downward, upward
from pipeline.errors import ConfigError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import load
from pipeline.topics import COMMANDS, HOST_RECORDS, HOST_TICKS, INTERVAL_PARTIALS, SITE_CAPACITY, SITE_PARTIALS

TARGET = '[mirror.target]\nname = "portfolio"\nbootstrap = "p:9092"\n'
NORTH = '[[mirror.source]]\nname = "north"\nbootstrap = "n:9092"\n'
SOUTH = '[[mirror.source]]\nname = "south"\nbootstrap = "s:9092"\n'


def settings(folder: Path, *parts: str) -> Mirror:
    (folder / "firmwatt.toml").write_text("".join(parts))
    return load(folder / "firmwatt.toml", "mirror", Mirror)


def test_figures_go_up_and_nothing_comes_down_unless_asked(tmp_path: Path) -> None:
    found = settings(tmp_path, TARGET, NORTH)

    (link,) = upward(found)
    assert (link.name, [topic.name for topic in link.topics]) == (
        "north->portfolio",
        ["site.capacity.v1", "site.interval.v1", "site.correction.v1", "control.ack.v1"],
    )
    assert downward(found) == ()


def test_each_site_has_its_own_profile(tmp_path: Path) -> None:
    found = settings(tmp_path, TARGET, NORTH, 'profile = "telemetry"\n', SOUTH)

    assert [HOST_TICKS in link.topics for link in upward(found)] == [True, False]


def test_no_profile_sends_commands_and_none_both_ticks_and_figures() -> None:
    """The portfolio's own pipeline makes the figures of a site whose ticks it gets."""
    assert set(TOPICS) == set(Profile)
    for topics in TOPICS.values():
        assert COMMANDS not in topics
        assert not {HOST_TICKS, SITE_CAPACITY} <= set(topics)
        assert not {SITE_PARTIALS, INTERVAL_PARTIALS, HOST_RECORDS, *MARKET_TOPICS} & set(topics)


def test_commands_come_down_to_the_sites_that_ask_and_to_no_other(tmp_path: Path) -> None:
    found = settings(tmp_path, TARGET, NORTH, "commands = true\n", SOUTH)

    assert [(link.name, link.topics) for link in downward(found)] == [("portfolio->north", (COMMANDS,))]


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        pytest.param((NORTH,), "missing required field `target`", id="no portfolio"),
        pytest.param((TARGET,), "missing required field `source`", id="no site"),
        pytest.param((TARGET, NORTH, NORTH), "two clusters have the name 'north'", id="a site twice"),
        pytest.param((TARGET, NORTH, SOUTH.replace("s:", "p:")), "have the bootstrap 'p:9092'", id="to itself"),
        pytest.param((TARGET, NORTH.replace("north", "site.1")), "name", id="a point in a name"),
        pytest.param((TARGET, '[[mirror.source]]\nname = "north"\n'), "field `bootstrap`", id="no address"),
        pytest.param((TARGET, NORTH, 'security = "sasl_ssl"\n'), "username and password_file", id="no password"),
        pytest.param((TARGET, NORTH, 'profile = "all"\n'), "'all'", id="no such profile"),
        pytest.param(
            (TARGET, NORTH, 'profile = "telemetry"\ntelemetry_partitions = 32\n'),
            "north has 32 telemetry_partitions and portfolio 8",
            id="fewer partitions above than below",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(tmp_path: Path, parts: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        settings(tmp_path, *parts)

    assert "\n" not in str(refused.value)


def test_more_partitions_above_than_below_are_fine(tmp_path: Path) -> None:
    """A key keeps its partition, so it keeps its order; the upper ones stay empty."""
    wide = 'profile = "telemetry"\ntelemetry_partitions = 4\n'

    assert settings(tmp_path, TARGET, NORTH, wide).source[0].telemetry_partitions == 4
