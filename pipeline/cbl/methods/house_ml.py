"""
House method, no ISO's: boosted trees through history, on nothing later than a day before the event.

For AI load: the local time, the day's type and the loads of the days before, as known when a day-ahead offer is made.

    24 Apr                          22 Jul 17:00             23 Jul 17:00   20:00
      ├─ learned from ────────────────────┤  nothing looked at   ├─ event ────┤
"""

from pipeline.cbl.rule import Learned, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="house-ml",
        version="1",
        title="House: boosted trees, a day ahead (no ISO's method)",
        venue=None,
        valid_from=None,
        citation="Own method: the numbers are choices, not a rule. No ISO settles by it.",
        verified=True,
        notes=(
            "For offers, and to be held against the rules; never for settlement. One engine computes it, so that "
            "there is no second one to agree with."
        ),
        parameters=Learned(look_back_days=90, minimum_days=28),
    ),
)
