"""
Hosts whose clock is wrong, told by the broker's: how far a tick is ahead of the instant Kafka received it. Pure.

    ahead    no tick can be received before it is measured: one that is further ahead than `QUARANTINE` would put energy
             into the wrong interval and is passed over, the host's next good tick closes the gap
    behind   looks like a delay, and a spool that is being drained is one: only what stays the same for `STEADY` while
             ticks come is called a wrong clock. Its energy counts, its power is not sold

A record that its producer stamped (a topic without `message.timestamp.type=LogAppendTime`) tells nothing of the kind.
"""

from collections import Counter

import numpy as np

from pipeline.counters import Flags, Ints
from pipeline.rows import Cohort, Records

#: Above this a host is flagged…
FLAG_US = 1_000_000
#: …above this it is quarantined (knowledge of field practice: flag at 1 s, quarantine at 5 s).
QUARANTINE_US = 5_000_000
#: A host behind is judged once its delay has not moved by more than `FLAG_US` for so long.
STEADY_US = 10_000_000
#: A host that has said nothing for so long is stale, not skewed.
HEARD_US = 60_000_000

#: What a row knows of its host's clock.
SKEW = ("heard_us", "skew_us", "skew_from_us", "steady_since_us")


def judge(cohort: Cohort, number: Ints, at_us: Ints, received_us: Ints, counts: Counter[str]) -> Flags:
    """Note how far the clocks of rows *number* are ahead; return which of their ticks may be used."""
    skew, rows = at_us - received_us, cohort.rows
    for order in (-1, 1):  # from the first tick that drifted; from the last one, where they drift within the batch too
        drifted = np.flatnonzero(np.abs(skew - rows["skew_from_us"][number]) > FLAG_US)[::order]
        rows["skew_from_us"][number[drifted]] = skew[drifted]
        rows["steady_since_us"][number[drifted]] = received_us[drifted]
    rows["skew_us"][number], rows["heard_us"][number] = skew, received_us
    usable: Flags = skew <= QUARANTINE_US
    counts["quarantined"] += len(usable) - int(usable.sum())
    return usable


def off(rows: Records, limit_us: int, now_us: int) -> Flags:
    """Tell of which *rows* the clock is off by more than *limit_us*."""
    behind = (rows["skew_us"] < -limit_us) & (rows["heard_us"] - rows["steady_since_us"] >= STEADY_US)
    wrong: Flags = ((rows["skew_us"] > limit_us) | behind) & (now_us - rows["heard_us"] <= HEARD_US)
    return wrong
