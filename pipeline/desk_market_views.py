"""The desk's views of what is sold: offers, awards, dispatches and their answers, what was delivered, money."""

from pipeline.desk_view import DAY, INTERVAL, SIMULATED, View

OFFERS = View(
    "offers",
    "Offers with the state they have reached.",
    {
        **DAY,
        "offer_id": "Hash of resource, venue, product, interval and revision: a retry is the same offer",
        "resource": "What the venue knows us as",
        "site": "Site behind the resource",
        "venue": "Venue",
        "product": "Product sold there",
        **INTERVAL,
        "revision": "Revision of the offer",
        "quantity_mw": "All steps together, MW",
        "steps": "Price-quantity curve with the token, credit and restart cost behind each price",
        "currency": "Currency of the prices",
        "as_of": "Nothing known after this instant went into the offer",
        "baseline_method": "Baseline the offer was measured against",
        "baseline_kw": "That baseline, kW",
        "firm_kw": "Firm power the curve was cut from, kW",
        "confidence": "Probability behind the word firm",
        "state": "Latest step of its life; null where none has arrived yet",
        "state_at": "When it was reached",
        "accepted_mw": "What the venue accepted, MW, null where unknown",
        "detail": "The venue's or our reason",
        **SIMULATED,
    },
    """
    WITH steps_of_life AS (
        SELECT * FROM archive.market_offer_event
        QUALIFY row_number() OVER (PARTITION BY offer_id, state, "at" ORDER BY kafka_offset) = 1
    ), latest AS (
        SELECT offer_id, arg_max(state, row("at", kafka_offset)) AS state, max("at") AS state_at,
            arg_max(accepted_mw, row("at", kafka_offset)) FILTER (accepted_mw IS NOT NULL) AS accepted_mw,
            arg_max(detail, row("at", kafka_offset)) FILTER (detail IS NOT NULL) AS detail
        FROM steps_of_life GROUP BY offer_id
    )
    SELECT day, o.offer_id, resource, site, venue, product, interval_start, interval_end, revision,
        list_sum([s.quantity_mw FOR s IN steps]) AS quantity_mw, steps, currency, as_of, baseline_method, baseline_kw,
        firm_kw, confidence, state, state_at, accepted_mw, detail, simulated
    FROM archive.market_offer AS o LEFT JOIN latest AS l ON l.offer_id = o.offer_id
    QUALIFY row_number() OVER (PARTITION BY day, o.offer_id ORDER BY kafka_offset DESC) = 1
    """,
)

AWARDS = View(
    "awards",
    "What venues bought.",
    {
        **DAY,
        "award_id": "The venue's id",
        "offer_id": "Offer it answers",
        "resource": "Resource",
        "product": "Product",
        **INTERVAL,
        "quantity_mw": "Reduction owed, MW",
        "price_per_mwh": "Clearing price",
        "currency": "Its currency",
        "awarded_at": "When the venue decided",
        **SIMULATED,
    },
    """
    SELECT a.day, a.award_id, a.offer_id, a.resource, a.product, a.interval_start, a.interval_end, a.quantity_mw,
        a.price_per_mwh, a.currency, a.awarded_at, o.simulated
    FROM archive.market_award AS a LEFT JOIN offers AS o ON o.offer_id = a.offer_id
    QUALIFY row_number() OVER (PARTITION BY a.day, a.award_id ORDER BY a.kafka_offset DESC) = 1
    """,
)

ACKS = View(
    "acks",
    "Answers of hosts to commands, one row per host, command and status.",
    {
        "day": "UTC day of the answer",
        "host": "Host",
        "command_id": "Command answered",
        "seq": "Its sequence number on that host",
        "status": "applied, refused, released, or conflict: somebody else on the host sets what the lease holds",
        "reason": "Why it was refused, or what is not as asked",
        "issued_at": "When the command was issued",
        "acknowledged_at": "When the host answered, watts after the change measured",
        "latency_ms": "From issue to answer, ms of the machine's clock",
        "set_ms": "Of that, from the command's arrival until all was set and read back, ms",
        "before_w": "Draw of the commanded GPUs before, W",
        "after_w": "Draw after, W",
        "gpus": "GPU by GPU",
        "controls": "What is no power limit: clocks, jobs, admitted requests",
        **SIMULATED,
    },
    """
    SELECT day, host, command_id, seq, status, reason, issued_at, acknowledged_at, latency_ms, set_ms, before_w,
        after_w, gpus, controls, simulated
    FROM archive.control_ack
    QUALIFY row_number() OVER (PARTITION BY host, command_id, status ORDER BY kafka_offset) = 1
    """,
)

DISPATCHES = View(
    "dispatches",
    "The venues' instructions, and how the hosts answered the commands made of them.",
    {
        **DAY,
        "dispatch_id": "The venue's id",
        "award_id": "Award it calls",
        "resource": "Resource",
        **INTERVAL,
        "reduction_mw": "Reduction instructed, MW",
        "issued_at": "When the venue issued it",
        "hosts_commanded": "Hosts that were sent a command for it",
        "hosts_applied": "Hosts that applied one",
        "hosts_refused": "Hosts that refused one",
        "latency_p50_ms": "Command issued to applied and read back, median, ms of the machine's clock",
        "latency_p99_ms": "99th percentile of the same",
        **SIMULATED,
    },
    """
    WITH answered AS (
        SELECT c.dispatch_id, c.host, a.status, a.latency_ms, a.simulated
        FROM (SELECT DISTINCT dispatch_id, host, command_id FROM archive.control_command) AS c
        LEFT JOIN acks AS a ON a.host = c.host AND a.command_id = c.command_id
    ), totals AS (
        SELECT dispatch_id, count(DISTINCT host) AS hosts_commanded,
            count(DISTINCT host) FILTER (status = 'applied') AS hosts_applied,
            count(DISTINCT host) FILTER (status = 'refused') AS hosts_refused,
            quantile_cont(latency_ms, 0.5) FILTER (status = 'applied') AS latency_p50_ms,
            quantile_cont(latency_ms, 0.99) FILTER (status = 'applied') AS latency_p99_ms,
            bool_or(simulated) AS simulated
        FROM answered GROUP BY dispatch_id
    )
    SELECT d.day, d.dispatch_id, d.award_id, d.resource, d.interval_start, d.interval_end, d.reduction_mw, d.issued_at,
        coalesce(t.hosts_commanded, 0) AS hosts_commanded, coalesce(t.hosts_applied, 0) AS hosts_applied,
        coalesce(t.hosts_refused, 0) AS hosts_refused, t.latency_p50_ms, t.latency_p99_ms,
        coalesce(w.simulated, t.simulated) AS simulated
    FROM archive.market_dispatch AS d
    LEFT JOIN totals AS t ON t.dispatch_id = d.dispatch_id
    LEFT JOIN awards AS w ON w.award_id = d.award_id
    QUALIFY row_number() OVER (PARTITION BY d.day, d.dispatch_id ORDER BY d.kafka_offset DESC) = 1
    """,
)

PERFORMANCE = View(
    "performance",
    "What was delivered against what was awarded, with the baseline it was measured by.",
    {
        **DAY,
        "award_id": "Award",
        "resource": "Resource",
        "site": "Site",
        **INTERVAL,
        "baseline_method": "Rule set",
        "unadjusted_baseline_kw": "Baseline before the same-day adjustment, kW",
        "adjustment_ratio": "Ratio applied, after its cap",
        "baseline_kw": "Baseline, kW",
        "baseline_days": "Local days behind it",
        "load_kw": "Metered draw, kW",
        "reduction_kw": "Baseline minus load, kW; negative where more was drawn",
        "awarded_kw": "Owed, kW",
        "delivered_kw": "As the venue counts it: not below zero, not above the award, kW",
        "shortfall_kw": "Owed and not delivered, kW",
        "covered_share": "Share of the interval that was measured, 0 to 1",
        **SIMULATED,
    },
    """
    SELECT day, award_id, resource, site, interval_start, interval_end, baseline_method, unadjusted_baseline_kw,
        adjustment_ratio, baseline_kw, baseline_days, load_kw, reduction_kw, awarded_kw, delivered_kw, shortfall_kw,
        covered_share, simulated
    FROM archive.market_performance
    QUALIFY row_number() OVER (
        PARTITION BY day, award_id, baseline_method, interval_start ORDER BY kafka_offset DESC) = 1
    """,
)

STATEMENTS = View(
    "statements",
    "Settlement line by line: ours beside the venue's, and the difference. A line one side lacks is null there.",
    {
        "award_id": "Award",
        **INTERVAL,
        "venue": "Issuer of the venue's statement",
        "currency": "Currency of the amounts",
        "our_baseline_kwh": "Baseline, our figure",
        "venue_baseline_kwh": "Baseline, the venue's",
        "our_metered_kwh": "Metered energy, our figure",
        "venue_metered_kwh": "Metered energy, the venue's",
        "awarded_kwh": "Owed",
        "our_delivered_kwh": "Delivered, our figure",
        "venue_delivered_kwh": "Delivered, the venue's",
        "price_per_mwh": "Clearing price",
        "our_total": "Our amount",
        "venue_total": "The venue's amount",
        "difference": "Ours minus the venue's, zero where they agree to the cent, null where one is missing",
        **SIMULATED,
    },
    """
    WITH lines AS (
        SELECT issuer, currency, simulated, unnest(lines) AS line, kafka_offset FROM archive.market_statement
    ), latest AS (
        SELECT issuer, currency, simulated, line FROM lines
        QUALIFY row_number() OVER (
            PARTITION BY issuer, line.award_id, line.interval_start ORDER BY kafka_offset DESC) = 1
    ), ours AS (SELECT * FROM latest WHERE issuer = 'firmwatt'),
    theirs AS (SELECT * FROM latest WHERE issuer <> 'firmwatt')
    SELECT coalesce(o.line.award_id, v.line.award_id) AS award_id,
        coalesce(o.line.interval_start, v.line.interval_start) AS interval_start,
        coalesce(o.line.interval_end, v.line.interval_end) AS interval_end,
        v.issuer AS venue, coalesce(o.currency, v.currency) AS currency,
        o.line.baseline_kwh AS our_baseline_kwh, v.line.baseline_kwh AS venue_baseline_kwh,
        o.line.metered_kwh AS our_metered_kwh, v.line.metered_kwh AS venue_metered_kwh,
        coalesce(o.line.awarded_kwh, v.line.awarded_kwh) AS awarded_kwh,
        o.line.delivered_kwh AS our_delivered_kwh, v.line.delivered_kwh AS venue_delivered_kwh,
        coalesce(o.line.price_per_mwh, v.line.price_per_mwh) AS price_per_mwh,
        o.line.total AS our_total, v.line.total AS venue_total, o.line.total - v.line.total AS difference,
        coalesce(o.simulated, false) OR coalesce(v.simulated, false) AS simulated
    FROM ours AS o FULL JOIN theirs AS v
        ON o.line.award_id = v.line.award_id AND o.line.interval_start = v.line.interval_start
    """,
)

#: In an order in which each finds those it builds on.
MARKET_VIEWS = (OFFERS, AWARDS, ACKS, DISPATCHES, PERFORMANCE, STATEMENTS)
