"""``firmwatt bid halt`` and ``resume``: the kill switch. It is in the action log, so that a restart knows it too."""

import argparse
import getpass
from pathlib import Path
from typing import Any

from bidding.commands import say, with_config


def add(actions: Any) -> None:
    """Describe both actions."""
    halt = actions.add_parser("halt", help="let nothing leave any more but withdrawals and questions")
    resume = actions.add_parser("resume", help="let offers leave again")
    for parser, action in ((halt, _halt), (resume, _resume)):
        with_config(parser)
        parser.add_argument("--why", required=True, help="the reason, for whoever reads the log")
        parser.add_argument("--by", default=getpass.getuser(), help="who says so (default: the user, %(default)s)")
        parser.set_defaults(action=action)


def _halt(arguments: argparse.Namespace) -> int:
    from bidding import settings
    from bidding.gate.control import Halted, Source
    from bidding.journal import append_action

    found = settings.read(arguments.config)
    said = Halted(by=arguments.by, at=found.clock.now(), why=arguments.why, source=Source.RECORD)
    append_action(Path(found.bidding.journal), said.at, said.by, said.kind, said)
    say(f"halted at {said.at.isoformat()} by {said.by}: nothing leaves but withdrawals and questions")
    return 0


def _resume(arguments: argparse.Namespace) -> int:
    from bidding import settings
    from bidding.gate.control import Resumed
    from bidding.gate.halt_file import file_halt
    from bidding.gate.log import control_of
    from bidding.journal import append_action, read_actions
    from pipeline.errors import ConfigError

    found = settings.read(arguments.config)
    journal = Path(found.bidding.journal)
    said = Resumed(by=arguments.by, at=found.clock.now(), why=arguments.why, data_well=False)
    if objection := control_of(read_actions(journal)).objection(said):
        raise ConfigError(f"nothing was resumed: {objection}")
    append_action(journal, said.at, said.by, said.kind, said)
    say(f"resumed at {said.at.isoformat()} by {said.by}")
    if found.bidding.halt_file and (file := file_halt(Path(found.bidding.halt_file))) is not None:
        say(f"the file {found.bidding.halt_file} still halts ({file[1]}): remove it too")
    return 0
