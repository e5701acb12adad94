"""
ERCOT emergency response service, middle 8-of-10 preceding like days.

Of the ten newest like days the one of the highest and the one of the lowest energy over the whole day are dropped; the
mean of the other eight is scaled by Σ event day ÷ Σ baseline over eight 15-minute intervals, without limits.

    14:00                16:00      17:00                20:00
      ├─ adjustment ───────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="ercot-middle-8-of-10",
        version="19.0",
        title="Middle 8 of 10 like days, event-day ratio",
        venue="ERCOT",
        valid_from=None,
        citation=(
            "ERCOT, Demand Response Baseline Methodologies, version 19.0, September 2019 (vdocument.in; its contents "
            "were read, its text was not), and Emergency Interruptible Load Service Default Baseline Methodologies "
            "(docest.com 633019, docstoc.com 45497788; their beginning was read): middle 8-of-10 preceding like days "
            "is one of three default types, and the same event-day adjustment belongs to each."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "exclude_outages",
            "rank_by",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "negative",
            "decimals",
        ),
        notes=(
            "The type is older than the version named, so that no first day is given. The look-back is ours, long "
            "enough for ten days of a weekend; so is the place of the two hours of adjustment. How few days will do "
            "was not found: as many as are asked for."
        ),
        parameters=DayMatching(
            look_back_days=60,
            day_types="business",
            days=10,
            other_days=10,
            minimum_days=10,
            minimum_other_days=10,
            keep="middle",
            rank_by="day",
            adjustment="ratio",
            adjust_from_hours=3,
            adjust_to_hours=1,
        ),
    ),
)
