"""
Great Britain, baselining methodology BL01 of the Balancing and Settlement Code.

- up to 60 days back: the ten newest working days without the highest and the lowest, 8 of 10 (2 of 4 on other days);
- event days are left out;
- unadjusted: plain mean, settlement period by settlement period;
- added to each: the mean of metered − baseline over the three hours before gate closure, an hour before the period.

    13:00                            16:00          17:00                20:00
      ├─ adjustment ───────────────────┤ gate closure ├─ event ────────────┤
"""

from datetime import date

from msgspec.structs import replace

from pipeline.cbl.rule import DayMatching, Rule

_V3 = Rule(
    method="gb-bl01",
    version="3.0",
    title="BL01: middle 8 of 10, in-day adjustment",
    venue="GB",
    holidays="gb-england",
    valid_from=date(2024, 11, 7),
    citation=(
        "Elexon, Baselining Methodology Document 3.0, effective 7 November 2024 (bscdocs.elexon.co.uk; history of "
        "versions and introduction were read). 60 days, same day type, no event days, plain mean, three hours before "
        "gate closure, added: notes on 3.0 in the repository GeorgeDoors888/GB-Power-Market-JJ."
    ),
    verified=False,
    unverified=(
        "days",
        "other_days",
        "minimum_days",
        "minimum_other_days",
        "keep",
        "rank_by",
        "exclude_outages",
        "adjust_lowest",
        "adjust_highest",
        "negative",
        "decimals",
    ),
    notes=(
        "Those notes speak of an average over up to 60 days and of no middle; 8 of 10 and 2 of 4 are what is commonly "
        "said. The hours of adjustment are counted from the event's start, not from each settlement period's own gate "
        "closure. How few days will do was not found: as many as are asked for."
    ),
    parameters=DayMatching(
        look_back_days=60,
        day_types="business",
        days=10,
        other_days=4,
        minimum_days=10,
        minimum_other_days=4,
        keep="middle",
        adjustment="additive",
        adjust_from_hours=4,
        adjust_to_hours=1,
    ),
)
_EARLIER = "What changed in the numbers between the versions was not read; they are taken to be those of 3.0. "

RULES: tuple[Rule, ...] = (
    replace(
        _V3,
        version="1.0",
        valid_from=date(2023, 2, 23),
        valid_to=date(2024, 10, 1),
        notes=_EARLIER + "1.0 came with P376, in the release of 23 February 2023. " + _V3.notes,
    ),
    replace(
        _V3,
        version="2.0",
        valid_from=date(2024, 10, 1),
        valid_to=date(2024, 11, 7),
        notes=_EARLIER + "2.0 came with ORD009, directed by the Secretary of State. " + _V3.notes,
    ),
    replace(_V3, notes="3.0 came with P415. " + _V3.notes),
)
