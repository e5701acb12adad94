"""
The Polars engine: whatever a rule asks for, of one event or of a fleet's year, in bounded memory. Pure.

The request is cut into pieces (`pipeline.cbl.polars_pieces`); their answers are joined, and are those of the whole.
"""

from collections.abc import Iterable

import polars as pl

from pipeline.cbl import (
    matrix,
    polars_around,
    polars_days,
    polars_learned,
    polars_level,
    polars_reference,
    polars_regression,
)
from pipeline.cbl.answer import ADJUSTMENTS, DAYS_LOOKED_AT, INTERVALS, KEY, SHORTFALLS, Answer
from pipeline.cbl.polars_pieces import MOST_ROWS, pieces
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Parameters, Reference, Regression, Rule


def answer(rule: Rule, request: Request) -> Answer:
    """Return the baselines of every event and resource; raise `ConfigError` where a parameter lacks what it needs."""
    return answer_within(MOST_ROWS, rule.parameters, request)


def answer_within(most_rows: int, parameters: Parameters, request: Request) -> Answer:
    """Return what the *parameters* of a rule say, with no frame of more than *most_rows* rows on the way."""
    return _together(_follow(parameters, piece, most_rows) for piece in pieces(parameters, request, most_rows))


def _together(several: Iterable[Answer]) -> Answer:
    """Join answers that are in order each; one alone is left as it is."""
    answers = list(several) or [_nothing()]
    if len(answers) == 1:
        return answers[0]
    return Answer(
        intervals=pl.concat([one.intervals for one in answers]).sort(*KEY, "start"),
        days=pl.concat([one.days for one in answers]).sort(*KEY, "day", descending=[False, False, True]),
        adjustments=pl.concat([one.adjustments for one in answers]).sort(KEY),
        shortfalls=pl.concat([one.shortfalls for one in answers]).sort(KEY),
    )


def _nothing() -> Answer:
    return Answer(*(pl.DataFrame(schema=one) for one in (INTERVALS, DAYS_LOOKED_AT, ADJUSTMENTS, SHORTFALLS)))


def _match_days(rule: DayMatching, request: Request, most_rows: int) -> Answer:
    """Look loads up by place where all lies on one grid, else join them."""
    if (found := matrix.answer(rule, request)) is not None:
        return found
    return _together(polars_days.answer(rule, piece) for piece in pieces(rule, request, most_rows, joined=True))


def _follow(parameters: Parameters, request: Request, most_rows: int) -> Answer:
    match parameters:
        case DayMatching():
            return _match_days(parameters, request, most_rows)
        case AroundEvent():
            return polars_around.answer(parameters, request)
        case Level():
            return polars_level.answer(parameters, request)
        case Reference():
            return polars_reference.answer(parameters, request)
        case Regression():
            return polars_regression.answer(parameters, request)
        case Learned():
            return polars_learned.answer(parameters, request)
