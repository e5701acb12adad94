"""
Take the power away from a spool n times: ``python tests/long/crash_spool.py 2000 [seed]``.

A real process uses a spool while a recorder notes every write, fsync and rename; states are built in which what was not
fsynced is there, missing or torn. With no failure in n states the rate is below 3/n at 95 % confidence (rule of three).
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.disk.crash_spool import take_the_power


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line, every failure on standard error; return 1 where there was one."""
    states, seed = int(argv[0]) if argv else 2000, int(argv[1]) if argv[1:] else 1
    toll = take_the_power(states, seed)
    for failure in toll.failures:
        print(failure, file=sys.stderr)  # noqa: T201 - what it is for
    line = {**vars(toll), "failures": len(toll.failures), "bound_95": 3 / states}
    print(json.dumps(line))  # noqa: T201 - as above
    return 1 if toll.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
