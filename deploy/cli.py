"""The `firmwatt` command: find the part, import only that, hand over the arguments."""

import importlib
import sys

from pipeline.errors import FirmwattError

#: subcommand → (module with `main(argv) -> exit code`, one line of help)
PARTS: dict[str, tuple[str, str]] = {
    "demo": ("deploy.demo.cli", "the whole loop on this machine, with a report"),
    "broker": ("deploy.broker.cli", "one Apache Kafka node on this machine: start, stop, status"),
    "fleet": ("deploy.fleet.cli", "simulated GPU hosts for the demo and for tests"),
    "collect": ("collectors.collect_cli", "publish this host's watts and tokens"),
    "actuate": ("collectors.actuate_cli", "apply signed power leases on this host"),
    "pipeline": ("pipeline.cli", "Faust worker: ticks to site capacity and closed intervals"),
    "baseline": (
        "pipeline.baseline_cli",
        "what a load would have been, by an ISO's rule: compute, explain, compare",
    ),
    "bid": ("bidding.cli", "offers, dispatch, performance, settlement"),
    "sandbox": ("bidding.sandbox.cli", "a stand-alone venue to trade against"),
    "desk": ("pipeline.desk_cli", "run SQL on the desk's views"),
}


def usage() -> str:
    """Return the list of subcommands."""
    width = max(map(len, PARTS))
    lines = (f"  {name:<{width}}  {text}" for name, (_, text) in PARTS.items())
    return "\n".join(["usage: firmwatt COMMAND [options]; `firmwatt COMMAND --help` tells more", "", *lines])


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code; an expected failure is one line on standard error."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in {"-h", "--help", "help"}:
        print(usage())  # noqa: T201 - a command line talks
        return 0
    if name not in PARTS:
        print(f"firmwatt: no command {name!r}; have {', '.join(PARTS)}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        code: int = importlib.import_module(PARTS[name][0]).main(rest)
    except FirmwattError as error:
        print(f"firmwatt {name}: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in {"deploy", "pipeline", "collectors", "bidding"}:
            raise
        print(f"firmwatt {name}: needs the Python package {error.name!r}; `make setup` installs all", file=sys.stderr)  # noqa: T201
        return 4
    except KeyboardInterrupt:
        return 130
    return code
