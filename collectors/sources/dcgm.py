"""
NVIDIA GPUs through dcgm-exporter's page, for hosts where NVML must not be opened beside it.

The exporter collects every 30 s by default and in between answers with its last figures, without saying when it took
them. So a GPU's figures are as old as their last change: `read_at` stands still while the page does, and after
`stale_after_s` they are marked. (Any change counts: a living GPU's energy counter moves with every collection.)

    page      a  a  a  b  b  b  b  b  b  b      read once in `period_s`
    read_at   0  0  0  3  3  3  3  3  3  3*     * more than `stale_after_s` after 3: STALE

Which power is which: DCGM's POWER_USAGE is the driver's 1 s average (on GA100 and older, the instantaneous draw), its
POWER_USAGE_INSTANT the instantaneous one, which few exporters are told to serve: without it the first stands for both.
"""

import math
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from collectors import PLAUSIBLE_SHARE, Place, Reading, SourceError
from collectors.exposition import samples
from collectors.http import Endpoint, basic
from collectors.sources import _dcgm_page as page
from collectors.sources._dcgm_page import Figures, figures
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import GpuSample, Quality
from pipeline.settings import Positive, Section

LARGEST_LIMIT_W = 2900.0
"""Of a whole GB300 module (k8s-test-infra#676): stands in where the exporter serves no limit."""
MJ_PER_J = 1000
B_PER_MIB = 1 << 20
ACCEPT = {"Accept": "text/plain;version=0.0.4"}


class Settings(Section, frozen=True, kw_only=True):
    """``[source.dcgm]``."""

    url: str = "http://127.0.0.1:9400/metrics"
    hostname: str = ""
    """Whose GPUs are meant, where the page shows several hosts'; empty: it may show one host only."""
    period_s: Positive = 5.0
    """Seconds; to read more often than the exporter collects (`--collect-interval`) only finds out sooner."""
    stale_after_s: Positive = 90.0
    """Seconds without any change after which a GPU's figures are marked; three of the exporter's intervals."""
    timeout_s: Positive = 2.0
    ca_file: str = ""
    verify: bool = True
    user: str = ""
    """Where the exporter asks for one; with `password_file`."""
    password_file: str = ""


class Seen(NamedTuple):
    """What is remembered of a GPU between pages."""

    figures: Figures
    since: datetime
    """When these figures were seen first."""

    def after(self, now: datetime, figures: Figures) -> "Seen":
        """Return what to remember of the next page."""
        return Seen(figures, self.since if figures.values == self.figures.values else now)


def connect(settings: Settings) -> "Dcgm":
    """Return the source; the first reading asks the exporter. Raise `ConfigError` if the password cannot be used."""
    if bool(settings.user) != bool(settings.password_file):
        raise ConfigError("[source.dcgm] needs both user and password_file, or neither")
    return Dcgm(settings)


class Dcgm:
    """All GPUs on one exporter's page."""

    def __init__(self, settings: Settings) -> None:
        self.period_s = settings.period_s
        self._hostname = settings.hostname
        self._stale_after = timedelta(seconds=settings.stale_after_s)
        login = {}
        if settings.password_file:
            login["Authorization"] = basic(settings.user, secret_files.read(settings.password_file).reveal())
        self._endpoint = Endpoint(
            settings.url,
            headers=ACCEPT | login,
            timeout_s=settings.timeout_s,
            ca_file=settings.ca_file,
            verify=settings.verify,
        )
        self._seen: dict[str, Seen] = {}

    def read(self, now: datetime) -> Reading:
        """Return every GPU on the page; raise `SourceError` where there is none."""
        there = self._page()
        before = self._seen
        self._seen = before | {
            uuid: before[uuid].after(now, found) if uuid in before else Seen(found, now)
            for uuid, found in there.items()
        }
        gpus = []
        for uuid, seen in sorted(self._seen.items()):
            if uuid in there:
                is_stale = now - seen.since > self._stale_after
                xid = new_xid(before[uuid].figures if uuid in before else None, seen.figures)
                gpus.append(sample(uuid, seen, xid, is_stale=is_stale))
            else:
                gpus.append(GpuSample(uuid=uuid, model=seen.figures.model, quality=(Quality.STALE,)))
        return Reading(
            gpus=tuple(gpus),
            places=tuple(
                Place(uuid, found.number, found.minor) for uuid, found in there.items() if found.number is not None
            ),
            troubles=tuple(
                f"{uuid} is no longer on the page of {self._endpoint.url}" for uuid in sorted(before.keys() - there)
            ),
        )

    def close(self) -> None:
        """Close the connection and forget which GPUs there were."""
        self._endpoint.close()
        self._seen = {}

    def _page(self) -> dict[str, Figures]:
        url = self._endpoint.url
        reply = self._endpoint.get()
        try:
            found = figures(samples(reply, page.WANTED), self._hostname)
        except SourceError as error:
            raise SourceError(f"{url}: {error}") from error
        if not any(page.POWER in gpu.values or page.POWER_INSTANT in gpu.values for gpu in found.values()):
            raise SourceError(
                f"{url}: no GPU with {page.POWER}; is that dcgm-exporter, and is the field in its counters?"
            )
        return found


def new_xid(before: Figures | None, after: Figures) -> int | None:
    """
    Return the XID that came between two pages, None if none is known to have.

    The page keeps the last XID until the exporter or the driver is restarted (dcgm-exporter#500, DCGM#277): the one on
    the first page may be of any age, and the same one twice in a row cannot be told from once.
    """
    xid = after.values.get(page.XID, 0)
    came = before is not None and xid != before.values.get(page.XID, 0)
    return int(xid) if came and 0 < xid < math.inf else None


def sample(uuid: str, seen: Seen, xid: int | None, *, is_stale: bool) -> GpuSample:
    """Return what *seen* says of a GPU, garbage withheld and marked. Pure."""
    values = seen.figures.values
    max_w = _finite(values, page.MAX_LIMIT)
    ceiling_w = PLAUSIBLE_SHARE * (max_w or LARGEST_LIMIT_W)
    average_w = _within(values, page.POWER, ceiling_w)
    instant_w = _within(values, page.POWER_INSTANT, ceiling_w) if page.POWER_INSTANT in values else average_w
    energy_mj = _within(values, page.ENERGY, float(2**63))
    pairs = ((page.POWER, average_w), (page.POWER_INSTANT, instant_w), (page.ENERGY, energy_mj))
    withheld = any(kept is None and name in values for name, kept in pairs)
    utilization = _within(values, page.UTILIZATION, 100.0)
    used_mib = _whole(values, page.MEMORY_USED)
    return GpuSample(
        uuid=uuid,
        model=seen.figures.model,
        power_w=instant_w,
        average_w=average_w,
        energy_j=None if energy_mj is None else energy_mj / MJ_PER_J,
        read_at=seen.since,
        enforced_w=_finite(values, page.ENFORCED),
        requested_w=_finite(values, page.REQUESTED),
        min_w=_finite(values, page.MIN_LIMIT),
        max_w=max_w,
        sm_mhz=_whole(values, page.SM_CLOCK),
        memory_mhz=_whole(values, page.MEM_CLOCK),
        event_reasons=_whole(values, page.REASONS if page.REASONS in values else page.REASONS_BEFORE_4),
        utilization=None if utilization is None else utilization / 100,
        memory_used_b=None if used_mib is None else used_mib * B_PER_MIB,
        temperature_c=_finite(values, page.TEMPERATURE),
        xids=() if xid is None else (xid,),
        quality=(Quality.IMPLAUSIBLE,) * withheld + (Quality.STALE,) * is_stale,
    )


def _within(values: Mapping[str, float], name: str, most: float) -> float | None:
    value = values.get(name)
    return value if value is not None and 0 <= value <= most else None


def _finite(values: Mapping[str, float], name: str) -> float | None:
    return _within(values, name, sys.float_info.max)


def _whole(values: Mapping[str, float], name: str) -> int | None:
    value = _finite(values, name)
    return None if value is None else round(value)
