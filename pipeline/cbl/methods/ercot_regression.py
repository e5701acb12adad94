"""
ERCOT emergency response service, statistical regression, simplified.

ERCOT's model is a day's energy by weather, calendar and daylight × the hour's share × the interval's multiplier. Here a
day's mean load is a line through cooling and heating degrees, business days apart from others, and like days give the
shape within the day; then the event-day ratio over two hours. It needs outdoor temperatures.
"""

from pipeline.cbl.rule import Regression, Rule, parameters_of

PARAMETERS = Regression(
    terms="degree-days",
    look_back_days=365,
    minimum_days=30,
    base_celsius=18,
    like_days=10,
    adjustment="ratio",
    adjust_from_hours=3,
    adjust_to_hours=1,
)

RULES: tuple[Rule, ...] = (
    Rule(
        method="ercot-regression",
        version="19.0",
        title="Daily energy by degree days, shape of like days, event-day ratio",
        venue="ERCOT",
        valid_from=None,
        citation=(
            "ERCOT, Demand Response Baseline Methodologies, version 19.0, September 2019, 2.1 (vdocument.in; its "
            "contents were read), and Emergency Interruptible Load Service Default Baseline Methodologies (docest.com "
            "633019; its beginning was read): energy of the day × fraction of the hour × multiplier of the interval, "
            "of weather, calendar and daylight, with the event-day adjustment."
        ),
        verified=False,
        unverified=tuple(parameters_of(PARAMETERS)),
        notes=(
            "The decomposition is ERCOT's; the terms are not: no daylight, no weather of days before, no calendar "
            "beyond the day type, since ERCOT's list was not read. What comes out is near its baseline, not equal to "
            "it. The type is older than the version named, so that no first day is given."
        ),
        parameters=PARAMETERS,
    ),
)
