"""The example settings are settings."""

import tomllib
from pathlib import Path

import pytest

from collectors import settings
from collectors.scrape import EngineSection
from pipeline import plugins
from pipeline.settings import Kafka, Site, check_tables, load, load_each

EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"
EXAMPLE = EXAMPLES / "collector.toml"
ACTUATOR = EXAMPLES / "actuator.toml"


def test_it_has_no_table_and_no_key_that_nobody_reads() -> None:
    check_tables(EXAMPLE)

    assert load(EXAMPLE, "kafka", Kafka).bootstrap.count(",") == 2
    assert set(tomllib.loads(EXAMPLE.read_text())["kafka"]) == set(Kafka.__struct_fields__)
    assert load(EXAMPLE, "site", Site).name == "site-1"
    assert load(EXAMPLE, "collector", settings.Collector).sources == ("nvml", "rapl", "redfish")
    assert [engine.kind for engine in load_each(EXAMPLE, "engine", EngineSection)] == ["vllm"]


@pytest.mark.parametrize("family", ["source", "mapping"])
def test_it_shows_every_source_and_mapping_and_all_of_them_load(family: str) -> None:
    """AMD's settings are one key, which nobody need set."""
    package = f"collectors.{family}s"

    shown = tomllib.loads(EXAMPLE.read_text())[family]

    assert set(shown) == set(plugins.available(package)) - {"amd"}
    for name in shown:
        load(EXAMPLE, f"{family}.{name}", plugins.load(package, name).Settings)


def test_the_actuators_example_is_settings_too_and_shows_every_lever_and_every_key() -> None:
    """AMD has no lever, so all are shown."""
    check_tables(ACTUATOR)
    document = tomllib.loads(ACTUATOR.read_text())

    assert load(ACTUATOR, "kafka", Kafka).username == "actuator-gpu-0001"
    assert load(ACTUATOR, "actuator", settings.Actuator).levers == ("nvml", "clocks", "slurm", "admission")
    assert set(document["actuator"]) == set(settings.Actuator.__struct_fields__) - {"simulated"}
    assert set(document["lever"]) == set(plugins.available("collectors.levers"))
    for name in document["lever"]:
        load(ACTUATOR, f"lever.{name}", plugins.load("collectors.levers", name).Settings)
    for name in document["mapping"]:
        load(ACTUATOR, f"mapping.{name}", plugins.load("collectors.mappings", name).Settings)
