"""
Counters as far back as they can be subtracted, and their rates. Pure.

A counter that grows all the time has the rate of its last window. One that grows when a request ends tells of its
tokens late and in bursts, and a window of fixed length sees one burst more or less (`Bursts`):

    counted   0  0  6000  6000  6000  12000  12000       ten requests of 600 tokens that end every 40 s: 150 a second
    window       [──────────────────]                    one burst in 60 s, or two: 100 or 200 a second
    increases       ●────────────────●                   from increase to increase: 6000 ÷ 40 s, whatever the window
"""

from bisect import bisect_right
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import linear_regression
from typing import NamedTuple

FINEST = timedelta(seconds=1)
"""Ten ticks a second do not make a trail ten times as long."""
LONGEST_WINDOWS = 5
"""Requests may last five windows, 5 minutes unless set otherwise: what ends periodically has then shown its period."""
FEWEST_SILENCES = 3
"""No rate before the increases span three of the longest silences: whoever ended last would weigh too much."""
SILENCES = 6
"""
Increases that span six of them tell the rate of ten unequally staggered requests of 20 to 300 s to 6 %, 19 times of 20;
four of them to 11 %, eight to 4 % and later. (Simulated; where lengths differ as well, chance adds its part.)
"""
PATIENCE = 2
"""A rate lasts for twice the longest silence; who is silent for longer does something else now."""
UNEVENNESS = 0.1
"""Silences that differ by less are those of requests that end in step or at even distances."""
KEPT_WINDOWS = (SILENCES + 2) * LONGEST_WINDOWS
"""How far back a rate of bursts may reach: the span, the silence it may exceed it by, and the patience."""

NEVER = datetime.min.replace(tzinfo=UTC)


class Point(NamedTuple):
    """A counter at one instant."""

    at: datetime
    total: float


class Rate(NamedTuple):
    """A mean rate and the span that it is of."""

    per_s: float
    since: datetime
    until: datetime


class Trail:
    """A counter that grows all the time."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque()
        self._epoch = 0

    def add(self, point: Point, epoch: int, *, gap_s: float, keep_s: float) -> None:
        """Go on to *point*; one that is not later says nothing new."""
        points = self._points
        if points and point.at <= points[-1].at:
            return
        if points and _is_other(points[-1], self._epoch, point, epoch, gap_s):
            points.clear()
        self._epoch = epoch
        if len(points) > 1 and point.at - points[-2].at <= FINEST:
            points.pop()
        points.append(point)
        while len(points) > 1 and points[1].at <= point.at - timedelta(seconds=keep_s):
            points.popleft()

    def rate(self, window_s: float) -> Rate | None:
        """Return the mean rate over the last *window_s*; None while the trail is shorter."""
        if not self._points:
            return None
        until = self._points[-1].at
        return self.between(until - timedelta(seconds=window_s), until)

    def between(self, since: datetime, until: datetime) -> Rate | None:
        """Return the mean rate from the last point not after *since* to the last not after *until*, None without."""
        first, last = self._before(since), self._before(until)
        if first is None or last is None or first.at == last.at:
            return None
        return Rate((last.total - first.total) / (last.at - first.at).total_seconds(), first.at, last.at)

    def ends_with(self, total: float) -> bool:
        """Whether the counter last stood at *total*."""
        return bool(self._points) and self._points[-1].total == total

    def ended_before(self, at: datetime) -> bool:
        """Whether nothing was added since *at*."""
        return not self._points or self._points[-1].at < at

    def _before(self, at: datetime) -> Point | None:
        reached = bisect_right(self._points, at, key=lambda point: point.at)
        return self._points[reached - 1] if reached else None


class Bursts:
    """
    A counter that grows when a request ends, remembered by its increases.

    Its rate is the slope of the straight line through them (least squares). Where requests end in step, or one after
    the other, the increases are on that line and the rate is exact; where they are staggered, their phase at either
    end hardly matters. The line is as long as

    - a window, and six silences, where three increases or more are at even distances;
    - otherwise five windows, and six of the longest silences in that time. Until there are as many it takes what
      there is, but no less than three silences, and watches for five windows before.

    It is kept for a window, and twice the longest silence, after the last increase, for five windows at most. Then it
    is unknown: whatever runs has not been counted. Only where nothing runs, and nothing was counted for a window, is
    it zero; what is counted later begins there. After five windows of silence it begins anew, as after a restart.
    """

    def __init__(self) -> None:
        self._increases: deque[Point] = deque()
        self._last: Point | None = None
        self._epoch = 0
        self._began = NEVER
        """Watched since."""
        self._grew = NEVER
        """When it last did, or began to be watched."""
        self._is_idle = False

    def add(self, point: Point, epoch: int, *, running: float | None, gap_s: float, window_s: float) -> None:
        """Go on to *point*, while *running* requests are under way; one that is not later says nothing new."""
        last = self._last
        if last is not None and point.at <= last.at:
            return
        longest = timedelta(seconds=LONGEST_WINDOWS * window_s)
        if last is None or _is_other(last, self._epoch, point, epoch, gap_s):
            self._begin(point.at)
        elif point.total > last.total:
            if point.at - self._grew > longest:
                self._begin(point.at)
            self._increases.append(point)
            self._grew = point.at
        self._last, self._epoch = point, epoch
        self._is_idle = running == 0 and point.at - self._grew >= timedelta(seconds=window_s)
        if self._is_idle:  # all that was generated has been counted
            self._increases = deque([point])
            self._began = point.at
        while self._increases and self._increases[0].at < point.at - (SILENCES + 1) * longest:
            self._increases.popleft()

    def rate(self, window_s: float) -> Rate | None:
        """Return the rate, None where it cannot be known."""
        window = timedelta(seconds=window_s)
        longest = LONGEST_WINDOWS * window
        if self._last is not None and self._is_idle:
            return Rate(0.0, self._last.at - window, self._last.at)
        if self._last is None or len(self._increases) < 2:  # noqa: PLR2004 - a line has two points
            return None
        until = self._increases[-1].at
        silence = self._longest_silence(until - longest)
        if self._last.at - until > min(max(window, PATIENCE * silence), longest):
            return None
        line = self._latest(max(window, SILENCES * silence))
        fewest = window
        if not _are_even(line, silence):
            if self._last.at - self._began < longest:
                return None
            line = self._latest(max(longest, SILENCES * silence))
            fewest = max(window, FEWEST_SILENCES * silence)
        return Rate(_slope(line), line[0].at, until) if until - line[0].at >= fewest else None

    def ended_before(self, at: datetime) -> bool:
        """Whether nothing was added since *at*."""
        return self._last is None or self._last.at < at

    def _begin(self, at: datetime) -> None:
        self._increases.clear()
        self._began = self._grew = at

    def _longest_silence(self, since: datetime) -> timedelta:
        """Return the longest time without an increase that ended after *since*, that before the first one included."""
        ends = [self._began, *(point.at for point in self._increases)]
        return max(later - earlier for earlier, later in pairwise(ends) if later > since)

    def _latest(self, span: timedelta) -> list[Point]:
        """Return the fewest last increases that are *span* apart, or all."""
        line: list[Point] = []
        for point in reversed(self._increases):
            line.append(point)
            if line[0].at - point.at >= span:
                break
        return line[::-1]


def _is_other(last: Point, last_epoch: int, point: Point, epoch: int, gap_s: float) -> bool:
    """Whether the counter cannot be subtracted from *last* to *point*: a restart or a gap lies between them."""
    return epoch != last_epoch or point.total < last.total or point.at - last.at > timedelta(seconds=gap_s)


def _are_even(line: list[Point], silence: timedelta) -> bool:
    """Whether three increases or more are equally far apart, none less than the longest *silence* seen."""
    if len(line) < 3:  # noqa: PLR2004 - see above
        return False
    return silence * (1 - UNEVENNESS) <= min(later.at - earlier.at for earlier, later in pairwise(line))


def _slope(line: list[Point]) -> float:
    """Return the slope of the straight line through *line*, per second."""
    first = line[0]
    seconds = [(point.at - first.at).total_seconds() for point in line]
    return linear_regression(seconds, [point.total - first.total for point in line]).slope
