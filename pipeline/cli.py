"""`firmwatt pipeline`: run workers, look after them, and what they work on."""

import argparse
import importlib

#: subcommand → (module with `main(argv) -> exit code`, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("pipeline.run_cli", "roll up, aggregate and archive until told to stop"),
    "status": ("pipeline.status_cli", "ask Kafka how far the workers have come; exit code 1 where they lag"),
    "topics": ("pipeline.topics_cli", "print the topology, or create what is missing of it"),
    "doctor": ("pipeline.doctor_cli", "check everything a worker needs, and say what to do"),
    "rebuild": ("pipeline.rebuild_cli", "build archive and desk anew, from Kafka or the archive, and compare"),
    "plan": ("pipeline.plan_cli", "partitions, workers, disk, network and memory for a number of hosts"),
}


def main(argv: list[str]) -> int:
    """Run one subcommand and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="firmwatt pipeline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:<8}  {text}" for name, (_, text) in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS, help="`firmwatt pipeline COMMAND --help` tells more")
    options = parser.parse_args(argv[:1])
    code: int = importlib.import_module(COMMANDS[options.command][0]).main(argv[1:])
    return code
