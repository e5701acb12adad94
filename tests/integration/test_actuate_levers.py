"""Levers beside the power limit, as an operator has them: a scheduler's program, an engine's endpoint, a BMC."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from doubles import admission_server, redfish_tree
from doubles.commands import admission, cap, clock, lease, signed
from doubles.dispatcher import SPEED, dispatching
from doubles.gpu_host import GpuHost
from doubles.redfish_limits import Limits
from doubles.slurm_control import Slurm

from pipeline.clock import Clock, real_clock_from
from pipeline.messages.control import AckStatus, ControlAck, Kind
from pipeline.messages.telemetry import Tier
from pipeline.settings import Kafka
from pipeline.topics import COMMANDS

pytestmark = pytest.mark.broker


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GpuHost]:
    """Return a host with two H100s: one trains as Slurm's job 4711 (T3), one serves `batch` (T2)."""
    made = GpuHost.make(request.node.name, tmp_path)
    claims = ((0, "4711", "T3", "training"), (1, "batch", "T2", "inference"))
    (tmp_path / "map.toml").write_text(
        "\n".join(
            f'["{made.state.uuid(gpu)}"]\njob = "{job}"\ntier = "{tier}"\nworkload = "{workload}"'
            for gpu, job, tier, workload in claims
        )
    )
    yield made
    made.stop()


@pytest.fixture
def clock_20x() -> Clock:
    """Return a clock that runs fast."""
    return real_clock_from(Clock().now(), SPEED)


def requests_at_once(url: str) -> int | None:
    """Return the limit that an engine tells."""
    limit: int | None = httpx.get(url).json()["limit"]
    return limit


def by_kind(controls: tuple[ControlAck, ...]) -> dict[Kind, tuple[float | None, float | None, str | None]]:
    """Return what was asked of each kind, what was found and what is wrong."""
    return {one.kind: (one.asked, one.found, one.error) for one in controls}


async def test_clocks_jobs_and_requests_are_held_back_and_let_go(
    host: GpuHost, kafka: Kafka, clock_20x: Clock, tmp_path: Path
) -> None:
    """
    One lease: T2 clocks at 1200 MHz and half the requests, T3 jobs paused. Killed in the middle, started again.

    In the end clocks are unlocked, job 4711 runs and the engine takes 64 requests at once again.
    """
    slurm = Slurm(tmp_path / "slurm")
    slurm.run(4711)
    with admission_server.process(limit=64, running=40) as engine:
        host.configure(kafka, clock_20x)
        host.amend("[actuator]", '[actuator]\nlevers = ["nvml", "clocks", "slurm", "admission"]')
        host.config.write_text(
            host.config.read_text()
            + f"""
[lever.slurm]
scontrol = "{slurm.path}"
node = "n1"
[[lever.admission.endpoint]]
job = "batch"
via = "http"
options = {{ url = "{engine.url}" }}
"""
        )
        actuate = host.start("actuate")
        async with dispatching(host, kafka, clock_20x) as desk:
            command = lease(
                1,
                clocks=(clock(1200, Tier.T2),),
                pauses=(Tier.T3,),
                admissions=(admission(0.5, Tier.T2),),
                begins=clock_20x.now(),
                lasts_s=160,
                host=host.name,
            )
            await desk.sender.send(COMMANDS, signed(command))
            applied = await desk.answer()
            held = host.state.gpu(1).locked_max_mhz, slurm.state(4711), requests_at_once(engine.url)
            actuate.send_signal(signal.SIGKILL)
            actuate.wait()
            host.start("actuate")
            still = host.state.gpu(1).locked_max_mhz, slurm.state(4711), requests_at_once(engine.url)
            released = await desk.answer()
            free = host.state.gpu(1).locked_max_mhz, slurm.state(4711), requests_at_once(engine.url)

    assert applied.reason is None
    assert by_kind(applied.controls) == {
        Kind.CLOCK: (1200, 1200, None),
        Kind.RUN: (0, 0, None),
        Kind.ADMISSION: (32, 32, None),
    }
    assert {gpu.uuid for gpu in applied.gpus} == {host.state.uuid(0), host.state.uuid(1)}, "whose draw that changes"
    assert held == still == (1200, "SUSPENDED", 32)
    assert released.status is AckStatus.RELEASED
    assert free == (0, "RUNNING", 64)
    assert host.limits_w() == [700, 700]


async def test_a_scheduler_that_refuses_does_not_stop_the_others(
    host: GpuHost, kafka: Kafka, clock_20x: Clock, tmp_path: Path
) -> None:
    """Suspending wants an operator; the cap on the other tier holds all the same."""
    slurm = Slurm(tmp_path / "slurm")
    slurm.run(4711)
    slurm.denies()
    host.configure(kafka, clock_20x)
    host.amend("[actuator]", '[actuator]\nlevers = ["nvml", "slurm"]')
    host.config.write_text(host.config.read_text() + f'\n[lever.slurm]\nscontrol = "{slurm.path}"\nnode = "n1"\n')
    host.start("actuate")
    async with dispatching(host, kafka, clock_20x) as desk:
        command = lease(1, cap(400, Tier.T2), pauses=(Tier.T3,), begins=clock_20x.now(), lasts_s=600, host=host.name)
        await desk.sender.send(COMMANDS, signed(command))
        answer = await desk.answer()

    assert [(one.kind, one.trouble) for one in answer.controls] == [(Kind.RUN, "no_permission")]
    assert answer.reason == "1 of 3 controls are not as asked"
    assert host.limits_w() == [700, 400]


async def test_a_bmc_holds_the_limits(host: GpuHost, kafka: Kafka, clock_20x: Clock, tmp_path: Path) -> None:
    """PowerLimitWatts of two GPUs over HTTP: 400 W while the lease holds, over kill -9, and 700 W after it."""
    limits = Limits(demands_etag=True)
    (tmp_path / "bmc").write_text("secret\n")
    (tmp_path / "bmc").chmod(0o600)
    with redfish_tree.serve(redfish_tree.server(gpus=2), limits=limits, user="fw", password="secret") as bmc:
        paths = [path for path in bmc.tree if path.endswith("EnvironmentMetrics") and "GPU_SXM" in path]
        host.configure(kafka, clock_20x)
        host.amend("[actuator]", '[actuator]\nlevers = ["redfish"]')
        host.config.write_text(
            host.config.read_text()
            + f"""
[lever.redfish]
url = "{bmc.url}"
user = "fw"
password_file = "{tmp_path / "bmc"}"
[lever.redfish.gpus]
GPU_SXM_1 = "{host.state.uuid(0)}"
GPU_SXM_2 = "{host.state.uuid(1)}"
"""
        )
        actuate = host.start("actuate")
        async with dispatching(host, kafka, clock_20x) as desk:
            model = "H100 SXM5"
            command = lease(
                1,
                cap(400, Tier.T3, model),
                cap(400, Tier.T2, model),
                begins=clock_20x.now(),
                lasts_s=160,
                host=host.name,
            )
            await desk.sender.send(COMMANDS, signed(command))
            applied = await desk.answer()
            actuate.kill()
            actuate.wait()
            held = [bmc.tree[path]["PowerLimitWatts"]["SetPoint"] for path in paths]
            host.start("actuate")
            released = await desk.answer()
            free = [bmc.tree[path]["PowerLimitWatts"]["SetPoint"] for path in paths]

    assert [gpu.requested_w for gpu in applied.gpus] == [400, 400]
    assert held == [400, 400]
    assert released.status is AckStatus.RELEASED
    assert free == [700, 700]
    assert host.limits_w() == [700, 700], "NVML was not touched"


def test_the_check_tries_everything_and_changes_nothing(host: GpuHost, kafka: Kafka, clock_20x: Clock) -> None:
    """Each line says ok or FAIL; asking for the limit that holds shows whether it may be asked."""
    host.configure(kafka, clock_20x)

    well = host.run("actuate", "--check")
    host.state.set_root(may_set=False)
    host.state.set_bmc_cap_w(1, 300)
    sick = host.run("actuate", "--check")

    assert well.returncode == 0, well.stdout + well.stderr
    assert "ok   power of GPU-00000000-0000-0000-0000-000000000000: at 700, takes 200 to 700" in well.stdout
    assert "ok   GPUs: 2 seen, 0 T0 and never touched, 0 of them claimed by nobody" in well.stdout
    assert sick.returncode == 4
    assert sick.stdout.count("FAIL power of GPU-") == 2
    assert "CAP_SYS_ADMIN" in sick.stdout
    assert host.limits_w() == [700, 700]
    assert not host.journal.exists()


def test_two_levers_of_one_kind_are_refused(host: GpuHost, clock_20x: Clock) -> None:
    """The settings' line is named."""
    host.configure(Kafka(bootstrap="127.0.0.1:9"), clock_20x)
    host.amend("[actuator]", '[actuator]\nlevers = ["slurm", "command"]')
    host.config.write_text(
        host.config.read_text() + '\n[lever.slurm]\nscontrol = "/bin/true"\n[lever.command]\njobs = ["x"]\n'
        'pause = ["/bin/true", "{job}"]\nresume = ["/bin/true", "{job}"]\n'
    )

    done = host.run("actuate")

    assert done.returncode == 2
    assert "slurm and command both turn run; name one of them" in done.stderr


def test_the_files_of_keys_must_not_be_writable_by_others(host: GpuHost) -> None:
    (host.folder / "keys.toml").chmod(0o666)

    done = host.run("actuate")

    assert done.returncode == 2
    assert "chmod go-w" in done.stderr
