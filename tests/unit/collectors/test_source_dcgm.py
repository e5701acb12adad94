"""dcgm-exporter's page over a real socket: units, MIG, blanks, garbage, age, XIDs, whose GPUs they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles import pages
from doubles.dcgm_page import Gpu, text, uuid
from doubles.pages import Page, Server
from hypothesis import given
from hypothesis import strategies as st

from collectors import Place, Reading, SourceError
from collectors.exposition import Sample
from collectors.sources._dcgm_page import ENERGY, POWER, figures
from collectors.sources.dcgm import Dcgm, Seen, Settings, connect, sample
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import GpuSample, Quality

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
BLANKS = [9223372036854775792, 9223372036854775793, 9223372036854775794, 2147483632, 140737488355328.0]


@contextmanager
def exporter(*gpus: Gpu, hostname: str = "", stale_after_s: float = 90.0) -> Iterator[tuple[Server, Dcgm]]:
    """Yield an exporter that shows *gpus*, and the source that reads it."""
    with pages.serve({"/metrics": Page(text(*gpus))}) as server:
        source = connect(Settings(url=f"{server.url}/metrics", hostname=hostname, stale_after_s=stale_after_s))
        try:
            yield server, source
        finally:
            source.close()


def show(server: Server, *gpus: Gpu) -> None:
    """Let the exporter show *gpus* from now on."""
    server.put("/metrics", Page(text(*gpus)))


def seconds(count: float) -> datetime:
    """Return the instant *count* seconds after noon."""
    return NOON + timedelta(seconds=count)


def reading_of(*gpus: Gpu) -> Reading:
    """Return the first reading of a page that shows *gpus*."""
    with exporter(*gpus) as (_, source):
        return source.read(NOON)


def sample_of(*series: Gpu) -> GpuSample:
    """Return the one GPU that *series* are about."""
    (gpu,) = reading_of(*series).gpus
    return gpu


def test_the_default_counters_become_watts_joules_and_bytes() -> None:
    """1 234 567 890 mJ are 1 234 567.89 J; 40 960 MiB are 40 GiB, 42 949 672 960 bytes; 93 % are 0.93."""
    assert sample_of(Gpu(3)) == GpuSample(
        uuid="GPU-00000000-0000-0000-0000-000000000003",
        model="NVIDIA H100 80GB HBM3",
        power_w=412.5,
        average_w=412.5,
        energy_j=1_234_567.89,
        read_at=NOON,
        sm_mhz=1980,
        memory_mhz=2619,
        utilization=0.93,
        memory_used_b=42_949_672_960,
        temperature_c=54,
    )


def test_what_an_operator_added_to_the_counters_is_read_too() -> None:
    more = {
        "DCGM_FI_DEV_POWER_USAGE_INSTANT": 433.1,
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": 500,
        "DCGM_FI_DEV_POWER_MGMT_LIMIT": 700,
        "DCGM_FI_DEV_POWER_MGMT_LIMIT_MIN": 200,
        "DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX": 700,
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": 4,
    }

    gpu = sample_of(Gpu(0, more=more))

    assert (gpu.power_w, gpu.average_w) == (433.1, 412.5)
    assert (gpu.enforced_w, gpu.requested_w, gpu.min_w, gpu.max_w) == (500, 700, 200, 700)
    assert gpu.event_reasons == 4


def test_event_reasons_are_known_by_their_name_before_dcgm_4() -> None:
    assert sample_of(Gpu(0, more={"DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": 128})).event_reasons == 128


def test_places_come_from_the_labels() -> None:
    assert reading_of(Gpu(0), Gpu(1)).places == (Place(uuid(0), 0, 0), Place(uuid(1), 1, 1))


def test_a_gpu_in_instances_draws_its_power_once() -> None:
    """
    The exporter repeats the parent's 412.5 W and its energy for each instance; the two parts of the memory add up.

    It prints a utilisation of 0 for instances, which is no measurement.
    """
    gpu = sample_of(Gpu(0, instance="1", memory_mib=1000), Gpu(0, instance="2", memory_mib=24))

    assert (gpu.power_w, gpu.energy_j) == (412.5, 1_234_567.89)
    assert gpu.memory_used_b == 1024 * 1024 * 1024
    assert gpu.utilization is None


def test_memory_of_instances_of_which_one_is_unknown_is_unknown() -> None:
    assert sample_of(Gpu(0, instance="1"), Gpu(0, instance="2", more={"DCGM_FI_DEV_FB_USED": ""})).memory_used_b is None


def test_a_gpu_shared_by_two_pods_is_one_gpu_with_its_memory_counted_once() -> None:
    gpu = sample_of(Gpu(0, pod="a", memory_mib=1024), Gpu(0, pod="b", memory_mib=1024))

    assert (gpu.power_w, gpu.memory_used_b) == (412.5, 1 << 30)


@pytest.mark.parametrize("blank", BLANKS)
def test_dcgms_blanks_are_absent_and_no_fault(blank: float) -> None:
    gpu = sample_of(
        Gpu(0, more={"DCGM_FI_DEV_POWER_USAGE_INSTANT": blank, ENERGY: blank, "DCGM_FI_DEV_SM_CLOCK": blank})
    )

    assert (gpu.power_w, gpu.average_w, gpu.energy_j, gpu.sm_mhz) == (412.5, 412.5, None, None)
    assert gpu.quality == ()


def test_a_page_of_which_all_power_is_blank_is_an_error() -> None:
    with (
        exporter(Gpu(0, more={POWER: BLANKS[0]})) as (_, source),
        pytest.raises(SourceError, match=f"no GPU with {POWER}"),
    ):
        source.read(NOON)


@pytest.mark.parametrize(
    ("power", "max_w"),
    [("1051", 700.0), ("-1", 700.0), ("+Inf", 700.0), ("3690000000000", None), ("4351", None)],
)
def test_a_draw_no_such_gpu_can_have_is_withheld_and_marked(power: str, max_w: float | None) -> None:
    """Above 1.5 x 700 W = 1050 W; without a known limit above 1.5 x 2900 W = 4350 W."""
    more = {POWER: power} | ({"DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX": max_w} if max_w else {})

    gpu = sample_of(Gpu(0, more=more))

    assert (gpu.power_w, gpu.average_w, gpu.quality) == (None, None, (Quality.IMPLAUSIBLE,))
    assert gpu.energy_j == 1_234_567.89


def test_a_draw_a_little_above_the_limit_is_believed() -> None:
    assert sample_of(Gpu(0, power_w=1050, more={"DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX": 700})).power_w == 1050


def test_a_figure_is_not_fresher_for_being_read_again() -> None:
    """The exporter collects at 0 and at 30 s: what is read at 5, 10 and 35 s is of 0, 0 and 30 s."""
    with exporter(Gpu(0, energy_mj=1000)) as (server, source):
        first, again = source.read(seconds(5)), source.read(seconds(10))
        show(server, Gpu(0, energy_mj=2000))
        next_one = source.read(seconds(35))

    assert [reading.gpus[0].read_at for reading in (first, again, next_one)] == [seconds(5), seconds(5), seconds(35)]


def test_figures_that_stand_still_for_too_long_are_stale() -> None:
    """90 s after their last change they still count, 91 s after it they do not; one change later they do again."""
    with exporter(Gpu(0, energy_mj=1000)) as (server, source):
        qualities = [source.read(seconds(at)).gpus[0].quality for at in (0, 90, 91)]
        show(server, Gpu(0, energy_mj=2000))
        after = source.read(seconds(92)).gpus[0]

    assert qualities == [(), (), (Quality.STALE,)]
    assert (after.quality, after.energy_j) == ((), 2.0)


def test_one_gpu_that_stands_still_is_stale_alone() -> None:
    with exporter(Gpu(0, energy_mj=1000), Gpu(1, energy_mj=1000)) as (server, source):
        source.read(NOON)
        show(server, Gpu(0, energy_mj=1000), Gpu(1, energy_mj=2000))
        source.read(seconds(60))

        stuck, alive = source.read(seconds(100)).gpus

    assert (stuck.quality, alive.quality) == ((Quality.STALE,), ())


def test_a_gpu_that_left_the_page_stays_in_the_reading_without_figures() -> None:
    with exporter(Gpu(0), Gpu(1)) as (server, source):
        source.read(NOON)
        show(server, Gpu(0))

        reading = source.read(seconds(5))

    assert [gpu.power_w for gpu in reading.gpus] == [412.5, None]
    assert reading.gpus[1].quality == (Quality.STALE,)
    assert reading.troubles == (f"{uuid(1)} is no longer on the page of {server.url}/metrics",)


def test_an_xid_is_told_once_when_it_comes_and_never_from_the_first_page() -> None:
    """The page shows 31 from the start, of whatever age, then 79; the value stays, the event does not come again."""
    with exporter(Gpu(0, xid=31)) as (server, source):
        seen = [source.read(seconds(0)).gpus[0].xids]
        show(server, Gpu(0, xid=79))
        seen += [source.read(seconds(5)).gpus[0].xids, source.read(seconds(10)).gpus[0].xids]
        show(server, Gpu(0, xid=0))
        seen += [source.read(seconds(15)).gpus[0].xids]

    assert seen == [(), (79,), (), ()]


def test_a_page_of_two_hosts_is_refused_unless_one_is_named() -> None:
    both = (Gpu(0, host="node-1"), Gpu(1, host="node-2"))

    with (
        exporter(*both) as (_, source),
        pytest.raises(SourceError, match="GPUs of 2 hosts: set hostname to one of node-1"),
    ):
        source.read(NOON)
    with exporter(*both, hostname="node-2") as (_, source):
        assert [gpu.uuid for gpu in source.read(NOON).gpus] == [uuid(1)]
    with exporter(*both, hostname="node-3") as (_, source), pytest.raises(SourceError, match="only of node-1, node-2"):
        source.read(NOON)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(Page("", status=503), "the server answered 503 Service Unavailable", id="an error status"),
        pytest.param(Page("<html>"), "a web page and no metrics", id="a web page"),
        pytest.param(Page("up 1\n"), "is that dcgm-exporter", id="another exporter"),
        pytest.param(Page(""), "is that dcgm-exporter", id="no GPU yet"),
        pytest.param(Page(text(Gpu(0)), cut_at=2000), "IncompleteRead", id="half a page"),
    ],
)
def test_a_page_that_measures_nothing_is_an_error_that_names_it(page: Page, reason: str) -> None:
    with exporter() as (server, source):
        server.put("/metrics", page)

        with pytest.raises(SourceError, match=rf"^{server.url}/metrics: .*{reason}"):
            source.read(NOON)


def test_an_exporter_that_wants_a_password_gets_it_from_a_file_of_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    file.chmod(0o600)
    with pages.serve({"/metrics": Page(text(Gpu(0)))}, authorization=pages.basic("dcgm", "hunter2")) as server:
        source = connect(Settings(url=f"{server.url}/metrics", user="dcgm", password_file=str(file)))
        reading = source.read(NOON)
        source.close()

    assert reading.gpus[0].power_w == 412.5

    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        connect(Settings(user="dcgm", password_file=str(file)))
    with pytest.raises(ConfigError, match="both user and password_file"):
        connect(Settings(user="dcgm"))


VALUES = st.floats() | st.sampled_from(BLANKS) | st.floats(min_value=0, max_value=1500)


@given(st.dictionaries(st.sampled_from([POWER, ENERGY]), VALUES))
def test_whatever_the_page_says_no_published_draw_is_garbage(values: dict[str, float]) -> None:
    """A power or an energy is published only if it is a number of watts or joules that a GPU can have."""
    found = figures([Sample(name, {"UUID": "GPU-a", "modelName": "m"}, value) for name, value in values.items()], "")

    for uuid_, one in found.items():
        gpu = sample(uuid_, Seen(one, NOON), None, is_stale=False)
        assert gpu.power_w is None or 0 <= gpu.power_w <= 4350
        assert gpu.energy_j is None or 0 <= gpu.energy_j < 2**63 / 1000
