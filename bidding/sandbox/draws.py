"""Chance that can be repeated: a number is a function of a seed and a name, not of what was drawn before it."""

from hashlib import sha256


def uniform(seed: int, name: str) -> float:
    """Return a number in [0, 1), the same for the same *seed* and *name* on every machine and Python."""
    return int.from_bytes(sha256(f"{seed}|{name}".encode()).digest()[:6]) / 2**48
