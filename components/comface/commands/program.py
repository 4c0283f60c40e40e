"""Runs one command, from its arguments to its exit code. An error is one message without a traceback
(docs/errors.md)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import click
from click.exceptions import Exit, NoArgsIsHelpError, NoSuchCommand, NoSuchOption
from click.shell_completion import shell_complete

from comface import __version__
from comface.commands import (
    check,
    data,
    directions,
    doctor,
    photos,
    registry,
    runs,
    saliency,
    schedule,
    serve,
    steps,
    submit,
    upkeep,
)
from comface.commands.surface import Group, flag, shown
from comface.config.names import quoted
from comface.errors import EXIT_CODES, ConfigurationError, Preempted
from comface.runtime.defects import as_failure, keep_traceback
from comface.runtime.logs import configure
from comface.runtime.output import prepared, say

COMPLETE = "_COMFACE_COMPLETE"
"""Environment variable that the shell sets to complete a word."""
SECTIONS = {
    "Run the pipeline": (runs.run, check.check, runs.config, doctor.doctor, data.fetch),
    "On a cluster": (submit.submit, schedule.schedule),
    "One step alone": (steps.synthesize, steps.screen, steps.shard, steps.pretrain, data.rehearse, steps.align,
                       steps.transfer, steps.evaluate, steps.register),
    "Keeping a store": (upkeep.artifacts, upkeep.forget),
    "Photos and models": (photos.compare, serve.serve, photos.features, saliency.saliency, registry.models,
                          registry.verify),
    "Generators": (directions.render, directions.directions, directions.convert),
}  # fmt: skip


class Stopped(SystemExit):
    """Raised for SIGTERM, and for SIGHUP from a closed terminal. A SystemExit, so that no error handler catches it."""


class Comface(Group):
    """The command group `comface`, whose help lists its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str()) for command in commands])


@click.group(
    cls=Comface,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: 0 done, {', '.join(f'{code} {kind.meaning}' for code, kind in EXIT_CODES.items())}, "
    "1 a defect of comface. For shell completion, see docs/command-line.md.",
    example="comface run",
)
@flag(
    "--version",
    "Show the version.",
    is_eager=True,
    expose_value=False,
    callback=shown(lambda _: f"comface {__version__}"),
)
@click.pass_context
def comface(context: click.Context) -> None:
    """Learn from synthetic faces how faces change, and estimate the change between two photos."""
    if context.invoked_subcommand is None:
        print(context.get_help())


for _command in chain.from_iterable(SECTIONS.values()):
    comface.add_command(_command)


def run_program(words: Sequence[str]) -> int:
    """Run the command with the arguments `words`, and return its exit code."""
    try:
        with prepared(), _stop_signals():
            configure()
            if instruction := os.environ.get(COMPLETE):
                return _complete(instruction)
            return _run(_filled(words))
    except Stopped:
        say("comface: stopped by a signal; finished work is kept, run the same command to resume.")
        return Preempted.exit_code
    except SystemExit as ended:  # a step sets its exit code itself (execution/)
        return ended.code if isinstance(ended.code, int) else bool(ended.code)
    except KeyboardInterrupt:
        say("comface: interrupted; finished work is kept, run the same command to resume.")
        return Preempted.exit_code
    except Exception as error:
        failure = as_failure(error, partial(keep_traceback, error))
        if str(failure):
            say(f"comface: {failure}")
        return failure.exit_code


def _complete(instruction: str) -> int:
    by_hand = instruction.endswith("_complete") and not {"COMP_WORDS", "COMP_CWORD"} <= os.environ.keys()
    if by_hand or shell_complete(comface, {}, "comface", COMPLETE, instruction):
        raise ConfigurationError(
            f"{COMPLETE} is {quoted(instruction)}; set it to bash_source, zsh_source or fish_source, or unset it."
        )
    return 0


def _run(words: Sequence[str]) -> int:
    try:
        with comface.make_context("comface", list(words)) as context:
            return comface.invoke(context) or 0
    except Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        wrong = ConfigurationError(_usage_sentence(error))
        say(str(wrong))
        return wrong.exit_code


def _usage_sentence(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "comface"
    what = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, NoArgsIsHelpError) and error.ctx and isinstance(error.ctx.command, Group):
        what = f"name one of its commands, {', '.join(error.ctx.command.commands)}"
    elif isinstance(error, (NoSuchCommand, NoSuchOption)) and error.possibilities:
        what = f"{error.message.rstrip('.')} (did you mean '{error.possibilities[0]}'?)"
    return f"{path}: {what}; see `{path} --help`."


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM end a command like Ctrl-C, so that its child processes and temporary files are removed. SIGHUP is
    converted to SIGTERM, for which a training has its own handler. A signal that is ignored (nohup) stays ignored."""
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
    """Return the arguments. Raises ConfigurationError for an empty one, which a shell passes for an unset variable."""
    for before, word in zip(["", *words], words, strict=False):
        option = re.fullmatch("(--[a-z-]+)=", word)
        if not word or option:
            place = option[1] if option else before
            raise ConfigurationError(f"The value after '{place or 'comface'}' is empty; give a value, or leave it out.")
    return words
