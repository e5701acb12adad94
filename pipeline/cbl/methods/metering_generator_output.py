"""
CAISO metering generator output: what a generator behind the meter gave above what it typically gives.

Load is the generator's output, metered by itself. Typical output of an hour is its mean over the 10 newest like days
without event (4 where the event's day is no business day); supply = output − typical output, never below zero.

    output    ▁▁▁▁▁▁▁▁▁▁▂▂▂▂▂███████▂▂▂▁▁▁
    typical   ▁▁▁▁▁▁▁▁▁▁▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▁▁▁
    counts                    ███████
"""

from pipeline.cbl.rule import DayMatching, Rule

RULES: tuple[Rule, ...] = (
    Rule(
        method="metering-generator-output",
        version="1",
        title="Generator output above its typical output",
        venue="CAISO",
        valid_from=None,
        citation=(
            "CAISO tariff 4.13.4, metering generator output; Business Practice Manual for Metering, section 12. "
            "Neither was read in the part that holds the numbers: the manual's history of versions (17, 27 October "
            "2017) names the method. Comments to CAISO of 1 May 2025 say that it leaves out what is exported to the "
            "grid. Negative as zero: CAISO's demand response FAQ."
        ),
        verified=False,
        unverified=(
            "look_back_days",
            "day_types",
            "days",
            "other_days",
            "minimum_days",
            "minimum_other_days",
            "exclude_events",
            "exclude_outages",
            "adjustment",
            "decimals",
        ),
        notes=(
            "The supply alone. Where load was let go too, gross load is net meter + generator: run caiso-10-in-10 "
            "over it and add the two. How few days will do was not found: as many as are asked for."
        ),
        parameters=DayMatching(
            look_back_days=45,
            day_types="business",
            days=10,
            other_days=4,
            minimum_days=10,
            minimum_other_days=4,
            negative="zero",
            supply=True,
        ),
    ),
)
