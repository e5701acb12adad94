"""
Firm service level: the load is held at or below a level, and what counts is how far it is below its peak contribution.

    nominated = peak load contribution − firm level × loss factor
    delivered = peak load contribution − load × loss factor

Worked example: 30 − 18 × 1.03 = 11.46 nominated; 30 − 17.2 × 1.03 = 12.284 delivered, 1.071902 of it. The peak
load contribution is `level_kw`; without it there is no baseline.
"""

from pipeline.cbl.rule import Level, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="firm-service-level",
        version="1",
        title="Firm service level: below the peak load contribution",
        venue="PJM",
        valid_from=None,
        citation=(
            "PJM Manual 18 and Manual 19, load management, neither of which was at hand. That load in the summer is "
            "measured from the peak load contribution, which amounts to a firm service level: PJM issue 8e0bee9d."
        ),
        verified=False,
        unverified=("negative", "decimals"),
        notes=(
            "Set the customer's own figures: --set level_kw=… --set firm_kw=… --set loss_factor=… Outside the summer "
            "PJM measures capacity by a baseline (issue 8e0bee9d)."
        ),
        parameters=Level(),
    ),
)
