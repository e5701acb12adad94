"""
The stand-ins of what control turns, other than NVML: a host's clock, a BMC, a Slurm, an engine, signed commands.

What a lever is tested against has to be right by itself. Processes here are real ones.
"""

import http.client
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from doubles import admission_server, redfish_tree
from doubles.commands import (
    KEY_2,
    KEY_ID,
    KEY_ID_2,
    NOON,
    PUBLIC,
    PUBLIC_2,
    admission,
    cap,
    clock,
    keyring_text,
    lease,
    signed,
)
from doubles.gpu_host import eventually
from doubles.hostclock import hostclock
from doubles.hostclock.hostclock import HostClock
from doubles.nvml import nvml_double
from doubles.redfish_limits import TASKS, Limits, Patch
from doubles.redfish_tree import CHASSIS, SYSTEMS, Bmc
from doubles.slurm_control import Call, Slurm

from collectors.admit import Keyring
from pipeline.clock import wall
from pipeline.messages.telemetry import Tier

# A host's clock

TELL = """
import datetime, sys, threading, time
for line in sys.stdin:
    began = time.monotonic()
    threading.Event().wait(0.01)
    waited = time.monotonic() - began
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    print(time.time(), now, time.monotonic(), boot, waited, flush=True)
"""


class Told(NamedTuple):
    """What a process says of time, in seconds."""

    wall: float
    now: float
    monotonic: float
    boot: float
    waited: float


class Teller:
    """A process that is asked for the time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self) -> Told:
        """Return what it says just now."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\n")
        stdin.flush()
        return Told(*map(float, stdout.readline().split()))


@pytest.fixture
def host_clock(tmp_path: Path) -> HostClock:
    """Return a clock that shows the true time."""
    library = hostclock.compile(tmp_path)
    if library is None:
        pytest.skip("the host's clock needs a C compiler (cc)")
    return HostClock(library)


@contextmanager
def telling(environment: dict[str, str], script: str = TELL) -> Iterator[Teller]:
    """Run a process that tells the time until the block ends."""
    line = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, env=os.environ | environment, stdin=pipe, stdout=pipe, text=True) as process:
        yield Teller(process)
        assert process.stdin is not None
        process.stdin.close()


def test_a_running_process_s_wall_clock_is_stepped_and_its_monotonic_one_is_not(host_clock: HostClock) -> None:
    """An hour ahead, then an hour behind; waits take as long as they do."""
    with telling(host_clock.environment()) as process:
        true = process.ask()
        host_clock.step(3600)
        ahead = process.ask()
        host_clock.step(-7200)
        behind = process.ask()
        host_clock.mend()
        mended = process.ask()

    for told, offset_s in ((true, 0), (ahead, 3600), (behind, -3600), (mended, 0)):
        passed_s = told.monotonic - true.monotonic
        assert told.wall - true.wall == pytest.approx(passed_s + offset_s, abs=0.5)
        assert told.now - told.wall == pytest.approx(0, abs=0.5)
        assert told.boot - true.boot == pytest.approx(passed_s, abs=0.5)
        assert 0.01 <= told.waited < 5
    assert mended.monotonic - true.monotonic < 30


def test_a_process_without_it_sees_true_time(host_clock: HostClock) -> None:
    host_clock.step(-3600)

    with telling({}) as process:
        assert process.ask().wall == pytest.approx(wall(), abs=30)
    assert host_clock.offset_s == -3600


STAMP = """
import pynvml, sys, time
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
for line in sys.stdin:
    (field,) = pynvml.nvmlDeviceGetFieldValues(gpu, [186])
    print(time.time(), field.timestamp / 1e6, 0, 0, 0, flush=True)
"""


def test_gpus_do_not_live_by_the_clock_of_the_process_that_reads_them(host_clock: HostClock, tmp_path: Path) -> None:
    """The process believes that it is an hour later; its GPUs stamp their readings with the true time."""
    nvml_double.compile(tmp_path)
    state = nvml_double.State.create(tmp_path / "gpus", gpus=1)
    host_clock.step(3600)

    with telling(nvml_double.environment(tmp_path, state) | host_clock.environment(), STAMP) as process:
        told = process.ask()

    assert told.now == pytest.approx(wall(), abs=30)
    assert told.wall - told.now == pytest.approx(3600, abs=30)


# A BMC that takes set-points

GPU = f"{SYSTEMS}/HGX_Baseboard_0/Processors/GPU_SXM_1/EnvironmentMetrics"
NODE = f"{CHASSIS}/Node/EnvironmentMetrics"


class Reply(NamedTuple):
    """What a server said."""

    status: int
    document: Any
    headers: dict[str, str]


def ask(url: str, method: str = "GET", body: object = None, **headers: str) -> Reply:
    """Ask a server; underscores in names of headers stand for hyphens, bytes are sent as they are."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, parts.path, sent, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        text = answer.read()
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, json.loads(text) if text else None, names)
    finally:
        connection.close()


def set_point(limit_w: float) -> dict[str, Any]:
    """Return the body that asks for a limit."""
    return {"PowerLimitWatts": {"SetPoint": limit_w}}


def message(reply: Reply) -> str:
    """Return the name of the message in a refusal."""
    (info,) = reply.document["error"]["@Message.ExtendedInfo"]
    assert info["Message"]
    name: str = info["MessageId"]
    return name.rpartition(".")[2]


def patch(bmc: Bmc, body: object, path: str = GPU, **headers: str) -> Reply:
    """Write to a resource."""
    return ask(f"{bmc.url}{path}", "PATCH", body, **headers)


def limit_of(bmc: Bmc, path: str = GPU) -> float:
    """Return a resource's set-point, as a client reads it."""
    limit_w: float = ask(f"{bmc.url}{path}").document["PowerLimitWatts"]["SetPoint"]
    return limit_w


@contextmanager
def serving(**limits: Any) -> Iterator[Bmc]:
    """Serve a node with one GPU and a limit of its own, 1000 to 6000 W."""
    with redfish_tree.serve(redfish_tree.server(gpus=1, limit_w=(1000, 6000)), limits=Limits(**limits)) as bmc:
        yield bmc


@pytest.mark.parametrize(("replies", "document"), [(200, True), (204, False)])
def test_a_set_point_is_taken(replies: int, document: bool) -> None:  # noqa: FBT001 - a case of the table
    with serving(replies=replies) as bmc:
        reply = patch(bmc, set_point(400))

        assert (reply.status, reply.document is not None) == (replies, document)
        assert (limit_of(bmc), limit_of(bmc, NODE)) == (400, 6000)
        assert bmc.limits.set_points(GPU) == [400]


def test_the_draw_follows_the_lower_of_demand_and_set_point_at_the_next_look() -> None:
    with serving(demand_w={GPU: 650, NODE: 5200}) as bmc:

        def draw_w(path: str) -> float:
            reading_w: float = ask(f"{bmc.url}{path}").document["PowerWatts"]["Reading"]
            return reading_w

        assert (draw_w(GPU), draw_w(NODE)) == (650, 5200)
        patch(bmc, set_point(400))
        patch(bmc, set_point(5500), NODE)
        assert (draw_w(GPU), draw_w(NODE)) == (400, 5200)
        patch(bmc, set_point(3000), NODE)
        assert draw_w(NODE) == 3000
        patch(bmc, {"PowerLimitWatts": {"ControlMode": "Disabled"}}, NODE)
        assert draw_w(NODE) == 5200


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (set_point(199), 400, "PropertyValueOutOfRange"),
        (set_point(701), 400, "PropertyValueOutOfRange"),
        ({"PowerLimitWatts": {"SetPoint": "400"}}, 400, "PropertyValueTypeError"),
        ({"PowerLimitWatts": 400}, 400, "PropertyValueTypeError"),
        ({"PowerLimitWatts": {"AllowableMax": 900}}, 400, "PropertyNotWritable"),
        ({"PowerWatts": {"Reading": 1}}, 400, "PropertyNotWritable"),
        ({"Colour": "red"}, 400, "PropertyUnknown"),
        (b"{", 400, "MalformedJSON"),
        ([], 400, "MalformedJSON"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(body: object, status: int, name: str) -> None:
    """A GPU takes 200 to 700 W."""
    with serving() as bmc:
        reply = patch(bmc, body)

        assert (reply.status, message(reply)) == (status, name)
        assert limit_of(bmc) == 700
        assert [made.status for made in bmc.limits.patches] == [status]
        assert bmc.limits.set_points(GPU) == []


@pytest.mark.parametrize(
    ("limits", "path", "status", "name"),
    [
        ({"read_only": True}, GPU, 403, "InsufficientPrivilege"),
        ({"is_writable": False}, GPU, 405, "OperationNotAllowed"),
        ({}, f"{CHASSIS}/Node", 405, "OperationNotAllowed"),
        ({}, f"{CHASSIS}/Nowhere", 404, "ResourceMissingAtURI"),
        ({"demands_etag": True}, GPU, 428, "PreconditionRequired"),
    ],
)
def test_what_may_not_be_written_is_refused(limits: dict[str, bool], path: str, status: int, name: str) -> None:
    with serving(**limits) as bmc:
        reply = patch(bmc, set_point(400), path)

        assert (reply.status, message(reply)) == (status, name)


@pytest.mark.parametrize("etag_in_body", [False, True])
def test_an_etag_lets_change_what_nobody_has_changed_since(etag_in_body: bool) -> None:  # noqa: FBT001 - a case
    """Another client's change makes it stale, and so does our own."""
    with serving(demands_etag=True, etag_in_body=etag_in_body) as bmc:

        def etag() -> str:
            reply = ask(f"{bmc.url}{GPU}")
            found: str = reply.document["@odata.etag"] if etag_in_body else reply.headers["etag"]
            return found

        before = etag()
        assert etag() == before
        assert patch(bmc, set_point(400), If_Match=before).status == 200
        stale = patch(bmc, set_point(500), If_Match=before)
        assert (stale.status, message(stale)) == (412, "PreconditionFailed")
        current = etag()
        bmc.limits.change(bmc.tree, GPU, SetPoint=650)
        assert patch(bmc, set_point(500), If_Match=current).status == 412
        assert patch(bmc, set_point(500), If_Match="*").status == 200

        body = json.dumps(set_point(400)).encode()
        assert bmc.limits.patches[0] == Patch(GPU, body, before, 200)
        assert [made.status for made in bmc.limits.patches] == [200, 412, 412, 200]
        assert bmc.limits.set_points(GPU) == [400, 500]


def test_a_task_makes_the_change_after_some_looks() -> None:
    """Two at the resource: the first still shows 700 W."""
    with serving(takes_gets=2) as bmc:
        reply = patch(bmc, set_point(400))

        assert (reply.status, reply.headers["location"]) == (202, f"{TASKS}/1")
        assert [limit_of(bmc) for _ in range(3)] == [700, 400, 400]


@pytest.mark.parametrize(("fails", "end", "limit_w"), [(False, 204, 400), (True, 500, 700)])
def test_a_task_is_asked_how_it_went(fails: bool, end: int, limit_w: float) -> None:  # noqa: FBT001 - a case
    with serving(takes_gets=3, task_fails=fails) as bmc:
        monitor = bmc.url + patch(bmc, set_point(400)).headers["location"]

        assert [ask(monitor).status for _ in range(4)] == [202, 202, end, 404]
        assert limit_of(bmc) == limit_w


def test_a_bmc_may_say_yes_and_do_nothing() -> None:
    with serving(ignores=True) as bmc:
        assert patch(bmc, set_point(400)).status == 200
        assert limit_of(bmc) == 700


def test_nothing_is_written_without_a_login() -> None:
    with redfish_tree.serve(redfish_tree.server(gpus=1), user="fw", password="secret") as bmc:
        assert patch(bmc, set_point(400)).status == 401
        assert bmc.limits.patches == []


# A Slurm whose jobs are paused


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    """Return a cluster that runs jobs 42 and 43."""
    made = Slurm(tmp_path / "slurm")
    made.run(42, "n1", "gpu:h100:2(IDX:0-1)")
    made.run(43)
    return made


class Ran(NamedTuple):
    """What a program said."""

    code: int
    out: str
    error: str


def scontrol(slurm: Slurm, *words: str) -> Ran:
    """Run `scontrol`."""
    run = subprocess.run([slurm.path, *words], capture_output=True, text=True, timeout=60, check=False)
    return Ran(run.returncode, run.stdout, run.stderr)


def test_a_job_is_suspended_and_resumed(slurm: Slurm) -> None:
    """Suspending it again is no error, as Slurm has it."""
    assert scontrol(slurm, "suspend", "42") == scontrol(slurm, "suspend", "42") == Ran(0, "", "")
    assert (slurm.state(42), slurm.state(43)) == ("SUSPENDED", "RUNNING")
    assert scontrol(slurm, "resume", "42") == Ran(0, "", "")
    assert slurm.state(42) == "RUNNING"
    assert slurm.calls == [Call(("suspend", "42"), 0)] * 2 + [Call(("resume", "42"), 0)]


def test_of_several_jobs_those_that_can_be_are_suspended(slurm: Slurm) -> None:
    assert scontrol(slurm, "suspend", "42,44,43") == Ran(1, "", "Invalid job id specified for job 44\n")
    assert (slurm.state(42), slurm.state(43)) == ("SUSPENDED", "SUSPENDED")


@pytest.mark.parametrize(
    ("verb", "state", "text"),
    [
        ("suspend", "COMPLETED", "Job/step already completing or completed"),
        ("resume", "CANCELLED", "Job/step already completing or completed"),
        ("suspend", "PENDING", "Job is pending execution"),
        ("resume", "RUNNING", "Job is not suspended"),
        ("suspend", "CONFIGURING", "Job is not running"),
    ],
)
def test_a_job_in_another_state_is_refused_in_slurm_s_words(slurm: Slurm, verb: str, state: str, text: str) -> None:
    slurm.becomes(42, state)

    assert scontrol(slurm, verb, "42") == Ran(1, "", f"{text} for job 42\n")
    assert slurm.state(42) == state


def test_whoever_is_no_operator_is_refused_even_for_jobs_that_are_not_there(slurm: Slurm) -> None:
    slurm.denies()

    assert scontrol(slurm, "suspend", "99") == Ran(1, "", "Access/permission denied for job 99\n")
    slurm.mend()
    slurm.refuses("Requested operation is presently disabled")
    assert scontrol(slurm, "suspend", "42").error == "Requested operation is presently disabled for job 42\n"
    assert slurm.state(42) == "RUNNING"


@pytest.mark.parametrize(
    "words",
    [("show", "job", "42", "--json"), ("--json", "show", "job", "42"), ("--details", "--json", "show", "jobs")],
    ids=" ".join,
)
def test_jobs_are_shown_as_they_are(slurm: Slurm, words: tuple[str, ...]) -> None:
    scontrol(slurm, "suspend", "42")

    shown = {job["job_id"]: job for job in json.loads(scontrol(slurm, *words).out)["jobs"]}

    assert shown[42]["job_state"] == ["SUSPENDED"]
    assert shown[42]["gres_detail"] == ["gpu:h100:2(IDX:0-1)"]
    assert len(shown) == (2 if "jobs" in words else 1)


def test_a_job_that_slurm_has_forgotten_is_not_shown(slurm: Slurm) -> None:
    slurm.forgets(42)

    text = "slurm_load_jobs error: Invalid job id specified\n"
    assert scontrol(slurm, "show", "job", "42", "--json") == Ran(1, "", text)


def test_a_controller_that_is_away_answers_nothing(slurm: Slurm) -> None:
    slurm.is_away()

    for words in (("suspend", "42"), ("show", "job", "42", "--json")):
        ran = scontrol(slurm, *words)
        assert (ran.code, "Unable to contact slurm controller" in ran.error) == (1, True)


def test_slurm_may_say_yes_and_do_nothing(slurm: Slurm) -> None:
    slurm.ignores()

    assert scontrol(slurm, "suspend", "42").code == 0
    assert slurm.state(42) == "RUNNING"


def test_a_program_that_hangs_and_is_killed_has_done_nothing(slurm: Slurm) -> None:
    slurm.hangs()
    with subprocess.Popen([slurm.path, "suspend", "42"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()

    assert (slurm.state(42), slurm.calls) == ("RUNNING", [])


def test_a_program_may_have_done_it_long_before_it_ends(slurm: Slurm) -> None:
    slurm.answers_late(3600)
    with subprocess.Popen([slurm.path, "suspend", "42"]) as process:
        eventually(lambda: slurm.state(42) == "SUSPENDED" or None, "the job stands still")
        assert process.poll() is None
        process.kill()


# An engine that takes fewer requests


def put(url: str, body: object, **headers: str) -> Reply:
    """Set a limit."""
    return ask(url, "PUT", body, **headers)


def test_an_engine_s_limit_is_set_and_lifted() -> None:
    """The 40 that run are not thrown out: the next look shows 20 of them."""
    with admission_server.serving(limit=64, running=40) as engine:
        assert ask(engine.url).document == {"limit": 64, "running": 40}
        assert put(engine.url, {"limit": 20})[:2] == (200, {"limit": 20, "running": 40})
        assert ask(engine.url).document == {"limit": 20, "running": 20}
        assert put(engine.url, {"limit": None}).status == 200
        assert ask(engine.url).document == {"limit": None, "running": 40}
        assert engine.puts == [20, None]


@pytest.mark.parametrize(
    "body", [b"{", [], {}, {"limit": -1}, {"limit": 1.5}, {"limit": True}, {"limit": "20"}, {"limit": 20, "more": 1}]
)
def test_an_engine_refuses_nonsense(body: object) -> None:
    with admission_server.serving(limit=64) as engine:
        assert put(engine.url, body).status == 400
        assert (engine.limit, engine.puts) == (64, [])


def test_an_engine_with_a_token_listens_to_nobody_without() -> None:
    with admission_server.serving(limit=64, token="t") as engine:
        assert [ask(engine.url).status, put(engine.url, {"limit": 1}, Authorization="Bearer u").status] == [401, 401]
        assert put(engine.url, {"limit": 1}, Authorization="Bearer t").status == 200


def test_an_engine_may_fail_or_say_yes_and_do_nothing() -> None:
    with admission_server.serving(limit=64) as engine:
        engine.fails = frozenset({"PUT"})
        assert [put(engine.url, {"limit": 1}).status, ask(engine.url).status] == [500, 200]
        engine.fails, engine.ignores = frozenset(), True
        assert put(engine.url, {"limit": 1})[:2] == (200, {"limit": 1, "running": 0})
        assert ask(engine.url).document["limit"] == 64
        assert ask(f"{engine.url}s").status == 404
        assert ask(engine.url, "DELETE").status == 405


def test_an_engine_that_starts_anew_has_forgotten_its_limit() -> None:
    with admission_server.serving(limit=64) as engine:
        put(engine.url, {"limit": 20})
        engine.restart()
        assert ask(engine.url).document["limit"] == 64


def test_an_engine_is_a_process_of_its_own_too() -> None:
    """Killed, it is gone; started anew, it serves at the same URL and has forgotten."""
    with admission_server.process(limit=64, running=40, token="t") as engine:
        known = {"Authorization": "Bearer t"}
        assert ask(engine.url).status == 401
        assert put(engine.url, {"limit": 20}, **known).document == {"limit": 20, "running": 40}
        assert ask(engine.url, **known).document == {"limit": 20, "running": 20}
        engine.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(engine.url, **known)
        url = engine.url
        engine.restart()
        assert engine.url == url
        assert ask(url, **known).document == {"limit": 64, "running": 40}


def test_a_process_may_fail_and_ignore() -> None:
    with admission_server.process(words=("--fail", "GET", "--ignore")) as engine:
        assert ask(engine.url).status == 500
        assert put(engine.url, {"limit": 1}).document == {"limit": 1, "running": 0}


def test_a_slow_engine_takes_its_time() -> None:
    with admission_server.process(delay_s=3600) as engine:
        parts = urlsplit(engine.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=0.2)
        connection.request("GET", parts.path)
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


# Signed commands


def test_a_lease_asks_for_everything_that_can_be_held_back() -> None:
    command = lease(
        1, cap(400), clocks=(clock(1200),), pauses=(Tier.T3,), admissions=(admission(0.5, Tier.T2),), release_s=10
    )

    assert [(pool.tier, pool.max_mhz) for pool in command.clocks] == [(Tier.T3, 1200)]
    assert [(pool.tier, pool.share) for pool in command.admissions] == [(Tier.T2, 0.5)]
    assert (command.pauses, command.release_s, command.award_id) == ((Tier.T3,), 10, "award-1")
    assert (command.not_before, command.is_release, lease(2).is_release) == (NOON, False, True)


def test_a_keyring_file_holds_any_set_of_keys(tmp_path: Path) -> None:
    """While keys are rotated the second one is known beside the first, and then alone."""
    file = tmp_path / "keys.toml"
    by_second = signed(lease(1), KEY_2, KEY_ID_2)

    file.write_text(keyring_text({KEY_ID: PUBLIC}))
    assert KEY_ID_2 not in Keyring.load(file)
    for keys in ({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2}, {KEY_ID_2: PUBLIC_2}):
        file.write_text(keyring_text(keys))
        assert Keyring.load(file).verifies(by_second)
        assert tomllib.loads(file.read_text()).keys() == keys.keys()
    assert keyring_text({}) == ""
