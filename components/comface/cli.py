"""The command line `comface`: arguments in, one sentence per error and a documented exit code out (docs/errors.md)."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NoReturn

from comface import __version__
from comface.commands import data, directions, doctor, photos, registry, runs, settings, steps, verification, weights
from comface.commands import submit as cluster
from comface.errors import ConfigurationError, Preempted, TryAgain
from comface.execution import set_threads_passive
from comface.files import NO_ROOM
from comface.runtime.defects import as_failure, keep_traceback
from comface.runtime.output import prepared
from comface.runtime.progress import say

EPILOGUE = """exit codes: 0 done, 64 wrong configuration, 65 data that cannot be trusted, 66 gate refused, 75 try again,
141 nobody reads the output, 143 preempted. Start with: comface run"""


class Parser(argparse.ArgumentParser):
    """Wrong arguments end as every wrong configuration does: one sentence, exit code 64."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}; see `{self.prog} --help`.")
        sys.exit(ConfigurationError.exit_code)


class Stopped(SystemExit):
    """SIGTERM, or SIGHUP of a terminal that was closed. Not among the errors: nothing that catches those catches it."""


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
    try:
        with prepared(), _stop_signals():
            chosen = build_parser().parse_args(_filled(sys.argv[1:] if arguments is None else arguments))
            _check_scratch()
            action: Callable[[argparse.Namespace], int | None] = chosen.action
            return action(chosen) or 0
    except Stopped:
        say("comface: stopped by a signal; finished work is kept, run the same command to resume.")
        return Preempted.exit_code
    except KeyboardInterrupt:
        say("comface: interrupted; finished work is kept, run the same command to resume.")
        return Preempted.exit_code
    except Exception as error:
        failure = as_failure(error, partial(keep_traceback, error))
        if str(failure):
            say(f"comface: {failure}")
        return failure.exit_code


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, so that what it started and its temporary files end with it. SIGHUP is
    SIGTERM, also to a training, which has a handler of its own for that. What is ignored (nohup) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Stopped(Preempted.exit_code)

    handlers = {signal.SIGTERM: stop, signal.SIGHUP: lambda *_: os.kill(os.getpid(), signal.SIGTERM)}
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        if before[number] == signal.SIG_DFL:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _filled(words: Sequence[str]) -> Sequence[str]:
    """The arguments. An empty one is what a shell makes of a variable that is not set: no folder, store or name."""
    for before, word in zip(["", *words], words, strict=False):
        option = re.fullmatch("(--[a-z-]+)=", word)
        if not word or option:
            place = option[1] if option else before
            raise ConfigurationError(f"There is nothing after '{place or 'comface'}'; give a value, or leave it out.")
    return words


def _check_scratch() -> None:
    """A TMPDIR that cannot be used, or a folder that is gone, is said before whatever needs it fails deep inside."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigurationError(f"The current folder cannot be used ({error.strerror}); change to another.") from None
    folder = os.environ.get("TMPDIR")
    if not folder:
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise TryAgain(f"TMPDIR, '{folder}', is full; free some room there, or set it to another folder.") from None
        raise ConfigurationError(
            f"TMPDIR, '{folder}', cannot be written ({error.strerror}); set it to a folder that can, or unset it."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
