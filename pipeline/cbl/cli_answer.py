"""An asked question answered by the engine of its choice; what has no answer, as the error it ends in."""

from pipeline.cbl import cli_shared
from pipeline.cbl.cli_errors import TooLittleHistoryError
from pipeline.cbl.cli_output import Object, objects
from pipeline.cbl.cli_request import Asked


def answered(asked: Asked) -> list[Object]:
    """Return one object a resource; raise where the only one there is has no baseline."""
    found = objects(asked, cli_shared.engine(asked.engine)(asked.rule, asked.request))
    if len(found) == 1:
        refuse_shortfalls(found)
    return found


def refuse_shortfalls(found: list[Object]) -> None:
    """Raise `TooLittleHistoryError` where a resource has no baseline; of several it names the first."""
    short = [one for one in found if "shortfall" in one]
    if not short:
        return
    first = short[0]["shortfall"]
    which = f" for {short[0]['resource']}" if "resource" in short[0] else ""
    more = f" ({len(short)} of {len(found)} resources have too little)" if len(found) > 1 else ""
    raise TooLittleHistoryError(first["need"], first["have"], f"{first['what']}{which}{more}")
