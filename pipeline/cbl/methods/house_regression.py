"""
House method, no ISO's: like days, moved to the level that the day itself had shortly before the event. No weather.

AI load follows what is queued, not the weather or the calendar: its level drifts over days and holds over hours. The
mean of the five newest like days is moved by b × (mean of the day's own four hours that end an hour before the event −
the same hours of its like days); b is the least-squares slope over the days before.

    12:00                            16:00      17:00                20:00
      ├─ level of the day ─────────────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import Regression, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="house-regression",
        version="1",
        title="House: like days, moved by the level before the event (no ISO's method)",
        venue=None,
        valid_from=None,
        citation="Own method: the numbers are choices, not a rule. No ISO settles by it.",
        verified=True,
        notes=(
            "For offers, and to be held against the rules; never for settlement. The slope lies between 0 (the rules "
            "without adjustment) and 1 (an additive one) where the level holds in part."
        ),
        parameters=Regression(
            terms="level",
            look_back_days=45,
            minimum_days=8,
            like_days=5,
            level_hours=4,
            gap_hours=1,
        ),
    ),
)
