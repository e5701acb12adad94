"""`firmwatt actuate` as a process, over the stand-in library and a real Apache Kafka."""

import json
import signal
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from doubles.commands import KEY_2, KEY_ID, KEY_ID_2, PUBLIC, PUBLIC_2, STRANGER, cap, keyring_text, lease, signed
from doubles.dispatcher import SPEED, dispatching
from doubles.gpu_host import DEADLINE_S, GpuHost, eventually
from doubles.nvml import competitor
from doubles.nvml.nvml_double import CAPPED

from deploy.broker import node, ports
from pipeline import files
from pipeline.clock import Clock, real_clock_from
from pipeline.kafka import ensure_topics
from pipeline.messages.control import AckStatus, SignedCommand
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS

pytestmark = pytest.mark.broker


@pytest.fixture
def clock() -> Clock:
    """Return a clock that runs fast."""
    return real_clock_from(Clock().now(), SPEED)


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GpuHost]:
    """Return a host with two H100s, named after the test, whatever runs on it killed in the end."""
    made = GpuHost.make(request.node.name, tmp_path)
    yield made
    made.stop()


async def test_a_lease_is_applied_measured_acknowledged_and_released(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """Two GPUs at 629.45 W go to 400 W, and back to 700 W before the lease is over."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")

    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=60)
        applied = await desk.answer()
        limits_w = host.limits_w()
        released = await desk.answer()
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(10) == 0
    assert (applied.status, applied.seq, applied.simulated) == (AckStatus.APPLIED, 1, True)
    assert applied.before_w == pytest.approx(1258.9, abs=1)
    assert applied.after_w == pytest.approx(800, abs=5)
    assert limits_w == [400, 400]
    assert applied.latency_ms is not None
    assert applied.set_ms is not None
    assert 0 < applied.set_ms < applied.latency_ms < 5000
    assert (released.status, released.command_id) == (AckStatus.RELEASED, applied.command_id)
    assert host.limits_w() == [700, 700]


async def test_killed_in_the_middle_and_started_again_it_goes_on(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """Kill -9 leaves the cap in force; the next start holds it until the lease's end and puts the limits back."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=120)
        await desk.answer()
        actuate.kill()
        actuate.wait()
        left_w = host.limits_w()

        host.start("actuate")
        held_w = host.limits_w()
        released = await desk.answer()

    assert left_w == held_w == [400, 400]
    assert released.status is AckStatus.RELEASED
    assert host.limits_w() == [700, 700]
    assert "found of an earlier run: 2 controls touched, 1 leases" in host.log("actuate")


async def test_sigterm_walks_back_in_stages_and_leaves_nothing_behind(
    host: GpuHost, kafka: Kafka, clock: Clock
) -> None:
    """Every limit rises to 700 W in four stages of 75 W, and only then the process ends."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        await desk.answer()
        actuate.send_signal(signal.SIGTERM)
        released = await desk.answer()

    assert actuate.wait(10) == 0
    assert host.limits_w() == [700, 700]
    rising = host.state.limits_set_w(0)
    assert rising[0] == 400
    assert rising == sorted(rising)
    assert set(rising) <= {400, 475, 550, 625, 700}
    assert (released.status, released.reason) == (AckStatus.RELEASED, "stopped")


async def test_a_lease_ends_with_kafka_down(host: GpuHost, fresh_kafka: Kafka, tmp_path: Path, clock: Clock) -> None:
    """Nobody is left to tell it; it still acknowledged what it could, and stops cleanly afterwards."""
    host.configure(fresh_kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, fresh_kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=60)
        await desk.answer()

    node.stop(tmp_path / "broker")
    held_w = host.limits_w()
    eventually(lambda: host.limits_w() == [700, 700] or None, "limits are back")
    actuate.send_signal(signal.SIGTERM)

    assert held_w == [400, 400]
    assert actuate.wait(20) == 0


async def test_silence_lets_go_of_a_lease_before_it_ends(
    host: GpuHost, fresh_kafka: Kafka, tmp_path: Path, clock: Clock
) -> None:
    """A lease of 45 s on the machine's clock, Kafka gone at once: five seconds without an answer are silence."""
    host.configure(fresh_kafka, clock)
    host.amend("[actuator]", "[actuator]\nsilence_s = 100")
    host.start("actuate")
    async with dispatching(host, fresh_kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=900)
        await desk.answer()
        ends_at = clock.now() + timedelta(seconds=880)

    node.stop(tmp_path / "broker")
    eventually(lambda: host.limits_w() == [700, 700] or None, "limits are back")

    assert clock.now() < ends_at
    assert "letting go before the lease's end: silence: no contact with Kafka" in host.log("actuate")


async def test_a_command_sent_while_it_was_down_is_obeyed_if_it_still_holds(
    host: GpuHost, kafka: Kafka, clock: Clock
) -> None:
    """Of two commands that waited, one has expired; it is passed over without an answer."""
    host.configure(kafka, clock)
    async with dispatching(host, kafka, clock) as desk:
        await desk.sender.send(
            COMMANDS,
            signed(lease(1, cap(500), begins=clock.now() - timedelta(seconds=90), lasts_s=60, host=host.name)),
        )
        await desk.cap(2, 400, lasts_s=600)
        host.start("actuate")
        answer = await desk.answer()

    assert (answer.status, answer.seq) == (AckStatus.APPLIED, 2)


async def test_what_must_not_be_obeyed_is_refused_with_its_reason(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """A stranger's signature, bytes that are no message, another host's command; then a good one still works."""
    host.configure(kafka, clock)
    host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        command = lease(1, cap(400), begins=clock.now(), lasts_s=600, host=host.name)
        await desk.sender.send(COMMANDS, signed(command, key=STRANGER))
        refused = await desk.answer()
        for garbage in (b"", b"\x00\xff", b"{}", b"[]", None):
            await desk.sender._producer.send_and_wait(COMMANDS.name, garbage, key=host.name.encode())
        await desk.sender._producer.send_and_wait(COMMANDS.name, b"not for us", key=b"other-host")
        await desk.cap(1, 400, lasts_s=600)
        answers = [await desk.answer()]
        while answers[-1].status is AckStatus.REFUSED:
            answers.append(await desk.answer())

    assert (refused.status, refused.command_id) == (AckStatus.REFUSED, "")
    assert "bad_signature" in (refused.reason or "")
    assert {answer.status for answer in answers[:-1]} <= {AckStatus.REFUSED}
    assert answers[-1].status is AckStatus.APPLIED


@pytest.mark.parametrize("counts", [True, False])
async def test_a_driver_without_event_reasons_is_asked_for_its_counter(
    tmp_path: Path, kafka: Kafka, clock: Clock, *, counts: bool
) -> None:
    """The symbol is missing, its older name too: field 74 tells whether the cap binds, and without it nobody does."""
    names = [f"nvmlDeviceGetCurrentClocks{word}Reasons" for word in ("Event", "Throttle")]
    host = GpuHost.make(f"no-reasons-{counts}", tmp_path, gpus=1, without=names)
    if not counts:
        host.state.gpu(0).unsupported[0] = CAPPED
    host.configure(kafka, clock)
    try:
        host.start("actuate")
        async with dispatching(host, kafka, clock) as desk:
            await desk.cap(1, 400, lasts_s=600)
            (gpu,) = (await desk.answer()).gpus
    finally:
        host.stop()

    assert (gpu.requested_w, gpu.binding) == (400, True if counts else None)


async def test_a_dry_run_says_what_it_would_do_and_touches_nothing(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    host.configure(kafka, clock)
    actuate = host.start("actuate", "--dry-run")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        eventually(lambda: "would set" in host.log("actuate") or None, "it says so")
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(10) == 0
    assert host.limits_w() == [700, 700]
    assert [gpu.set_calls for gpu in host.state.gpus] == [0, 0]
    assert not host.journal.exists()


def test_without_kafka_it_says_so_and_puts_back_what_it_found(host: GpuHost, clock: Clock) -> None:
    """The way back does not need a broker; the process stays and looks for one again and again."""
    host.configure(Kafka(bootstrap="127.0.0.1:9"), clock)
    host.state.gpu(0).requested_mw = 400_000
    touched = {"power": {host.state.uuid(0): {"previous": 700.0, "level": 400.0, "highest": 700.0}}}
    host.journal.write_text(json.dumps({"highest_seq": 4, "touched": touched}))

    actuate = host.launch("actuate")
    eventually(lambda: host.limits_w() == [700, 700] or None, "limits are back")
    eventually(lambda: "no Kafka at 127.0.0.1:9" in host.log("actuate") or None, "it says so")
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(10) == 0


def test_without_keys_it_puts_back_what_it_found_and_then_says_so(host: GpuHost, clock: Clock) -> None:
    """A mistake in the keyring must not leave a fleet capped: whom to obey is not needed for letting go."""
    host.configure(Kafka(bootstrap="127.0.0.1:9"), clock)
    host.state.gpu(0).requested_mw = 400_000
    touched = {"power": {host.state.uuid(0): {"previous": 700.0, "level": 400.0, "asked": [400.0], "highest": 700.0}}}
    host.journal.write_text(json.dumps({"highest_seq": 4, "touched": touched}))
    (host.folder / "keys.toml").write_text("dispatch = 5\n")

    done = host.run("actuate")

    assert done.returncode == 2
    assert "keys.toml" in done.stderr
    assert host.limits_w() == [700, 700]


async def test_it_finds_kafka_again_and_obeys(host: GpuHost, tmp_path: Path, clock: Clock) -> None:
    """Started before the broker."""
    port = ports.free()
    host.configure(Kafka(bootstrap=f"127.0.0.1:{port}"), clock)
    host.launch("actuate")
    eventually(lambda: "no Kafka" in host.log("actuate") or None, "it has looked for it")

    late = await node.start(tmp_path / "late", port=port, heap_mb=256, detach=False)
    try:
        await ensure_topics(late.kafka, [COMMANDS, ACKS])
        eventually(lambda: "obeys signed leases" in host.log("actuate") or None, "it is ready")
        async with dispatching(host, late.kafka, clock) as desk:
            await desk.cap(1, 400, lasts_s=600)
            answer = await desk.answer()
    finally:
        node.stop(tmp_path / "late")

    assert answer.status is AckStatus.APPLIED


async def test_keys_are_rotated_without_a_restart(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """Both keys hold while both are in the file; afterwards the old one's commands are refused."""
    host.configure(kafka, clock)
    host.start("actuate")
    keys = host.folder / "keys.toml"

    def signed_by_2(seq: int) -> SignedCommand:
        command = lease(seq, cap(500), begins=clock.now(), lasts_s=600, host=host.name)
        return signed(command, key=KEY_2, key_id=KEY_ID_2)

    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        answers = [await desk.answer()]
        files.replace(keys, keyring_text({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2}).encode())
        await desk.sender.send(COMMANDS, signed_by_2(2))
        answers.append(await desk.answer())
        await desk.cap(3, 400, lasts_s=600)
        answers.append(await desk.answer())
        files.replace(keys, keyring_text({KEY_ID_2: PUBLIC_2}).encode())
        await desk.cap(4, 300, lasts_s=600)
        answers.append(await desk.answer())
        await desk.sender.send(COMMANDS, signed_by_2(5))
        answers.append(await desk.answer())

    applied, refused = AckStatus.APPLIED, AckStatus.REFUSED
    assert [answer.status for answer in answers] == [applied, applied, applied, refused, applied]
    assert (answers[3].reason or "").startswith("unknown_key")


async def test_a_competing_controller_is_reported_and_not_fought(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """It says 700 W five times a second to one GPU; the other GPU's lease is not disturbed."""
    host.configure(kafka, clock)
    host.amend("[actuator]", "[actuator]\nreconcile_s = 0.3")
    host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        await desk.cap(1, 400, lasts_s=600)
        await desk.answer()
        with competitor.running(host.folder, host.state, gpus=(0,), limit_w=700, every_ms=100):
            conflict = await desk.answer()
            own = [limit_w for limit_w in host.state.limits_set_w(0) if limit_w == 400]

    assert conflict.status is AckStatus.CONFLICT
    assert [(one.subject, one.found) for one in conflict.controls] == [(host.state.uuid(0), 700)]
    assert len(own) == 3, "the first time, and twice anew"
    assert host.limits_w()[1] == 400


async def test_what_it_says_of_itself(host: GpuHost, kafka: Kafka, clock: Clock) -> None:
    """A page for Prometheus, in a file: it opens no port."""
    host.configure(kafka, clock)
    actuate = host.start("actuate")
    async with dispatching(host, kafka, clock) as desk:
        await desk.sender.send(COMMANDS, signed(lease(1, cap(400), host=host.name), key=STRANGER))
        await desk.answer()
        await desk.cap(1, 400, lasts_s=600)
        await desk.answer()
        page = eventually(lambda: said(host, "firmwatt_actuator_held", 'kind="power"') == 2 or None, "the page says so")
        listening = [one for one in psutil.Process(actuate.pid).net_connections("tcp") if one.status == "LISTEN"]

    assert page
    assert said(host, "firmwatt_actuator_commands_refused_total", 'reason="bad_signature"') == 1
    assert said(host, "firmwatt_actuator_commands_accepted_total") == 1
    assert said(host, "firmwatt_actuator_limit_watts", host.state.uuid(0)) == 400
    assert said(host, "firmwatt_actuator_overdue") == 0
    assert listening == []


async def test_a_service_manager_hears_when_it_is_ready_alive_and_stopping(
    host: GpuHost, kafka: Kafka, clock: Clock
) -> None:
    """The protocol of sd_notify, over a real socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(host.folder / "notify"))
        manager.settimeout(DEADLINE_S)
        host.configure(kafka, clock)
        host.extra = {"NOTIFY_SOCKET": str(host.folder / "notify")}
        actuate = host.start("actuate")
        words = heard_until(manager, "READY=1")
        actuate.send_signal(signal.SIGTERM)
        heard_until(manager, "STOPPING=1")

    assert "WATCHDOG=1" in words
    assert actuate.wait(10) == 0


def heard_until(manager: socket.socket, word: str) -> set[str]:
    """Return what a service manager hears until it hears *word*."""
    heard: set[str] = set()
    while word not in heard:
        heard |= set(manager.recv(4096).decode().splitlines())
    return heard


def said(host: GpuHost, metric: str, label: str = "") -> float | None:
    """Return a figure of the actuator's page."""
    page = host.folder / "actuate.prom"
    lines = page.read_text().splitlines() if page.exists() else []
    return next((float(line.split()[-1]) for line in lines if line.startswith(metric) and label in line), None)


def test_without_a_keyring_it_does_not_start(host: GpuHost) -> None:
    (host.folder / "keys.toml").unlink()

    done = host.run("actuate")

    assert done.returncode == 2
    assert "cannot read" in done.stderr


async def test_sigterm_before_it_listens_still_puts_everything_back(host: GpuHost, clock: Clock) -> None:
    """Stopped in the first moments of a start, with limits of an earlier run in force."""
    host.configure(Kafka(bootstrap="127.0.0.1:9"), clock)
    host.state.gpu(0).requested_mw = 400_000
    touched = {"power": {host.state.uuid(0): {"previous": 700.0, "level": 400.0, "asked": [400.0], "highest": 700.0}}}
    host.journal.write_text(json.dumps({"highest_seq": 4, "touched": touched}))

    actuate = host.launch("actuate")
    eventually(lambda: blocks_sigterm(actuate.pid) or None, "it lets SIGTERM wait")
    actuate.send_signal(signal.SIGTERM)

    assert actuate.wait(20) == 0
    assert host.limits_w() == [700, 700]


def blocks_sigterm(pid: int) -> bool:
    """Tell whether a process has SIGTERM (15) in its mask of blocked signals (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(mask >> (signal.SIGTERM - 1) & 1)
