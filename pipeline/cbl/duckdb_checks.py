"""Parameters that leave the SQL engine nothing to compute: refused in one line that says what to set. Pure."""

from datetime import timedelta
from math import ceil

from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Level, Parameters, Regression
from pipeline.errors import ConfigError

HOUR = timedelta(hours=1)


def check(parameters: Parameters, request: Request) -> None:
    """Raise `ConfigError` where *parameters* cannot answer *request*, whatever was metered."""
    match parameters:
        case DayMatching(keep="highest" | "nearest"):
            _kept(parameters, request)
        case AroundEvent() if not _has_interval(parameters, request.grid / HOUR):
            raise ConfigError(
                "the hours around the event hold no metering interval; set before_from_hours above before_to_hours"
            )
        case Level(level_kw=None):
            raise ConfigError("set level_kw, the load in kW that was agreed on beforehand")
        case Regression():
            _fitted(parameters, request.grid / HOUR)
        case _:
            pass


def _kept(rule: DayMatching, request: Request) -> None:
    days = {request.calendar.day_of(start) for start in request.events["start"]}
    kinds = {request.calendar.is_business_day(day) for day in days}
    for business, name, k in ((True, "k", rule.k), (False, "other_k", rule.other_k)):
        if business in kinds and (k is None or k < 1):
            raise ConfigError(f"keep = {rule.keep} needs {name}, how many days are kept; set {name} to 1 or more")


def _has_interval(rule: AroundEvent, grid_hours: float) -> bool:
    """Tell whether an interval begins within either window; intervals begin whole grids before and after the event."""
    before = rule.before_from_hours // grid_hours * grid_hours
    after = ceil(rule.after_from_hours / grid_hours) * grid_hours
    return before > rule.before_to_hours or after < rule.after_to_hours


def _fitted(rule: Regression, grid_hours: float) -> None:
    if rule.like_days < 1:
        raise ConfigError("a regression needs like days; set like_days to 1 or more")
    if rule.terms == "level" and rule.level_hours < grid_hours:
        raise ConfigError("the hours before the event hold no metering interval; set level_hours to one or more")
    if rule.adjustment != "none" and rule.adjust_from_hours <= rule.adjust_to_hours:
        raise ConfigError(f"adjustment = {rule.adjustment} needs hours; set adjust_from_hours above adjust_to_hours")
