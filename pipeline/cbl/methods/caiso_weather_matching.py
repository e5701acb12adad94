"""
CAISO weather matching: the 4 days of the last 90 whose highest temperature was nearest to that of the event's day.

Only days of the same day type without event or outage are compared. The ratio of the event's own day is taken over two
hours that end two hours before the event and limited to 40 %: 0.71 … 1.4. It needs outdoor temperatures.
"""

from datetime import date

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="caiso-weather-matching",
        version="1",
        title="Weather matching, 4 days nearest by highest temperature, ratio within 40 %",
        venue="CAISO",
        valid_from=date(2018, 10, 24),
        citation=(
            "CAISO tariff 4.13.4. Three methods were added to two by the amendment for Energy Storage and Distributed "
            "Energy Resources, phase 2, filed on 17 August 2018 and accepted by FERC's letter of 24 October 2018 "
            "(filing of the Californian utilities, 8 November 2018); which three was not read. That weather matching "
            "was proposed as one: the Baseline Accuracy Work Group's draft of 4 April 2017, tables 3-3 and 3-4, of "
            "which only the list was read. Negative as zero: CAISO's demand response FAQ."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "days",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "k",
            "other_k",
            "adjustment",
            "adjust_from_hours",
            "adjust_to_hours",
            "adjust_lowest",
            "adjust_highest",
            "decimals",
        ),
        notes=(
            "Begins on the day of acceptance; the day it took effect was not found. The draft has one set of numbers "
            "for homes and one for others; neither was read. Temperature is the one given, not weighted by "
            "participants."
        ),
        parameters=DayMatching(
            look_back_days=90,
            day_types="business",
            days=None,
            other_days=None,
            minimum_days=4,
            minimum_other_days=4,
            keep="nearest",
            k=4,
            other_k=4,
            rank_by="temperature",
            adjustment="ratio",
            adjust_from_hours=4,
            adjust_to_hours=2,
            adjust_lowest=0.71,
            adjust_highest=1.4,
            negative="zero",
        ),
    ),
)
