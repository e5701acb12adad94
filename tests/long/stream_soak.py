"""
Watch two workers for half an hour at twice the demo's rate: ``python tests/long/stream_soak.py [minutes] [warm-up]``.

The demo's 200 hosts at twice real time make 400 ticks a second. Here 420 hosts make more than 800, of which each has an
incident (late, straggling, rebooting, away, …) every five to fifteen minutes. One JSON line: what memory, open files
and lag come to per hour after the warm-up (by default ten minutes), with 95 % confidence. Growth that is above the aim
beyond doubt is a problem, and so is growth that this run does not show to be below it. Workers keep what corrections
need for ten minutes in place of three days (`doubles/short_memory.py`), so that this is full when the warm-up ends;
what three days of it take is reckoned in pipeline/MEASURED.md.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from conftest import broker
from doubles import short_memory
from doubles.stream.soak import soak
from doubles.stream.stage import Scenario

MOST_MB_PER_H = 1.0
MOST_LAG_PER_H = 800.0
"""Records: a second of the load."""
ENTRY = (str(Path(short_memory.__file__)),)
LOAD = Scenario(seed=1, workers=2, faults=(), hosts=420, speed=2.0, between_s=(300, 900), entry=ENTRY)
LEAST_TICKS_PER_S = 800.0
"""Twice the demo's."""


def problems(account: dict[str, Any]) -> list[str]:
    """Return what is not as it should be: growth beyond the bound, lag that grows beyond doubt, and failures. Pure."""
    found: list[str] = list(account["failures"])
    if (rate := account["ticks"] / account["minutes"] / 60) < LEAST_TICKS_PER_S:
        found.append(f"only {rate:.0f} ticks a second")
    for name, line in account["memory_mb"].items():
        grown = f"{line.per_hour:.2f} ± {line.plus_minus:.2f} MB an hour"
        if line.per_hour - line.plus_minus > MOST_MB_PER_H:
            found.append(f"{name} grows by {grown}")
        elif line.per_hour + line.plus_minus > MOST_MB_PER_H:
            found.append(f"{name}: {grown}, which does not show that it is below {MOST_MB_PER_H:g}")
    for name, line in account["lag_records"].items():
        if line.per_hour - line.plus_minus > MOST_LAG_PER_H:
            found.append(f"the lag of {name} grows by {line.per_hour:.0f} records an hour")
    return found


def main(argv: list[str]) -> int:
    """Print the account as one JSON line; return 1 where anything is not as it should be."""
    minutes = float(argv[0]) if argv else 30.0
    warm_up = float(argv[1]) if argv[1:] else min(10.0, minutes / 3)
    with tempfile.TemporaryDirectory(prefix="firmwatt-soak-") as folder, broker(Path(folder) / "broker") as kafka:
        account = soak(Path(folder), kafka, LOAD, minutes * 60, warm_up * 60)
    account["problems"] = problems(account)
    print(json.dumps(account, default=vars), flush=True)  # noqa: T201 - what it is for
    return 1 if account["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
