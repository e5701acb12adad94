"""Who reads and writes each topic, written out by hand: what rules and a broker are compared with."""

R, W, RW = frozenset({"Read"}), frozenset({"Write"}), frozenset({"Read", "Write"})

#: Who reads and writes each topic. A topic without a line here fails a test, and so does a right without one.
TABLE: dict[str, dict[str, frozenset[str]]] = {
    "telemetry.host.v1": {"collector": W, "fleet": W, "worker": R, "archive": R, "monitor": R, "mirror": R},
    "site.partial.v1": {"worker": RW, "monitor": R},
    "site.interval-partial.v1": {"worker": RW, "monitor": R},
    "site.correction.v1": {"worker": RW, "archive": R, "monitor": R, "mirror": R},
    "site.host.v1": {"worker": RW, "dispatch": R, "monitor": R},
    "site.capacity.v1": {"worker": RW, "dispatch": R, "archive": R, "monitor": R, "mirror": R},
    "site.interval.v1": {"worker": RW, "dispatch": R, "archive": R, "monitor": R, "mirror": R},
    "rollup.state.v1": {"worker": RW, "monitor": R},
    "portfolio.capacity.v1": {"worker": RW, "archive": R, "monitor": R},
    "control.command.v1": {"dispatch": W, "actuator": R, "fleet": R, "worker": R, "archive": R, "monitor": R},
    "control.ack.v1": {
        "actuator": W,
        "fleet": W,
        "dispatch": R,
        "worker": R,
        "archive": R,
        "monitor": R,
        "mirror": R,
    },
    **{
        f"market.{name}.v1": {"dispatch": W, "worker": R, "archive": R, "monitor": R}
        for name in ("offer", "offer-event", "award", "dispatch", "performance", "statement")
    },
}
