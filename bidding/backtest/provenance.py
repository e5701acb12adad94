"""What is real, what is simulated, what was assumed and what is left out: said on the page with its figures. Pure."""

from collections.abc import Sequence

from bidding.backtest import site
from bidding.backtest.calls import LEVEL_YEARS
from bidding.backtest.cases import Case, Real
from bidding.backtest.forecast import CONFIDENCES, HISTORY_DAYS, LEAST_LIKE_DAYS, LIKE_DAYS, LOOK_BACK
from bidding.backtest.summary import Summary
from bidding.backtest.walk import MISSED_KEPT, MISSED_SHARE, Contestant

NOT_MODELLED = (
    "Not modelled: scarcity adders of the reserve market (ORDC and its like), ramps, rest between reductions, a "
    "second, real-time settlement, the net benefits test (its monthly prices are not in the data), the "
    "20 % deviation rule, uplift, taxes; that our own offers would move a price; and energy that the site does not "
    "buy while it lets go, which is not credited."
)


def table(real: Real) -> str:
    """Return what each input is."""
    model = real.calls
    first, last = LEVEL_YEARS[0], LEVEL_YEARS[-1]
    calls = (
        f"drawn by seed at {model.per_year:.1f} a year, by month and hour as {model.listed} real events of 2002 "
        f"to 2015 (857 entries, zones at one instant once), level and lengths of {first} to {last}. "
        "Prices of 2017 and events to 2015 do not overlap: no price belongs to a call"
    )
    charged = (
        f"PJM charged {real.retroactive.charged:,.0f} $ for {real.retroactive.short_mw:,.1f} MW in the "
        f"{real.retroactive.events} events of those months that had a shortfall, {real.retroactive.per_mw:,.0f} $ a "
        f"MW: {real.shortfall_factor} times the hour's price for a MWh at mean length and mean price"
    )
    power = (
        "from real demand of a language model (ServeGen, 14 days, in an order drawn by seed), real power of H100 "
        "engines (ML.ENERGY) and the real distribution of A100 power (Acme); the fleet is made up"
    )
    rows = (
        (
            "energy prices",
            "**real**",
            "hourly, 2020 to 2022; three day-ahead hubs, and PJM's Dominion zone in real time",
        ),
        ("reserve prices", "**real**", "PJM SRMCP, Mid Atlantic Dominion, every hour of January to June 2017"),
        ("reserve calls", "**simulated**", calls),
        ("penalty of a missed call", "**real**, as a mean", charged),
        ("flexible power", "**simulated**", power),
        ("delivery", "**simulated**", f"in {MISSED_SHARE:.0%} of hours {MISSED_KEPT:.0%} of it comes: assumed"),
        ("cost of tokens", "**assumed**", "see below"),
    )
    return "\n".join(["| input | | what it is |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def assumptions(real: Real, seed: str) -> str:
    """Return the assumptions with their figures."""
    costs = site.costs(real.measured)
    energy = site.energy_mwh(real.measured)
    tiers = "; ".join(
        f"{tier} {cost.per_mwh:,.2f} $/MWh at {cost.tokens_per_mwh / 10**9:,.1f} billion tokens a MWh forgone or late, "
        f"at most {energy[tier]} MWh a day ({site.CATCH_UP_HOURS[tier]} hours of its mean)"
        for tier, cost in costs.items()
    )
    lines = [
        (
            f"Site: {site.ENGINES:,} engines of {site.GPUS_AN_ENGINE} H100, {site.TRAINING_GPUS:,} A100, GPUs alone. "
            f"Batch work fills {site.BATCH_SHARE:.0%} of the engines that interactive work leaves; training jobs of "
            f"{site.GPUS_A_JOB} GPUs draw alike all day. Sold by caps at the tier's floor, never nameplate."
        ),
        f"Tiers: {tiers}. Prices of tokens and the shares that are only late: `site.COSTS`.",
        (
            "Energy that is sold the day before and missing costs its own price: the real-time price at which it would "
            "be bought back is not in the data. PJM's energy is offered the day before and cleared in real time."
        ),
        (
            "A reserve is paid only for power that stood ready, called or not; its calls are answered for 30 minutes "
            "at most, and paid no energy."
        ),
        "Steps, least quantities, caps and gates of CAISO, NYISO and PJM: unverified defaults (`rules.py`).",
        NOT_MODELLED,
        f"Seed `{seed}`: the same seed gives the same page.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def method(contestants: Sequence[Contestant], weeks_apart: int) -> str:
    """Return how the walk goes and who takes part."""
    named = "\n".join(
        f"- `{one.name}`: strategy `{one.strategy}`, steps of {one.confidence:.0%} and firmer, risk weight "
        f"{one.risk_weight:g}{', limits that hold whatever is taken' if one.unseen else ''}"
        for one in contestants
    )
    shares = ", ".join(f"{share:.0%}" for share in CONFIDENCES)
    weeks = (
        f"Offers are made in every {weeks_apart}th week, where reserve is sold four times as often: a plan takes a "
        "solver a good part of a second. Values are of those weeks, not of years. "
    )
    return (
        f"{weeks if weeks_apart > 1 else ''}At the venue's gate of the day before, a strategy gets {LEAST_LIKE_DAYS} "
        f"to {LIKE_DAYS} whole days of the same kind (business day or not) of the last {LOOK_BACK} as equally likely "
        f"scenarios, and what could be let go as quantiles ({shares}) of the same hour over {HISTORY_DAYS} days. "
        "Only hours that had ended count as seen, which for day-ahead prices is stricter than their publication. Then "
        "the real price comes: a step is bought if it is not dearer, and paid the clearing price. Hours without a real "
        "price are left out for everyone and are no zeros. The code that plans is the live one.\n\n"
        f"{named}\n- perfect foresight: the best that the same power, energy of the day and costs allowed, prices, "
        "calls and deliveries known; without blocks and least quantities. No contestant was above it on any day "
        "(checked).\n\n"
        "Value is revenue less penalties less the cost of tokens. CVaR 5 %: mean of the worst 5 % of days. Intervals: "
        "95 % of 2,000 resamplings of whole weeks. `$ per million`: revenue less penalties per million tokens forgone "
        "or late. Hours: with anything sold. Missing: energy owed and not there, and reserve that did not stand ready."
    )


def gaps(case: Case, lines: Sequence[Summary]) -> str:
    """Return what of the record was not used."""
    missing = {name: prices.missing() for name, prices in case.series.items()}
    days = len({day for line in lines for day in line.daily})
    absent = ", ".join(f"{count} hours of {name}" for name, count in missing.items())
    return (
        f"{days} of the record's {len(case.days)} days: those of the weeks walked that have {LEAST_LIKE_DAYS} days of "
        "their kind before them. "
        f"Without a price inside the record: {absent}."
    )
