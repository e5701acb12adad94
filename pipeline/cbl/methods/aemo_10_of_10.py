"""
Australia, wholesale demand response: CAISO's 10 of 10, in four kinds of days.

The kind here is the composite one: business days for a business day, others for the others. All days alike is
`--set day_types=all`.

    13:00                            16:00      17:00                20:00
      ├─ adjustment ───────────────────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="aemo-10-of-10",
        version="1",
        title="10 of 10, composite of business and other days",
        venue="AEMO",
        holidays="au-nem",
        valid_from=None,
        citation=(
            "AEMO, Baseline Methodology Register (aemo.com.au; its introduction was read: four methodologies by day "
            "type, based on CAISO's 10 of 10), and 'Will your 10 out of 10 baseline be eligible?' "
            "(wattclarity.com.au, March 2021): the ten newest eligible days. The register's table of settings was not "
            "at hand."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "fill_up",
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
            "What was not found holds CAISO's numbers; check them against the register before money rests on them. A "
            "load may use it where its relative root mean square error is at most 20 % and its bias within AEMO's "
            "threshold. Since when it holds was not found."
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
        ),
    ),
)
