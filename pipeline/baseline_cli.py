"""`firmwatt baseline`: customer baselines by an ISO's rule or one of our own; compute, explain, list, compare."""

import importlib

from pipeline.cbl import cli_options

#: In place of METHOD → module with `main(argv) -> exit code`.
COMMANDS = {
    "list": "pipeline.cbl.cli_list",
    "explain": "pipeline.cbl.cli_explain",
    "accuracy": "pipeline.cbl.accuracy_cli",
}


def main(argv: list[str]) -> int:
    """Print the baseline of one event, or hand over to the command named first."""
    if argv and argv[0] in COMMANDS:
        code: int = importlib.import_module(COMMANDS[argv[0]]).main(argv[1:])
        return code
    options = cli_options.parsed(argv)
    from pipeline.cbl import cli_answer, cli_output, cli_request

    asked = cli_request.asked(options)
    found = cli_answer.answered(asked)
    print(cli_output.json_text(found) if options.json else cli_output.text(asked, found))  # noqa: T201 - a command line talks
    cli_answer.refuse_shortfalls(found)
    return 0
