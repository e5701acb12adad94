"""
What is done to workers and to their line to Kafka, in an order and at moments that a seed decides.

Every second moment lies around the closing of an interval, where the most is at stake. Most faults come when the last
one is over; some come on top of it.
"""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from random import Random

from doubles.fault_proxy import HALF_OPEN, Line, Way
from doubles.stream.workers import LENGTHS, SESSION_S

from pipeline.clock import Clock
from pipeline.interval import floor
from pipeline.rollup import LATENESS


class Kind(StrEnum):
    """Of faults."""

    JOIN = "join"
    LEAVE = "leave"
    KILL = "kill"
    """SIGKILL; the supervisor starts another."""
    STOP = "stop"
    """SIGSTOP for longer than the session timeout, then SIGCONT."""
    LATENCY = "latency"
    RESET = "reset"
    HALF_OPEN = "half-open"
    ONE_WAY = "one-way"


OF_WORKERS = (Kind.JOIN, Kind.LEAVE, Kind.KILL, Kind.STOP)
OF_THE_LINE = (Kind.LATENCY, Kind.RESET, Kind.HALF_OPEN, Kind.ONE_WAY)
LATENCY_S = 12.0
AWAY_S = 10.0
#: Of faults that come on top of the one before, and how soon, seconds of the machine.
HURRIED, HURRY_S = 0.2, (0.5, 4.0)
PAUSE_S = (0.3, 3.0)
#: Around the moment from which an interval can be closed, seconds of the machine.
AROUND_S = (-0.3, 0.7)


def order(random: Random, rounds: int, kinds: Sequence[Kind]) -> list[Kind]:
    """
    Return *rounds* of *kinds* in random order.

    A worker joins before one leaves, so that somebody is always there.
    """
    found = []
    for _ in range(rounds):
        turn = random.sample(kinds, len(kinds))
        if Kind.JOIN in turn and Kind.LEAVE in turn:
            join, leave = sorted((turn.index(Kind.JOIN), turn.index(Kind.LEAVE)))
            turn[join], turn[leave] = Kind.JOIN, Kind.LEAVE
        found += turn
    return found


def pause_s(random: Random, clock: Clock, number: int) -> float:
    """Return how long to wait, machine time, before fault *number*, counted from when the one before was over."""
    wait_s = random.uniform(*PAUSE_S)
    if number % 2:
        return wait_s
    now = clock.now()
    closing = floor(now - LATENESS, LENGTHS[0]) + LENGTHS[0] + LATENESS
    until_s = clock.wall_seconds(closing - now) + random.uniform(*AROUND_S)
    return until_s if until_s > 0 else until_s + clock.wall_seconds(LENGTHS[0])


def stopped_s(random: Random) -> float:
    """Return how long a worker is stopped: longer than its session lasts."""
    return SESSION_S + random.uniform(1.5, 6.0)


def line(random: Random, kind: Kind) -> tuple[Line, timedelta]:
    """Return what becomes of the line to Kafka, and for how long, machine time."""
    if kind is Kind.LATENCY:
        return Line(latency_s=random.uniform(0.05, 0.3), jitter_s=0.3), timedelta(seconds=LATENCY_S)
    if kind is Kind.HALF_OPEN:
        return HALF_OPEN, timedelta(seconds=AWAY_S)
    lost = random.choice([Line(to_broker=Way.SWALLOW), Line(to_client=Way.SWALLOW)])
    return lost, timedelta(seconds=AWAY_S)
