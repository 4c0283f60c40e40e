"""The command line `comface`: arguments in, one sentence per error and a documented exit code out (docs/errors.md)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from comface import __version__
from comface.commands import (
    cluster,
    data,
    directions,
    doctor,
    photos,
    registry,
    runs,
    settings,
    steps,
    verification,
    weights,
)
from comface.errors import ComfaceError, ConfigurationError, Preempted
from comface.execution import set_threads_passive

EPILOGUE = """exit codes: 0 done, 64 wrong configuration, 65 data that cannot be trusted, 66 gate refused, 75 try again,
143 preempted. Start with: comface run"""


class Parser(argparse.ArgumentParser):
    """Wrong arguments end as every wrong configuration does: one sentence, exit code 64."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see `{self.prog} --help`.", file=sys.stderr)
        sys.exit(ConfigurationError.exit_code)


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="comface",
        description="Learn from synthetic faces how a face changes, and estimate the change between two photos.",
        epilog=EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=f"comface {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (runs, cluster, doctor, steps, settings, data, weights, directions, photos, registry, verification):
        group.add_commands(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    set_threads_passive()
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    action: Callable[[argparse.Namespace], int | None] = chosen.action
    try:
        return action(chosen) or 0
    except ComfaceError as error:
        print(f"comface: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("comface: interrupted; finished work is kept, run the same command to go on.", file=sys.stderr)
        return Preempted.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
