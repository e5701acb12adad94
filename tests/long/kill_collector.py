"""
Kill a collector n times while Kafka is away: ``python tests/long/kill_collector.py [kills] [seed] [hours] [speed]``.

By default 50 kills and 6 hours of virtual time at 60 times real time, which takes some ten minutes. With nothing lost
in n kills the rate is below 3/n at 95 % confidence (rule of three).
"""

import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.kill_collector import kill_again_and_again


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line; return 1 where anything went wrong."""
    kills, seed = int(argv[0]) if argv else 50, int(argv[1]) if argv[1:] else 1
    hours, speed = float(argv[2]) if argv[2:] else 6.0, float(argv[3]) if argv[3:] else 60.0
    with tempfile.TemporaryDirectory(prefix="firmwatt-kills-") as folder:
        toll = kill_again_and_again(Path(folder), kills, seed, timedelta(hours=hours), speed)
    print(json.dumps({**vars(toll), "bound_95": 3 / kills}))  # noqa: T201 - what it is for
    return 1 if toll.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
