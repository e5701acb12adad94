"""
Who else turns what we hold. Pure.

    ours   400 ──────┐   ┌──────┐   ┌──────┐   ┌───────   the third time is the last: from then on it is reported,
    found        700 └───┘  700 └───┘  700 └───┘              left as it is, and not fought over

A limit that was lowered below ours is left alone from the first time: it holds back what was asked, and more. A new
command begins a new count. What somebody else has set last is not ours to restore either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from collectors.levers import Key, is_at

MAX_REVERTS = 3
"""In production 103 of 113 reverted caps had been set anew by something else on the host (lium-io issue 1229)."""


@dataclass(frozen=True)
class Watch:
    """What we set last, and how often that was found changed."""

    ours: Mapping[Key, float] = field(default_factory=dict)
    reverts: Mapping[Key, int] = field(default_factory=dict)
    foreign: Mapping[Key, float] = field(default_factory=dict)
    """Controls that somebody else holds, and at what they were found."""

    def put(self, key: Key, level: float) -> "Watch":
        """Return the watch after *level* was set and read back."""
        return replace(self, ours={**self.ours, key: level})

    def forget(self, key: Key) -> "Watch":
        """Return the watch without *key*, which we hold no more."""
        return replace(
            self,
            ours={one: level for one, level in self.ours.items() if one != key},
            foreign={one: level for one, level in self.foreign.items() if one != key},
        )

    def renewed(self) -> "Watch":
        """Return the watch as it begins for a new command."""
        return replace(self, reverts={}, foreign={})

    def look(self, found: Mapping[Key, float | None]) -> "Watch":
        """Return the watch after all of *found* was read: each change of what we set counts once."""
        reverts, foreign = dict(self.reverts), dict(self.foreign)
        for key, ours in self.ours.items():
            level = found.get(key)
            if level is None:
                continue
            if is_at(key.kind, level, ours):
                foreign.pop(key, None)
            elif level < ours or key in foreign:
                foreign[key] = level
            else:
                reverts[key] = reverts.get(key, 0) + 1
                if reverts[key] > MAX_REVERTS:
                    foreign[key] = level
        return replace(self, reverts=reverts, foreign=foreign)

    def is_foreign(self, key: Key, found: float | None) -> bool:
        """Tell whether *found* is not what we set last: whoever set it shall keep it."""
        ours = self.ours.get(key)
        return key in self.foreign or (ours is not None and found is not None and not is_at(key.kind, found, ours))
