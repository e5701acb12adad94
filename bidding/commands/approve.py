"""``firmwatt bid approve``: one of two people lets exactly this document leave."""

import argparse
from pathlib import Path
from typing import Any

from bidding.commands import say, with_config


def add(actions: Any) -> None:
    """Describe the action."""
    parser = actions.add_parser("approve", help="agree that a held document leaves; two people have to")
    parser.add_argument("document", help="first characters of the document's hash, or of the id of an offer in it")
    with_config(parser)
    parser.add_argument("--by", required=True, help="your name in [bidding.approvers]")
    parser.add_argument("--key", type=Path, required=True, help="your private key; `firmwatt bid keygen` makes one")
    parser.set_defaults(action=_run)


def _run(arguments: argparse.Namespace) -> int:
    from bidding import settings
    from bidding.commands.held import held_document, lines
    from bidding.gate.approval import approve
    from bidding.gate.settings import approver_keys
    from bidding.journal import append_action
    from bidding.signing import load_key
    from pipeline.errors import ConfigError

    found = settings.read(arguments.config)
    journal, now = Path(found.bidding.journal), found.clock.now()
    keys = approver_keys(found.bidding.approvers)
    if arguments.by not in keys:
        raise ConfigError(f"no {arguments.by!r} in [bidding.approvers]; it has {', '.join(sorted(keys)) or 'none'}")
    key = load_key(arguments.key)
    if key.public_key().public_bytes_raw() != keys[arguments.by]:
        raise ConfigError(f"{arguments.key} is not the key of {arguments.by} in [bidding.approvers]")
    held = held_document(journal, arguments.document)
    said = approve(held.document, arguments.by, now, key)
    append_action(journal, now, said.by, said.kind, said)
    for line in lines(held):
        say(line)
    say(f"approved by {said.by} at {now.isoformat()}; it counts for {found.bidding.limits.approval_valid_s:g} s")
    return 0
