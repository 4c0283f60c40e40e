"""One step alone: same configuration, same code, same artifacts as in the pipeline. Prints the artifact's URI."""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import split_pin
from comface.commands.configured import add_configuration, configuration
from comface.errors import ConfigurationError, raise_any
from comface.plan.sizes import memory_problems
from comface.plan.step import Plans, make_plans
from comface.plan.weights import find_generators, screening_of

BACKBONE = "the backbone, or a model made from it: NAME, NAME@v3, NAME@champion, a URI or a path"


def add_commands(commands: Any) -> None:
    parser = _step(
        commands, "synthesize", "make synthetic faces: tracks of one identity swept along one attribute", synthesize
    )
    parser.add_argument("--part", type=int, help="make one part only (default: all, one after the other)")
    parser = _step(
        commands,
        "screen",
        "measure on a sample whether each direction does what it is named for, and how far face and identity hold",
        screen,
    )
    parser.add_argument(
        "tracks", nargs="*", metavar="URI", help="tracks artifacts (default: render a sample of the composition now)"
    )
    parser.add_argument(
        "--picture", type=Path, default=Path("screening.png"), metavar="FILE.png", help="where the picture goes"
    )
    parser = _step(commands, "shard", "pack tracks into shards, split 90/10 by identity", shard)
    parser.add_argument("tracks", nargs="+", metavar="URI", help="tracks artifacts, of all parts")
    parser = _step(commands, "pretrain", "learn backbone and change head from shards (also under torchrun)", pretrain)
    parser.add_argument("shards", metavar="URI", help="the shards artifact")
    parser = _step(commands, "align", "find and align the faces of a data set (without a URI: of its rehearsal)", align)
    parser.add_argument("dataset", metavar="NAME", help="data set by its name in `data`, e.g. disfa, fgnet, cohort")
    parser = _step(commands, "transfer", "evaluate one method on one task, linearly or fine-tuned", transfer)
    parser.add_argument("--task", required=True, metavar="NAME", help="e.g. au12, edema-a, age, smile")
    parser.add_argument("--method", default="comface", metavar="NAME", help="e.g. comface, scratch, pixels, imagenet")
    parser.add_argument(
        "--mode",
        default="linear",
        choices=("linear", "finetune"),
        help="a head on frozen features, or all weights (default: linear)",
    )
    parser.add_argument(
        "--faces", nargs="+", required=True, metavar="URI", help="faces artifacts of the task's data sets"
    )
    parser.add_argument("--backbone", default="", metavar="REF", help=f"{BACKBONE} (method comface)")
    parser = _step(commands, "evaluate", "put transfers into tables, pictures and one report", evaluate)
    parser.add_argument("results", nargs="+", metavar="URI", help="transfer artifacts")
    parser.add_argument("--backbone", required=True, metavar="REF", help=BACKBONE)
    parser.add_argument("--report", type=Path, default=Path("report.html"), help="where to write the report")
    parser = _step(commands, "register", "gate an evaluation and register its model", register)
    parser.add_argument("evaluation", metavar="URI", help="the evaluation artifact")
    parser.add_argument("--backbone", required=True, metavar="REF", help=BACKBONE)


def _step(commands: Any, name: str, text: str, action: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_configuration(parser)
    parser.set_defaults(action=action)
    return parser


def _plans(arguments: argparse.Namespace, **narrowed: str) -> Plans:
    for field, value in narrowed.items():
        arguments.overrides.append(f"transfer.{field}=[{value}]")
    return make_plans(configuration(arguments), "")


def _backbone(arguments: argparse.Namespace) -> str:
    """The URI of the backbone that --backbone names; of the default model's without it."""
    from comface.models.registry import resolve_backbone, resolve_model
    from comface.store import open_store

    store = open_store(configuration(arguments).store)
    return resolve_backbone(store, arguments.backbone or resolve_model(store, None)[0]).uri


def _scratch_file() -> str:
    """Where the picture or summary goes that a component would hand to the KFP UI; removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="comface-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(Path(folder) / "page")


def synthesize(arguments: argparse.Namespace) -> None:
    from comface.synthesize.from_plan import synthesize_part

    config = configuration(arguments)
    raise_any(memory_problems(config, ["synthesize"]))
    plans = make_plans(config, "", supplies=find_generators(config))
    if arguments.part is not None and arguments.part not in plans.parts:
        raise ConfigurationError(f"There is no part {arguments.part}; parts run from 0 to {plans.parts[-1]}.")
    for part in plans.parts if arguments.part is None else [arguments.part]:
        print(split_pin(synthesize_part(plans.synthesize, part, _scratch_file()))[0])


def screen(arguments: argparse.Namespace) -> None:
    import torch

    from comface.artifacts.manifest import open_artifact
    from comface.files import check_output, write_file
    from comface.runtime.folders import cache_folder
    from comface.screening.step import screen_composition, screen_tracks
    from comface.screening.table import text_table
    from comface.store import open_store
    from comface.tracks.supplies import open_supplies

    check_output(arguments.picture, [], "--picture")
    config = configuration(arguments)
    store = open_store(config.store)
    if arguments.tracks:
        parts = [open_artifact(uri, "tracks") for uri in arguments.tracks]
        screening = screen_tracks(store, screening_of(config), parts)
    else:
        files = open_supplies(config.weights, find_generators(config), cache_folder())
        device = "cuda" if torch.cuda.is_available() else "cpu"
        screening = screen_composition(store, screening_of(config), config.synthesize, files, device=device)
    picture = screening.read("screening.png")
    write_file(arguments.picture, picture, private=True)
    print(text_table(screening.facts))
    print(f"picture: {arguments.picture}\n{screening.uri}")


def shard(arguments: argparse.Namespace) -> None:
    from comface.shard.from_plan import shard_tracks

    print(split_pin(shard_tracks(_plans(arguments).shard, arguments.tracks, _scratch_file()))[0])


def pretrain(arguments: argparse.Namespace) -> None:
    from comface.pretrain.from_plan import pretrain_backbone

    pinned, _ = pretrain_backbone(_plans(arguments).pretrain, arguments.shards, _scratch_file())
    print(split_pin(pinned)[0])


def align(arguments: argparse.Namespace) -> None:
    from comface.transfer.from_plan import align_faces

    for plan in _plans(arguments).datasets:
        if json.loads(plan)["dataset"] == arguments.dataset:
            print(split_pin(align_faces(plan, _scratch_file()))[0])
            return
    raise ConfigurationError(
        f"No task of this configuration reads a data set '{arguments.dataset}'; see transfer.tasks."
    )


def transfer(arguments: argparse.Namespace) -> None:
    from comface.artifacts.manifest import open_artifact
    from comface.config.canonical import canonical_json
    from comface.transfer.from_plan import completed, transfer_item

    plans = _plans(arguments, tasks=arguments.task, methods=arguments.method, modes=arguments.mode)
    if not plans.items:
        raise ConfigurationError(f"The method '{arguments.method}' cannot be evaluated by '{arguments.mode}'.")
    backbone = _backbone(arguments) if arguments.method == "comface" else ""
    faces = [open_artifact(uri, "faces") for uri in arguments.faces]
    (item,) = completed([json.loads(plans.items[0])], faces, backbone)
    pinned, metrics = transfer_item(canonical_json(item))
    print(json.dumps({"uri": split_pin(pinned)[0], "metrics": metrics}))


def evaluate(arguments: argparse.Namespace) -> None:
    from comface.evaluate.from_plan import evaluate_results
    from comface.files import check_output

    check_output(arguments.report, [], "--report")
    pinned, _ = evaluate_results(
        _plans(arguments).evaluate, arguments.results, _backbone(arguments), str(arguments.report), _scratch_file()
    )
    print(split_pin(pinned)[0])


def register(arguments: argparse.Namespace) -> int:
    from comface.errors import GateRefused
    from comface.register.from_plan import decide, register_model

    plan = _plans(arguments).register
    decision = _scratch_file()
    if decide(plan, arguments.evaluation, decision) != "passed":
        print(Path(decision).read_text("utf-8"))
        return GateRefused.exit_code
    print(register_model(plan, arguments.evaluation, _backbone(arguments), _scratch_file())[0])
    return 0
