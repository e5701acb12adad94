"""
ISO New England, mean 10 of 10: the mean of the ten newest days of the same day type, with an additive adjustment.

It took the place of a rolling average, 90/10: from the oldest day on, each next day's load takes a tenth of the average
so far. 40.0, then 42, 38 and 41, make 0.9 × (0.9 × (0.9 × 40.0 + 4.2) + 3.8) + 4.1 = 40.082. A day with a dispatch is
left out as a whole.

Added to each interval: the mean of event day − baseline over two hours that end one hour before the event.

    14:00                16:00      17:00                20:00
      ├─ adjustment ───────┤  skipped  ├─ event ───────────┤
"""

from datetime import date

from pipeline.cbl.rule import DayMatching, Rule

BEGINS = date(2015, 10, 29)

RULES: tuple[Rule, ...] = (
    Rule(
        method="isone",
        version="90/10",
        title="Rolling average, nine tenths of the old and one of the newest day, additive adjustment",
        venue="ISO-NE",
        valid_from=None,
        valid_to=BEGINS,
        citation=(
            "ISO New England's rule was not at hand. That a '90/10' baseline gave way to 'mean 10 of 10', filed on 29 "
            "October 2015: troutmanenergyreport.com, November 2015. That 90/10 means nine tenths of the old average "
            "and one tenth of the newest day is what is commonly said."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "days",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "exclude_outages",
            "average",
            "weight",
            "adjustment",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "negative",
            "decimals",
        ),
        notes=(
            "Since when it held was not found. The average begins a year before the event, with the oldest like day, "
            "whose part is then some 1e-12 on a business day and half a hundredth on a Saturday; how it began was not "
            "found, nor how few days will do: as many as the version after it asks for. The adjustment is that one's."
        ),
        parameters=DayMatching(
            look_back_days=365,
            day_types="weekday-saturday-sunday",
            days=None,
            other_days=None,
            minimum_days=10,
            minimum_other_days=10,
            average="exponential",
            weight=0.1,
            adjustment="additive",
            adjust_from_hours=3,
            adjust_to_hours=1,
        ),
    ),
    Rule(
        method="isone",
        version="2015",
        title="Mean 10 of 10, additive adjustment",
        venue="ISO-NE",
        valid_from=BEGINS,
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
