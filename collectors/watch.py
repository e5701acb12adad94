"""
Who else turns what we hold. Pure.

    asked  400 ──────┐   ┌──────┐   ┌──────┐                  the third time it is reported, left as it is and not
    found        700 └───┘  700 └───┘  700 └──────────────    fought over, until the lease has let go of it

Every level that was asked for since the last one read back is ours: a set that was answered late, or whose reading back
failed, is nobody else's doing. A limit lowered below all of them is somebody's, from the first time: it holds back what
was asked, and more. What somebody else has set last is not ours to restore.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors.levers import Key, is_at

MAX_REVERTS = 3
"""In production 103 of 113 reverted caps had been set anew by something else on the host (lium-io issue 1229)."""
REMEMBERED = timedelta(minutes=10)
"""For so long a revert counts, whatever commands come in between; of the steady clock."""


@dataclass(frozen=True)
class Watch:
    """What we asked for, and how often that was found changed."""

    asked: Mapping[Key, tuple[float, ...]] = field(default_factory=dict)
    """Every level that may be in force by our doing, the newest last."""
    confirmed: frozenset[Key] = frozenset()
    """Controls whose newest level this process has read back."""
    reverts: Mapping[Key, tuple[datetime, ...]] = field(default_factory=dict)
    foreign: Mapping[Key, float] = field(default_factory=dict)
    """Controls that somebody else holds, and at what they were found."""

    def ask(self, levels: Mapping[Key, float]) -> "Watch":
        """Return the watch as *levels* are about to be set."""
        asked = {key: (*self.asked.get(key, ()), level) for key, level in levels.items() if not self._ends(key, level)}
        return replace(self, asked={**self.asked, **asked}, confirmed=self.confirmed - levels.keys())

    def taken(self, levels: Mapping[Key, float]) -> "Watch":
        """Return the watch after *levels* were set and read back."""
        asked = {key: (level,) for key, level in levels.items()}
        return replace(self, asked={**self.asked, **asked}, confirmed=self.confirmed | levels.keys())

    def forget(self, key: Key) -> "Watch":
        """Return the watch without *key*, which we hold no more; what was reverted lately is remembered."""
        return replace(
            self,
            asked={one: levels for one, levels in self.asked.items() if one != key},
            confirmed=self.confirmed - {key},
            foreign={one: level for one, level in self.foreign.items() if one != key},
        )

    def look(self, found: Mapping[Key, float | None], now: datetime) -> "Watch":
        """Return the watch after all of *found* was read at *now*: each change of what we set counts once."""
        reverts, foreign = dict(self.reverts), dict(self.foreign)
        for key, asked in self.asked.items():
            level = found.get(key)
            if level is None:
                continue
            if self.is_ours(key, level):
                foreign.pop(key, None)
            elif level < min(asked) or key in foreign:
                foreign[key] = level
            else:
                lately = [at for at in reverts.get(key, ()) if now - at < REMEMBERED]
                reverts[key] = (*lately, now)
                if len(reverts[key]) >= MAX_REVERTS:
                    foreign[key] = level
        return replace(self, reverts=reverts, foreign=foreign)

    def is_ours(self, key: Key, found: float) -> bool:
        """Tell whether *found* may be our own doing."""
        return any(is_at(key.kind, found, level) for level in self.asked.get(key, ()))

    def is_theirs(self, key: Key, found: float) -> bool:
        """Tell whether somebody else has set *found* where we had asked for something: they shall keep it."""
        return key in self.foreign or (key in self.asked and not self.is_ours(key, found))

    def is_to_set(self, key: Key, found: float | None, level: float, *, is_held: bool) -> bool:
        """Tell whether *level* is to be set of a control at *found*; what is not held is only ever raised again."""
        if key in self.foreign:
            return False
        if found is None:  # nobody can tell: once is enough
            return key not in self.confirmed or not self._ends(key, level)
        if is_at(key.kind, found, level):
            return False
        return is_held or (found < level and not self.is_theirs(key, found))

    def _ends(self, key: Key, level: float) -> bool:
        return self.asked.get(key, ())[-1:] == (level,)
