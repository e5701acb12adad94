"""
Refusals as a log shows them: the first of each reason at once, further ones of the same second as a number.

Whoever may write to the topic could otherwise fill a host's disk. Counts are never thinned out.
"""

import logging
from collections import Counter

from collectors.admit import SHOWN, Refusal, RefusalCode

log = logging.getLogger(__name__)

EVERY_S = 1.0


class Refusals:
    """What was refused lately."""

    def __init__(self) -> None:
        self._said_at_s: dict[RefusalCode, float] = {}
        self._more: Counter[RefusalCode] = Counter()

    def note(self, refusal: Refusal, now_s: float) -> None:
        """Log *refusal*, or count it for the next `flush`; *now_s* is of a clock that only goes on."""
        code = refusal.code
        if now_s < self._said_at_s.get(code, -EVERY_S) + EVERY_S:
            self._more[code] += 1
            return
        self._flush(code)
        self._said_at_s[code] = now_s
        command_id = refusal.command.command_id[:SHOWN] if refusal.command is not None else None
        fields = {"code": str(code), "command_id": command_id, "count": 1}
        log.warning("refused: %s: %s", code, refusal.reason, extra=fields)

    def flush(self, now_s: float) -> None:
        """Log how many more there were of each reason, a second after it was last said."""
        for code in list(self._more):
            if now_s >= self._said_at_s[code] + EVERY_S:
                self._flush(code)
                self._said_at_s[code] = now_s

    def close(self) -> None:
        """Log what has not been said yet."""
        for code in list(self._more):
            self._flush(code)

    def _flush(self, code: RefusalCode) -> None:
        if count := self._more.pop(code, 0):
            log.warning("refused: %s: %d more", code, count, extra={"code": str(code), "count": count})
