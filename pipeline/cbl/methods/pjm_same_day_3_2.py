"""
PJM Same Day (3+2): the mean of three hours before the event and two after it, an hour left out on each side.

     8:00            11:00    12:00                    17:00    18:00       20:00
      ├─ 3 hours ───────┤skipped├─ event ────────────────┤skipped ├─ 2 hours ──┤
"""

from pipeline.cbl.rule import AroundEvent, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="pjm-same-day-3-2",
        version="1",
        title="Same Day (3+2): three hours before, two after",
        venue="PJM",
        valid_from=None,
        citation=(
            "PJM Manual 11, section 10, which was not at hand; the hours as reported by RTO Insider, article 23098 "
            "('Improved DR Baseline Processes OKd'): hours ending 9-11 and 19-20 for an event in hours ending 13-17."
        ),
        verified=False,
        unverified=("negative", "decimals"),
        notes="Not known before the two hours after the event have been metered: for settlement, not for an offer.",
        parameters=AroundEvent(before_from_hours=4, before_to_hours=1, after_from_hours=1, after_to_hours=3),
    ),
)
