"""
Nominated baseline: the schedule the provider sent beforehand (aFRR, FCR, self-nomination).

Delivered(t) = nominated(t) − load(t). What was submitted later than `lock_minutes` before the event does not count; of
what came in time the newest does.

    16:40           16:45                    17:00
      ├─ counts ──────┤ lock: too late to change ├─ event
"""

from pipeline.cbl.rule import Reference, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="nominated",
        version="1",
        title="Schedule nominated by the provider",
        venue="aFRR, FCR",
        valid_from=None,
        citation=(
            "Practice of European balancing markets, of which no rule was at hand; a lock of 1 or 15 minutes is what "
            "is commonly said. British network operators take revised baselines until 12:00 of the day before "
            "(help.electron.net, article 304787)."
        ),
        verified=False,
        unverified=("lock_minutes", "negative", "decimals"),
        notes=(
            "The stricter of the two locks; the other is --set lock_minutes=1. For FCR the reference is the operating "
            "point before the deviation, and delivery is judged against the droop. One value a metering interval: "
            "finer ones are refused, their mean is to be given."
        ),
        parameters=Reference(source="nomination", lock_minutes=15),
    ),
)
