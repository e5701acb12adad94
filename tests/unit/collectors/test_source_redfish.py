"""A BMC over real HTTP: where the watts are, which chassis is the node, sessions, secrets, BMCs that misbehave."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles import pages, redfish_tree
from doubles.pages import Page
from doubles.redfish_tree import CHASSIS, SESSIONS, Bmc, Tree, chassis, members

from collectors import SourceError
from collectors.sources.redfish import Redfish, Settings, connect
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Covers, GpuSample, MeterSample, Quality

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
NODE = f"{CHASSIS}/Node/EnvironmentMetrics"
UUIDS = {"GPU_SXM_1": "GPU-a", "GPU_SXM_2": "GPU-b"}


@contextmanager
def reading(bmc: Bmc, **settings: Any) -> Iterator[Redfish]:
    """Yield the source that reads *bmc*, logged out afterwards."""
    source = connect(Settings(url=bmc.url, **settings))
    try:
        yield source
    finally:
        source.close()


def meter_of(tree: Tree, **settings: Any) -> MeterSample:
    """Return the node's meter as the first reading of *tree* has it."""
    with redfish_tree.serve(tree) as bmc, reading(bmc, **settings) as source:
        (meter,) = source.read(NOON).meters
        return meter


def refusal_of(tree: Tree, **settings: Any) -> str:
    """Return what the source says when it cannot read *tree*."""
    with pytest.raises(SourceError) as refused:
        meter_of(tree, **settings)
    return str(refused.value)


def password_file(folder: Path, password: str = "hunter2", mode: int = 0o600) -> str:
    """Return the path of a file that holds *password*."""
    file = folder / "bmc-password"
    file.write_text(f"{password}\n")
    file.chmod(mode)
    return str(file)


def after(minutes: float) -> datetime:
    """Return an instant after noon."""
    return NOON + timedelta(minutes=minutes)


# Where the watts are


def test_the_newest_resource_gives_the_nodes_watts_and_joules() -> None:
    assert meter_of(redfish_tree.server(power_w=5200, energy_j=9.5e9)) == MeterSample(
        meter="bmc", covers=Covers.HOST, power_w=5200, energy_j=9.5e9, read_at=NOON
    )


def test_kilowatt_hours_become_joules_where_there_are_no_joules() -> None:
    """2.5 kWh are 9 000 000 J."""
    tree = redfish_tree.server()
    tree[NODE] = {"PowerWatts": {"Reading": 5200}, "EnergykWh": {"Reading": 2.5}, "EnergyJoules": None}

    assert meter_of(tree).energy_j == 9_000_000


def test_the_dmtfs_mockup_reads_374_w_from_its_newest_resource(shared_data: Path) -> None:
    """EnvironmentMetrics say 374 W, the older Power says 344 W; neither has an energy of the chassis."""
    meter = meter_of(redfish_tree.mockup(shared_data))

    assert (meter.power_w, meter.energy_j) == (374, None)


def test_the_mockup_without_that_resource_reads_344_w_from_the_older_one(shared_data: Path) -> None:
    tree = redfish_tree.mockup(shared_data)
    del tree[f"{CHASSIS}/1U/EnvironmentMetrics"]

    assert meter_of(tree).power_w == 344


def test_the_mockup_with_neither_reads_what_its_supplies_take_in(shared_data: Path) -> None:
    """Bay 1 takes 937.4 W; bay 2 is empty (State "Absent")."""
    tree = redfish_tree.mockup(shared_data)
    del tree[f"{CHASSIS}/1U/EnvironmentMetrics"], tree[f"{CHASSIS}/1U/Power"]

    assert meter_of(tree).power_w == 937.4


def test_a_dell_server_reads_429_w(shared_data: Path) -> None:
    """PowerControl[0].PowerConsumedWatts of the recorded iDRAC; its limit is 348 W and its capacity 1628 W."""
    assert meter_of(redfish_tree.dell(shared_data)).power_w == 429


def supplied(*bays: tuple[str, float | None]) -> Tree:
    """Return a sled with supplies: (state, watts taken in)."""
    subsystem = f"{CHASSIS}/Node/PowerSubsystem"
    tree = {
        CHASSIS: members(f"{CHASSIS}/Node"),
        f"{CHASSIS}/Node": chassis("Node", "Sled", PowerSubsystem=subsystem),
        subsystem: {"PowerSupplies": {"@odata.id": f"{subsystem}/PowerSupplies"}},
        f"{subsystem}/PowerSupplies": members(*(f"{subsystem}/Bay{number}" for number in range(len(bays)))),
    }
    for number, (state, input_w) in enumerate(bays):
        bay = f"{subsystem}/Bay{number}"
        tree[bay] = {"Status": {"State": state}, "Metrics": {"@odata.id": f"{bay}/Metrics"}}
        tree[f"{bay}/Metrics"] = {"InputPowerWatts": {"Reading": input_w}}
    return tree


def test_supplies_are_added_up_but_for_those_that_are_not_there() -> None:
    assert meter_of(supplied(("Enabled", 1500), ("Enabled", 1400), ("Absent", None))).power_w == 2900


def test_supplies_of_which_one_does_not_tell_are_no_sum() -> None:
    tree = supplied(("Enabled", 1500), ("Enabled", None))

    assert f"no reading in {CHASSIS}/Node/PowerSubsystem;" in refusal_of(tree)


def test_of_several_power_controls_the_one_of_the_chassis_counts() -> None:
    """4100 W of GPUs are inside the 5200 W of the chassis: they are not added."""
    controls = [
        {"Name": "GPUs", "PowerConsumedWatts": 4100, "RelatedItem": [{"@odata.id": "/redfish/v1/Systems/HGX"}]},
        {"Name": "System", "PowerConsumedWatts": 5200, "RelatedItem": [{"@odata.id": f"{CHASSIS}/Node"}]},
    ]
    tree = {
        CHASSIS: members(f"{CHASSIS}/Node"),
        f"{CHASSIS}/Node": chassis("Node", "RackMount", Power=f"{CHASSIS}/Node/Power"),
        f"{CHASSIS}/Node/Power": {"PowerControl": controls},
    }

    assert meter_of(tree).power_w == 5200


# Which chassis is the node


def boxes(*kinds: tuple[str, str, str]) -> Tree:
    """Return chassis of 100 W each: (name, type, the chassis it is in)."""
    tree = {CHASSIS: members(*(f"{CHASSIS}/{name}" for name, _, _ in kinds))}
    for name, kind, inside in kinds:
        power = f"{CHASSIS}/{name}/EnvironmentMetrics"
        around = f"{CHASSIS}/{inside}" if inside else ""
        tree[f"{CHASSIS}/{name}"] = chassis(name, kind, around, EnvironmentMetrics=power)
        tree[power] = {"PowerWatts": {"Reading": 100}, "EnergyJoules": {"Reading": 1000}}
    return tree


def test_a_node_in_two_boxes_is_their_sum_without_the_modules_inside_and_the_rack_around() -> None:
    """Two rack-mounted boxes of 100 W; the module in one of them and the rack they are in would make it 400 W."""
    tree = boxes(("A", "RackMount", "Rack"), ("B", "RackMount", ""), ("M", "Module", "A"), ("Rack", "Rack", ""))

    meter = meter_of(tree)

    assert (meter.power_w, meter.energy_j) == (200, 2000)


def test_a_server_inside_a_server_is_not_counted_twice() -> None:
    """The blade is in a module that is in the outer box."""
    assert meter_of(boxes(("Outer", "RackMount", ""), ("M", "Module", "Outer"), ("In", "Blade", "M"))).power_w == 100


def test_the_only_chassis_is_the_node_whatever_its_type() -> None:
    assert meter_of(boxes(("Odd", "Other", ""))).power_w == 100


def test_chassis_that_are_no_servers_must_be_named() -> None:
    tree = boxes(("A", "Module", ""), ("B", "Component", ""))

    assert refusal_of(tree).endswith("name the node's in `chassis`, there are: A (Module), B (Component)")
    assert meter_of(tree, chassis=("A",)).power_w == 100
    assert refusal_of(tree, chassis=("C",)) == "no chassis C; there are: A (Module), B (Component)"


def test_chassis_that_contain_each_other_are_no_endless_loop() -> None:
    assert meter_of(boxes(("S", "RackMount", "A"), ("A", "Module", "B"), ("B", "Module", "A"))).power_w == 100


def test_a_chassis_without_power_is_an_error_that_names_where_was_looked() -> None:
    tree = redfish_tree.server(power_w=None)

    assert refusal_of(tree).startswith(f"chassis Node tells no power: no reading in {NODE};")


def test_a_chassis_that_links_to_no_power_at_all_says_so() -> None:
    tree = {CHASSIS: members(f"{CHASSIS}/A"), f"{CHASSIS}/A": chassis("A", "RackMount")}

    assert "neither EnvironmentMetrics, Power nor PowerSubsystem" in refusal_of(tree)


# Readings that are none


def test_a_reading_that_becomes_null_is_absent_at_once_and_back_when_it_is() -> None:
    with redfish_tree.serve(redfish_tree.server(power_w=5200)) as bmc, reading(bmc) as source:
        source.read(NOON)
        bmc.tree[NODE]["PowerWatts"]["Reading"] = None
        absent = source.read(NOON)
        bmc.tree[NODE]["PowerWatts"]["Reading"] = 4800
        back = source.read(NOON)

    assert absent.meters[0].power_w is None
    assert absent.troubles == (f"{bmc.url}: chassis Node has no power reading now in {NODE}",)
    assert (back.meters[0].power_w, back.troubles) == (4800, ())


@pytest.mark.parametrize("power_w", [0, -5, 200_001])
def test_a_draw_no_running_node_has_is_withheld_and_marked(power_w: float) -> None:
    meter = meter_of(redfish_tree.server(power_w=power_w))

    assert (meter.power_w, meter.quality, meter.energy_j) == (None, (Quality.IMPLAUSIBLE,), 9.5e9)


def test_one_box_of_two_without_a_reading_leaves_the_sum_absent() -> None:
    tree = boxes(("A", "RackMount", ""), ("B", "RackMount", ""))
    with redfish_tree.serve(tree) as bmc, reading(bmc) as source:
        source.read(NOON)
        bmc.tree[f"{CHASSIS}/B/EnvironmentMetrics"] = {}

        (meter,) = source.read(NOON).meters

    assert (meter.power_w, meter.energy_j) == (None, None)


def test_later_readings_ask_for_the_power_alone() -> None:
    with redfish_tree.serve(redfish_tree.server()) as bmc, reading(bmc) as source:
        source.read(NOON)
        bmc.asked.clear()

        source.read(NOON)

        assert bmc.asked == [NODE]


# GPUs


def test_gpus_with_a_uuid_are_read_and_the_others_left_out() -> None:
    tree = redfish_tree.server(gpus=3)
    with redfish_tree.serve(tree) as bmc, reading(bmc, gpus=UUIDS) as source:
        found = source.read(NOON)

    assert [gpu.uuid for gpu in found.gpus] == ["GPU-a", "GPU-b"]
    assert found.gpus[0] == GpuSample(
        uuid="GPU-a",
        model="H100 SXM5",
        power_w=612.5,
        energy_j=3.25e8,
        read_at=NOON,
        enforced_w=None,  # the 650 beside the set-point is a sensor's reading, not a limit in force
        requested_w=700,
        min_w=200,
        max_w=700,
        temperature_c=57.5,
    )
    assert found.troubles == ()


def test_a_name_the_bmc_does_not_know_is_said() -> None:
    with redfish_tree.serve(redfish_tree.server(gpus=1)) as bmc, reading(bmc, gpus=UUIDS) as source:
        assert source.read(NOON).troubles == (f"{bmc.url} does not measure a GPU called GPU_SXM_2",)


def test_a_gpu_that_fails_is_stale_alone_and_one_with_garbage_is_marked() -> None:
    """1051 W is more than 1.5 x 700 W."""
    first, second = (f"{redfish_tree.SYSTEMS}/HGX_Baseboard_0/Processors/{name}/EnvironmentMetrics" for name in UUIDS)
    with redfish_tree.serve(redfish_tree.server(gpus=2)) as bmc, reading(bmc, gpus=UUIDS) as source:
        bmc.broken[first] = Page("", status=500)
        bmc.tree[second]["PowerWatts"]["Reading"] = 1051

        found = source.read(NOON)

    assert [(gpu.power_w, gpu.quality) for gpu in found.gpus] == [
        (None, (Quality.STALE,)),
        (None, (Quality.IMPLAUSIBLE,)),
    ]
    assert found.troubles == (f"{bmc.url}: {first}: 500",)
    assert found.meters[0].power_w == 5200


# Sessions and secrets


def test_one_session_serves_all_readings_and_is_deleted_at_the_end(tmp_path: Path) -> None:
    login = {"user": "fw", "password_file": password_file(tmp_path)}
    with redfish_tree.serve(redfish_tree.server(), user="fw", password="hunter2") as bmc:
        with reading(bmc, **login) as source:
            watts = [source.read(NOON).meters[0].power_w for _ in range(3)]
            open_sessions = len(bmc.sessions)

        assert watts == [5200] * 3
        assert (bmc.logins, open_sessions, len(bmc.sessions)) == (1, 1, 0)


def test_an_expired_session_is_opened_again_once(tmp_path: Path) -> None:
    login = {"user": "fw", "password_file": password_file(tmp_path)}
    with (
        redfish_tree.serve(redfish_tree.server(), user="fw", password="hunter2") as bmc,
        reading(bmc, **login) as source,
    ):
        source.read(NOON)
        bmc.expire()

        assert source.read(NOON).meters[0].power_w == 5200
        assert (bmc.logins, len(bmc.sessions)) == (2, 1)


def test_a_bmc_without_sessions_gets_user_and_password_with_every_request(tmp_path: Path) -> None:
    login = {"user": "fw", "password_file": password_file(tmp_path)}
    tree = redfish_tree.server()
    with (
        redfish_tree.serve(tree, user="fw", password="hunter2", has_sessions=False) as bmc,
        reading(bmc, **login) as source,
    ):
        assert source.read(NOON).meters[0].power_w == 5200


@pytest.mark.parametrize("status", [503, 400])
def test_a_bmc_with_no_session_left_is_asked_again_only_after_a_minute(tmp_path: Path, status: int) -> None:
    login = {"user": "fw", "password_file": password_file(tmp_path)}
    tree = redfish_tree.server()
    with (
        redfish_tree.serve(tree, user="fw", password="hunter2", most_sessions=0, full_status=status) as bmc,
        reading(bmc, **login) as source,
    ):
        with pytest.raises(SourceError, match=f"opens no session: {status} The maximum number of user sessions"):
            source.read(NOON)
        with pytest.raises(SourceError, match=r"not tried again before 12:01:00 UTC"):
            source.read(after(minutes=0.9))
        assert bmc.logins == 1

        bmc.most_sessions = 1

        assert source.read(after(minutes=1)).meters[0].power_w == 5200


def test_a_refused_password_is_not_tried_again_for_ten_minutes_and_never_shown(tmp_path: Path) -> None:
    """Readings every 5 s would lock the account; the BMC of this test even repeats the password in its answer."""
    login = {"user": "fw", "password_file": password_file(tmp_path, "wrong-secret")}
    tree = redfish_tree.server()
    with redfish_tree.serve(tree, user="fw", password="hunter2") as bmc, reading(bmc, **login) as source:
        said = []
        for minute in (0, 1, 9.9):
            with pytest.raises(SourceError) as refused:
                source.read(after(minute))
            said.append(str(refused.value))
        assert bmc.logins == 1

        password_file(tmp_path, "hunter2")

        assert source.read(after(minutes=10)).meters[0].power_w == 5200

    assert said[0].startswith(
        f"{bmc.url} refuses user fw and the password in {tmp_path}/bmc-password: 401 Login failed"
    )
    assert not any("wrong-secret" in line for line in said)


def test_a_session_that_may_not_read_is_closed_and_not_opened_again_and_again(tmp_path: Path) -> None:
    login = {"user": "fw", "password_file": password_file(tmp_path)}
    with (
        redfish_tree.serve(redfish_tree.server(), user="fw", password="hunter2") as bmc,
        reading(bmc, **login) as source,
    ):
        bmc.broken[CHASSIS] = Page("", status=401)

        for minute in (0, 1):
            with pytest.raises(SourceError, match="does not let fw read"):
                source.read(after(minute))

        assert (bmc.logins, len(bmc.sessions)) == (2, 0)


def test_a_bmc_that_asks_for_a_user_says_so_where_none_is_set() -> None:
    served = redfish_tree.serve(redfish_tree.server(), user="fw", password="hunter2")
    with served as bmc, reading(bmc) as source, pytest.raises(SourceError, match="asks for a user"):
        source.read(NOON)


def test_a_password_that_others_may_read_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has mode 0644: `chmod 600"):
        connect(Settings(url="https://127.0.0.1", user="fw", password_file=password_file(tmp_path, mode=0o644)))
    with pytest.raises(ConfigError, match="a password_file and no user"):
        connect(Settings(url="https://127.0.0.1", password_file=password_file(tmp_path)))


def test_a_bmc_with_a_certificate_of_its_own_is_trusted_by_its_ca_file(tmp_path: Path) -> None:
    certificate = pages.certificate(tmp_path)
    with redfish_tree.serve(redfish_tree.server(), certificate) as bmc:
        with reading(bmc, ca_file=str(certificate.ca_file)) as source:
            assert source.read(NOON).meters[0].power_w == 5200
        with reading(bmc) as source, pytest.raises(SourceError, match="ca_file"):
            source.read(NOON)


# BMCs that misbehave


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        pytest.param(
            Page("{"), "EnvironmentMetrics is not what Redfish says it is: Input data was truncated", id="half"
        ),
        pytest.param(Page('{"PowerWatts": 5}'), "Expected `object | null`, got `int`", id="another shape"),
        pytest.param(Page(b'{"PowerWatts": "\xff"}'), "is not what Redfish says it is", id="not UTF-8"),
        pytest.param(Page("", status=500), "EnvironmentMetrics: 500", id="an error of its own"),
        pytest.param(Page("", delay_s=pages.FOREVER_S), r"no whole page within 0\.3 s", id="it hangs"),
        pytest.param(Page("", drops=True), "closed connection without response", id="it hangs up"),
    ],
)
def test_a_bmc_that_misbehaves_is_an_error_and_is_read_again_when_it_recovers(page: Page, reason: str) -> None:
    with redfish_tree.serve(redfish_tree.server()) as bmc, reading(bmc, timeout_s=0.3) as source:
        source.read(NOON)
        bmc.broken[NODE] = page
        with pytest.raises(SourceError, match=reason):
            source.read(NOON)
        bmc.broken.clear()

        assert source.read(NOON).meters[0].power_w == 5200


def test_a_login_that_hangs_is_not_repeated_with_every_reading(tmp_path: Path) -> None:
    """Each might leave a session behind on a BMC that has room for four."""
    login = {"user": "fw", "password_file": password_file(tmp_path), "timeout_s": 0.3}
    with (
        redfish_tree.serve(redfish_tree.server(), user="fw", password="hunter2") as bmc,
        reading(bmc, **login) as source,
    ):
        bmc.broken[SESSIONS] = Page("", delay_s=pages.FOREVER_S)

        for minute in (0, 0.5):
            with pytest.raises(SourceError, match=r"no whole page within 0\.3 s"):
                source.read(after(minute))

        assert bmc.logins == 1


def test_what_is_no_bmc_is_said() -> None:
    with pages.serve() as server:
        source = connect(Settings(url=server.url))

        with pytest.raises(SourceError, match="is that a BMC with Redfish"):
            source.read(NOON)
        source.close()


def test_a_bmc_that_told_less_for_a_while_is_looked_at_again() -> None:
    """For a moment EnvironmentMetrics is empty and Power answers; ten minutes later the energy is back."""
    tree = redfish_tree.server(power_w=5200, energy_j=9.5e9)
    whole = tree[NODE]
    tree[f"{CHASSIS}/Node"] = {**tree[f"{CHASSIS}/Node"], "Power": {"@odata.id": f"{CHASSIS}/Node/Power"}}
    tree[f"{CHASSIS}/Node/Power"] = {"PowerControl": [{"PowerConsumedWatts": 5100}]}
    with redfish_tree.serve(tree) as bmc, reading(bmc) as source:
        bmc.tree[NODE] = {"PowerWatts": {"Reading": None}}
        poor = source.read(NOON).meters[0]
        bmc.tree[NODE] = whole
        soon, later = source.read(after(9)).meters[0], source.read(after(10)).meters[0]

    assert (poor.power_w, poor.energy_j) == (5100, None)
    assert (soon.power_w, soon.energy_j) == (5100, None)
    assert (later.power_w, later.energy_j) == (5200, 9.5e9)
