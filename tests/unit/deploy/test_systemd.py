"""The units as systemd reads them: correct, closed but for what firmwatt needs, and firmwatt runs within them."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doubles import unit_sandbox
from doubles.nvml import nvml_double
from doubles.tools import run, tool

from collectors.settings import Actuator

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
SANDBOX = Path(unit_sandbox.__file__)
COLLECTOR, ACTUATOR = "firmwatt-collect.service", "firmwatt-actuate.service"
CLOSED = {
    "ProtectSystem": "strict",
    "ProtectProc": "invisible",
    "KeyringMode": "private",
    "SystemCallArchitectures": "native",
    "LimitCORE": "0",
} | dict.fromkeys(
    (
        *("NoNewPrivileges", "RestrictSUIDSGID", "RestrictNamespaces", "RestrictRealtime", "LockPersonality"),
        *("ProtectHome", "PrivateTmp", "PrivateIPC", "PrivateMounts", "RemoveIPC", "MemoryDenyWriteExecute"),
        *("ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups"),
        *("ProtectClock", "ProtectHostname"),
    ),
    "yes",
)
DROP_INS = sorted(UNITS.glob("*.service.d/*.conf"))

KEYRING = 'dispatch-1 = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="'
"""An Ed25519 public key of RFC 8032, section 7.1, is of this length; nobody signs with it here."""

FORBIDDEN = """
import ctypes, errno, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def code(result): return ctypes.get_errno() if result < 0 else 0
told = {"mount": code(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None))}
told["setns"] = code(libc.setns(-1, 0))
told["bpf"] = code(libc.syscall(321, 0, None, 0))
told["ptrace"] = code(libc.ptrace(16, 1, None, None))
def refused(name, call):
    try:
        call()
        told[name] = 0
    except OSError as error:
        told[name] = error.errno
refused("writable code", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
refused("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
refused("chown", lambda: os.chown(sys.argv[1], os.geteuid(), os.getegid()))
refused("affinity", lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
sys.stdout.write(" ".join(name for name, number in told.items() if number not in (errno.EPERM, errno.EAFNOSUPPORT)))
"""


def installed(folder: Path, *drop_ins: Path) -> Path:
    """Return *folder* with both units, as installed but for their program, and with *drop_ins*."""
    for unit in (COLLECTOR, ACTUATOR):
        text = (UNITS / unit).read_text(encoding="utf-8")
        assert text.count("ExecStart=/opt/firmwatt/bin/firmwatt ") == 1
        (folder / unit).write_text(text.replace("/opt/firmwatt/bin/firmwatt", "/bin/true"), encoding="utf-8")
    for drop_in in drop_ins:
        beside = folder / drop_in.parent.name
        beside.mkdir(exist_ok=True)
        shutil.copy(drop_in, beside)
    return folder


def values(unit: str, key: str) -> list[str]:
    """Return what *unit* sets *key* to."""
    return unit_sandbox.settings(UNITS / unit, key)


def seconds(span: str) -> float:
    """Return a span of systemd in seconds."""
    return float(span.removesuffix("ms")) / 1000 if span.endswith("ms") else float(span)


@pytest.mark.parametrize("drop_ins", [[], DROP_INS], ids=["bare", "with every drop-in"])
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path, drop_ins: list[Path]) -> None:
    """An unknown key or a value it cannot read is a line on standard error, and the exit code stays 0."""
    folder = installed(tmp_path, *drop_ins)

    told = run("systemd-analyze", "verify", "--man=no", folder / COLLECTOR, folder / ACTUATOR)

    assert [line for line in told.stderr.splitlines() if "firmwatt" in line or str(folder) in line] == []
    assert told.returncode == 0


@pytest.mark.parametrize(("unit", "most"), [(COLLECTOR, 15), (ACTUATOR, 20)])
def test_the_exposure_that_systemd_sees_is_low(tmp_path: Path, unit: str, most: int) -> None:
    """In tenths: systemd 252 sees 14 and 18, and 96 in a unit without any of these lines."""
    folder = installed(tmp_path)

    told = run("systemd-analyze", "security", "--offline=true", f"--threshold={most}", "--no-pager", folder / unit)

    assert told.returncode == 0, told.stdout[-300:]


def test_the_collector_has_no_capability_and_the_actuator_one() -> None:
    assert values(COLLECTOR, "CapabilityBoundingSet") == values(COLLECTOR, "AmbientCapabilities") == [""]
    assert values(ACTUATOR, "CapabilityBoundingSet") == values(ACTUATOR, "AmbientCapabilities") == ["CAP_SYS_ADMIN"]


def test_rapl_costs_one_capability_and_no_other_drop_in_costs_any() -> None:
    given = {path.name: unit_sandbox.settings(path, "AmbientCapabilities") for path in DROP_INS}

    assert given == {"network.conf": [], "rapl.conf": ["CAP_DAC_READ_SEARCH"], "slurm.conf": []}


def test_the_two_processes_are_two_users_and_neither_is_root() -> None:
    assert values(COLLECTOR, "User") == ["firmwatt"]
    assert values(ACTUATOR, "User") == ["firmwatt-actuate"]


def test_nobody_can_connect_to_the_actuator_and_only_scrapers_to_the_collector() -> None:
    assert (values(ACTUATOR, "SocketBindDeny"), values(ACTUATOR, "SocketBindAllow")) == (["any"], [])
    assert (values(COLLECTOR, "SocketBindDeny"), values(COLLECTOR, "SocketBindAllow")) == (["tcp"], ["tcp:9465"])


@pytest.mark.parametrize("unit", [COLLECTOR, ACTUATOR])
def test_neither_may_open_what_runs_programs_on_a_gpu(unit: str) -> None:
    """/dev/nvidia-uvm is not among the devices, and nothing opens all of NVIDIA's."""
    assert values(unit, "DevicePolicy") == ["closed"]
    assert values(unit, "DeviceAllow") == ["char-195 rw", "char-nvidia-caps r"]


@pytest.mark.parametrize("unit", [COLLECTOR, ACTUATOR])
def test_what_neither_needs_is_closed(unit: str) -> None:
    """The rating of systemd itself would let one or two of these go."""
    closed = {key: values(unit, key) for key in CLOSED}

    assert closed == {key: [how] for key, how in CLOSED.items()}


@pytest.mark.parametrize("unit", [COLLECTOR, ACTUATOR])
def test_a_mistake_in_the_settings_is_not_started_again_and_everything_else_is(unit: str) -> None:
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "RestartPreventExitStatus") == ["2"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]


def test_systemd_waits_for_the_way_back_and_notices_a_pulse_that_stops() -> None:
    """The way back takes `release_s` and a stage of delay; a start after a crash is to be over within two seconds."""
    usual = Actuator(keyring="", journal="")
    longest_s = usual.release_s + usual.release_s / usual.release_stages

    assert values(ACTUATOR, "Type") == ["notify"]
    assert seconds(values(ACTUATOR, "TimeoutStopSec")[0]) >= 2 * longest_s
    assert seconds(values(ACTUATOR, "WatchdogSec")[0]) >= 10 * usual.period_ms / 1000
    assert seconds(values(ACTUATOR, "RestartSec")[0]) <= 0.5
    assert values(ACTUATOR, "KillMode") == ["mixed"]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Return a root with both users and all folders."""
    if os.geteuid() != 0:
        pytest.skip("only root makes users and folders that are theirs")
    for folder in ("etc/firmwatt/collect", "run"):
        (tmp_path / folder).mkdir(parents=True)
    secret = tmp_path / "etc/firmwatt/collect/bmc"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    for name in ("sysusers", "tmpfiles"):
        shutil.copy(UNITS / f"firmwatt.{name}.conf", tmp_path)
    made = run("systemd-sysusers", f"--root={tmp_path}", tmp_path / "firmwatt.sysusers.conf")
    assert made.returncode == 0, made.stderr
    made = run("systemd-tmpfiles", f"--root={tmp_path}", "--create", tmp_path / "firmwatt.tmpfiles.conf")
    assert made.returncode == 0, made.stderr
    return tmp_path


def test_users_cannot_log_in_and_folders_are_whose_they_must_be(users: Path) -> None:
    """A secret that was copied with too wide a mode is narrowed, before firmwatt refuses it."""
    passwd = (users / "etc/passwd").read_text()
    numbers = {line.split(":")[0]: int(line.split(":")[2]) for line in passwd.splitlines()}

    def seen(path: str) -> tuple[int, int]:
        status = (users / path).stat()
        return stat.S_IMODE(status.st_mode), status.st_uid

    assert len(re.findall(r"^firmwatt(?:-actuate)?:.*:/usr/sbin/nologin$", passwd, re.MULTILINE)) == 2
    assert seen("etc/firmwatt") == (0o755, 0)
    assert seen("etc/firmwatt/collect") == (0o700, numbers["firmwatt"])
    assert seen("etc/firmwatt/collect/bmc") == (0o600, numbers["firmwatt"])
    assert seen("etc/firmwatt/actuate") == (0o700, numbers["firmwatt-actuate"])
    assert seen("run/firmwatt/tokens") == (0o1777, 0)


# ---------------------------------------------------------------- within the units' own system-call rules


def within(unit: str, *command: str) -> list[str]:
    """Return *command*, a Python's arguments, as to be run under the rules of *unit*; skip where they cannot be."""
    tool("systemd-analyze")
    if unit_sandbox.library() is None:
        pytest.skip("no libseccomp: install systemd")
    return [sys.executable, str(SANDBOX), str(UNITS / unit), sys.executable, *command]


@pytest.fixture
def gpus(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a host with two GPUs of the NVML stand-in."""
    if nvml_double.compile(tmp_path) is None:
        pytest.skip("the NVML stand-in needs a C compiler (cc)")
    state = nvml_double.State.create(tmp_path / "gpus", gpus=2, profile="h100")
    return os.environ | nvml_double.environment(tmp_path, state)


def test_the_collector_measures_within_its_unit(tmp_path: Path, gpus: dict[str, str]) -> None:
    """NVML by ctypes, TLS by cryptography: none of them needs memory that is both writable and code."""
    config = tmp_path / "firmwatt.toml"
    config.write_text("[collector]\n")

    told = subprocess.run(
        within(COLLECTOR, "-m", "deploy", "collect", "once", "--config", str(config)),
        check=False,
        capture_output=True,
        text=True,
        env=gpus,
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout.count('"uuid":"GPU-') == 2


def test_the_actuator_starts_and_stops_within_its_unit(tmp_path: Path, gpus: dict[str, str]) -> None:
    """No broker is there: it tells systemd that it is alive all the same, and SIGTERM ends it."""
    config, metrics, keyring = tmp_path / "firmwatt.toml", tmp_path / "actuate.prom", tmp_path / "keyring.toml"
    keyring.write_text(KEYRING)
    keyring.chmod(0o644)
    config.write_text(
        f'[kafka]\nbootstrap = "127.0.0.1:1"\n[actuator]\nkeyring = "{keyring}"\n'
        f'journal = "{tmp_path / "journal.json"}"\nmetrics = "{metrics}"\n'
    )
    command = within(ACTUATOR, "-m", "deploy", "actuate", "--config", str(config))
    name = f"firmwatt-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        environment = gpus | {"NOTIFY_SOCKET": f"@{name}"}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as actuator:
            until_s = time.monotonic() + 20
            while not metrics.exists() and actuator.poll() is None and time.monotonic() < until_s:
                time.sleep(0.05)
            actuator.send_signal(signal.SIGTERM)
            _, told = actuator.communicate(timeout=40)
        manager.setblocking(False)
        words = list(iter(lambda: _word(manager), ""))

    assert metrics.exists(), told
    assert "firmwatt_actuator_info" in metrics.read_text()
    assert actuator.returncode == 0, told
    assert "WATCHDOG=1" in words
    assert words[-1] == "STOPPING=1"


def _word(manager: socket.socket) -> str:
    """Return what a service manager was told next, nothing at the end."""
    try:
        return manager.recv(4096).decode()
    except BlockingIOError:
        return ""


def test_what_the_actuators_capability_would_allow_is_refused_by_its_unit(tmp_path: Path) -> None:
    """Mounting, entering namespaces, loading BPF and attaching to processes have no system call left."""
    command = within(ACTUATOR, "-c", FORBIDDEN, str(tmp_path))

    told = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (told.returncode, told.stdout) == (0, ""), told.stderr
