"""
CAISO day matching, 10-in-10 with a load point adjustment (PDR and RDRR).

- walk back from the event's day, at most 45 calendar days, to 10 like days (4 where it is no business day);
- like: of the same day type, no earlier event, no outage; five days will do (four);
- still short: the event and outage days with the highest total load in the event's hours fill up;
- unadjusted: plain mean of these days, metering interval by metering interval;
- adjusted by event day ÷ baseline over the 2nd, 3rd and 4th hour before the event, within 0.8 … 1.2.

    13:00      14:00      15:00      16:00      17:00                20:00
      ├─ 4th ────┼─ 3rd ────┼─ 2nd ────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="caiso-10-in-10",
        version="1",
        title="Day matching, 10-in-10, ratio within 20 %",
        venue="CAISO",
        valid_from=None,
        citation=(
            "CAISO tariff 4.13.4, day matching, in its own words as quoted in mce_baseline_functions.py (repository "
            "Verdant-Associates/mce-demo, commit da5691d): look-back, targets, minima, exclusions, what fills up. The "
            "adjustment's hours: that code. Its 20 %: that code, and CAISO's Baseline Accuracy Work Group draft of 4 "
            "April 2017. A measurement below zero counts as zero: CAISO's demand response FAQ."
        ),
        verified=True,
        unverified=("decimals",),
        notes=(
            "The tariff itself was not at hand, only the quotation. A day with a capacity award for ancillary "
            "services or residual unit commitment alone is no event day: leave it out of the events. Holidays: the "
            "code quoted says NERC's and has Veterans Day and observed days too; which list CAISO uses is not "
            "settled. Since when these numbers hold was not found."
        ),
        parameters=DayMatching(
            look_back_days=45,
            day_types="business",
            days=10,
            other_days=4,
            minimum_days=5,
            minimum_other_days=4,
            fill_up=True,
            adjustment="ratio",
            adjust_from_hours=4,
            adjust_to_hours=1,
            adjust_lowest=0.8,
            adjust_highest=1.2,
            negative="zero",
        ),
    ),
)
