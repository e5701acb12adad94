"""``make bench-stream``: one JSON line a figure, real Apache Kafka on this machine."""

import argparse

from bench.stream import agents, freshness, seconds, throughput

PARTS = ("throughput", "seconds", "agents", "freshness")


def main() -> None:
    """Run what is asked for."""
    grammar = argparse.ArgumentParser(
        prog="bench-stream", description="GPU samples a second, and how fresh figures are."
    )
    grammar.add_argument("--part", choices=PARTS, action="append", help="only this")
    grammar.add_argument("--runs", type=int, default=throughput.RUNS)
    grammar.add_argument("--hosts", type=int, default=throughput.HOSTS, help="of the throughput")
    grammar.add_argument("--seconds", type=int, default=throughput.SECONDS, help="of ticks that the readers read")
    grammar.add_argument("--live", type=int, default=freshness.SECONDS, help="seconds of each live load")
    args = grammar.parse_args()
    parts = args.part or PARTS
    if "throughput" in parts:
        throughput.main(args.hosts, args.seconds, args.runs)
    if "seconds" in parts:
        seconds.main(args.runs)
    if "agents" in parts:
        agents.main(args.runs)
    if "freshness" in parts:
        freshness.main(args.live, args.runs)


if __name__ == "__main__":
    main()
