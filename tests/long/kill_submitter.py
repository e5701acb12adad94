"""
Kill a submitter n times and print what it cost: ``python tests/long/kill_submitter.py 1000 [seed]``.

With no duplicate in n kills the rate is below 3/n at 95 % confidence (rule of three).
"""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.submitter import kill_again_and_again


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line; return 1 where anything went wrong."""
    kills, seed = int(argv[0]) if argv else 100, int(argv[1]) if argv[1:] else 1
    with tempfile.TemporaryDirectory() as folder:
        toll = kill_again_and_again(Path(folder), kills, seed)
    print(json.dumps({**asdict(toll), "seed": seed, "bound_95": 3 / kills}))  # noqa: T201 - what it is for
    return 1 if toll.duplicates or toll.lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
