"""The whole pipeline made small: overrides for `comface run`, and how tests start the real command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]

TINY = (
    "synthesize.composition=[{generator: procedural, identities: 24, attributes: [weight, smile, age]}]",
    "synthesize.alpha_step=2.5",
    "synthesize.parts=1",
    "pretrain.pairs_per_step=8",
    "pretrain.steps_per_epoch=5",
    "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1,2]",
    "pretrain.checkpoint_every_s=0.2",
    "pretrain.processes=1",
    "transfer.tasks=[age]",
    "transfer.methods=[scratch, comface]",
    "transfer.pairs_per_subject=6",
    "transfer.validation_turns=1",
    "rehearse.fgnet_subjects=5",
    "rehearse.fgnet_images=4",
    "evaluate.bootstrap=50",
    "register.must_beat=null",
)
"""One task whose photos carry their own landmarks, two methods, ten training steps: half a minute on two cores,
nearly all of it the starts of a dozen Python processes."""


def sets(overrides: Sequence[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def command(*arguments: object, python: Path | str = sys.executable) -> list[str]:
    return [str(python), "-m", "comface", *map(str, arguments)]


def comface(
    *arguments: object,
    python: Path | str = sys.executable,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_s: float = 300,
) -> subprocess.CompletedProcess[str]:
    """One command of the real command line, in a process of its own."""
    return subprocess.run(
        command(*arguments, python=python),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        check=False,
    )


def run_arguments(output: Path, *overrides: str) -> list[object]:
    return ["run", "--output", output, "--pipeline", ROOT / "pipelines" / "comface.yaml", *sets((*TINY, *overrides))]


def manifests(store: Path) -> dict[str, dict[str, object]]:
    """Every published manifest by its address; what it says of its content, without where it lies."""
    found = {}
    for path in sorted(store.glob("*/*/manifest.json")):
        manifest = json.loads(path.read_text())
        manifest["inputs"] = {name: reference["sha256"] for name, reference in manifest["inputs"].items()}
        found[path.parent.relative_to(store).as_posix()] = manifest
    return found


def bare_environment(folder: Path, models: Sequence[Path] = ()) -> Path:
    """The interpreter of another Python environment with the same packages but only `models` of what `comface fetch`
    takes: what a user has whose index did not serve every wheel."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    site.joinpath("same-packages.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    share = folder / "share" / "comface"
    share.mkdir(parents=True)
    for path in models:
        shutil.copy(path, share)
    return folder / "bin" / "python"


def without_extras(folder: Path, *extras: str) -> dict[str, str]:
    """The environment of a Python that finds no package which only these extras of pyproject.toml bring, directly or
    not, as if they were not installed. `folder` gets the file that hides them."""
    kept = installed_with(["comface", *(f"comface[{extra}]" for extra in {"train", "cluster"} - {*extras})])
    hidden = [module for module, by in metadata.packages_distributions().items() if not {*map(normal, by)} & kept]
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        f"HIDDEN = {hidden}\n"
        "class Hiding(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return None if path is None and name in HIDDEN else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "components")])}


def requires(name: str) -> list[str]:
    """What an installed package requires; nothing for one that is not installed (the hashed requirements leave out what
    only other platforms or GPUs need)."""
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


def installed_with(wanted: Sequence[str]) -> set[str]:
    """The names of the packages that `pip install` of these requirements brings here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = {"": project["dependencies"], **project["optional-dependencies"]}
    todo, found = [Requirement(each) for each in wanted], set()
    while todo:
        requirement = todo.pop()
        name, extras = normal(requirement.name), {"", *requirement.extras}
        for extra in extras:
            if (name, extra) in found:
                continue
            found.add((name, extra))
            if name == "comface":
                todo += map(Requirement, own[extra])
            else:
                needs = map(Requirement, requires(name))
                todo += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
