"""`comface run`: pipelines/comface.yaml on this machine, through KFP's local runner."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from comface.commands.configured import add_configuration, configuration, output_folder
from comface.errors import GateRefused
from comface.runtime.progress import say


def add_commands(commands: Any) -> None:
    text = "run the whole pipeline on this machine: from synthetic faces to a registered model and its report"
    parser = commands.add_parser("run", help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_configuration(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of the run: report, comparison, log, store (default: runs/PROFILE)",
    )
    parser.add_argument(
        "--pipeline", type=Path, metavar="FILE", help="compiled pipeline (default: the one that the package brings)"
    )
    parser.add_argument("--verbose", action="store_true", help="show all that KFP's runner says, not only in run.log")
    parser.set_defaults(action=run)


def run(arguments: argparse.Namespace) -> int:
    from comface.files import check_output_folder
    from comface.run.local import ONE_MACHINE, find_pipeline, run_pipeline

    check_output_folder(output_folder(arguments))
    config = configuration(arguments, {"pretrain": ONE_MACHINE})
    outcome = run_pipeline(
        find_pipeline(arguments.pipeline), config, arguments.overrides, output_folder(arguments), arguments.verbose
    )
    say("")
    for line in outcome.lines():
        say(line)
    return 0 if outcome.model else GateRefused.exit_code
