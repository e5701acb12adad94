"""
A pipeline that corrects intervals for ten minutes, not for three days: ``python short_memory.py pipeline run …``.

What a worker keeps for corrections grows for three days and then stays; half an hour would show nothing but that. With
ten minutes it is full early, and whatever grows afterwards would grow for ever.
"""

import sys
from datetime import timedelta

KEEP = timedelta(minutes=10)


def shorten() -> None:
    """Shorten what is kept before anything reads it."""
    from pipeline import intervals

    intervals.KEEP_US = KEEP // timedelta(microseconds=1)
    from pipeline import rollup

    rollup.KEEP = KEEP
    from pipeline import site_intervals

    site_intervals.QUIET = timedelta(minutes=5)
    site_intervals.KEEP = KEEP + site_intervals.QUIET


if __name__ == "__main__":
    from deploy.cli import main

    shorten()
    sys.exit(main())
