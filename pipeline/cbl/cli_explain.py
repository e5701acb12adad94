"""`firmwatt baseline explain`: which days, why not the others, each day's load; as a table, as SQL, as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.cbl import cli_options
from pipeline.errors import ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from pipeline.cbl.cli_output import Object
    from pipeline.cbl.cli_request import Asked

FORMS = (".svg", ".html")


def main(argv: list[str]) -> int:
    """Print what a baseline rests on, or what there is too little of, and draw it where a picture is asked for."""
    options = cli_options.parsed(argv, explains=True)
    if options.picture is not None and options.picture.suffix not in FORMS:
        raise ConfigError(f"--picture {options.picture}: a picture is a file ending in {' or '.join(FORMS)}")
    from pipeline.cbl import cli_answer, cli_output, cli_request, explain

    asked = cli_request.asked(options)
    found = cli_answer.told(asked)
    if options.picture is not None:
        _draw(options.picture, asked, found)
    if options.sql:
        told = explain.sql(asked)
    elif options.json:
        told = cli_output.json_text([explain.with_days(asked, one) for one in found])
    else:
        told = explain.text(asked, found)
    print(told)  # noqa: T201 - a command line talks
    cli_answer.refuse_shortfalls(found)
    return 0


def _draw(path: Path, asked: "Asked", found: "list[Object]") -> None:
    """Write the picture of one resource; refuse several, which do not fit into one."""
    from pipeline.cbl import cli_picture, explain

    if len(found) > 1:
        names = ", ".join(one["resource"] for one in found[:9])
        raise ConfigError(f"--picture shows one resource; choose one with --resource: {names}")
    drawn = cli_picture.svg(asked, found[0])
    page = drawn if path.suffix == ".svg" else cli_picture.html(drawn, asked, explain.text(asked, found))
    try:
        files.replace(path, page.encode())
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be written: {error.strerror}") from error
