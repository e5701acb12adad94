"""
What a reader may see of one host's ticks behind a transport that delivers at least once.

    1 2 3 4 5 ┊ 3 4 5 6 7      an interruption: what was on its way comes again, in order, and then it goes on
    1 2 3 5 4                  neither a redelivery nor in order: 5 came before 4 was ever seen
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """How the numbers 1 to the last one sent came in."""

    missing: int
    ahead: int
    """Numbers that came before one below them had ever come: order lost."""
    again: int
    """Numbers that had come before."""
    returns: int
    """How often it went back: interruptions."""


def seen(numbers: Sequence[int], last: int) -> Seen:
    """Return how *numbers*, in the order they were read, cover 1 to *last*."""
    highest = ahead = again = returns = before = 0
    for number in numbers:
        ahead += number > highest + 1
        again += number <= highest
        returns += number <= before
        highest, before = max(highest, number), number
    return Seen(len(set(range(1, last + 1)) - set(numbers)), ahead, again, returns)
