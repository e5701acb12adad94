"""
The desk's views: SQL over the archived messages, each natural key once, each column explained. Pure data.

A redelivered message, a second run of a crashed worker or a later revision leaves several rows in the archive; a view
shows the one that holds.
"""

from dataclasses import dataclass

from pipeline.units import J_PER_KWH


@dataclass(frozen=True)
class View:
    """A view and its documentation; `columns` names every column of `sql`."""

    name: str
    comment: str
    columns: dict[str, str]
    sql: str


_INTERVAL = {"interval_start": "Start of the interval, UTC, included", "interval_end": "End of the interval, excluded"}
_SIMULATED = {"simulated": "True where simulated hosts or a simulated venue stand behind the row"}
_PARTITIONS = {
    "partitions": "Telemetry partitions in the figure",
    "partitions_expected": "Telemetry partitions there are; fewer in the figure means a part of the site is unknown",
}

CAPACITY = View(
    "capacity",
    "What a site draws and what it could let go, about once a second. A gauge: one row per site and second.",
    {
        "site": "Site",
        "as_of": "Instant of the oldest measurement summary in the row, UTC",
        "known_at": "When the figure was made",
        **_PARTITIONS,
        "hosts": "Hosts heard of",
        "hosts_stale": "Of these, silent too long: their load counts, their relief does not",
        "gpus": "GPUs",
        "load_kw": "Draw, kW, chassis meters where there are any",
        "relief_kw": "Power that would be let go now if every pool were capped as low as its tier allows, kW",
        "relief_t1_kw": "The same, tier T1 (interactive)",
        "relief_t2_kw": "The same, tier T2 (batch)",
        "relief_t3_kw": "The same, tier T3 (preemptible)",
        "tokens_per_s": "Tokens per second, null where nobody counts",
        "age_p50_ms": "Median age of the hosts' newest ticks, ms of the deployment's clock",
        "age_p99_ms": "99th percentile of the same, an upper bound",
        "pools": "Per tier, workload and GPU model; relief_kw[i]: caps at 1.05 - 0.05 i of the maximum limit",
        **_SIMULATED,
    },
    """
    SELECT site, as_of, known_at, partitions, partitions_expected, hosts, hosts_stale, gpus, load_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools]), 0) AS relief_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T1']), 0) AS relief_t1_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T2']), 0) AS relief_t2_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T3']), 0) AS relief_t3_kw,
        list_sum([p.tokens_per_s FOR p IN pools]) AS tokens_per_s,
        age_p50_ms, age_p99_ms, pools, simulated
    FROM archive.site_capacity
    QUALIFY row_number() OVER (PARTITION BY site, as_of ORDER BY known_at DESC, kafka_offset DESC) = 1
    """,
)

INTERVALS = View(
    "intervals",
    "Energy of a site over each closed interval. Highest revision holds; metered wins over back-filled history.",
    {
        "site": "Site",
        **_INTERVAL,
        "revision": "1 at first; a late part of the site makes the next",
        "energy_kwh": "Energy, kWh, from the devices' own counters",
        "load_kw": "Mean draw over the interval, kW",
        "hosts": "Hosts in the figure",
        "hosts_partial": "Hosts whose counters do not span the whole interval; the hole is missing from energy_kwh",
        "covered_share": "Host-seconds measured / host-seconds in the interval, 0 to 1",
        **_PARTITIONS,
        "ticks": "Distinct ticks measured in the interval",
        "ticks_missing": "Holes in the hosts' sequence numbers",
        "pools": "Energy and tokens per tier, workload, GPU model and served model",
        **_SIMULATED,
        "source": "metered, or backfill for history that was loaded",
    },
    """
    SELECT site, interval_start, interval_end, revision, energy_kwh,
        energy_kwh / (epoch(interval_end - interval_start) / 3600) AS load_kw,
        hosts, hosts_partial, covered_share, partitions, partitions_expected, ticks, ticks_missing, pools, simulated,
        source
    FROM archive.site_interval
    QUALIFY row_number() OVER (
        PARTITION BY site, interval_start ORDER BY source = 'metered' DESC, revision DESC, kafka_offset DESC) = 1
    """,
)

TOKENS_PER_WATT = View(
    "tokens_per_watt",
    "What a joule buys: tokens per second per watt (= tokens per joule) by interval, tier, workload and served model.",
    {
        "site": "Site",
        **_INTERVAL,
        "tier": "T0 never touched, T1 interactive, T2 batch, T3 preemptible",
        "workload": "training, inference, idle or unknown",
        "gpu_model": "GPU model",
        "served_model": "Language model served or trained, null where unknown",
        "gpu_energy_kwh": "Energy of the GPUs, kWh",
        "tokens": "Tokens generated or consumed, null where nobody counted",
        "tokens_per_joule": "tokens / joule = tokens per second per watt, null where either is absent",
        **_SIMULATED,
    },
    f"""
    SELECT site, interval_start, interval_end, pool.tier AS tier, pool.workload AS workload,
        pool.gpu_model AS gpu_model, pool.served_model AS served_model, pool.gpu_energy_kwh AS gpu_energy_kwh,
        pool.tokens AS tokens, pool.tokens / nullif(pool.gpu_energy_kwh * {J_PER_KWH}, 0) AS tokens_per_joule,
        simulated
    FROM (SELECT site, interval_start, interval_end, simulated, unnest(pools) AS pool FROM intervals)
    """,  # noqa: S608 - our own constant
)

OFFERS = View(
    "offers",
    "Offers with the state they have reached.",
    {
        "offer_id": "Hash of resource, venue, product, interval and revision: a retry is the same offer",
        "resource": "What the venue knows us as",
        "site": "Site behind the resource",
        "venue": "Venue",
        "product": "Product sold there",
        **_INTERVAL,
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
        **_SIMULATED,
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
    SELECT o.offer_id, resource, site, venue, product, interval_start, interval_end, revision,
        list_sum([s.quantity_mw FOR s IN steps]) AS quantity_mw, steps, currency, as_of, baseline_method, baseline_kw,
        firm_kw, confidence, state, state_at, accepted_mw, detail, simulated
    FROM archive.market_offer AS o LEFT JOIN latest AS l ON l.offer_id = o.offer_id
    QUALIFY row_number() OVER (PARTITION BY o.offer_id ORDER BY kafka_offset DESC) = 1
    """,
)

AWARDS = View(
    "awards",
    "What venues bought.",
    {
        "award_id": "The venue's id",
        "offer_id": "Offer it answers",
        "resource": "Resource",
        "product": "Product",
        **_INTERVAL,
        "quantity_mw": "Reduction owed, MW",
        "price_per_mwh": "Clearing price",
        "currency": "Its currency",
        "awarded_at": "When the venue decided",
        **_SIMULATED,
    },
    """
    SELECT a.award_id, a.offer_id, a.resource, a.product, a.interval_start, a.interval_end, a.quantity_mw,
        a.price_per_mwh, a.currency, a.awarded_at, o.simulated
    FROM archive.market_award AS a LEFT JOIN offers AS o ON o.offer_id = a.offer_id
    QUALIFY row_number() OVER (PARTITION BY a.award_id ORDER BY a.kafka_offset DESC) = 1
    """,
)

ACKS = View(
    "acks",
    "Answers of hosts to commands, one row per host, command and status.",
    {
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
        **_SIMULATED,
    },
    """
    SELECT host, command_id, seq, status, reason, issued_at, acknowledged_at, latency_ms, set_ms, before_w, after_w,
        gpus, controls, simulated
    FROM archive.control_ack
    QUALIFY row_number() OVER (PARTITION BY host, command_id, status ORDER BY kafka_offset) = 1
    """,
)

DISPATCHES = View(
    "dispatches",
    "The venues' instructions, and how the hosts answered the commands made of them.",
    {
        "dispatch_id": "The venue's id",
        "award_id": "Award it calls",
        "resource": "Resource",
        **_INTERVAL,
        "reduction_mw": "Reduction instructed, MW",
        "issued_at": "When the venue issued it",
        "hosts_commanded": "Hosts that were sent a command for it",
        "hosts_applied": "Hosts that applied one",
        "hosts_refused": "Hosts that refused one",
        "latency_p50_ms": "Command issued to applied and read back, median, ms of the machine's clock",
        "latency_p99_ms": "99th percentile of the same",
        **_SIMULATED,
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
    SELECT d.dispatch_id, d.award_id, d.resource, d.interval_start, d.interval_end, d.reduction_mw, d.issued_at,
        coalesce(t.hosts_commanded, 0) AS hosts_commanded, coalesce(t.hosts_applied, 0) AS hosts_applied,
        coalesce(t.hosts_refused, 0) AS hosts_refused, t.latency_p50_ms, t.latency_p99_ms,
        coalesce(w.simulated, t.simulated) AS simulated
    FROM archive.market_dispatch AS d
    LEFT JOIN totals AS t ON t.dispatch_id = d.dispatch_id
    LEFT JOIN awards AS w ON w.award_id = d.award_id
    QUALIFY row_number() OVER (PARTITION BY d.dispatch_id ORDER BY d.kafka_offset DESC) = 1
    """,
)

PERFORMANCE = View(
    "performance",
    "What was delivered against what was awarded, with the baseline it was measured by.",
    {
        "award_id": "Award",
        "resource": "Resource",
        "site": "Site",
        **_INTERVAL,
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
        **_SIMULATED,
    },
    """
    SELECT award_id, resource, site, interval_start, interval_end, baseline_method, unadjusted_baseline_kw,
        adjustment_ratio, baseline_kw, baseline_days, load_kw, reduction_kw, awarded_kw, delivered_kw, shortfall_kw,
        covered_share, simulated
    FROM archive.market_performance
    QUALIFY row_number() OVER (
        PARTITION BY award_id, baseline_method, interval_start ORDER BY kafka_offset DESC) = 1
    """,
)

STATEMENTS = View(
    "statements",
    "Settlement line by line: ours beside the venue's, and the difference. A line one side lacks is null there.",
    {
        "award_id": "Award",
        **_INTERVAL,
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
        **_SIMULATED,
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
VIEWS = (CAPACITY, INTERVALS, TOKENS_PER_WATT, OFFERS, AWARDS, ACKS, DISPATCHES, PERFORMANCE, STATEMENTS)
