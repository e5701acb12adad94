"""
Fail over n times under load and print what it cost: ``python tests/long/failover.py 50 [seed]``.

With nothing wrong in n fail-overs the rate is below 3/n at 95 % confidence (rule of three).
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.failover import fail_over_again_and_again


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line; return 1 where anything went wrong."""
    rounds, seed = int(argv[0]) if argv else 50, int(argv[1]) if argv[1:] else 1
    with tempfile.TemporaryDirectory() as folder:
        toll = fail_over_again_and_again(Path(folder), rounds, seed)
    print(json.dumps({"seed": seed, **toll.summary, "bound_95": 3 / rounds}))  # noqa: T201 - what it is for
    return 1 if toll.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
