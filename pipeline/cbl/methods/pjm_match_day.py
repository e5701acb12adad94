"""
PJM Match Day (3-day average): the mean of the three days that were most like the event's day outside the event.

Compared are the hours of the local day without the event, the hour before it and the hour after it. Most like: the
smallest sum of squared differences, which is our reading; PJM's own measure was not found.

    0:00                     14:00    15:00        18:00    19:00                24:00
      ├─ compared ─────────────┤left out├─ event ────┤left out├─ compared ─────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="pjm-match-day",
        version="1",
        title="Match Day: mean of the three most similar days",
        venue="PJM",
        valid_from=None,
        citation=(
            "PJM Manual 11, section 10, which was not at hand; three days, events excluded, the hour on each side "
            "left out, no adjustment told of: RTO Insider, article 23098 ('Improved DR Baseline Processes OKd')."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "days",
            "other_days",
            "exclude_outages",
            "low_usage",
            "adjustment",
            "negative",
            "decimals",
        ),
        notes="Not known before the event's day has been metered to its end: for settlement, not for an offer.",
        parameters=DayMatching(
            look_back_days=45,
            day_types="weekday-saturday-sunday",
            days=None,
            other_days=None,
            minimum_days=3,
            minimum_other_days=3,
            keep="nearest",
            k=3,
            other_k=3,
            rank_by="shape",
            match="outside-event",
            match_gap_hours=1,
        ),
    ),
)
