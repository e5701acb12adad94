"""
ISO New England, mean 10 of 10: the mean of the ten newest days of the same day type, with an additive adjustment.

It took the place of a rolling average (new = 0.9 × old + 0.1 × day). A day with a dispatch is left out as a whole.
Added to each interval: the mean of event day − baseline over two hours that end one hour before the event.

    14:00                16:00      17:00                20:00
      ├─ adjustment ───────┤  skipped  ├─ event ───────────┤
"""

from datetime import date

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="isone",
        version="2015",
        title="Mean 10 of 10, additive adjustment",
        venue="ISO-NE",
        valid_from=date(2015, 10, 29),
        citation=(
            "ISO New England Market Rule 1, section III.8B, which was not at hand. That 'mean 10 of 10' was filed on "
            "29 October 2015 in place of the '90/10' baseline: troutmanenergyreport.com, November 2015."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "exclude_outages",
            "adjustment",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "negative",
            "decimals",
        ),
        notes=(
            "Begins on the day of the filing; the day it took effect was not found, and the filing puts full "
            "integration of demand response at 1 June 2018. The look-back is ours, long enough for ten Saturdays; the "
            "hours of the adjustment are ours. How few days will do was not found: as many as are asked for."
        ),
        parameters=DayMatching(
            look_back_days=90,
            day_types="weekday-saturday-sunday",
            days=10,
            other_days=10,
            minimum_days=10,
            minimum_other_days=10,
            adjustment="additive",
            adjust_from_hours=3,
            adjust_to_hours=1,
        ),
    ),
)
