"""
Guaranteed load drop: comparison load − load, where the load is below the peak load contribution as well.

Worked example: 38.5 − 26.9 = 11.6. The comparison load is `level_kw`, the peak load contribution `below_kw`; an
interval whose load is not below it counts nothing.
"""

from pipeline.cbl.rule import Level, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="guaranteed-load-drop",
        version="1",
        title="Guaranteed load drop: below a comparison load",
        venue="PJM",
        valid_from=None,
        citation=(
            "PJM Manual 18 and Manual 19, load management, neither of which was at hand: the formula is what is "
            "commonly said of the rule."
        ),
        verified=False,
        unverified=("negative", "decimals"),
        notes=(
            "Set the customer's own figures: --set level_kw=… --set below_kw=… How the comparison load comes about (a "
            "comparable day, the same day, a regression, a baseline) is outside this method."
        ),
        parameters=Level(),
    ),
)
