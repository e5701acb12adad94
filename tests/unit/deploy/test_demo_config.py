"""The one settings file of a run is what every process accepts."""

import tomllib
from pathlib import Path

from bidding.sandbox.settings import SandboxSettings
from bidding.settings import Bidding
from collectors.settings import Actuator, Collector
from deploy.demo import config, realhost
from deploy.demo.plan import ORIGIN, Options
from deploy.fleet.settings import FleetSettings
from pipeline.clock import Clock
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import ClockSection, Kafka, Section, Site, load


def test_every_process_accepts_its_section(tmp_path: Path) -> None:
    """A key that a part does not know would stop it at the start; none does."""
    layout = config.Layout(
        folder=tmp_path, kafka=Kafka(bootstrap="127.0.0.1:1"), options=Options(hosts=3), clock=Clock(ORIGIN, 0.0, 2.0)
    )
    kinds: dict[str, type[Section]] = {
        "kafka": Kafka,
        "clock": ClockSection,
        "site": Site,
        "pipeline": Pipeline,
        "fleet": FleetSettings,
        "collector": Collector,
        "actuator": Actuator,
        "sandbox": SandboxSettings,
        "bidding": Bidding,
    }

    layout.write()

    for section, kind in kinds.items():
        assert isinstance(load(layout.path, section, kind), kind), section
    assert load(layout.path, "clock", ClockSection).clock() == layout.clock
    assert load(layout.path, "fleet", FleetSettings).hosts == 3
    assert load(layout.path, "bidding", Bidding).plan_start == ORIGIN


def test_the_real_hosts_gpus_all_work_for_one_batch_job() -> None:
    """Keyed by UUID, never by index; tier T2."""
    document = tomllib.loads(realhost.mapping(("GPU-a", "GPU-b")))

    assert sorted(document) == ["GPU-a", "GPU-b"]
    assert {claim["tier"] for claim in document.values()} == {"T2"}
