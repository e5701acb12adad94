"""Power limits through a BMC over real HTTP: what it shows, what it takes, what it refuses, who may, one at a time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles import pages, redfish_tree
from doubles.pages import Page, Request
from doubles.redfish_limits import Limits
from doubles.redfish_tree import SESSIONS, SYSTEMS, Bmc, Tree

from collectors import SourceError
from collectors.levers import FREE, Found, LeverError, Reading, apply
from collectors.levers.redfish import NOTE, Redfish, Settings, connect
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import load

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
UUIDS = {"GPU_SXM_1": "GPU-a", "GPU_SXM_2": "GPU-b"}
FIRST = f"{SYSTEMS}/HGX_Baseboard_0/Processors/GPU_SXM_1/EnvironmentMetrics"
SECOND = FIRST.replace("SXM_1", "SXM_2")


@contextmanager
def levered(bmc: Bmc, **settings: Any) -> Iterator[Redfish]:
    """Yield a lever that has found the GPUs of *bmc*, logged out afterwards."""
    lever = connect(Settings(url=bmc.url, **({"gpus": UUIDS} | settings)))
    try:
        lever.find(NOON, ())
        yield lever
    finally:
        lever.close()


@contextmanager
def board(**options: Any) -> Iterator[Bmc]:
    """Serve a board of two GPUs, 200 to 700 W each and at 700 W; *options* are those of `Limits`."""
    with redfish_tree.serve(redfish_tree.server(gpus=2), limits=Limits(**options)) as bmc:
        yield bmc


def refusal_of(lever: Redfish, level: float = 400) -> LeverError:
    """Return what the lever says when the first GPU cannot be set to *level* watts."""
    with pytest.raises(LeverError) as refused:
        lever.set("GPU-a", level)
    return refused.value


def password_file(folder: Path, mode: int = 0o600) -> str:
    """Return the path of a file that holds the BMC's password."""
    file = folder / "bmc-password"
    file.write_text("hunter2\n")
    file.chmod(mode)
    return str(file)


# What it finds and reads


def test_gpus_with_a_limit_are_found_by_the_uuids_of_the_settings() -> None:
    """Three GPUs; one has no UUID in the settings, and is left alone."""
    with redfish_tree.serve(redfish_tree.server(gpus=3)) as bmc, levered(bmc) as lever:
        assert lever.kind is Kind.POWER
        assert lever.find(NOON, ("job",)) == (Found("GPU-a"), Found("GPU-b"))


def test_a_reading_is_set_point_range_and_draw() -> None:
    """The limit's own Reading, 650 W here, is that of a sensor, and not what is in force."""
    with board() as bmc, levered(bmc) as lever:
        assert lever.read("GPU-a") == Reading(
            subject="GPU-a", lowest=200, highest=700, requested=700, power_w=612.5, model="H100 SXM5", note=NOTE
        )


def test_a_model_of_the_settings_replaces_the_bmcs_own() -> None:
    with board() as bmc, levered(bmc, model="NVIDIA H100 80GB HBM3") as lever:
        assert lever.read("GPU-a").model == "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("power_w", [-1, 1051])
def test_a_draw_that_no_gpu_has_is_withheld(power_w: float) -> None:
    """1051 W is more than 1.5 × 700 W."""
    with board() as bmc, levered(bmc) as lever:
        bmc.tree[FIRST]["PowerWatts"]["Reading"] = power_w

        assert lever.read("GPU-a").power_w is None


def test_other_figures_of_the_resource_may_be_anything() -> None:
    """Dell's GB200 firmware gives a list where EnergykWh is a sensor."""
    with board() as bmc, levered(bmc) as lever:
        bmc.tree[FIRST]["EnergykWh"] = []

        assert lever.read("GPU-a").requested == 700


@pytest.mark.parametrize("gone", ["SetPoint", "AllowableMin", "AllowableMax"])
def test_a_gpu_whose_limit_cannot_be_known_is_left_out(gone: str) -> None:
    with board() as bmc:
        del bmc.tree[FIRST]["PowerLimitWatts"][gone]
        with levered(bmc) as lever:
            assert lever.find(NOON, ()) == (Found("GPU-b"),)


def test_a_limit_that_disappears_is_said() -> None:
    with board() as bmc, levered(bmc) as lever:
        bmc.tree[FIRST]["PowerLimitWatts"] = None
        with pytest.raises(LeverError, match="shows no power limit") as told:
            lever.read("GPU-a")

        assert told.value.trouble is Trouble.NOT_SUPPORTED


def test_a_gpu_that_fails_while_all_are_looked_for_does_not_hide_the_others() -> None:
    with board() as bmc:
        bmc.broken[FIRST] = Page("", status=500)
        with levered(bmc) as lever:
            assert lever.find(NOON, ()) == (Found("GPU-b"),)
            bmc.broken.clear()

            assert lever.find(NOON + timedelta(seconds=59), ()) == (Found("GPU-b"),)
            assert lever.find(NOON + timedelta(seconds=60), ()) == (Found("GPU-a"), Found("GPU-b"))


def test_gpus_once_found_are_not_looked_for_with_every_look() -> None:
    with board() as bmc, levered(bmc) as lever:
        bmc.asked.clear()
        lever.find(NOON + timedelta(minutes=9), ())
        soon = list(bmc.asked)
        lever.find(NOON + timedelta(minutes=10), ())

        assert soon == []
        assert FIRST in bmc.asked


def test_a_bmc_without_any_of_the_gpus_is_an_error_that_names_them() -> None:
    with redfish_tree.serve(redfish_tree.server()) as bmc:
        lever = connect(Settings(url=bmc.url, gpus=UUIDS))
        with pytest.raises(SourceError, match="shows no power limit of GPU_SXM_1, GPU_SXM_2"):
            lever.find(NOON, ())
        lever.close()


def test_what_nobody_has_found_is_lost_and_nothing_is_asked() -> None:
    with board() as bmc, levered(bmc) as lever:
        bmc.asked.clear()
        for call in (lambda: lever.read("GPU-z"), lambda: lever.set("GPU-z", 400)):
            with pytest.raises(LeverError) as told:
                call()
            assert told.value.trouble is Trouble.LOST

        assert (bmc.asked, bmc.limits.patches) == ([], [])


# What it sets


def test_a_limit_is_set_read_back_and_lifted() -> None:
    with board() as bmc, levered(bmc) as lever:
        held = apply(lever, "GPU-a", 450)
        lever.set("GPU-a", FREE)

        assert held.requested == 450
        assert bmc.limits.set_points(FIRST) == [450, 700]
        assert bmc.limits.set_points(SECOND) == []


def test_watts_are_whole_since_boards_take_no_others() -> None:
    with board() as bmc, levered(bmc) as lever:
        apply(lever, "GPU-a", 449.6)

        assert [patch.body for patch in bmc.limits.patches] == [b'{"PowerLimitWatts":{"SetPoint":450}}']


@pytest.mark.parametrize("in_body", [False, True])
def test_a_change_carries_the_etag_wherever_the_bmc_gives_it(*, in_body: bool) -> None:
    with board(demands_etag=True, etag_in_body=in_body) as bmc, levered(bmc) as lever:
        lever.set("GPU-a", 450)

        assert [(patch.if_match, patch.status) for patch in bmc.limits.patches] == [('W/"1"', 200)]


@contextmanager
def contended(times: int) -> Iterator[Bmc]:
    """Serve a board on which somebody else changes a limit between our look and our change, *times* over."""
    bmc = Bmc(redfish_tree.server(gpus=2))
    left = [times]

    def answer(request: Request) -> Page:
        if request.method == "PATCH" and left[0]:
            left[0] -= 1
            bmc.limits.change(bmc.tree, FIRST, SetPoint=600)
        return bmc.answer(request)

    with pages.serve(answer=answer) as server:
        bmc.url = server.url
        yield bmc


def test_a_change_that_crosses_anothers_is_tried_once_more() -> None:
    with contended(1) as bmc, levered(bmc) as lever:
        lever.set("GPU-a", 450)

        assert [patch.status for patch in bmc.limits.patches] == [412, 200]
        assert bmc.tree[FIRST]["PowerLimitWatts"]["SetPoint"] == 450


def test_and_not_again_and_again() -> None:
    with contended(9) as bmc, levered(bmc) as lever:
        refused = refusal_of(lever)

        assert [patch.status for patch in bmc.limits.patches] == [412, 412]
        assert (refused.trouble, "412 The ETag supplied did not match" in str(refused)) == (Trouble.FAILED, True)


def test_a_change_that_becomes_a_task_is_accepted_and_the_read_back_decides() -> None:
    """The task is done at the second GET: the first read still shows the old limit."""
    with board(takes_gets=2) as bmc, levered(bmc) as lever:
        with pytest.raises(LeverError, match="asked for 450, reads back 700") as early:
            apply(lever, "GPU-a", 450)
        later = lever.read("GPU-a").requested

        assert (early.value.trouble, later) == (Trouble.NOT_TAKEN, 450)


def test_a_bmc_that_says_yes_and_does_nothing_is_found_out() -> None:
    with board(ignores=True, replies=204) as bmc, levered(bmc) as lever, pytest.raises(LeverError) as told:
        apply(lever, "GPU-a", 450)

    assert told.value.trouble is Trouble.NOT_TAKEN


def test_a_limit_that_is_switched_off_reads_as_the_highest_and_is_switched_on() -> None:
    """Its SetPoint of 300 W holds nothing back; put back to 700 W it holds nothing back either, on as it is."""
    with board() as bmc, levered(bmc) as lever:
        bmc.limits.change(bmc.tree, FIRST, SetPoint=300, ControlMode="Disabled")
        before = lever.read("GPU-a").requested
        held = apply(lever, "GPU-a", 450).requested
        back = apply(lever, "GPU-a", 700).requested

        assert (before, held, back) == (700, 450, 700)
        assert bmc.tree[FIRST]["PowerLimitWatts"]["ControlMode"] == "Automatic"


# What is refused


@pytest.mark.parametrize(
    ("options", "trouble", "words"),
    [
        pytest.param({"read_only": True}, Trouble.NO_PERMISSION, "403 There are insufficient privileges", id="role"),
        pytest.param({"is_writable": False}, Trouble.NOT_SUPPORTED, "405 The HTTP method is not allowed", id="fixed"),
    ],
)
def test_a_bmc_that_does_not_let_us_says_why(options: dict[str, Any], trouble: Trouble, words: str) -> None:
    with board(**options) as bmc, levered(bmc) as lever:
        refused = refusal_of(lever)

    assert (refused.trouble, len(bmc.limits.patches)) == (trouble, 1)
    assert f"{FIRST}: {words}" in str(refused)


def test_a_limit_beyond_the_range_is_refused_in_the_bmcs_own_words() -> None:
    with board() as bmc, levered(bmc) as lever:
        refused = refusal_of(lever, 100)

    assert refused.trouble is Trouble.OUT_OF_RANGE
    assert "400 The value '100' for the property SetPoint is not in the supported range" in str(refused)


@pytest.mark.parametrize(("status", "trouble"), [(404, Trouble.LOST), (501, Trouble.NOT_SUPPORTED)])
def test_a_resource_that_is_refused_tells_of_what_sort_it_is(status: int, trouble: Trouble) -> None:
    with board() as bmc, levered(bmc) as lever:
        bmc.broken[FIRST] = Page("", status=status)

        assert refusal_of(lever).trouble is trouble


def test_a_gpu_that_has_moved_is_looked_for_again_at_once() -> None:
    with board() as bmc, levered(bmc) as lever:
        bmc.broken[FIRST] = Page("", status=404)
        refusal_of(lever)
        found = lever.find(NOON, ())

    assert found == (Found("GPU-b"),)


@pytest.mark.parametrize(
    ("page", "trouble"),
    [
        pytest.param(Page("", delay_s=pages.FOREVER_S), Trouble.HANGS, id="it hangs"),
        pytest.param(Page("", drops=True), Trouble.FAILED, id="it hangs up"),
        pytest.param(Page("{"), Trouble.FAILED, id="half a document"),
        pytest.param(Page("", status=503), Trouble.FAILED, id="it is busy"),
    ],
)
def test_a_bmc_that_misbehaves_is_an_error_of_that_gpu_alone(page: Page, trouble: Trouble) -> None:
    with board() as bmc, levered(bmc, timeout_s=0.3) as lever:
        bmc.broken[FIRST] = page
        refused = refusal_of(lever)
        lever.set("GPU-b", 400)
        bmc.broken.clear()
        lever.set("GPU-a", 400)

        assert refused.trouble is trouble
        assert (bmc.limits.set_points(FIRST), bmc.limits.set_points(SECOND)) == ([400], [400])


def test_a_bmc_that_is_away_is_a_source_error_when_it_is_looked_for() -> None:
    with board() as bmc:
        lever = connect(Settings(url=bmc.url, gpus=UUIDS))
    with pytest.raises(SourceError, match="Connection refused"):
        lever.find(NOON, ())


# Sessions


def test_all_gpus_at_one_time_take_one_session_and_one_question_at_a_time(tmp_path: Path) -> None:
    """Eight threads set two GPUs; the BMC never sees two requests at once."""
    tree, at_once, most = redfish_tree.server(gpus=2), threading.Semaphore(1), [0]
    bmc = Bmc(tree, user="fw", password="hunter2", most_sessions=1)

    def answer(request: Request) -> Page:
        if not at_once.acquire(blocking=False):
            most[0] += 1
            return Page("", status=503)
        threading.Event().wait(0.01)
        try:
            return bmc.answer(request)
        finally:
            at_once.release()

    with pages.serve(answer=answer) as server:
        bmc.url = server.url
        with levered(bmc, user="fw", password_file=password_file(tmp_path)) as lever, ThreadPoolExecutor(8) as threads:
            for uuid in ("GPU-a", "GPU-b") * 4:
                threads.submit(lever.set, uuid, 450)
            threads.shutdown()
            logins, sessions = bmc.logins, len(bmc.sessions)

    assert (logins, sessions, most, len(bmc.sessions)) == (1, 1, [0], 0)
    assert [patch.status for patch in bmc.limits.patches] == [200] * 8


def test_who_waits_too_long_for_a_bmc_is_told_so() -> None:
    """One GPU: a turn lasts at most six times the timeout of one request."""
    with board() as bmc, levered(bmc, gpus={"GPU_SXM_1": "GPU-a"}, timeout_s=0.05) as lever:
        with lever._in_turn():
            refused = refusal_of(lever)

        assert (refused.trouble, "kept others waiting for 0.3 s" in str(refused)) == (Trouble.HANGS, True)


def test_a_session_that_ended_meanwhile_is_opened_again_for_a_change(tmp_path: Path) -> None:
    tree: Tree = redfish_tree.server(gpus=2)
    with (
        redfish_tree.serve(tree, user="fw", password="hunter2") as bmc,
        levered(bmc, user="fw", password_file=password_file(tmp_path)) as lever,
    ):
        bmc.expire()
        lever.set("GPU-a", 450)

        assert (bmc.limits.set_points(FIRST), len(bmc.sessions)) == ([450], 1)


def test_a_user_who_is_no_longer_let_in_has_no_permission(tmp_path: Path) -> None:
    tree = redfish_tree.server(gpus=2)
    with (
        redfish_tree.serve(tree, user="fw", password="hunter2") as bmc,
        levered(bmc, user="fw", password_file=password_file(tmp_path)) as lever,
    ):
        bmc.expire()
        bmc.password = "another"
        first, second = refusal_of(lever), refusal_of(lever)

        assert (first.trouble, second.trouble) == (Trouble.NO_PERMISSION, Trouble.NO_PERMISSION)
        assert "not tried again before 12:10:00 UTC" in str(second)
        assert "hunter2" not in str(first)


def test_a_login_that_hangs_says_so(tmp_path: Path) -> None:
    with redfish_tree.serve(redfish_tree.server(gpus=2), user="fw", password="hunter2") as bmc:
        lever = connect(
            Settings(url=bmc.url, gpus=UUIDS, user="fw", password_file=password_file(tmp_path), timeout_s=0.3)
        )
        bmc.broken[SESSIONS] = Page("", delay_s=pages.FOREVER_S)
        with pytest.raises(SourceError, match=r"no whole page within 0\.3 s"):
            lever.find(NOON, ())
        lever.close()


# Settings


def test_settings_that_cannot_work_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    good: dict[str, Any] = {"url": "https://127.0.0.1", "gpus": UUIDS}
    open_file = password_file(tmp_path, 0o644)
    for change, reason in (
        ({"gpus": {}}, "name the GPUs"),
        ({"gpus": {"GPU_SXM_1": "GPU-a", "GPU_SXM_2": "GPU-a"}}, "two GPUs have the UUID GPU-a"),
        ({"url": "ftp://bmc"}, "not a URL"),
        ({"ca_file": str(tmp_path / "none")}, "cannot read the CA file"),
        ({"user": "fw", "password_file": open_file}, "has mode 0644"),
        ({"password_file": open_file}, "a password_file and no user"),
    ):
        with pytest.raises(ConfigError, match=reason):
            connect(Settings(**(good | change)))


def test_a_settings_file_is_as_the_docs_say(tmp_path: Path) -> None:
    file = tmp_path / "host.toml"
    file.write_text('[lever.redfish]\nurl = "https://bmc"\n[lever.redfish.gpus]\nGPU_SXM_1 = "GPU-a"\n')

    assert load(file, "lever.redfish", Settings) == Settings(url="https://bmc", gpus={"GPU_SXM_1": "GPU-a"})
