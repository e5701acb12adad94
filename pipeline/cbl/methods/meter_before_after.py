"""
Meter before / meter after: the load right before the event is what would have been drawn during it.

For short events, and for load that no calendar explains. One figure, the mean of the last hour before the event.

    16:00      17:00      17:30
      ├─ before ─┤─ event ──┤

Worked example: 40.1, 40.3, 40.2 before are 40.2 on average; 28.0, 27.6, 27.9 during are 12.2, 12.6, 12.3 less.
"""

from datetime import date

from pipeline.cbl.rule import AroundEvent, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="meter-before-after",
        version="19.0",
        title="Meter before / meter after",
        venue="ERCOT",
        valid_from=date(2016, 10, 1),
        citation=(
            "ERCOT, Demand Response Baseline Methodologies, version 19.0, September 2019 (vdocument.in; its contents "
            "were read, its text was not). That it is used from October 2016: ERCOT's demand side working group, "
            "2016. An hour before: PJM issue 8d32c06a, which names 'hour before' as PJM's method for emergency "
            "energy, not ERCOT's."
        ),
        verified=False,
        unverified=(
            "before_from_hours",
            "before_to_hours",
            "after_from_hours",
            "after_to_hours",
            "negative",
            "decimals",
        ),
        notes=(
            "Begins on the first day of the month that is named. The last three readings of 15 minutes: --set "
            "before_from_hours=0.75; an hour after the event too: --set after_to_hours=1. A load that is lowered "
            "before the event begins lowers its own baseline."
        ),
        parameters=AroundEvent(before_from_hours=1),
    ),
)
