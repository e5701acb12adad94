"""
Attack an actuator with n hostile commands: ``python tests/long/attack_commands.py [count] [seed]``.

By default 100,000, which takes some minutes. With no limit changed by n commands the rate is below 3/n at 95 %
confidence (rule of three).
"""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.command_attack import attack


def main(argv: list[str]) -> int:
    """Print the toll as one JSON line, every failure on standard error; return 1 where there was one."""
    count, seed = int(argv[0]) if argv else 100_000, int(argv[1]) if argv[1:] else 7
    toll = asyncio.run(attack(count, seed))
    for failure in toll.failures:
        print(failure, file=sys.stderr)  # noqa: T201 - what it is for
    line = {**vars(toll), "failures": len(toll.failures), "bound_95": 3 / count}
    print(json.dumps(line))  # noqa: T201 - as above
    return 1 if toll.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
