"""
PJM economic and emergency energy: high 4 of 5 with a symmetric additive adjustment.

- the 5 newest weekdays within 45 days (Saturdays, and Sundays with holidays: 3), no event days;
- a day below 25 % of the five's mean usage over the event's hours makes room for the next older one;
- the lowest is dropped: 4 of 5 (2 of 3);
- added to each interval: the mean of event day − baseline over three hours, of either sign, without limit.

    11:00      12:00      13:00      14:00      15:00                18:00
      ├─ 4th ────┼─ 3rd ────┼─ 2nd ────┤  skipped  ├─ event ───────────┤
"""

from pipeline.cbl.rule import DayMatching, Rule, parameters_of

PARAMETERS = DayMatching(
    look_back_days=45,
    day_types="weekday-saturday-sunday",
    days=5,
    other_days=3,
    minimum_days=4,
    minimum_other_days=2,
    fill_up=True,
    low_usage="mean-of-pool",
    low_usage_share=0.25,
    keep="highest",
    k=4,
    other_k=2,
    adjustment="additive",
    adjust_from_hours=4,
    adjust_to_hours=1,
)

RULES: tuple[Rule, ...] = (
    Rule(
        method="pjm-high-4-of-5",
        version="1",
        title="High 4 of 5, symmetric additive adjustment",
        venue="PJM",
        valid_from=None,
        citation=(
            "PJM tariff, attachment K appendix, 3.3A.2, and Manual 11, section 10. Neither was at hand: the numbers "
            "are what is commonly said of the rule."
        ),
        verified=False,
        unverified=tuple(parameters_of(PARAMETERS)),
        notes=(
            "A resource may use it where its relative root mean square error over 60 days is at most 20 % (PJM issue "
            "8e0bee9d tells of the test and its two months of data). Some hold that the adjustment is limited to 20 "
            "%; judged wrong: --set adjust_lowest=-0.2 --set adjust_highest=0.2. Where only the minimum of days is "
            "there, none of them is dropped."
        ),
        parameters=PARAMETERS,
    ),
)
