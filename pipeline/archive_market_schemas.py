"""
What a market document looks like as a row: one explicit Parquet schema per topic. Pure data.

Contractual figures stay decimals; see `pipeline.archive_schemas` for the rest.
"""

import polars as pl

from pipeline.archive_types import DECIMAL, FLAG, FLOAT, INSTANT, INTERVAL, KAFKA, STRING, WHOLE
from pipeline.market_topics import AWARDS, DISPATCHES, OFFER_EVENTS, OFFERS, PERFORMANCE, STATEMENTS

OFFER_STEP = pl.Struct(
    {
        "quantity_mw": DECIMAL,
        "price_per_mwh": DECIMAL,
        "tier": STRING,
        "tokens_forgone_per_mwh": DECIMAL,
        "token_cost_per_mwh": DECIMAL,
        "service_credit_per_mwh": DECIMAL,
        "restart_cost_per_mwh": DECIMAL,
    }
)
STATEMENT_LINE = pl.Struct(
    {
        "award_id": STRING,
        **INTERVAL,
        "baseline_kwh": DECIMAL,
        "metered_kwh": DECIMAL,
        "awarded_kwh": DECIMAL,
        "delivered_kwh": DECIMAL,
        "shortfall_kwh": DECIMAL,
        "price_per_mwh": DECIMAL,
        "energy_amount": DECIMAL,
        "shortfall_amount": DECIMAL,
        "total": DECIMAL,
    }
)

MARKET_SCHEMAS: dict[str, pl.Schema] = {
    OFFERS.name: pl.Schema(
        {
            "offer_id": STRING,
            "resource": STRING,
            "site": STRING,
            "venue": STRING,
            "product": STRING,
            **INTERVAL,
            "revision": WHOLE,
            "steps": pl.List(OFFER_STEP),
            "currency": STRING,
            "as_of": INSTANT,
            "baseline_method": STRING,
            "baseline_kw": FLOAT,
            "firm_kw": FLOAT,
            "confidence": FLOAT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    OFFER_EVENTS.name: pl.Schema(
        {
            "offer_id": STRING,
            "state": STRING,
            "at": INSTANT,
            "receipt": STRING,
            "accepted_mw": DECIMAL,
            "detail": STRING,
            **KAFKA,
        }
    ),
    AWARDS.name: pl.Schema(
        {
            "award_id": STRING,
            "offer_id": STRING,
            "resource": STRING,
            "product": STRING,
            **INTERVAL,
            "quantity_mw": DECIMAL,
            "price_per_mwh": DECIMAL,
            "currency": STRING,
            "awarded_at": INSTANT,
            **KAFKA,
        }
    ),
    DISPATCHES.name: pl.Schema(
        {
            "dispatch_id": STRING,
            "award_id": STRING,
            "resource": STRING,
            **INTERVAL,
            "reduction_mw": DECIMAL,
            "issued_at": INSTANT,
            **KAFKA,
        }
    ),
    PERFORMANCE.name: pl.Schema(
        {
            "award_id": STRING,
            "resource": STRING,
            "site": STRING,
            **INTERVAL,
            "baseline_method": STRING,
            "unadjusted_baseline_kw": FLOAT,
            "adjustment_ratio": FLOAT,
            "baseline_kw": FLOAT,
            "baseline_days": pl.List(STRING),
            "load_kw": FLOAT,
            "reduction_kw": FLOAT,
            "awarded_kw": FLOAT,
            "delivered_kw": FLOAT,
            "shortfall_kw": FLOAT,
            "covered_share": FLOAT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    STATEMENTS.name: pl.Schema(
        {
            "statement_id": STRING,
            "issuer": STRING,
            "resource": STRING,
            "currency": STRING,
            "lines": pl.List(STATEMENT_LINE),
            "total": DECIMAL,
            "issued_at": INSTANT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
}
