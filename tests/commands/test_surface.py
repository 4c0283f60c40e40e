"""The surface of the command line: scripts and schedules call these names, so they change by decision only."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tiny_run import comface as called
from tiny_run import command

from comface.cli import main
from comface.commands.program import comface
from comface.commands.surface import Names
from comface.errors import EXIT_CODES
from comface.runtime.logs import Screen

PINNED = Path(__file__).resolve().parents[1] / "data" / "command_line.yaml"


def leaves(at: click.Command = comface, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(at, click.Group):
        yield name, at
        return
    for word, below in at.commands.items():
        yield from leaves(below, f"{name} {word}".strip())


def described(parameter: click.Parameter, lists: frozenset[str]) -> str:
    """What a caller depends on, and the text that explains it."""
    flag, default = getattr(parameter, "is_flag", False), parameter.to_info_dict().get("default")
    kind = parameter.type
    choices = kind.known() if isinstance(kind, Names) and kind.closed else getattr(kind, "choices", ())
    facts = [
        "required" if parameter.required else "",
        "repeats" if parameter.multiple or parameter.nargs == -1 or set(parameter.opts) & lists else "",
        "flag" if flag else "|".join(choices) or parameter.type.name,
        f"default {default}" if default not in (None, "") and not flag else "",
    ]
    return f"{', '.join(filter(None, facts))}: {parameter.help}"


def surface() -> str:
    """One line for each argument, positional ones first."""
    found = {
        name: {
            "help": leaf.get_short_help_str(),
            **{
                " ".join(each.opts): described(each, leaf.lists)
                for each in sorted(leaf.params, key=lambda each: isinstance(each, click.Option))
            },
        }
        for name, leaf in leaves()
    }
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=1000)


def test_the_surface_is_the_one_that_was_decided() -> None:
    """After a decision, write it anew: PYTHONPATH=tests python tests/commands/test_surface.py"""
    assert surface() == PINNED.read_text("utf-8")


@pytest.mark.parametrize("name", ["", "schedule", "directions", "models", *dict(leaves())])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_each_argument_shows_an_example_and_ends_well(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*name.split(), option]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    found = dict(leaves()).get(name)
    assert ("Example" in output.out) or (found is None and name)
    for each in found.params if found else ():
        assert (
            each.opts[-1] if isinstance(each, click.Option) else each.make_metavar(click.Context(found))
        ) in output.out


@pytest.mark.parametrize("name", dict(leaves()))
def test_each_command_and_each_argument_is_explained_and_its_examples_are_right(name: str) -> None:
    found = dict(leaves())[name]
    assert found.help
    assert [each.name for each in found.params if not each.help] == []
    assert found.examples
    for example in found.examples:
        before, _, words = example.partition("comface")
        assert before in ("", "KFP_ENDPOINT=http://localhost:8080 ", "torchrun --nproc-per-node 4 -m "), example
        words = words.partition(" > ")[0].strip()
        assert words.startswith(name)
        if "--config" not in words:  # which is read at once
            found.make_context(name, shlex.split(words.removeprefix(name)))  # refuses what the command would


@pytest.mark.parametrize("name", dict(leaves()))
def test_each_command_can_be_quiet_or_verbose(name: str) -> None:
    options = [option for each in dict(leaves())[name].get_params(click.Context(comface)) for option in each.opts]
    assert {"-q", "--quiet", "-v", "--verbose"} <= set(options)
    assert len(options) == len(set(options))


@pytest.mark.parametrize("words", ["--quiet verify", "verify -q", "-v verify", "verify --verbose"])
def test_quiet_and_verbose_stand_before_or_after_the_command_and_hide_no_error(
    words: str, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*words.split(), "--store", tmp_path.as_uri()]) == 64
    assert capfd.readouterr().err.startswith("comface: No model is registered in")
    assert logging.getLogger("comface").isEnabledFor(logging.DEBUG) == ("-v" in words)
    assert [handler.level for handler in logging.getLogger().handlers if isinstance(handler, Screen)] == [
        logging.DEBUG if "-v" in words else logging.ERROR
    ]


def test_comface_alone_is_help_with_each_command_and_each_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    for name in dict(leaves()):
        assert re.search(rf"^ +{name.split()[0]}\s+\w", text, re.MULTILINE), name
    for code, kind in EXIT_CODES.items():
        assert f"{code} {kind.meaning}" in " ".join(text.split())


def test_the_module_is_the_command_and_says_its_version() -> None:
    done = called("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"comface \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["dance"], ["models", "--help"]])
def test_help_and_version_load_no_library_that_takes_time(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom comface.cli import main\nmain(sys.argv[1:])\n"
        "print('loaded', *sorted({'torch', 'kfp', 'numpy', 'matplotlib', 'timm', 'scipy', 'cv2', 'minio', 'kubernetes'}"
        " & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded"


def test_every_command_that_takes_single_fields_takes_a_file_of_them() -> None:
    for name, found in leaves():
        options = {option for each in found.params for option in each.opts}
        assert options & {"--profile", "--config", "--set"} in (set(), {"--profile", "--config", "--set"}), name


def test_several_faces_follow_one_option_or_each_its_own() -> None:
    transfer = dict(leaves())["transfer"]
    for words in ("--faces a b --task age", "--task age --faces a --faces b", "--faces a --task age --faces b"):
        assert transfer.make_context("transfer", words.split()).params["faces"] == ("a", "b")


def test_a_shell_completes_commands_options_and_names() -> None:
    def completed(words: str) -> set[str]:
        environment = {"_COMFACE_COMPLETE": "bash_complete", "COMP_WORDS": f"comface {words}",
                       "COMP_CWORD": str(words.count(" ") + 1)}  # fmt: skip
        done = subprocess.run(command(), capture_output=True, text=True, env={**os.environ, **environment}, check=True)
        return {line.partition(",")[2] for line in done.stdout.splitlines()}

    for word in ("dos_source", "bash_complete"):  # the second without the words to complete
        unknown = called(environment={"_COMFACE_COMPLETE": word})
        assert (unknown.returncode, unknown.stdout) == (64, "")
        assert f"'{word}'; set it to bash_source, zsh_source or fish_source" in unknown.stderr
    assert completed("re") == {"rehearse", "register", "render"}
    assert {"list", "show", "promote", "alias", "history", "rollback"} <= completed("models ")
    assert completed("run --pro") == {"--profile"}
    assert completed("run --profile l") == {"laptop"}
    assert completed("rehearse e") == {"edema-a", "edema-b"}


def test_ctrl_c_while_the_program_loads_is_one_quiet_line() -> None:
    code = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

class Interrupting:
    def find_spec(self, name, *_):
        if name == "comface.commands.program":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from comface.cli import main
sys.exit(main(["config"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert (done.stdout, done.stderr) == ("", "comface: interrupted before anything was started.\n")


if __name__ == "__main__":
    PINNED.write_text(surface(), "utf-8")
