"""``firmwatt broker acls``: print who may do what, for any cluster."""

import argparse
import sys
from pathlib import Path

from deploy.broker import acl_formats, acl_rules
from pipeline.errors import ConfigError


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    grammar = argparse.ArgumentParser(
        prog="firmwatt broker acls",
        description="Print who may do what on Kafka, for any cluster; nothing is changed.",
    )
    grammar.add_argument(
        "--format",
        choices=["commands", "json", "strimzi"],
        default="commands",
        help=(
            "lines for kafka-acls.sh, which add rights and take none away (kafka-acls.sh --list shows what is left of "
            "earlier ones), one JSON object, or KafkaUser objects for Strimzi (%(default)s)"
        ),
    )
    grammar.add_argument(
        "--principal-prefix",
        default="",
        metavar="TEXT",
        help="what each principal's name begins with: firmwatt-, or CN= for those with certificates",
    )
    grammar.add_argument(
        "--hosts",
        type=Path,
        metavar="FILE",
        help="a host a line: each gets principals of its own for its two processes",
    )
    grammar.add_argument("--group", default="firmwatt", help="what [pipeline] group says (%(default)s)")
    grammar.add_argument(
        "--sites",
        type=lambda text: text.split(","),
        default=[],
        metavar="NAME,…",
        help="of a portfolio: what it mirrors",
    )
    grammar.add_argument(
        "--commands-of",
        default="",
        metavar="NAME",
        help=(
            "where the mirror's settings say `commands = true`: the name of their [mirror.target]; of a site that the "
            "portfolio commands, and with --sites of the portfolio"
        ),
    )
    grammar.add_argument("--cluster", default="firmwatt", help="name of the Strimzi-managed cluster (%(default)s)")
    grammar.add_argument(
        "--fleet", action="store_true", help="with a principal for simulated hosts; not where hosts are real"
    )
    return grammar


def main(argv: list[str]) -> int:
    """Print the rules and return the exit code."""
    args = parser().parse_args(argv)
    roles = (*acl_rules.roles(args.group, args.sites, args.commands_of), *([acl_rules.FLEET] if args.fleet else []))
    holding = acl_formats.holders(roles, args.principal_prefix, hosts_in(args.hosts) if args.hosts else [])
    match args.format:
        case "json":
            text = f"{acl_formats.as_json(holding)}\n"
        case "strimzi":
            text = acl_formats.strimzi(holding, args.cluster)
        case _:
            text = acl_formats.commands(holding)
    sys.stdout.write(text)
    return 0


def hosts_in(path: Path) -> list[str]:
    """Return the hosts that the file at *path* names, each once; raise `ConfigError` if it names none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error
    hosts = [word for line in lines if (word := line.partition("#")[0].strip())]
    if not hosts:
        raise ConfigError(f"{path} names no host: write one a line")
    return list(dict.fromkeys(hosts))
