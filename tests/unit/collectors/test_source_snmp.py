"""PDUs by SNMP: recorded walks and known watts, answered by snmpsim over UDP."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from doubles import snmp_pdu
from hypothesis import given
from hypothesis import strategies as st

from collectors import Reading, SourceError
from collectors.sources import snmp
from collectors.sources._pdus import Gauge, total
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Covers, MeterSample
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)

RPDU2 = "1.3.6.1.4.1.318.1.1.26"
#: rPDU2DeviceStatusPower 4.56 kW, …Energy 1 234.5 kWh; outlets 1 and 2: 250 W and 130 W, 10.0 kWh and 20.0 kWh.
AP8881 = {
    f"{RPDU2}.4.3.1.5.1": 456,
    f"{RPDU2}.4.3.1.9.1": 12_345,
    f"{RPDU2}.9.4.3.1.7.1": 250,
    f"{RPDU2}.9.4.3.1.7.2": 130,
    f"{RPDU2}.9.4.3.1.11.1": 100,
    f"{RPDU2}.9.4.3.1.11.2": 200,
}


def raritan_sensor(kind: int, count: int, *, unit: int, decimals: int, available: int = 1) -> dict[str, int]:
    """Return inlet 1's sensor of *kind* as PDU2-MIB lays it out, PDU 1."""
    described, measured = "1.3.6.1.4.1.13742.6.3.3.4.1", "1.3.6.1.4.1.13742.6.5.2.3.1"
    return {
        f"{described}.6.1.1.{kind}": unit,
        f"{described}.7.1.1.{kind}": decimals,
        f"{measured}.2.1.1.{kind}": available,
        f"{measured}.4.1.1.{kind}": count,
    }


PX3 = raritan_sensor(5, 31_415, unit=3, decimals=1) | raritan_sensor(8, 7_000, unit=5, decimals=0)

#: By community: hand-made records of known figures.
DEVICES: Mapping[str, str] = {
    "ap8881": snmp_pdu.records(AP8881),
    "half": snmp_pdu.records({oid: count for oid, count in AP8881.items() if not oid.endswith(".7.2")}),
    "px3": snmp_pdu.records(PX3),
    "px3-va": snmp_pdu.records(raritan_sensor(5, 31_415, unit=4, decimals=1)),
    "px3-out": snmp_pdu.records(raritan_sensor(5, 0, unit=3, decimals=0, available=2)),
    "ups": snmp_pdu.records({f"1.3.6.1.2.1.33.1.4.4.1.4.{line}": 1000 * line for line in (1, 2, 3)}),
    "own": snmp_pdu.records({"1.3.6.1.4.1.99999.1": 52, "1.3.6.1.4.1.99999.2": 3, "1.3.6.1.4.1.99999.3": 8}),
}


@pytest.fixture(scope="module")
def agent() -> Iterator[snmp_pdu.Agent]:
    """Return a responder with the hand-made devices."""
    with snmp_pdu.responding(DEVICES) as responder:
        yield responder


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> Iterator[snmp_pdu.Agent]:
    """Return a responder with the recorded walks."""
    walks = {walk.stem: walk for walk in (shared_data / "data" / "pdu_ups_snmp").glob("*.snmprec")}
    if not walks:
        pytest.skip("no recorded walks")
    with snmp_pdu.responding(walks) as responder:
        yield responder


class Site:
    """Makes settings whose secrets are files of a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port

    def secret(self, text: str, mode: int = 0o600) -> str:
        """Return the path of a file that holds *text*."""
        path = self._folder / f"{text}-{mode:o}"
        path.write_text(f"{text}\n", encoding="utf-8")
        path.chmod(mode)
        return str(path)

    def pdu(self, community: str, **rest: object) -> dict[str, object]:
        """Return the table of a PDU, named after the community that it answers to."""
        own = {"meter": community, "host": "127.0.0.1", "port": self._port, "model": "apc-rpdu2"}
        return own | {"community_file": self.secret(community)} | rest

    def pdu_v3(self, context: str, **rest: object) -> dict[str, object]:
        """Return the table of a PDU of the user whom the responder knows."""
        own = {"meter": context, "host": "127.0.0.1", "port": self._port, "model": "apc-rpdu2", "version": "3"}
        keys = {"auth_key_file": self.secret(snmp_pdu.AUTH_KEY), "priv_key_file": self.secret(snmp_pdu.PRIV_KEY)}
        return own | keys | {"user": snmp_pdu.USER, "context": context} | rest


@pytest.fixture
def site(tmp_path: Path, agent: snmp_pdu.Agent) -> Site:
    """Return the hand-made devices' site."""
    return Site(tmp_path, agent.port)


def settings(*pdus: dict[str, object], timeout_s: float = 1.0) -> snmp.Settings:
    """Return ``[source.snmp]`` of *pdus*, checked as a file is."""
    return msgspec.convert({"pdu": pdus, "timeout_s": timeout_s}, snmp.Settings)


def reading(*pdus: dict[str, object], timeout_s: float = 1.0) -> Reading:
    """Return what the source reads of *pdus*."""
    source = snmp.connect(settings(*pdus, timeout_s=timeout_s))
    try:
        return source.read(NOON)
    finally:
        source.close()


def only(*pdus: dict[str, object]) -> MeterSample:
    """Return the one sample of a reading without troubles."""
    given = reading(*pdus)
    assert given.troubles == ()
    (meter,) = given.meters
    return meter


def test_an_rpdu2_gives_hundredths_of_kilowatts_and_tenths_of_kilowatt_hours(site: Site) -> None:
    meter = only(site.pdu("ap8881"))

    assert meter == MeterSample(
        meter="ap8881", covers=Covers.RACK, power_w=4560.0, energy_j=1234.5 * 3.6e6, read_at=NOON
    )


def test_the_outlets_of_one_host_are_added_up(site: Site) -> None:
    meter = only(site.pdu("ap8881", outlets=(1, 2), covers="host"))

    assert (meter.covers, meter.power_w, meter.energy_j) == (Covers.HOST, 380.0, 30.0 * 3.6e6)


def test_a_sum_with_an_outlet_missing_is_no_sum(site: Site) -> None:
    """Outlet 2 has no power object: 250 W would pass for the host's draw. Its energy is all there."""
    given = reading(site.pdu("half", outlets=(1, 2)))

    assert [(meter.power_w, meter.energy_j) for meter in given.meters] == [(None, 30.0 * 3.6e6)]
    assert "half" in given.troubles[0]


def test_a_raritan_sensor_has_its_own_decimals_and_watt_hours(site: Site) -> None:
    """31 415 with one decimal is 3 141.5 W; 7 000 Wh are 25.2 MJ."""
    meter = only(site.pdu("px3", model="raritan-pdu2", lines=(1,)))

    assert (meter.power_w, meter.energy_j) == (3141.5, 25.2e6)


@pytest.mark.parametrize("device", ["px3-va", "px3-out"], ids=["in volt-amperes", "not available"])
def test_what_is_no_active_power_is_no_power(site: Site, device: str) -> None:
    with pytest.raises(SourceError, match=rf"{device} .*no power object"):
        reading(site.pdu(device, model="raritan-pdu2", lines=(1,)))


def test_the_lines_of_a_ups_are_added_up(site: Site) -> None:
    assert only(site.pdu("ups", model="ups-mib", lines=(1, 2, 3))).power_w == 6000.0


def test_objects_of_ones_own_have_a_unit_and_a_scale(site: Site) -> None:
    """52 and 3 tens of decawatts, as it were: 55 × 10 W; 8 MWh are 28.8 GJ."""
    power = {"oids": ["1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"], "unit": "W", "scale": 10}
    energy = {"oids": ["1.3.6.1.4.1.99999.3"], "unit": "MWh"}

    meter = only(site.pdu("own", model="oid", power=power, energy=energy))

    assert (meter.power_w, meter.energy_j) == (550.0, 28.8e9)


def test_version_3_authenticates_and_encrypts(site: Site) -> None:
    assert only(site.pdu_v3("ap8881")).power_w == 4560.0


def test_version_3_may_go_without_encryption(site: Site) -> None:
    assert only(site.pdu_v3("ap8881", user=snmp_pdu.OPEN_USER, priv_key_file="")).power_w == 4560.0


def test_a_device_that_wants_encryption_says_so(site: Site) -> None:
    with pytest.raises(SourceError, match="set priv_key_file"):
        reading(site.pdu_v3("ap8881", priv_key_file=""))


def test_an_ap8641_measures_power_and_energy(tmp_path: Path, recorded: snmp_pdu.Agent) -> None:
    """The walk: 121 hundredths of a kilowatt (1.31 kVA stand beside it), 19 516 tenths of a kilowatt-hour."""
    walk = Site(tmp_path, recorded.port)

    new, old = only(walk.pdu("apc-8641")), only(walk.pdu("apc-8641", model="apc-rpdu"))

    assert (new.power_w, new.energy_j) == (1210.0, 1951.6 * 3.6e6)
    assert (old.power_w, old.energy_j) == (1230.0, None)  # rPDUIdentDevicePowerWatts, beside 1 310 VA


@pytest.mark.parametrize(
    ("walk", "rest"),
    [
        ("apc-7902b", {"model": "apc-rpdu2"}),  # -1 in place of power and energy
        ("apc-7902b", {"model": "apc-rpdu"}),  # 192 "W": 1.6 A times the 120 V that were typed in
        ("tripplite-poweralert", {"model": "tripplite-ats", "lines": (1,)}),  # voltage, current, "calculated" kW
        ("tripplite-poweralert", {"model": "tripplite-pdu"}),
        ("vertiv-power", {"model": "liebert-pdu"}),  # a cooling unit
    ],
    ids=["7902b rpdu2", "7902b rpdu", "tripplite ats", "tripplite pdu", "vertiv"],
)
def test_a_device_that_measures_current_only_has_no_watts(
    tmp_path: Path, recorded: snmp_pdu.Agent, walk: str, rest: dict[str, object]
) -> None:
    pdu = Site(tmp_path, recorded.port).pdu(walk, **rest)

    with pytest.raises(SourceError, match=f"{walk} .* no power object of {rest['model']}"):
        reading(pdu)


def test_one_of_several_that_is_silent_is_a_trouble_and_holds_nobody_up(site: Site) -> None:
    """Three dead ones cost what one costs: they are asked at once."""
    dead = [site.pdu(f"dead{number}") for number in range(3)]
    began = time.monotonic()

    given = reading(site.pdu("ap8881"), *dead, timeout_s=1.0)

    assert [meter.meter for meter in given.meters] == ["ap8881"]
    assert [trouble.split()[0] for trouble in given.troubles] == ["dead0", "dead1", "dead2"]
    assert time.monotonic() - began < 2.9


def test_a_wrong_community_is_said_and_not_shown(site: Site) -> None:
    with pytest.raises(SourceError, match=r"no answer within 1 s.* community_file") as silent:
        reading(site.pdu("ap8881", community_file=site.secret("hush-hush")))

    assert "hush-hush" not in str(silent.value)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"auth_key_file": "another-phrase"}, "auth_key_file"),
        ({"priv_key_file": "another-phrase"}, "priv_key_file"),
        ({"user": "stranger"}, "no user 'stranger'"),
    ],
)
def test_a_wrong_key_is_named_and_not_shown(site: Site, changed: dict[str, str], what: str) -> None:
    wrong = {key: site.secret(text) if key.endswith("_file") else text for key, text in changed.items()}

    with pytest.raises(SourceError, match=what) as refused:
        reading(site.pdu_v3("ap8881", **wrong))

    shown = str(refused.value)
    assert not any(secret in shown for secret in ("another-phrase", snmp_pdu.AUTH_KEY, snmp_pdu.PRIV_KEY))


def test_a_pdu_that_is_switched_off_is_an_error_and_not_zero_watts(tmp_path: Path) -> None:
    with snmp_pdu.responding({"ap8881": DEVICES["ap8881"]}) as responder:
        source = snmp.connect(settings(Site(tmp_path, responder.port).pdu("ap8881")))
        try:
            before = source.read(NOON)
            responder.stop()
            with pytest.raises(SourceError, match="no answer"):
                source.read(NOON)
        finally:
            source.close()

    assert before.meters[0].power_w == 4560.0


def test_a_pdu_whose_card_was_replaced_is_read_again_by_version_3(tmp_path: Path) -> None:
    """Another engine id at the old address: what was learnt of the old one is forgotten after one failed reading."""
    with snmp_pdu.responding({"ap8881": DEVICES["ap8881"]}) as old:
        source = snmp.connect(settings(Site(tmp_path, old.port).pdu_v3("ap8881")))
        try:
            source.read(NOON)
            old.stop()
            with snmp_pdu.responding({"ap8881": DEVICES["ap8881"]}, old.port):
                with suppress(SourceError):
                    source.read(NOON)
                after = source.read(NOON)
        finally:
            source.close()

    assert after.meters[0].power_w == 4560.0


def test_a_host_that_has_no_address_is_a_trouble(site: Site) -> None:
    given = reading(site.pdu("ap8881"), site.pdu("lost", host="no-such-host.invalid"))

    assert [meter.meter for meter in given.meters] == ["ap8881"]
    assert given.troubles[0].startswith("lost (no-such-host.invalid:")


def test_a_secret_that_others_can_read_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="mode 0644") as refused:
        snmp.connect(settings(site.pdu("ap8881", community_file=site.secret("ap8881", 0o644))))

    assert "chmod 600" in str(refused.value)


def test_a_passphrase_shorter_than_the_standard_has_it_is_refused(site: Site) -> None:
    with pytest.raises(ConfigError, match="shorter than 8") as refused:
        snmp.connect(settings(site.pdu_v3("ap8881", auth_key_file=site.secret("seven77"))))

    assert "RFC 3414" in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"community_file": ""}, "needs community_file"),
        ({"version": "3", "user": "me"}, "needs user and auth_key_file"),
        ({"model": "oid"}, "belongs to model oid"),
        ({"power": {"oids": ["1.3"], "unit": "W"}}, "belongs to model oid"),
        ({"energy": {"oids": ["1.3"], "unit": "J"}}, "belongs to model oid"),
        ({"model": "raritan-pdu2"}, "needs lines"),
        ({"lines": (1,)}, "leave lines out"),
        ({"model": "ups-mib", "lines": (1,), "outlets": (1,)}, "no power of single outlets"),
        ({"outlets": (3, 3)}, "named twice"),
        ({"outlets": (0,)}, ">= 1"),
        ({"covers": "facility"}, "Invalid enum value 'facility'"),
        ({"model": "oid", "power": {"oids": ["1.3"], "unit": "VA"}}, "Invalid enum value 'VA'"),
        ({"model": "oid", "power": {"oids": ["sysUpTime"], "unit": "W"}}, "regex"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, changed: dict[str, object], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        settings(Site(tmp_path, 161).pdu("a") | changed)


def test_two_meters_of_one_name_are_refused(tmp_path: Path) -> None:
    pdu = Site(tmp_path, 161).pdu("a")

    with pytest.raises(msgspec.ValidationError, match="two meters are called 'a'"):
        settings(pdu, pdu)


def test_a_wrong_unit_in_the_file_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text(
        "[source.snmp]\n\n"
        '[[source.snmp.pdu]]\nmeter = "a"\nhost = "10.0.0.1"\ncommunity_file = "c"\nmodel = "oid"\n'
        'power.oids = ["1.3.6.1"]\n'
        'power.unit = "VA"\n',
        encoding="utf-8",
    )

    with pytest.raises(ConfigError, match=r"host.toml, line 9, section \[source.snmp\]: Invalid enum value 'VA'"):
        load(path, "source.snmp", snmp.Settings)


@given(st.lists(st.one_of(st.none(), st.integers(-1, 10**9)), min_size=1, max_size=6))
def test_a_sum_is_of_all_its_gauges_or_absent(counts: list[int | None]) -> None:
    gauges = tuple(Gauge(f"1.3.{number}", 10.0) for number in range(len(counts)))
    objects = {f"1.3.{number}": count for number, count in enumerate(counts) if count is not None}

    given_w = total(gauges, objects)

    if None in counts or -1 in counts:
        assert given_w is None
    else:
        assert given_w == 10.0 * sum(filter(None, counts))
