"""What nvidia-smi and the exporters printed, read back: each figure written out here stands in the file."""

from pathlib import Path

import pytest

from collectors import captures
from collectors.captures.values import Capture, CaptureError, Gpu, MigInstance, Totals

SAMPLES = Path(__file__).parents[2] / "data" / "captures"


def sample(name: str) -> Capture:
    return captures.read((SAMPLES / name).read_bytes())


def xml(*gpus: str, head: str = "<driver_version>515.1</driver_version>") -> bytes:
    """Return a log of `<gpu>` elements with the given insides."""
    boards = "".join(f'<gpu id="00000000:{number:02X}:00.0">{gpu}</gpu>' for number, gpu in enumerate(gpus, start=1))
    return f'<?xml version="1.0" ?><nvidia_smi_log>{head}{boards}</nvidia_smi_log>'.encode()


def only_gpu(content: bytes) -> Gpu:
    (gpu,) = captures.read(content).newest.gpus
    return gpu


def totals(capture: Capture) -> Totals:
    return Totals.of(capture.newest.gpus)


def table(name: str, **texts: str) -> str:
    cells = "".join(f"<{key}>{text}</{key}>" for key, text in texts.items())
    return f"<{name}>{cells}</{name}>"


# XML


def test_each_board_is_one_gpu_and_the_module_and_the_memory_are_in_no_sum() -> None:
    capture = sample("three_boards.xml")

    plain, partitioned, superchip = capture.newest.gpus
    assert (plain.uuid, plain.name) == ("GPU-aaaaaaaa-0000-4000-8000-000000000001", "NVIDIA H200")
    assert (plain.power_w, plain.instant_w, plain.average_w) == (100.25, 100.25, 99.0)
    assert (partitioned.power_w, partitioned.instant_w) == (210.5, None)
    assert (partitioned.limit_w, partitioned.requested_w) == (500.0, 700.0)
    assert (superchip.power_w, superchip.limit_w, superchip.module_w) == (None, None, 655.0)
    assert totals(capture) == Totals(
        gpus=3,
        power_w=310.75,
        limit_w=1200.0,
        energy_j=None,
        gpus_without_power=1,
        gpus_without_limit=1,
        gpus_without_energy=3,
    )
    assert (capture.driver, capture.notes) == ("580.1", ())


def test_mig_is_on_off_or_not_there_and_its_instances_are_listed_under_their_gpu() -> None:
    plain, partitioned, superchip = sample("three_boards.xml").newest.gpus

    assert [gpu.mig for gpu in (plain, partitioned, superchip)] == [False, True, None]
    assert partitioned.mig_instances == (
        MigInstance(gpu_instance=1, compute_instance=0),
        MigInstance(gpu_instance=2, compute_instance=0),
    )


@pytest.mark.parametrize(
    ("tables", "power_w", "limit_w", "requested_w"),
    [
        (  # driver 515
            table("power_readings", power_draw="25.58 W", power_limit="300.00 W", enforced_power_limit="250.00 W"),
            25.58,
            250.0,
            300.0,
        ),
        (  # driver 535
            table(
                "gpu_power_readings",
                power_draw="67.03 W",
                current_power_limit="500.00 W",
                requested_power_limit="700.00 W",
            )
            + table("module_power_readings", power_draw="900.00 W", current_power_limit="1000.00 W"),
            67.03,
            500.0,
            700.0,
        ),
        (  # later
            table("gpu_power_readings", average_power_draw="10.00 W", instant_power_draw="12.00 W"),
            12.0,
            None,
            None,
        ),
        (table("gpu_power_readings", power_draw="68920 mW", requested_power_limit="0.7 kW"), 68.92, 700.0, 700.0),
    ],
)
def test_power_and_limits_are_found_under_the_names_of_each_driver(
    tables: str, power_w: float, limit_w: float | None, requested_w: float | None
) -> None:
    gpu = only_gpu(xml(tables))

    assert (gpu.power_w, gpu.limit_w, gpu.requested_w) == (power_w, limit_w, requested_w)


@pytest.mark.parametrize(
    "absent",
    [
        *("N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "ERR!", "", "-5.00 W", "nan W", "1e999 W", "40.0"),
        *("Requested functionality has been deprecated", "[GPU is lost]", "40.0 C", "[Insufficient Permissions]"),
    ],
)
def test_what_is_absent_is_null_and_never_zero(absent: str) -> None:
    gpu = only_gpu(xml(f"<uuid>{absent}</uuid>" + table("gpu_power_readings", power_draw=absent)))

    assert gpu.power_w is None
    assert Totals.of([gpu]).power_w is None
    assert Totals.of([gpu]).gpus_without_power == 1


def test_zero_watts_is_a_figure() -> None:
    assert only_gpu(xml(table("gpu_power_readings", power_draw="0.00 W"))).power_w == 0.0


@pytest.mark.parametrize(
    ("energy", "energy_j"),
    [("7200000 mJ", 7200.0), ("7200 J", 7200.0), ("2 kWh", 7_200_000.0), ("2 Wh", 7200.0), ("7200", None)],
)
def test_energy_is_in_the_unit_it_says_and_without_one_not_known(energy: str, energy_j: float | None) -> None:
    assert only_gpu(xml(f"<total_energy_consumption>{energy}</total_energy_consumption>")).energy_j == energy_j


def test_a_board_and_a_driver_nobody_has_seen_are_read_as_far_as_they_speak_the_same() -> None:
    unknown = "<hologram><depth>7</depth></hologram><product_name>NVIDIA Z9</product_name>"

    gpu = only_gpu(xml(unknown + table("gpu_power_readings", instant_power_draw="1.00 W", phase="blue")))

    assert (gpu.name, gpu.power_w, gpu.uuid) == ("NVIDIA Z9", 1.0, None)


def test_a_draw_no_such_board_can_have_is_withheld_and_said() -> None:
    garbage = table("gpu_power_readings", instant_power_draw="1050.01 W", max_power_limit="700.00 W")

    capture = captures.read(xml(garbage))

    assert capture.newest.gpus[0].power_w is None
    assert capture.notes == ("implausible draws, above 1.5 × the board's maximum limit, are left out: of 1 GPUs",)


def test_a_log_that_knows_of_more_gpus_than_it_describes_says_so() -> None:
    capture = captures.read(xml("<uuid>GPU-a</uuid>", head="<attached_gpus>4</attached_gpus>"))

    assert capture.notes == ("4 GPUs were attached, 1 are in the file",)


def test_of_a_loop_of_logs_the_newest_is_shown_and_the_others_can_be_asked_for() -> None:
    first = xml(table("gpu_power_readings", power_draw="1.00 W"))
    second = xml(table("gpu_power_readings", power_draw="2.00 W"))

    capture = captures.read(first + b"\n" + second)

    assert totals(capture).power_w == 2.0
    assert captures.chosen(capture, "1").gpus[0].power_w == 1.0
    with pytest.raises(CaptureError, match="has no snapshot '3'; have 1, 2"):
        captures.chosen(capture, "3")


def test_a_log_copied_with_its_prompt_is_read() -> None:
    assert only_gpu(b"host:~$ nvidia-smi -q -x\n" + xml("<uuid>GPU-a</uuid>")).uuid == "GPU-a"


# exporters' pages


def test_dcgm_repeats_a_gpus_figure_for_each_mig_instance_and_it_counts_once() -> None:
    capture = sample("dcgm_mig.prom")

    assert [gpu.power_w for gpu in capture.newest.gpus] == [300.5, 200.25, None]
    assert [gpu.energy_j for gpu in capture.newest.gpus] == [7200.0, 3600.0, None]
    assert [gpu.mig for gpu in capture.newest.gpus] == [None, True, None]
    assert [(mig.profile, mig.gpu_instance) for mig in capture.newest.gpus[1].mig_instances] == [
        ("3g.40gb", 1),
        ("4g.40gb", 2),
    ]
    assert (totals(capture).power_w, totals(capture).energy_j) == (500.75, 10_800.0)
    assert (capture.newest.gpus[0].limit_w, capture.newest.gpus[0].requested_w) == (500.0, 700.0)
    assert capture.driver == "570.9"


def test_the_whole_gpus_own_series_counts_before_its_instances() -> None:
    page = 'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-a",GPU_I_ID="1"} 0\nDCGM_FI_DEV_POWER_USAGE{UUID="GPU-a"} 90\n'

    assert only_gpu(page.encode()).power_w == 90.0


def test_a_name_that_tells_no_unit_has_the_one_its_help_tells() -> None:
    series = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{UUID="GPU-a"} 5000\n'

    assert only_gpu(series.encode()).energy_j == 5.0
    assert only_gpu(f"# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Energy (in J).\n{series}".encode()).energy_j == 5000.0


@pytest.mark.parametrize(
    ("series", "power_w"),
    [
        ('nvidia_gpu_power_usage_milliwatts{minor_number="0",name="A",uuid="GPU-a"} 13240', 13.24),
        ('nv_gpu_power_usage{gpu_uuid="GPU-a"} 13.24', 13.24),
        ('dcgm_power_usage{gpu="0",uuid="GPU-a"} 13.24', 13.24),
        ('  DCGM_FI_DEV_POWER_USAGE{gpu="0", UUID="GPU-a"} 13.24 1700000000000', 13.24),
        ('DCGM_FI_DEV_POWER_USAGE{UUID="GPU-a"} NaN', None),
        ('DCGM_FI_DEV_POWER_USAGE{UUID="GPU-a"} 2147483634', None),
        ('nvidia_smi_temperature_gpu{uuid="GPU-a"} 40', None),
    ],
)
def test_every_exporters_names_and_units_are_known(series: str, power_w: float | None) -> None:
    gpu = only_gpu(f"{series}\n".encode())

    assert (gpu.uuid, gpu.power_w) == ("GPU-a", power_w)


def test_series_of_an_index_join_the_uuid_that_another_series_gives_it() -> None:
    page = 'DCGM_FI_DEV_GPU_TEMP{gpu="3",UUID="GPU-a"} 40\nDCGM_FI_DEV_POWER_USAGE{gpu="3"} 55\n'

    gpu = only_gpu(page.encode())

    assert (gpu.uuid, gpu.index, gpu.power_w) == ("GPU-a", 3, 55.0)


def test_the_info_series_names_the_gpu_and_the_uuid_is_spelt_as_the_driver_does() -> None:
    capture = sample("gpu_exporter.prom")

    (gpu,) = capture.newest.gpus
    assert (gpu.uuid, gpu.name) == ("GPU-cccccccc-0000-4000-8000-000000000001", "NVIDIA L40S")
    assert (gpu.index, gpu.pci_bus_id) == (0, "00000000:0C:00.0")
    assert (gpu.power_w, gpu.average_w, gpu.limit_w, gpu.energy_j) == (127.67, 144.97, 350.0, 1500.5)
    assert gpu.mig_instances == (
        MigInstance(
            uuid="MIG-dddddddd-0000-4000-8000-000000000001", profile="1g.6gb", gpu_instance=5, compute_instance=0
        ),
    )
    assert capture.driver == "580.80"  # and not the gauge's 580.8


# text


def test_a_session_has_a_snapshot_for_each_state_and_shows_the_newest() -> None:
    capture = sample("session.txt")

    assert [snapshot.name for snapshot in capture.snapshots] == ["idle", "load"]
    assert [gpu.power_w for gpu in capture.newest.gpus] == [390.25, None]
    assert (totals(capture).power_w, totals(capture).limit_w) == (390.25, 800.0)
    assert captures.chosen(capture, "idle") == captures.chosen(capture, "1")


def test_what_one_state_printed_twice_is_one_gpu_and_the_fresher_figure_counts() -> None:
    first, second = captures.chosen(sample("session.txt"), "idle").gpus

    assert (first.power_w, second.power_w) == (50.5, 51.75)  # the table's, printed after the log's 50.25 and 51.5
    assert (first.limit_w, first.requested_w, first.max_w) == (400.0, 400.0, 400.0)
    assert (first.index, first.pci_bus_id) == (0, "00000000:1A:00.0")


def test_the_list_of_gpus_names_the_mig_instances_that_the_log_only_numbers() -> None:
    first, second = captures.chosen(sample("session.txt"), "idle").gpus

    assert first.mig_instances == (
        MigInstance(
            uuid="MIG-ffffffff-0000-4000-8000-000000000001", profile="3g.20gb", gpu_instance=1, compute_instance=0
        ),
        MigInstance(
            uuid="MIG-ffffffff-0000-4000-8000-000000000002", profile="4g.20gb", gpu_instance=2, compute_instance=0
        ),
    )
    assert (second.mig, second.mig_instances) == (False, ())


def test_a_log_of_an_old_driver_has_its_own_words() -> None:
    log = (
        "==============NVSMI LOG==============\n\nDriver Version          : 470.9\nGPU 00000000:1A:00.0\n"
        "    GPU UUID            : GPU-a\n    Power Readings\n        Power Draw      : 25.58 W\n"
        "        Power Limit     : 300.00 W\n        Enforced Power Limit : 250.00 W\n"
    )

    capture = captures.read(log.encode())

    (gpu,) = capture.newest.gpus
    assert (gpu.uuid, gpu.power_w, gpu.limit_w, gpu.requested_w) == ("GPU-a", 25.58, 250.0, 300.0)
    assert capture.driver == "470.9"


def test_a_table_that_was_printed_again_and_again_counts_each_gpu_once() -> None:
    rows = "uuid, power.draw [W]\nGPU-a, 1.00 W\nGPU-b, 2.00 W\nGPU-a, 3.00 W\nGPU-b, 4.00 W\n"

    capture = captures.read(rows.encode())

    assert [Totals.of(snapshot.gpus).power_w for snapshot in capture.snapshots] == [3.0, 7.0]
    assert totals(capture).gpus == 2


def test_gpus_whose_uuids_are_masked_are_told_apart_by_their_address() -> None:
    rows = "uuid, pci.bus_id, power.draw [W]\nGPU-0, 00000000:01:00.0, 1.00 W\nGPU-0, 00000000:02:00.0, 2.00 W\n"

    assert totals(captures.read(rows.encode())).power_w == 3.0


def test_one_row_needs_no_name_but_many_do() -> None:
    assert only_gpu(b"power.draw [W], power.limit [W]\n60.00 W, 70.00 W\n").limit_w == 70.0
    with pytest.raises(CaptureError, match="query uuid, too"):
        captures.read(b"power.draw [W], power.limit [W]\n60.00 W, 70.00 W\n61.00 W, 70.00 W\n")


def test_a_list_alone_names_gpus_without_figures() -> None:
    gpu = only_gpu(b"GPU 0: Tesla T4 (UUID: GPU-a)\n")

    assert (gpu.index, gpu.name, gpu.uuid, gpu.power_w) == (0, "Tesla T4", "GPU-a", None)


def test_a_fresher_draw_does_not_mix_with_the_parts_of_an_older_one() -> None:
    state = "# idle :: nvidia-smi\n"
    older = "uuid, power.draw.instant [W], power.draw.average [W]\nGPU-a, 119.88 W, 183.28 W\n"
    newer = "uuid, power.draw [W]\nGPU-a, 144.97 W\n"

    gpu = only_gpu((state + older + state + newer).encode())

    assert (gpu.power_w, gpu.instant_w, gpu.average_w) == (144.97, None, None)


def test_what_another_command_printed_below_a_log_is_not_its_last_gpus() -> None:
    log = "GPU 00000000:1A:00.0\n    GPU UUID : GPU-a\n"
    units = "Unit 0\n    Product Name : S2050\n    Power Readings\n        Power Draw : 90.00 W\n"

    gpu = only_gpu((log + units).encode())

    assert (gpu.uuid, gpu.name, gpu.power_w) == ("GPU-a", None, None)


def test_a_list_with_masked_uuids_numbers_nobody() -> None:
    listed = "GPU 0: Tesla T4 (UUID: GPU-0)\nGPU 1: Tesla T4 (UUID: GPU-0)\n"
    log = "GPU 00000000:02:00.0\n    GPU UUID : GPU-0\n"

    assert only_gpu((listed + log).encode()).index is None


# real files


def real(shared_data: Path, name: str) -> Capture:
    (path,) = (shared_data / "data" / "nvidia_smi_captures").glob(name)
    return captures.read(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qx_hardware/qx-h100.xml", (8, 548.37, 5600.0, "580.105.08", False)),
        ("qx_hardware/qx-a100.xml", (1, 49.68, 400.0, "570.148.08", False)),
        ("qx_hardware/qx-l40s.xml", (1, 66.16, 350.0, "595.91.07", None)),
        ("qx_hardware/qx-t4.xml", (1, 33.51, 70.0, "595.91.07", None)),
        ("telegraf/a10g.xml", (1, 25.58, 300.0, "515.105.01", None)),
        ("telegraf/a100-sxm4-v12.xml", (1, 67.03, 500.0, "535.54.03", True)),
        ("telegraf/rtx-3080-v13.xml", (1, 142.33, 320.0, "595.58.03", None)),
        ("exporter_metrics/*h100*idle.metrics", (1, 69.62, 700.0, "590.48.01", False)),
        ("exporter_metrics/*h100*load.metrics", (1, 625.68, 700.0, "590.48.01", False)),
        ("exporter_metrics/*l40s*idle.metrics", (1, 127.67, 350.0, "595.80", None)),
        ("exporter_metrics/*l40s*load.metrics", (1, 112.38, 350.0, "595.80", None)),
        ("exporter_metrics/*4080*idle.metrics", (1, 28.77, 320.0, "595.71.05", None)),
        ("exporter_metrics/*4080*load.metrics", (1, 86.41, 320.0, "595.71.05", None)),
        ("exporter_captures/*h100*.txt", (1, 625.68, 700.0, "590.48.01", False)),
        ("exporter_captures/*l40s*.txt", (1, 112.38, 350.0, "595.80", None)),
    ],
)
def test_real_files_give_the_figures_that_stand_in_them(
    shared_data: Path, name: str, expected: tuple[int, float, float, str, bool | None]
) -> None:
    capture = real(shared_data, name)

    sums, gpus = totals(capture), capture.newest.gpus
    (mig,) = {gpu.mig for gpu in gpus}
    assert (sums.gpus, sums.power_w, sums.limit_w, capture.driver, mig) == expected
    assert (sums.energy_j, sums.gpus_without_power) == (None, 0)
    assert len({gpu.uuid for gpu in gpus}) == sums.gpus


@pytest.mark.parametrize("board", ["h100", "l40s"])
@pytest.mark.parametrize("state", ["idle", "load"])
def test_a_session_says_the_same_as_the_page_that_was_made_of_it(shared_data: Path, board: str, state: str) -> None:
    session = captures.chosen(real(shared_data, f"exporter_captures/*{board}*.txt"), state)
    page = real(shared_data, f"exporter_metrics/*{board}*{state}.metrics").newest

    (said,), (exported,) = session.gpus, page.gpus
    assert said == exported


def test_the_instances_of_a_real_mig_gpu_are_listed_and_its_power_counts_once(shared_data: Path) -> None:
    (gpu,) = real(shared_data, "telegraf/a100-sxm4-v12.xml").newest.gpus

    assert [mig.gpu_instance for mig in gpu.mig_instances] == [3, 4, 5, 6]
    assert Totals.of([gpu]).power_w == 67.03
