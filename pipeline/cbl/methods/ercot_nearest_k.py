"""
ERCOT emergency response service, nearest 20 like days; 20 is `k`.

Like days are compared with the event's day over the hours from local midnight to the event, by the sum of squared
differences (our reading; ERCOT's measure was not found). The mean of the 20 nearest is scaled by Σ event day ÷ Σ
baseline over the same hours.

    0:00                                       17:00                20:00
      ├─ compared, and adjusted by ──────────────┤─ event ────────────┤
"""

from datetime import date

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="ercot-nearest-k",
        version="19.0",
        title="Nearest 20 like days, event-day ratio",
        venue="ERCOT",
        valid_from=date(2016, 10, 1),
        citation=(
            "ERCOT, Demand Response Baseline Methodologies, version 19.0, September 2019 (vdocument.in; its contents "
            "were read, its text was not). That 'nearest 20 like days' is used from October 2016: ERCOT's demand side "
            "working group, 2016."
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
            "rank_by",
            "match",
            "match_gap_hours",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "negative",
            "decimals",
        ),
        notes=(
            "Begins on the first day of the month that is named. The measure, the hours compared and the look-back "
            "are ours. An event that begins at midnight has no hours to compare. A load with fewer than 20 like days "
            "has no baseline: --set k=… --set minimum_days=…"
        ),
        parameters=DayMatching(
            look_back_days=90,
            day_types="business",
            days=None,
            other_days=None,
            minimum_days=20,
            minimum_other_days=20,
            keep="nearest",
            k=20,
            other_k=20,
            rank_by="shape",
            match="before-event",
            adjustment="ratio",
        ),
    ),
)
