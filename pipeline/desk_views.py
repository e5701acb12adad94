"""
The desk's views: SQL over the archived messages, each natural key once, each column explained. Pure data.

A redelivered message, a second run of a crashed worker, a later revision or files that are being merged leave several
rows in the archive; a view shows the one that holds. Where the day is part of what a row is told apart by, a query that
names the day, or the site, opens no other files.
"""

from pipeline.desk_market_views import MARKET_VIEWS
from pipeline.desk_view import DAY, INTERVAL, PARTITIONS, SIMULATED, View
from pipeline.units import J_PER_KWH

CAPACITY = View(
    "capacity",
    "What a site draws and what it could let go, about once a second. A gauge: one row per site and second.",
    {
        **DAY,
        "site": "Site",
        "as_of": "Instant of the oldest measurement summary in the row, UTC",
        "known_at": "When the figure was made",
        **PARTITIONS,
        "hosts": "Hosts heard of",
        "hosts_stale": "Of these, silent too long: their load counts, their relief does not",
        "hosts_skewed": "Of these, with a clock that is off",
        "hosts_quarantined": "Of these, with a clock so far off that nothing of theirs is sold",
        "gpus": "GPUs",
        "load_kw": "Draw, kW, chassis meters where there are any",
        "relief_kw": "Power that would be let go now if every pool were capped as low as its tier allows, kW",
        "relief_t1_kw": "The same, tier T1 (interactive)",
        "relief_t2_kw": "The same, tier T2 (batch)",
        "relief_t3_kw": "The same, tier T3 (preemptible)",
        "tokens_per_s": "Tokens per second, null where nobody counts",
        "age_p50_ms": "Median age of the newest ticks of hosts that are not stale, ms of the deployment's clock",
        "age_p99_ms": "99th percentile of the same, an upper bound",
        "pools": "Per tier, workload and GPU model; relief_kw[i]: caps at 1.05 - 0.05 i of the maximum limit",
        **SIMULATED,
    },
    """
    SELECT day, site, as_of, known_at, partitions, partitions_expected, hosts, hosts_stale,
        hosts_skewed, hosts_quarantined, gpus, load_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools]), 0) AS relief_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T1']), 0) AS relief_t1_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T2']), 0) AS relief_t2_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools IF p.tier = 'T3']), 0) AS relief_t3_kw,
        list_sum([p.tokens_per_s FOR p IN pools]) AS tokens_per_s,
        age_p50_ms, age_p99_ms, pools, simulated
    FROM archive.site_capacity
    QUALIFY row_number() OVER (PARTITION BY day, site, as_of ORDER BY known_at DESC, kafka_offset DESC) = 1
    """,
)

PORTFOLIO = View(
    "portfolio",
    "All sites together, about once a second. A site that is missing adds nothing, so figures are on the low side.",
    {
        **DAY,
        "portfolio": "Portfolio",
        "as_of": "Instant of the oldest site figure in the row, UTC",
        "known_at": "When the figure was made",
        "sites": "Sites in the figure",
        "sites_missing": "Sites expected, and silent or too old",
        "hosts": "Hosts heard of",
        "hosts_stale": "Of these, silent too long",
        "gpus": "GPUs",
        "load_kw": "Draw, kW",
        "relief_kw": "Power that would be let go now if every pool were capped as low as its tier allows, kW",
        "pools": "Per tier, workload and GPU model, as in capacity",
        **SIMULATED,
    },
    """
    SELECT day, portfolio, as_of, known_at, sites, sites_missing, hosts, hosts_stale, gpus, load_kw,
        coalesce(list_sum([p.relief_kw[-1] FOR p IN pools]), 0) AS relief_kw, pools, simulated
    FROM archive.portfolio_capacity
    QUALIFY row_number() OVER (
        PARTITION BY day, portfolio, as_of ORDER BY known_at DESC, kafka_offset DESC) = 1
    """,
)

INTERVALS = View(
    "intervals",
    "Energy of a site over each closed interval; of several lengths, so filter by length_s before adding up. The "
    "highest revision holds, metered wins over back-filled history.",
    {
        **DAY,
        "site": "Site",
        **INTERVAL,
        "length_s": "Length of the interval, s: a site has figures of several lengths, each covering all of its time",
        "revision": "1 at first; a late part of the site makes the next",
        "energy_kwh": "Energy, kWh, from the devices' own counters",
        "load_kw": "Mean draw of what was measured, taken for all, kW; null where that is nothing or lacks a partition",
        "hosts": "Hosts in the figure",
        "hosts_partial": "Hosts whose counters do not span the whole interval; the hole is missing from energy_kwh",
        "covered_share": "Host-seconds measured / host-seconds in the interval, 0 to 1",
        **PARTITIONS,
        "ticks": "Distinct ticks measured in the interval",
        "ticks_missing": "Holes in the hosts' sequence numbers",
        "pools": "Energy and tokens per tier, workload, GPU model and served model",
        "corrected": "True where ticks that came after the interval was closed are in it",
        **SIMULATED,
        "source": "metered, or backfill for history that was loaded",
    },
    """
    SELECT day, site, interval_start, interval_end,
        CAST(epoch(interval_end - interval_start) AS BIGINT) AS length_s, revision, energy_kwh,
        CASE WHEN coalesce(partitions >= partitions_expected, true)
            THEN energy_kwh / (epoch(interval_end - interval_start) / 3600) / nullif(covered_share, 0) END AS load_kw,
        hosts, hosts_partial, covered_share, partitions, partitions_expected, ticks, ticks_missing, pools,
        coalesce(corrected, false) AS corrected, simulated, source
    FROM archive.site_interval
    QUALIFY row_number() OVER (
        PARTITION BY day, site, interval_start, interval_end
        ORDER BY source = 'metered' DESC, revision DESC, kafka_offset DESC) = 1
    """,
)

CORRECTIONS = View(
    "corrections",
    "What ticks that came after an interval was closed added to one telemetry partition's part of it.",
    {
        **DAY,
        "site": "Site",
        "partition": "Telemetry partition",
        **INTERVAL,
        "energy_kwh": "Energy added, kWh; negative where a tick moved it over the boundary",
        "covered_host_s": "Host-seconds added",
        "hosts": "Hosts that the closed figure did not expect",
        "ticks": "Ticks added",
        "ticks_missing": "Change in the holes of the hosts' sequence numbers",
        "pools": "Energy and tokens added by pool",
        "first_late": "When the first of these ticks was measured",
        "last_late": "When the last of them was",
        **SIMULATED,
    },
    """
    SELECT day, site, "partition", interval_start, interval_end, energy_kwh, covered_host_s, hosts, ticks,
        ticks_missing, pools, first_late, last_late, simulated
    FROM archive.site_correction
    QUALIFY row_number() OVER (
        PARTITION BY day, site, "partition", interval_start, interval_end
        ORDER BY "offset" DESC, kafka_offset DESC) = 1
    """,
)

TOKENS_PER_WATT = View(
    "tokens_per_watt",
    "What a joule buys: tokens per second per watt (= tokens per joule) by interval, tier, workload, model, engine.",
    {
        **DAY,
        "site": "Site",
        **INTERVAL,
        "length_s": "Length of the interval, s",
        "tier": "T0 never touched, T1 interactive, T2 batch, T3 preemptible",
        "workload": "training, inference, idle or unknown",
        "gpu_model": "GPU model",
        "served_model": "Language model served or trained, null where unknown",
        "engine": "Inference server or trainer, null where unknown",
        "gpu_energy_kwh": "Energy of the GPUs, kWh",
        "tokens": "Tokens generated or consumed, null where nobody counted",
        "covered_share": "GPU-seconds whose energy is measured / GPU-seconds there were, null where not known",
        "tokens_per_joule": "tokens / joule = tokens per second per watt, null where either is absent",
        **SIMULATED,
    },
    f"""
    SELECT day, site, interval_start, interval_end, length_s, pool.tier AS tier, pool.workload AS workload,
        pool.gpu_model AS gpu_model, pool.served_model AS served_model,
        pool.engine AS engine, pool.gpu_energy_kwh AS gpu_energy_kwh,
        pool.tokens AS tokens, pool.covered_gpu_s / nullif(pool.gpu_s, 0) AS covered_share,
         pool.tokens / nullif(pool.gpu_energy_kwh * {J_PER_KWH}, 0) AS tokens_per_joule,
        simulated
    FROM (SELECT day, site, interval_start, interval_end, length_s, simulated, unnest(pools) AS pool FROM intervals)
    """,  # noqa: S608 - our own constant
)

#: In an order in which each finds those it builds on.
VIEWS = (CAPACITY, PORTFOLIO, INTERVALS, CORRECTIONS, TOKENS_PER_WATT, *MARKET_VIEWS)
