"""What a host enforces whatever it is told: no signature, however good, moves one of these. Pure data."""

from dataclasses import dataclass
from datetime import timedelta

OVERDUE = timedelta(seconds=15)
"""
A lease that has ended no longer ago than this while the actuator was down is completed at once by its next start.

Started within 200 ms of a crash, as its unit says, that is within two seconds of the lease's end. What ended earlier
goes back in stages: then it is not one process that died, and many hosts may start at one time.
"""


@dataclass(frozen=True)
class Bounds:
    """Spans of the shared clock; watts for each GPU."""

    min_cap_w: float = 50.0
    """A command with a lower cap is refused: no data-centre GPU takes such a limit, so its sender is mistaken."""
    max_cap_w: float = 3000.0
    """Likewise with a higher one; the limit of a whole GB300 module is 2900 W (k8s-test-infra#676)."""
    max_step_w: float = 500.0
    """How far a command moves a power limit at one stroke; what is further is walked in strokes."""
    max_rate_w_per_s: float = 1000.0
    """How fast the strokes follow each other. A way back has its stages and ends with the lease, whatever this says."""
    max_lease: timedelta = timedelta(minutes=15)
    max_leases: int = 16
    """How many may hold or wait at one time."""
    max_ahead: timedelta = timedelta(hours=1)
    """How far in the future a lease may begin."""
    max_skew: timedelta = timedelta(seconds=5)
    """How far ahead of this host's clock a command may have been issued: beyond it one of the clocks is wrong."""
    min_release: timedelta = timedelta(seconds=5)
    """No way back is shorter, whatever a command says, unless half of its lease is."""
    release: timedelta = timedelta(seconds=20)
    """How long a way back takes that no lease has planned: after silence, on SIGTERM, from a stale journal."""
    release_stages: int = 4
