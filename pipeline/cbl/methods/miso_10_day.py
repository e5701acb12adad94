"""
MISO calculated baseline: the mean of the ten newest weekdays without event (four weekend days or holidays).

Within 45 days; adjusted by event day ÷ baseline over three hours that begin four hours before the event, within
0.8 … 1.2. Where no day is short it gives what CAISO's 10-in-10 gives.

    13:00                            16:00      17:00                20:00
      ├─ adjustment ───────────────────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="miso-10-day",
        version="1",
        title="Ten-day baseline, ratio within 20 %",
        venue="MISO",
        valid_from=None,
        citation=(
            "MISO Business Practices Manual 026, which was not at hand. That MISO's default is the hourly mean of the "
            "ten previous days that are no weekend, holiday or event, and an adjustment within 20 %: a contract of "
            "Consumers Energy (lawinsider.com, 'Delivered Capacity')."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "exclude_outages",
            "adjustment",
            "adjust_from_hours",
            "adjust_to_hours",
            "negative",
            "decimals",
        ),
        notes=(
            "That contract adjusts by 'three hours prior to the beginning' of the event and leaves it to the utility; "
            "whether MISO skips the hour right before, as here, is not settled: --set adjust_from_hours=3 --set "
            "adjust_to_hours=0. How few days will do was not found: as many as are asked for."
        ),
        parameters=DayMatching(
            look_back_days=45,
            day_types="business",
            days=10,
            other_days=4,
            minimum_days=10,
            minimum_other_days=4,
            adjustment="ratio",
            adjust_from_hours=4,
            adjust_to_hours=1,
            adjust_lowest=0.8,
            adjust_highest=1.2,
            negative="zero",
        ),
    ),
)
