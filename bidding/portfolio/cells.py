"""What may be sold of each step, in each product and interval, at each price level, and what it is worth. Pure."""

import numpy as np

from bidding.portfolio.grid import Floats, Grid
from bidding.portfolio.levels import Levels


def most_mw(grid: Grid, levels: Levels) -> Floats:
    """Return how much of each step a product could take at each price, P, T, J, K; 0 where it may not."""
    room = grid.room.mw
    most = np.where(levels.usable, room[None, :, :, None], 0.0)
    for p, rules in enumerate(grid.rules):
        total = room[:, -1] if grid.up[p] else room[:, :-1].sum(axis=1)
        most[p, total < float(rules.min_mw) - 1e-9] = 0.0
        if rules.max_mw is not None:
            most[p] = np.minimum(most[p], float(rules.max_mw))
    return most


def mean_worth(grid: Grid, levels: Levels) -> Floats:
    """Return what a MW of each cell is worth on average over scenarios and what may be there: P, T, J, K."""
    there, missing = grid.worth
    sure = grid.room.confidence[None, :, :, None]
    mean = (there * sure + missing * (1 - sure)) * grid.forecast.probability
    return np.asarray(np.einsum("ptjs,ptks->ptjk", mean, levels.taken))
