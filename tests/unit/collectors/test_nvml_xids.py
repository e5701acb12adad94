"""XID events on their way into readings."""

import threading

import pytest
from doubles.gpu_host import eventually
from doubles.nvml.nvml_double import GPU_IS_LOST, NOT_SUPPORTED, State
from doubles.nvml_host import Measured, fresh, measured

from collectors import SourceError
from collectors.runner import ALERT_XIDS
from collectors.sources import nvml
from pipeline.messages.telemetry import Quality


def listened_to(host: State, gpu: int = 0) -> None:
    """Return once somebody has asked for the events of *gpu*."""
    eventually(lambda: host.gpu(gpu).registered or None, "somebody listens")


def heard(source: Measured) -> dict[str, tuple[int, ...]]:
    """Return the XIDs of the first reading that has any, by UUID."""

    def look() -> dict[str, tuple[int, ...]] | None:
        return {gpu.uuid: gpu.xids for gpu in source.gpus(1) if gpu.xids} or None

    return eventually(look, "an XID is in the reading")


def test_an_xid_is_in_the_next_reading_of_its_gpu_and_in_no_other() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host, 1)
        host.push_xid(1, 79)

        assert heard(source) == {host.uuid(1): (79,)}
        assert all(gpu.xids == () for gpu in source.gpus(2))


def test_xids_keep_their_order() -> None:
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host)
        for xid in (31, 48, 31):
            host.push_xid(0, xid)
        found: list[int] = []

        def all_three() -> bool | None:
            found.extend(source.gpus(1)[0].xids)
            return True if len(found) == 3 else None

        eventually(all_three, "three XIDs")

    assert found == [31, 48, 31]


def test_a_gpu_that_falls_off_the_bus_still_says_why() -> None:
    """XID 79 and the loss come together: the sample without figures carries it."""
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host, 1)
        host.lose(1)
        host.push_xid(1, 79)

        assert heard(source) == {host.uuid(1): (79,)}
        assert source.gpus(1)[1].quality == (Quality.LOST,)


def test_a_gpu_that_hangs_still_says_why() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(timeout_s=0.1)) as source:
        source.reading(0)
        listened_to(host, 0)
        host.hang("nvmlDeviceGetFieldValues", gpu=0)
        host.push_xid(0, 119)

        assert heard(source) == {host.uuid(0): (119,)}
        assert source.gpus(1)[0].quality == (Quality.STALE,)


def test_an_xid_of_a_reading_that_fails_is_in_the_next_one() -> None:
    """NVML is gone for one reading, and opened anew."""
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host)
        host.fail("nvmlDeviceGetFieldValues", 9)
        host.push_xid(0, 79)
        eventually(lambda: source.source.unsaid or None, "the XID has been heard")
        with pytest.raises(SourceError):
            source.reading(1)
        host.mend()

        assert source.gpus(40)[0].xids == (79,)
        assert source.gpus(41)[0].xids == ()


def test_a_card_without_events_is_no_trouble_and_the_others_are_heard() -> None:
    host = fresh(gpus=2)
    host.fail("nvmlDeviceRegisterEvents", NOT_SUPPORTED, gpu=0)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        assert source.reading(0).troubles == ()
        listened_to(host, 1)
        host.push_xid(0, 48)
        host.push_xid(1, 62)

        assert heard(source) == {host.uuid(1): (62,)}


def test_a_wait_that_fails_is_tried_again() -> None:
    """A GPU off the bus makes waiting fail at once, every time: it is neither the end nor a busy loop."""
    host = fresh(gpus=1)
    host.fail("nvmlEventSetWait", GPU_IS_LOST)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host)
        eventually(lambda: host.hits(0) or None, "a wait has failed")
        host.push_xid(0, 95)
        assert host.hits(0) == 1
        host.mend()

        assert heard(source) == {host.uuid(0): (95,)}


def test_a_gpu_that_appears_is_listened_to() -> None:
    host = fresh(gpus=2)
    host.set_count(1)
    with measured(host, nvml.Settings(rescan_s=10, timeout_s=1)) as source:
        source.reading(0)
        host.set_count(2)
        source.reading(10)
        listened_to(host, 1)
        host.push_xid(1, 64)

        assert heard(source) == {host.uuid(1): (64,)}


def test_nobody_listens_after_closing() -> None:
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        listened_to(host)
        source.source.close()

        assert not [thread for thread in threading.enumerate() if thread.name == "nvml xids" and thread.is_alive()]


def test_nobody_listens_where_it_is_not_wanted() -> None:
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(xids=False)) as source:
        source.reading(0)
        source.reading(1)

    assert host.gpu(0).registered == 0


def test_a_program_s_own_faults_alert_nobody() -> None:
    """13, 31 and 43 are an application's; 63 and 92 report what is already mended."""
    assert not ALERT_XIDS & {13, 31, 43, 63, 92}
    assert {48, 79, 119} <= ALERT_XIDS
