"""What runs without the extras of pyproject.toml, and what asks for one: commands that cannot find its packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from tiny_run import ROOT, comface, normal, without_extras

from comface.doctor.rows import Check, Row, answer
from comface.runtime.extras import EXTRAS, absent_extra

PLAIN = (
    ["models", "list"],
    ["config"],
    ["directions", "list"],
    ["render", "--generator", "procedural", "--seeds=0", "--alphas=-5,5", "--attribute=smile", "--output=sheet.png"],
    ["features", "--method", "pixels", str(ROOT / "tests" / "data" / "astronaut.jpg"), "--output", "features.npy"],
)
"""Commands of the plain installation; tests/register compares photos so."""


def test_the_modules_of_each_extra_are_those_of_the_packages_that_it_installs() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(wanted) == {*EXTRAS, "dev"}
    brought = metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        packages = {normal(name) for module in modules for name in brought[module]}
        assert {re.split(r"[\[<>=]", entry)[0] for entry in wanted[extra]} <= packages


def test_commands_of_the_plain_installation_run_without_any_extra(tmp_path: Path) -> None:
    code = "import json, sys, comface.cli; print([comface.cli.main(words) for words in json.loads(sys.argv[1])])"
    environment = {**os.environ, **without_extras(tmp_path, "train", "cluster")}
    command = [sys.executable, "-c", code, json.dumps(PLAIN)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [str([0] * len(PLAIN))], done.stderr


def test_help_needs_no_extra(tmp_path: Path) -> None:
    done = comface("--help", environment=without_extras(tmp_path, "train", "cluster"), folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("absent", "words", "sentence"),
    [
        (["cluster"], "run", "`comface run` needs kfp; install it with `pip install 'comface[cluster]'`."),
        (
            ["cluster", "train"],
            "run",
            "`comface run` needs kfp and matplotlib; install them with `pip install 'comface[cluster,train]'`.",
        ),
        (
            ["cluster"],
            "schedule list",
            "`comface schedule list` needs kfp; install it with `pip install 'comface[cluster]'`.",
        ),
        (
            ["train"],
            "directions score --generator dcgan --attribute smile --output scores",
            "`comface directions score` needs matplotlib; install it with `pip install 'comface[train]'`.",
        ),
    ],
)
def test_a_command_asks_for_what_it_needs_before_it_begins(
    absent: list[str], words: str, sentence: str, tmp_path: Path
) -> None:
    done = comface(*words.split(), environment=without_extras(tmp_path, *absent), folder=tmp_path)
    assert (done.returncode, done.stderr) == (64, f"comface: {sentence}\n")
    assert not (tmp_path / "runs").exists()


def test_an_import_that_fails_for_want_of_an_extra_says_so_as_an_error_and_as_a_row_of_doctor() -> None:
    def ask() -> list[Row]:
        raise ModuleNotFoundError("No module named 'sklearn.svm'", name="sklearn.svm")

    (row,) = answer(Check("run", "directions", ask))
    assert (row.state, row.found) == ("red", "sklearn is not installed")
    assert row.todo == "install it with `pip install 'comface[train]'`"
    assert absent_extra(ModuleNotFoundError(name="comface.absent")) is None
    assert absent_extra(AttributeError(name="kfp")) is None
