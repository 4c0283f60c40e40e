"""Every block of code of every page is checked. What its first line after ``` says decides how:

    sh         (or nothing) bash parses it, and each of its commands is known and accepted: options, files, targets
    python     executed, in an empty folder, with a small store
    yaml       a configuration: read and resolved
    json, csv  parsed
    text       what a program prints, or a drawing: it has no command in it

A word that is none of these fails, so no block is unchecked.
"""

from __future__ import annotations

import ast
import csv
import functools
import io
import itertools
import json
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from clinic import build_clinic, copied
from PIL import Image, ImageEnhance
from tiny_run import comface as run_comface

from comface.cli import main
from comface.commands.program import comface
from comface.errors import ComfaceError
from comface.plan.checks import check_configuration
from comface.plan.config_file import read_config
from comface.plan.configuration import resolve
from comface.store import FileStore, open_store

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SYNTAX_ONLY = {
    "apt-get", "base64", "cd", "chown", "cp", "curl", "do", "done", "echo", "export", "fi", "for", "git", "grep", "if",
    "jq", "key", "mc", "mkdir", "openssl", "pip", "printf", "tensorboard", "then", "{", "}",
}  # fmt: skip
"""Programs and words of the shell that bash parses and nothing here can check further."""
KUBECTL = {
    "annotate", "apply", "auth", "config", "create", "cp", "delete", "describe", "diff", "drain", "edit", "exec", "get",
    "label", "logs", "patch", "port-forward", "rollout", "run", "scale", "taint", "top", "uncordon", "wait",
}  # fmt: skip
DOCKER = {"build", "buildx", "compose", "image", "load", "login", "manifest", "pull", "push", "run", "save", "tag"}


class Block(NamedTuple):
    page: str
    line: int
    kind: str
    text: str


def blocks() -> Iterator[Block]:
    for path in PAGES:
        page = path.read_text()
        for found in FENCE.finditer(page):
            line = page.count("\n", 0, found.start()) + 1
            text = re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE)
            yield Block(path.relative_to(ROOT).as_posix(), line, found[2].strip() or "sh", text)


def of_kind(*kinds: str) -> Callable[..., object]:
    chosen = [block for block in blocks() if block.kind in kinds]
    return pytest.mark.parametrize("block", chosen, ids=lambda block: f"{block.page}:{block.line}")


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    known = {"sh", "python", "yaml", "json", "csv", "text"}
    assert [block for block in blocks() if block.kind not in known] == []
    fences = sum(len(re.findall(r"^ *```", path.read_text(), re.MULTILINE)) for path in PAGES)
    assert fences == 2 * len(list(blocks())), "a block does not end, or has another fence"


# The shell


def commands_of(text: str) -> Iterator[list[str]]:
    """The simple commands of a script, as words; without redirections, assignments and here-documents."""
    text = re.sub(r"<<-?\s*'?(\w+)'?\n.*?^\1$", "", text.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    words: list[str] = []
    for token in _without_comments(text):
        if token in (";", ";;", "|", "||", "&", "&&", "(", ")", "\n"):
            if words:
                yield words
            words = []
        else:
            words.append(token)
    if words:
        yield words


def _without_comments(text: str) -> Iterator[str]:
    for line in _logical_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        yield from lexer
        yield "\n"


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with balanced quotes: a quoted word may go over several."""
    held = ""
    for line in text.splitlines():
        held = f"{held}\n{line}" if held else line
        try:
            shlex.split(held, comments=True)
        except ValueError:
            continue
        yield held
        held = ""
    assert not held, held


@of_kind("sh")
def test_bash_parses_the_block_and_each_command_in_it_is_accepted(block: Block) -> None:
    parsed = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr
    for words in commands_of(block.text):
        check(words)


def check(words: list[str]) -> None:
    while words and (re.fullmatch(r"\w+=.*", words[0], re.DOTALL) or words[0] in ("sudo", "nohup", "time")):
        words = words[1:]
    words = _without_redirections(words)
    if not words:
        return
    if words[0] == "--set":  # an option of comface alone, in a list of them
        words = ["comface", "run", "--profile", "paper", *words]
    name = words[0].removeprefix(".venv/bin/").removeprefix("build/venv/bin/")
    assert name in CHECKS or name in SYNTAX_ONLY, f"nothing here knows the command '{words[0]}'"
    if name in CHECKS:
        CHECKS[name](words[1:])


def _without_redirections(words: list[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if re.fullmatch(r"\d?[<>]+&?\d?", word):
            skip = not word[-1].isdigit()
        elif not skip:
            kept.append(word)
        else:
            skip = False
    return kept


def check_comface(words: list[str]) -> None:
    """Parsed, not run: options, and whether a run accepts what --set says. A file that does not exist is no failure."""
    fields = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    if fields and "..." not in "".join(fields):
        profile = words[words.index("--profile") + 1] if "--profile" in words else "laptop"
        check_configuration(resolve(profile, fields, {"store": "file:///somewhere"}))
    command, context, name = comface, click.Context(comface), "comface"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command '{name}'"
        command = found
    try:
        at = words.index("--config") if "--config" in words else len(words)  # the file is a block of its own
        command.make_context(name, [*words[:at], *words[at + 2 :]])
    except click.MissingParameter:
        raise
    except (click.BadParameter, click.exceptions.Exit):
        pass


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    read = makefile + (ROOT / "docker" / "build.sh").read_text()
    for word in words:
        variable = re.fullmatch(r"([A-Z_]+)=.*", word)
        assert re.search(rf"\b{variable[1]}\b", read) if variable else word in targets, f"make has no '{word}'"


def check_python(words: list[str]) -> None:
    while words and words[0] in ("-u", "-W", "ignore"):
        words = words[1:]
    if not words or words[0] == "-c":
        return
    if words[0] == "-m":
        assert words[1] in ("venv", "pip", "http.server") or _has_module(words[1]), words[1]
        if words[1] == "comface":
            check_comface(words[2:])
        return
    if words[0].endswith(".py") and (ROOT / words[0]).exists():
        source = (ROOT / words[0]).read_text()
        for option in (word.partition("=")[0] for word in words[1:] if word.startswith("--")):
            assert f'"{option}"' in source, f"{words[0]} has no option {option}"
        return
    assert not words[0].startswith(("benchmarks/", "tests/", "pipelines/", "docker/")), f"there is no {words[0]}"


def _has_module(name: str) -> bool:
    place = ROOT / "components" / Path(*name.split("."))
    return place.with_suffix(".py").exists() or place.is_dir()


def check_torchrun(words: list[str]) -> None:
    check_python(words[words.index("-m") :])


def check_pytest(words: list[str]) -> None:
    for word in words:
        if word.startswith("tests"):
            assert list(ROOT.glob(word.partition("::")[0])), word


def check_shell(words: list[str]) -> None:
    assert not words or words[0].startswith("-") or (ROOT / words[0]).exists(), f"there is no {words[0]}"


def check_kubectl(words: list[str]) -> None:
    verbs = [word for word in words if word in KUBECTL]
    assert verbs, f"kubectl: none of {words} is a command"
    for option, value in itertools.pairwise(words):
        if option in ("-k", "-f", "--filename", "--kustomize", "--patch-file") and not value.startswith("http"):
            assert value == "-" or (ROOT / value).exists(), f"there is no {value}"


def check_docker(words: list[str]) -> None:
    assert words[0] in DOCKER, words[0]
    for option, value in itertools.pairwise(words):
        if option == "--file":
            assert (ROOT / value).exists(), value
    ours = re.findall(r"\bcomface-[a-z-]*python\b", " ".join(words))
    assert set(ours) <= {"comface-python", "comface-gpu-python", "comface-serving-python"}


@functools.cache
def _kfp() -> click.Group:
    from kfp.cli import cli

    return cli.cli


def check_kfp(words: list[str]) -> None:
    """Against the options of kfp's own command line; nothing is sent."""
    command: click.Command = _kfp()
    while words and isinstance(command, click.Group):
        while words and words[0].startswith("--"):
            words = words[2:]
        name, *words = words
        found = command.get_command(click.Context(command), {"submit": "create"}.get(name, name))
        assert found is not None, f"kfp has no command '{name}'"
        command = found
    options = {option for param in command.params for option in param.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options, words


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "comface": check_comface, "make": check_make, "python": check_python, "python3": check_python,
    "torchrun": check_torchrun, "pytest": check_pytest, "sh": check_shell, "bash": check_shell,
    "kubectl": check_kubectl, "docker": check_docker, "kfp": check_kfp,
}  # fmt: skip


def test_the_checks_find_what_is_wrong() -> None:
    wrong = (
        "comface forgets x", "comface run --profil laptop", "comface run --set pretrain.epoch=4",
        "--set pretrain.epoch=4", "--set transfer.methods=[comface]",
        "make runn", "make images REGISTRI=a", "python benchmarks/no.py",
        "python benchmarks/linear.py --no-option", "kubectl aply -f k8s", "kubectl apply -k k8s/overlays/none",
        "docker run comface-gpus-python", "sh docker/none.sh",
        "kfp run submit --endpoit x", "frobnicate now",
    )  # fmt: skip
    for line in wrong:
        (words,) = commands_of(line)
        with pytest.raises((AssertionError, click.UsageError, ComfaceError)):
            check(words)


# Other kinds


@of_kind("text")
def test_a_block_of_text_has_no_command_in_it(block: Block) -> None:
    assert not re.search(r"^(\$ |\.venv/bin/|comface |make |kubectl |kfp |docker |python )", block.text, re.MULTILINE)


@of_kind("yaml")
def test_a_block_of_yaml_is_a_configuration(block: Block, tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_text(block.text)
    file = read_config(tmp_path / "file.yaml")
    places = {"store": "file:///somewhere"}
    check_configuration(resolve(file.profile or "laptop", file.overrides(), places, file.places([])))


@of_kind("json")
def test_a_block_of_json_is_json(block: Block) -> None:
    json.loads(block.text)


@of_kind("csv")
def test_a_block_of_csv_has_as_many_values_in_each_row(block: Block) -> None:
    rows = list(csv.reader(io.StringIO(block.text), delimiter=";" if ";" in block.text else ","))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) > 1


def write_visits(folder: Path) -> None:
    """before.jpg, after.jpg, and visits.csv with two pairs of each of four patients."""
    photo, rows = Image.open(ROOT / "tests" / "data" / "astronaut.jpg"), ["patient,before,after,weight_change"]
    for patient in "ABCD":
        for visit in range(2):
            ImageEnhance.Brightness(photo).enhance(0.8 + 0.05 * len(rows)).save(folder / f"{patient}{visit}.jpg")
        rows += [f"{patient},{patient}0.jpg,{patient}1.jpg,{len(rows)}", f"{patient},{patient}1.jpg,{patient}0.jpg,-1"]
    (folder / "visits.csv").write_text("\n".join(rows))
    (folder / "notes.txt").write_text("no photo")
    for name in ("before.jpg", "after.jpg"):
        photo.save(folder / name)


@of_kind("python")
def test_a_block_of_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the small store; a block of the Python interface, with photos and the shipped model."""
    ast.parse(block.text)
    monkeypatch.chdir(tmp_path)
    if re.search("^import comface$", block.text, re.MULTILINE):
        write_visits(tmp_path)
    else:
        build_clinic(FileStore(tmp_path / "runs" / "laptop" / "store"))
    exec(compile(block.text, f"{block.page}:{block.line}", "exec"), {"__name__": "block"})


# What runs here, one after the other, as the page says


def section(page: str, heading: str) -> list[Block]:
    text = (ROOT / page).read_text()
    first = text.count("\n", 0, text.index(f"\n## {heading}\n")) + 2
    last = first + text.splitlines()[first:].index(
        next(x for x in [*text.splitlines()[first:], "## "] if x.startswith("## "))
    )
    return [block for block in blocks() if block.page == page and first <= block.line <= last]


@pytest.mark.parametrize(
    ("page", "heading", "place"),
    [
        ("docs/operating.md", "Cleaning up", "folder"),
        ("docs/operating.md", "Backup and restore", "folder"),
        ("docs/operating.md", "Backup and restore", "bucket"),
        ("docs/privacy.md", "Removing a person", "bucket"),
    ],
)
def test_what_the_pages_on_keeping_a_store_say_works_literally(
    page: str, heading: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_environment: dict[str, str]
) -> None:
    """The store of the laptop's run is a folder; the page's bucket is one with the same content."""
    bucket = f"s3://comface/{uuid.uuid4().hex}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    build_clinic(open_store("runs/laptop/store"))
    if place == "bucket":
        copied(open_store("runs/laptop/store"), open_store(bucket))
    ran = 0
    for block in section(page, heading):
        text = block.text.replace("s3://comface/artifacts", bucket)
        if place == "bucket":
            text = text.replace('"runs/laptop/store"', f'"{bucket}"').replace("backup/store", f"{bucket}-backup")
        if block.kind == "python":
            exec(compile(text, f"{block.page}:{block.line}", "exec"), {"__name__": "block"})
        for words in commands_of(text) if block.kind == "sh" else ():
            if words[0] == "comface":
                assert main(words[1:]) == 0, words
                ran += 1
    assert ran >= 2


LOCAL = ("compare", "render", "saliency", "models list", "models show", "verify", "artifacts list", "artifacts clean")
"""Commands that need no more than a finished run, photos and the files of `comface fetch`."""


@pytest.mark.system
@pytest.mark.parametrize("page", ["README.md", "docs/generators.md", "docs/operating.md", "docs/python.md"])
def test_what_a_newcomer_copies_after_a_run_ends_well(page: str, tmp_path: Path, tiny_run: Any) -> None:
    """As they stand on the page, in a folder with photos and the store of a run."""
    (tmp_path / "runs" / "laptop").mkdir(parents=True)
    (tmp_path / "runs" / "laptop" / "store").symlink_to(tiny_run.store)
    for name in ("before.jpg", "after.jpg", "photo.jpg", "a.jpg", "b.jpg"):
        shutil.copy(ROOT / "tests/data/cases/photos/face_ok.jpg", tmp_path / name)
    ran = 0
    for words in (
        each for block in blocks() if block.page == page and block.kind == "sh" for each in commands_of(block.text)
    ):
        line = " ".join(words[1:])
        elsewhere = re.search(r"s3://|stylegan|backup|--yes", line)
        if words[0].removeprefix(".venv/bin/") == "comface" and line.startswith(LOCAL) and not elsewhere:
            done = run_comface(*words[1:], folder=tmp_path)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            ran += 1
    assert ran
