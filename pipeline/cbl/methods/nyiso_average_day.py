"""
NYISO average day CBL with the in-day (weather-sensitive) adjustment.

- days are looked at from the second day before the event's, newest first;
- passed over: other day types, holidays, event days, and days below 25 % of the mean usage of those accepted so far;
  the first is held against the highest of the last 30 days;
- of 10 days the 5 with the highest usage over the event's hours (of 3 the 2, on Saturdays, and Sundays with holidays);
- adjusted by event day ÷ baseline over two hours that begin four hours before the event, within 0.8 … 1.2.

    10:00                12:00                14:00                18:00
      ├─ adjustment ───────┤  skipped           ├─ event ────────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="nyiso-average-day",
        version="1",
        title="Average day CBL, high 5 of 10, in-day adjustment within 20 %",
        venue="NYISO",
        valid_from=None,
        citation=(
            "NYISO Day-Ahead Demand Response Program manual and Emergency Demand Response Program manual (version "
            "7.2, 3 June 2016, of which only the contents were read). The 25 %, the 30 days, 5 of 10, the day before "
            "left out, the hours of the adjustment: an independent implementation, SumedhSankhe/NYISO_Baseline."
        ),
        verified=False,
        unverified=(
            "day_types",
            "other_days",
            "other_k",
            "minimum_days",
            "minimum_other_days",
            "exclude_outages",
            "adjust_lowest",
            "adjust_highest",
            "negative",
            "decimals",
        ),
        notes=(
            "That implementation has no limits to the adjustment and no weekends, and takes the ratio against all ten "
            "days; here it is taken against the baseline. Without the adjustment: --set adjustment=none. How few days "
            "will do was not found: as many as are asked for. Capacity (SCR) is measured by another figure."
        ),
        parameters=DayMatching(
            look_back_days=30,
            skip_days=1,
            day_types="weekday-saturday-sunday",
            days=10,
            other_days=3,
            minimum_days=10,
            minimum_other_days=3,
            low_usage="running-mean",
            low_usage_share=0.25,
            seed_days=30,
            keep="highest",
            k=5,
            other_k=2,
            adjustment="ratio",
            adjust_from_hours=4,
            adjust_to_hours=2,
            adjust_lowest=0.8,
            adjust_highest=1.2,
        ),
    ),
)
