"""The common form of all commands: their help ends with an example, and the shell completes known names.

The docstring of a command's function is its help text; the first paragraph is its line in `comface --help`.
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from comface.errors import ConfigurationError, TryAgain
from comface.files import NO_ROOM
from comface.runtime.logs import configure

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path, readable=False)
"""A path that is not checked here; the code that reads or writes it raises the error."""


def option(name: str, metavar: str | None, text: str, kind: Any = str, **more: Any) -> Callable[[F], F]:
    """`name`: the option; optionally, after a space, the name of the function's argument."""
    shown = more.get("default") not in (None, "")
    return click.option(*name.split(), metavar=metavar, help=text, type=kind, show_default=shown, **more)


def flag(name: str, text: str, **more: Any) -> Callable[[F], F]:
    return click.option(*name.split(), is_flag=True, help=text, **more)


def argument(name: str, metavar: str | None, text: str, kind: Any = str, **more: Any) -> Callable[[F], F]:
    return click.argument(name, metavar=metavar, help=text, type=kind, **more)


def command(example: str, **more: Any) -> Callable[[Callable[..., Any]], click.Command]:
    return click.command(cls=Command, example=example, **more)


def shown(text: Callable[[click.Context], str]) -> Callable[[click.Context, click.Parameter, bool], None]:
    """Return a callback for an option that prints a text and exits. It prints through sys.stdout, which handles a full
    disk (runtime/output.py), unlike click's own function."""

    def show(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            print(text(context))
            context.exit()

    return show


def _lines(names: list[str], verbosity: int, text: str) -> click.Option:
    def set_it(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            configure(verbosity)

    return click.Option(names, is_flag=True, is_eager=True, expose_value=False, callback=set_it, help=text)


LINES = (
    _lines(["--quiet", "-q"], -1, "Show only errors and the result."),
    _lines(["--verbose", "-v"], 1, "Show details: debug messages, warnings of libraries, and all output of the steps."),
)
"""Options of every command, before or after its name."""


class Shown(click.Command):
    """Base of commands and groups of commands."""

    def __init__(self, *arguments: Any, example: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.examples = example.splitlines()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click does not set it if an option has no value
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, help_option = super().get_params(ctx)
        return [*own, *LINES, help_option]

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback, found.help = shown(click.Context.get_help), "Show this help."
        return found

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first paragraph without truncation; the list of commands can have several lines per command."""
        return " ".join(inspect.cleandoc(self.help or "").partition("\n\n")[0].split())

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for line in self.examples:  # not wrapped, so that a line can be copied
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Command(Shown):
    """A command. An option in `lists` takes several values: `--faces A B` is `--faces A --faces B`. `needs`: extras of
    pyproject.toml that must be installed."""

    def __init__(self, *arguments: Any, lists: Iterable[str] = (), needs: Iterable[str] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lists, self.needs = frozenset(lists), tuple(needs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(self._one_word_each(args)))

    def _one_word_each(self, words: Iterable[str]) -> Iterator[str]:
        option = ""
        for word in words:
            if word.startswith("-"):
                option = word if word in self.lists else ""
            elif option:
                yield option
            if word not in self.lists:
                yield word

    def invoke(self, ctx: click.Context) -> Any:
        from comface.execution import set_threads_passive
        from comface.runtime.extras import check_extras

        check_extras(ctx.command_path, *self.needs)
        set_threads_passive()
        _check_scratch()
        return super().invoke(ctx)


class Group(Shown, click.Group):
    """A command with subcommands."""

    command_class = Command


class Names(click.ParamType[str, str]):
    """A parameter type for names from a registry. `known` is called only for a help text, a completion or a value,
    because it may import slow modules. If it is not `closed`, the command itself checks other names."""

    name = "name"

    def __init__(self, known: Callable[[], Iterable[str]], closed: bool = True) -> None:
        self.known, self.closed = known, closed

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed names; empty if other names are allowed too."""
        return tuple(self.known()) if self.closed else ()

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.known())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self.closed and value not in (known := tuple(self.known())):
            self.fail(f"'{value}' is not one of {', '.join(known)}", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self.known() if name.startswith(incomplete)]


def together(argument: str, kind: type, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Combine `options` into one `argument` of the command: an instance of `kind`, whose fields have their names."""
    names = [field.name for field in fields(kind)]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def taken(**values: Any) -> Any:
            one = kind(**{name: values.pop(name) for name in names if name in values})
            return function(**values, **{argument: one})

        return functools.reduce(lambda inner, option: option(inner), reversed(options), cast(F, taken))

    return decorate


def _check_scratch() -> None:
    """Raises an error if TMPDIR or the current folder cannot be used, before other code fails because of it."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigurationError(
            f"The current folder cannot be used ({error.strerror}); change to another folder."
        ) from None
    folder = os.environ.get("TMPDIR")
    if not folder:
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        if error.errno in NO_ROOM:
            raise TryAgain(
                f"The disk of TMPDIR ('{folder}') is full; free some space, or set TMPDIR to another folder."
            ) from None
        raise ConfigurationError(
            f"TMPDIR ('{folder}') is not writable ({error.strerror}); set it to a writable folder, or unset it."
        ) from None
