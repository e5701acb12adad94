"""
Kill a submitter n times and print what it cost: ``python tests/long/kill_submitter.py 300 [seed] [--planted]``.

With nothing wrong in n kills the rate is below 3/n at 95 % confidence (rule of three). ``--planted`` runs the five
broken builds instead, a fifth of n each: the harness has to find something wrong with every one of them.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.broken_bidder import PLANTED, SYMPTOM
from doubles.submitter import Toll, kill_again_and_again


def main(argv: list[str]) -> int:
    """Print the tolls as JSON lines; return 1 where anything went wrong that should not, or the other way round."""
    numbers = [int(word) for word in argv if not word.startswith("-")]
    kills, seed = (numbers + [300, 1][len(numbers) :])[:2]
    if "--planted" not in argv:
        with tempfile.TemporaryDirectory() as folder:
            toll = kill_again_and_again(Path(folder), kills, seed)
        _say("as it is", toll, seed)
        return 1 if toll.wrong else 0
    missed = 0
    for bug, build in PLANTED.items():
        with tempfile.TemporaryDirectory() as folder:
            toll = kill_again_and_again(Path(folder), kills // len(PLANTED), seed, build, stop_share=0.5)
        _say(bug, toll, seed)
        missed += SYMPTOM[bug] not in toll.wrong
    return 1 if missed else 0


def _say(build: str, toll: Toll, seed: int) -> None:
    bound = round(3 / (toll.kills + toll.stops), 4)
    print(json.dumps({"build": build, "seed": seed, **toll.summary, "bound_95": bound}), flush=True)  # noqa: T201 - what it is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
