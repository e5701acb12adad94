"""
CAISO day matching, 5-in-10: of the 10 newest like days the 5 with the highest load in the event's hours.

On a day that is no business day the 3 highest of 5. The ratio of the event's own day is taken over two hours that end
two hours before the event and limited to 40 %: 0.71 … 1.4.

    13:00                15:00                17:00                20:00
      ├─ adjustment ───────┤  skipped           ├─ event ────────────┤
"""

from datetime import date

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="caiso-5-in-10",
        version="1",
        title="Day matching, 5-in-10, ratio within 40 %",
        venue="CAISO",
        valid_from=date(2018, 10, 24),
        citation=(
            "CAISO tariff 4.13.4. Three methods were added to two by the amendment for Energy Storage and Distributed "
            "Energy Resources, phase 2, filed on 17 August 2018 and accepted by FERC's letter of 24 October 2018 "
            "(filing of the Californian utilities, 8 November 2018); which three was not read. That 5-in-10 is in "
            "common use: comments to CAISO of 1 May 2025. Highest 5 of 10, and 3 of 5 on other days: PG&E's programme "
            "of the same design (powersaver.pge.com/faq). Negative as zero: CAISO's demand response FAQ."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "minimum_days",
            "minimum_other_days",
            "adjustment",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "decimals",
        ),
        notes=(
            "Begins on the day of acceptance; the day it took effect was not found. PG&E's programme weights the "
            "three days of a weekend and adjusts by hours after the event too: neither is done here. How few days "
            "will do was not found: as many as are asked for."
        ),
        parameters=DayMatching(
            look_back_days=45,
            day_types="business",
            days=10,
            other_days=5,
            minimum_days=10,
            minimum_other_days=5,
            keep="highest",
            k=5,
            other_k=3,
            adjustment="ratio",
            adjust_from_hours=4,
            adjust_to_hours=2,
            adjust_lowest=0.71,
            adjust_highest=1.4,
            negative="zero",
        ),
    ),
)
