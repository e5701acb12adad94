"""What makes no sense in the parameters of a rule, whichever method's they are. Pure."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

#: Parameters that count something there must be one of.
COUNTS = (
    "look_back_days",
    "days",
    "other_days",
    "minimum_days",
    "minimum_other_days",
    "k",
    "other_k",
    "like_days",
    "trees",
    "leaves",
    "customers",
    "minimum_customers",
)
#: Pairs of hours of which the first lies further from the event than the second, unless both are 0.
WINDOWS = (("adjust_from_hours", "adjust_to_hours"), ("before_from_hours", "before_to_hours"))


def problems(have: dict[str, Any]) -> Iterator[str]:
    """Yield what makes no sense in parameters by name: both engines would have to answer something all the same."""
    numbers = {name: value for name, value in have.items() if isinstance(value, int | float)}
    yield from (f"{name} must be a number" for name, value in numbers.items() if not isfinite(value))
    yield from (f"{name} must be at least 1" for name in COUNTS if numbers.get(name, 1) < 1)
    hours = [name for name in numbers if name.endswith("_hours")]
    yield from (f"{name} must not be below 0" for name in (*hours, "skip_days") if numbers.get(name, 0) < 0)
    if not 0 < numbers.get("weight", 1) <= 1:
        yield "weight must be above 0 and at most 1"
    if numbers.get("skip_days", 0) >= numbers.get("look_back_days", 1) > 0:
        yield "skip_days must be below look_back_days, or there is no day to look at"
    for further, nearer in WINDOWS:
        if numbers.get(further, 0) <= numbers.get(nearer, 0) and (numbers.get(further) or numbers.get(nearer)):
            yield f"{further} must be above {nearer}"
    if numbers.get("after_to_hours", 0) < numbers.get("after_from_hours", 0):
        yield "after_to_hours must not be below after_from_hours"
    if "before_from_hours" in have and not (have["before_from_hours"] or have["after_to_hours"]):
        yield "before_from_hours must be above 0, or no hour is left to compare with"
    lowest, highest = have.get("adjust_lowest"), have.get("adjust_highest")
    if lowest is not None and highest is not None and lowest > highest:
        yield "adjust_lowest must not be above adjust_highest"
