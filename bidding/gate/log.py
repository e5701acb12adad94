"""The action log's records as what they add up to. Pure."""

import logging
from collections.abc import Iterable

from pydantic import ValidationError

from bidding.chain import Action
from bidding.gate.control import Control, action

log = logging.getLogger("bidding.gate")


def control_of(actions: Iterable[Action], known: Control | None = None) -> Control:
    """Return what *actions* add up to, after what is *known* already; one that nobody can read changes nothing."""
    control = known or Control()
    for record in actions:
        try:
            control = control.apply(action(bytes(record.payload)))
        except ValidationError as error:
            log.warning("action %d of %s passed over: %s", record.number, record.who, error.errors()[0]["msg"])
    return control
