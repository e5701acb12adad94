"""`firmwatt collect` as a process, over the stand-in library and a real Apache Kafka."""

import json
import os
import re
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from doubles.gpu_host import GpuHost, eventually
from doubles.nvml import nvml_double

from collectors.spool import Spool
from pipeline.clock import Clock, real_clock_from
from pipeline.codec import Codec
from pipeline.kafka import consumer
from pipeline.messages.telemetry import HostTick, Quality, Tier
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GpuHost]:
    """Return a host with two H100s, whatever runs on it killed in the end."""
    made = GpuHost.make("collect-host", tmp_path)
    yield made
    made.stop()


async def ticks_of(host: GpuHost, kafka: Kafka, count: int) -> list[tuple[bytes, HostTick]]:
    """Return the first *count* ticks of *host* with their keys."""
    codec = Codec(HOST_TICKS)
    found: list[tuple[bytes, HostTick]] = []
    async with consumer(kafka, HOST_TICKS) as reader:
        while len(found) < count:
            record = await reader.getone()
            if record.key == host.name.encode():
                found.append((record.key, codec.decode(record.value)))
    return found


def page_of(host: GpuHost) -> str:
    """Return what Prometheus reads of *host*."""
    return page(host.port, "/metrics")[1]


def page(port: int, path: str) -> tuple[int, str]:
    """Return status and body of one of the collector's pages."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


@pytest.mark.broker
async def test_a_tick_a_second_of_the_shared_clock_without_holes(host: GpuHost, kafka: Kafka) -> None:
    """The clock runs at four times the machine's: eight ticks in two seconds of the machine."""
    host.configure(kafka, real_clock_from(Clock().now(), 4.0))
    collect = host.start("collect")

    ticks = [tick for _, tick in await ticks_of(host, kafka, 8)]
    collect.send_signal(signal.SIGTERM)

    assert collect.wait(10) == 0
    assert [tick.seq for tick in ticks] == list(range(1, 9))
    assert len({tick.boot for tick in ticks}) == 1
    seconds = [int(tick.measured_at.timestamp()) for tick in ticks[1:]]
    assert len(set(seconds)) == 7
    assert {(tick.site, tick.simulated) for tick in ticks} == {("site-of-collect-host", True)}
    assert {(gpu.tier, gpu.job) for tick in ticks for gpu in tick.gpus} == {(Tier.T3, "train")}
    assert re.search(r"stopped: (\d+) ticks measured, \1 acknowledged, 0 left in the spool", host.log("collect"))


@pytest.mark.broker
async def test_a_lost_gpu_is_marked_on_the_wire_and_back_in_a_new_epoch(host: GpuHost, kafka: Kafka) -> None:
    host.configure(kafka, real_clock_from(Clock().now(), 10.0))
    host.name = "collect-host-2"
    host.start("collect", "--host", host.name)
    host.state.lose(1)
    marks: list[tuple[bool, int]] = []

    codec = Codec(HOST_TICKS)
    async with consumer(kafka, HOST_TICKS) as reader:
        while (False, 1) not in marks:
            record = await reader.getone()
            if record.key == host.name.encode():
                gpu = codec.decode(record.value).gpus[1]
                marks.append((Quality.LOST in gpu.quality, gpu.energy_epoch))
                if marks[-1][0]:
                    host.state.recover(1)

    assert (True, 0) in marks
    assert "GPUs lost: " in host.log("collect")


@pytest.mark.broker
async def test_a_collector_started_again_goes_on_with_boot_number_and_energy_epoch(host: GpuHost, kafka: Kafka) -> None:
    """Killed with -9 and started: one boot, numbers without a hole, energy that can be subtracted over the gap."""
    host.configure(kafka, real_clock_from(Clock().now(), 10.0))
    host.name = "collect-host-3"
    first = host.start("collect", "--host", host.name)
    await ticks_of(host, kafka, 3)
    first.kill()
    first.wait()

    host.start("collect", "--host", host.name)
    before = len(await ticks_of(host, kafka, 3))
    ticks = [tick for _, tick in await ticks_of(host, kafka, before + 20)]

    distinct = {tick.seq: tick for tick in ticks}
    assert sorted(distinct) == list(range(1, len(distinct) + 1))
    assert {tick.boot for tick in ticks} == {ticks[0].boot}
    assert {gpu.energy_epoch for tick in ticks for gpu in tick.gpus} == {0}
    energies_j = [distinct[seq].gpus[0].energy_j or 0.0 for seq in sorted(distinct)]
    assert energies_j == sorted(energies_j)


@pytest.mark.broker
def test_pages_tell_what_is_measured_and_whether_it_arrives(host: GpuHost, kafka: Kafka) -> None:
    host.listen()
    host.configure(kafka, Clock())
    host.start("collect")

    eventually(lambda: page(host.port, "/readyz")[0] == 200 or None, "ready")

    assert page(host.port, "/healthz")[0] == 200
    text = eventually(
        lambda: power if "gpu_power_watts{" in (power := page(host.port, "/metrics")[1]) else None, "watts"
    )
    assert f'firmwatt_gpu_power_watts{{model="NVIDIA H100 80GB HBM3",uuid="{host.state.uuid(0)}"}} 629.45' in text
    assert "firmwatt_kafka_connected 1.0" in text


def test_without_kafka_it_measures_and_keeps_and_says_so(host: GpuHost) -> None:
    """The settings name a port where nobody listens. Not ready, but alive, and every tick is in the spool."""
    host.listen()
    host.configure(Kafka(bootstrap="127.0.0.1:9"), Clock())
    collect = host.start("collect")

    eventually(lambda: "Kafka: no Kafka at 127.0.0.1:9" in host.log("collect") or None, "the log says it")
    eventually(lambda: "firmwatt_spool_ticks 3.0" in page(host.port, "/metrics")[1] or None, "three ticks kept")
    status, reasons = page(host.port, "/readyz")
    collect.send_signal(signal.SIGTERM)

    assert status == 503
    assert "no Kafka at 127.0.0.1:9" in json.loads(reasons)["reasons"][0]
    assert collect.wait(20) == 0
    assert re.search(r"stopped: (\d+) ticks measured, 0 acknowledged, \1 left in the spool", host.log("collect"))


def test_a_released_collector_lets_go_of_nvml_and_takes_it_up_again(host: GpuHost) -> None:
    """Nobody holds NVML, so a driver could be replaced; pages say paused; `resume` ends it before its time."""
    host.listen()
    host.configure(Kafka(bootstrap="127.0.0.1:9"), Clock())
    host.start("collect")
    eventually(lambda: host.state.users or None, "NVML is open")

    released = host.run("collect release", "--seconds", "600")

    eventually(lambda: host.state.users == 0 or None, "NVML is closed")
    assert "paused until" in page(host.port, "/readyz")[1]
    resumed = host.run("collect resume")
    eventually(lambda: host.state.users or None, "NVML is open again")
    assert (released.returncode, resumed.returncode) == (0, 0)


def test_a_driver_that_will_not_let_go_is_said_to_whoever_asked(host: GpuHost) -> None:
    """GPU 1 hangs: whoever is about to replace the driver must know that NVML is still held."""
    host.start("collect")
    host.state.hang("nvmlDeviceGetFieldValues", 1)
    eventually(lambda: "GPUs stale" in host.log("collect") or None, "GPU 1 hangs")

    done = host.run("collect release")
    host.state.mend()

    assert done.returncode == 4
    assert "measuring is paused, but not let go of: nvml" in done.stderr


def test_a_release_in_the_middle_of_a_reading_lets_go_when_that_is_over(host: GpuHost) -> None:
    """Every call takes 100 ms, so that a reading is nearly always out when somebody asks."""
    host.start("collect")
    host.state.fail("nvmlDeviceGetFieldValues", -1, hang_ms=100)
    for _ in range(5):
        assert host.run("collect release", "--seconds", "600").returncode == 0
        assert host.state.users == 0
        assert host.run("collect resume").returncode == 0
        eventually(lambda: host.state.users or None, "NVML is open again")


def test_what_a_tenant_puts_into_the_tokens_folder_stops_no_tick(host: GpuHost) -> None:
    """A pipe without a writer blocks whoever opens it; the counters beside it are read all the same."""
    folder = host.folder / "tokens"
    folder.mkdir()
    os.mkfifo(folder / "a.prom")
    (folder / "b.prom").write_text('firmwatt_job_tokens_total{job="train"} 5\n')
    host.listen()
    host.configure(Kafka(bootstrap="127.0.0.1:9"), Clock())
    host.amend("[collector]", f'[collector]\ntokens = "{folder}"')
    host.start("collect")

    tokens = 'firmwatt_job_tokens_total{engine="",job="train"} 5.0'
    text = eventually(lambda: found if tokens in (found := page_of(host)) else None, "tokens are counted")

    assert "firmwatt_gpu_power_watts{" in text
    assert "token files: a.prom: " in host.log("collect")


def test_sigusr1_releases_too(host: GpuHost) -> None:
    collect = host.start("collect")
    eventually(lambda: host.state.users or None, "NVML is open")

    collect.send_signal(signal.SIGUSR1)

    eventually(lambda: host.state.users == 0 or None, "NVML is closed")
    assert "released: devices are let go of until" in host.log("collect")


def test_the_socket_and_the_spool_are_their_owners_alone(host: GpuHost) -> None:
    host.start("collect")

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (host.folder / "spool").iterdir()}

    assert modes["collect.sock"] == 0o600
    assert {mode & 0o077 for mode in modes.values()} == {0}


def test_a_second_collector_on_the_same_spool_is_refused(host: GpuHost) -> None:
    host.start("collect")

    done = host.run("collect")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "another collector" in done.stderr


def test_a_last_tick_of_a_newer_version_stops_no_start(host: GpuHost) -> None:
    """Rolled back past a version that knew another quality mark: new epochs begin, and the host is measured."""
    newer = b'{"type":"host-tick.v1","host":"collect-host","site":"s","boot":"b","seq":1,'
    newer += b'"measured_at":"2026-07-23T12:00:00Z","gpus":[{"uuid":"g","model":"m","quality":["from_the_future"]}]}'
    with Spool.open(host.folder / "spool", 512_000_000) as spool:
        spool.append(spool.next_seq, newer)

    host.start("collect")

    assert "the spool's last tick cannot be read" in host.log("collect")
    assert "ready: collect-host" in host.log("collect")


def test_logs_can_be_json_lines(host: GpuHost) -> None:
    host.amend("[collector]", '[collector]\nlog = "json"')
    host.start("collect")

    lines = [json.loads(line) for line in host.log("collect").splitlines()]

    assert lines[0]["event"].startswith("ready: collect-host of site-of-collect-host")
    assert {"at", "level", "from"} <= lines[0].keys()


def test_once_prints_one_tick_and_needs_no_kafka(host: GpuHost) -> None:
    """The settings name a port where nobody listens."""
    done = host.run("collect once", "--host", "other-name")

    tick = msgspec.json.decode(done.stdout, type=HostTick)

    assert done.returncode == 0
    assert (tick.host, tick.seq, len(tick.gpus), tick.chassis_w) == ("other-name", 1, 2, None)
    assert {gpu.job for gpu in tick.gpus} == {"train"}


def test_list_shows_the_gpus_and_what_could_be_configured(host: GpuHost) -> None:
    shown, document = host.run("collect list").stdout, json.loads(host.run("collect list", "--json").stdout)

    assert f" 0  {host.state.uuid(0)}  NVIDIA H100 80GB HBM3  629 W of 700 W\n" in shown
    assert [gpu["index"] for gpu in document["gpus"]] == [0, 1]
    assert {"nvml", "dcgm", "rapl", "redfish", "snmp", "modbus", "amd"} <= set(document["available"]["sources"])


def test_check_says_of_every_part_how_it_does(host: GpuHost) -> None:
    """GPU 1 has no energy counter, nobody counts tokens, Kafka is not there; the rest is well."""
    host.state.gpu(1).unsupported[0] = nvml_double.ENERGY

    done = host.run("collect check")

    assert done.returncode == 5
    assert "ok   nvml: answers\n" in done.stdout
    assert f"FAIL {host.state.uuid(1)}: marked energy_integrated\n" in done.stdout
    assert "ok   GPUs: 2 seen, 0 claimed by nobody and therefore T0\n" in done.stdout
    assert "ok   tokens: nobody counts those of train\n" in done.stdout
    assert "FAIL Kafka at 127.0.0.1:9: no Kafka at 127.0.0.1:9" in done.stdout


def test_without_nvml_the_error_says_what_to_do(host: GpuHost) -> None:
    """The library is there as a file that is none."""
    (host.folder / "libnvidia-ml.so.1").write_text("no library")

    done = host.run("collect once")

    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "no libnvidia-ml.so.1 on this host: install the NVIDIA driver" in done.stderr


def test_a_driver_replaced_underneath_ends_the_process_for_the_supervisor(host: GpuHost) -> None:
    """Code 18: only a new process can load the new library."""
    host.state.fail("nvmlInit", 18)

    done = host.run("collect")

    assert done.returncode == 4
    assert "a new process loads the new library" in done.stderr


def test_an_old_driver_without_limit_constraints_is_still_measured(tmp_path: Path) -> None:
    """The symbol is missing: the range is absent, the rest is there."""
    host = GpuHost.make("old", tmp_path, gpus=1, without=["nvmlDeviceGetPowerManagementLimitConstraints"])

    (gpu,) = msgspec.json.decode(host.run("collect once").stdout, type=HostTick).gpus

    assert (gpu.min_w, gpu.max_w, gpu.power_w) == (None, None, 629.45)


def test_a_driver_without_power_fields_is_said_to_be_too_old(tmp_path: Path) -> None:
    host = GpuHost.make("older", tmp_path, gpus=1, without=["nvmlDeviceGetFieldValues"])

    done = host.run("collect once")

    assert done.returncode == 4
    assert "too old" in done.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            "[site]\n[collector]\nsources = ['nvlm']",
            "line 3, section [collector]: no 'nvlm' in collectors.sources; have",
        ),
        ("[collector]\nsources = ['nvml', 'nvml']", "line 2, section [collector]: 'nvml' is named twice"),
        ("[source.nvml]\n[source.nvlm]", "line 2: no part of firmwatt reads [source.nvlm]; did you mean 'nvml'?"),
        ("[source.redfish]\nurl = 'https://b'\npassword = 'x'", "line 3, section [source.redfish]: unknown key 'passw"),
        ("[[engine]]\nkind = 'vllm'\nurl = 'h:1'\njob = 'j'", "line 1, section [engine]: not a URL: 'h:1'"),
        (
            2 * "[[engine]]\nkind = 'vllm'\nurl = 'http://x'\njob = 'a'\n",
            "line 5, section [engine]: http://x is named twice",
        ),
        ("[collector]\nlisten = '9465'", "line 2, section [collector]"),
        ("[collector]\nperiod_s = inf", "line 2, section [collector]: Expected `float` <= 3.0"),
        (
            "[collector]\nhost = 'a'\nhots = 'a'",
            "line 3, section [collector]: unknown key 'hots'; did you mean 'host'?",
        ),
        ("[collector]\nperiod_ms = 10", "line 2, section [collector]: unknown key 'period_ms'; it is given in another"),
        ("[colector]\nhost = 'a'", "line 1: no part of firmwatt reads [colector]; did you mean 'collector'?"),
        ("[source.nvml]\n\ntimeout = 3", "line 3, section [source.nvml]: unknown key 'timeout'"),
        (
            "[site]\n[[engine]]\nkind = 'vllm'\nurl = 'x'\njob = 'j'\n[[engine]]\nkund = 'vllm'",
            "line 7, section [engine]",
        ),
    ],
)
def test_settings_that_cannot_work_are_said_with_their_line(host: GpuHost, section: str, said: str) -> None:
    host.config.write_text(section)

    done = host.run("collect once")

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_the_last_line_of_a_process_that_must_end_is_json_too(host: GpuHost) -> None:
    host.amend("[collector]", '[collector]\nlog = "json"')
    host.state.fail("nvmlInit", 18)

    done = host.run("collect")

    last = json.loads(done.stderr.splitlines()[-1])
    assert done.returncode == 4
    assert (last["level"], last["exit_code"]) == ("critical", 4)


def test_nobody_to_release_is_one_line(host: GpuHost) -> None:
    (host.folder / "spool").mkdir()

    done = host.run("collect release")

    assert done.returncode == 4
    assert "is `firmwatt collect run` up?" in done.stderr
    assert list((host.folder / "spool").iterdir()) == []
