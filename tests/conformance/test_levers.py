"""What every lever must do. A new file in `collectors.levers` is tested here unasked."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from doubles import admission_server, nvml_host, redfish_tree
from doubles.redfish_limits import Limits
from doubles.slurm_control import Slurm

from collectors.dryrun import DryRun
from collectors.levers import FREE, Lever, LeverError, apply, is_at
from pipeline import plugins

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Device:
    """A lever's device as it is set up, and how to look at it past the lever."""

    settings: dict[str, Any]
    subject: str
    level: float
    """What to hold it at."""
    level_now: Callable[[], float]
    """What the device itself says, `FREE` where nothing holds it."""


def nvml(_: Path, __: ExitStack) -> Device:
    """Return an H100 at 700 W."""
    host = nvml_host.fresh(gpus=1)
    return Device({}, host.uuid(0), 400, lambda: host.gpu(0).requested_w)


def clocks(_: Path, __: ExitStack) -> Device:
    """Return an H100 without a lock."""
    host = nvml_host.fresh(gpus=1)
    return Device({}, host.uuid(0), 990, lambda: host.gpu(0).locked_max_mhz or FREE)


def redfish(_: Path, stack: ExitStack) -> Device:
    """Return a BMC's first GPU at 700 W."""
    bmc = stack.enter_context(redfish_tree.serve(redfish_tree.server(gpus=1), limits=Limits()))
    (path,) = (path for path in bmc.tree if "GPU_SXM_1/EnvironmentMetrics" in path)
    settings = {"url": bmc.url, "gpus": {"GPU_SXM_1": "GPU-a"}}
    return Device(settings, "GPU-a", 400, lambda: float(bmc.tree[path]["PowerLimitWatts"]["SetPoint"]))


def slurm(folder: Path, _: ExitStack) -> Device:
    """Return a running job."""
    cluster = Slurm(folder)
    cluster.run(4711)
    settings = {"scontrol": str(cluster.path), "node": "n1"}
    return Device(settings, "4711", 0, lambda: float(cluster.state(4711) == "RUNNING"))


def command(folder: Path, _: ExitStack) -> Device:
    """Return a job that a file says is running."""
    state = folder / "state"
    state.write_text("running\n")
    for name, becomes in (("pause", "paused"), ("resume", "running")):
        (folder / name).write_text(f"#!/bin/sh\necho {becomes} >{state}\n")
    (folder / "show").write_text(f"#!/bin/sh\ncat {state}\n")
    for name in ("pause", "resume", "show"):
        (folder / name).chmod(0o755)
    programs = {verb: (str(folder / name), "{job}") for verb, name in (("pause", "pause"), ("resume", "resume"))}
    settings = {"jobs": ("tune-*",), **programs, "state": (str(folder / "show"), "{job}")}
    return Device(settings, "tune-1", 0, lambda: float(state.read_text() == "running\n"))


def admission(_: Path, stack: ExitStack) -> Device:
    """Return an engine that takes 64 requests at once."""
    from collectors.levers.admission import Endpoint

    engine = stack.enter_context(admission_server.serving(limit=64, running=40))
    endpoint = Endpoint(job="chat", via="http", options={"url": engine.url})
    return Device({"endpoint": (endpoint,)}, "chat", 20, lambda: FREE if engine.limit is None else float(engine.limit))


DEVICES: dict[str, Callable[[Path, ExitStack], Device]] = {
    "nvml": nvml,
    "clocks": clocks,
    "redfish": redfish,
    "slurm": slurm,
    "command": command,
    "admission": admission,
}


@dataclass(frozen=True)
class Rig:
    """A lever that has found its device."""

    lever: Lever
    device: Device


@pytest.fixture(params=plugins.available("collectors.levers"))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return every lever there is over its stand-in."""
    assert request.param in DEVICES, f"add a device for {request.param} to {__file__}"
    module = plugins.load("collectors.levers", request.param)
    with ExitStack() as stack:
        device = DEVICES[request.param](tmp_path, stack)
        lever: Lever = module.connect(module.Settings(**device.settings))
        stack.callback(lever.close)
        assert device.subject in [found.subject for found in lever.find(NOON, (device.subject,))]
        yield Rig(lever, device)


def test_a_level_is_set_and_reads_back(rig: Rig) -> None:
    """The device itself says so, too."""
    reading = apply(rig.lever, rig.device.subject, rig.device.level)

    assert reading.subject == rig.device.subject
    assert reading.requested is not None
    assert is_at(rig.lever.kind, reading.requested, rig.device.level)
    assert rig.device.level_now() == rig.device.level


def test_setting_twice_is_setting_once(rig: Rig) -> None:
    apply(rig.lever, rig.device.subject, rig.device.level)

    apply(rig.lever, rig.device.subject, rig.device.level)

    assert rig.device.level_now() == rig.device.level


def test_what_was_found_can_be_put_back(rig: Rig) -> None:
    """A lock that nobody can tell was none."""
    before, found = rig.device.level_now(), rig.lever.read(rig.device.subject)
    apply(rig.lever, rig.device.subject, rig.device.level)

    apply(rig.lever, rig.device.subject, FREE if found.requested is None else found.requested)

    assert rig.device.level_now() == before


def test_a_reading_says_what_the_device_takes(rig: Rig) -> None:
    """The level it is asked for lies in between."""
    reading = rig.lever.read(rig.device.subject)

    assert reading.lowest <= rig.device.level <= reading.highest < FREE


def test_a_stranger_is_an_error_of_its_own_and_nothing_is_touched(rig: Rig) -> None:
    """Whoever reads or sets it hears so; the lever goes on."""
    before = rig.device.level_now()

    with pytest.raises(LeverError):
        rig.lever.set("GPU-nobody", rig.device.level)
    with pytest.raises(LeverError):
        rig.lever.read("GPU-nobody")

    assert rig.device.level_now() == before
    assert rig.lever.read(rig.device.subject).subject == rig.device.subject


def test_after_letting_go_it_finds_its_device_again(rig: Rig) -> None:
    """Drivers are replaced, sessions end."""
    rig.lever.close()

    rig.lever.find(NOON, (rig.device.subject,))

    apply(rig.lever, rig.device.subject, rig.device.level)
    assert rig.device.level_now() == rig.device.level


def test_a_dry_run_reads_what_it_pretends_and_touches_nothing(rig: Rig) -> None:
    before = rig.device.level_now()
    dry = DryRun(rig.lever)

    reading = apply(dry, rig.device.subject, rig.device.level)

    assert dry.kind is rig.lever.kind
    assert reading.requested == rig.device.level
    assert rig.device.level_now() == before


def test_a_call_is_bounded(rig: Rig) -> None:
    """Whoever waits for one knows from when on it hangs."""
    assert 0 < rig.lever.patience_s < 600
