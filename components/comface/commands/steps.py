"""Runs a single step, with the same configuration, code and artifacts as in the pipeline. Prints the artifact's URI."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comface.commands.options import METHOD, METHOD_HELP, configured
from comface.commands.surface import PATH, argument, command, option
from comface.errors import ConfigurationError, GateRefused, raise_any
from comface.plan.chosen import Chosen
from comface.tasks.config import MODES

if TYPE_CHECKING:
    from comface.plan.step import Plans

NAMED = "the backbone, or a model that contains it: NAME, NAME@v3, NAME@champion, a URI or a path"
BACKBONE = option("--backbone", "REF", NAMED, required=True)
URI_OF_PARTS = "file:///runs/laptop/store/part/0f3a"
"""URI used in examples."""


def _plans(chosen: Chosen, **narrowed: str) -> Plans:
    from comface.plan.step import make_plans

    more = [f"transfer.{field}=[{value}]" for field, value in narrowed.items()]
    return make_plans(chosen.configuration(more=more), "")


def _backbone(chosen: Chosen, reference: str) -> str:
    """Return the URI of a backbone. If `reference` is empty, it is the backbone of the default model."""
    from comface.models.references import default_model, resolve_backbone
    from comface.store import open_store

    store = open_store(chosen.configuration().store)
    return resolve_backbone(store, reference or default_model(store).reference).uri


def _print_plain(reference: str) -> None:
    from comface.artifacts.manifest import split_pin

    print(split_pin(reference)[0])


def _scratch_file() -> str:
    """Return a temporary path for output that a component passes to the KFP UI; removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="comface-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(Path(folder) / "page")


@command(needs=["train"], example="comface synthesize --set synthesize.parts=4 --part 0")
@configured()
@option("--part", None, "generate only this part (default: all parts in turn)", int)
def synthesize(chosen: Chosen, part: int | None) -> None:
    """Generate tracks: images of one identity while one attribute is edited in steps."""
    from comface.plan.sizes import memory_problems
    from comface.plan.step import make_plans
    from comface.plan.weights import find_generators
    from comface.synthesize.from_plan import synthesize_part

    config = chosen.configuration()
    raise_any(memory_problems(config, ["synthesize"]))
    plans = make_plans(config, "", supplies=find_generators(config))
    if part is not None and part not in plans.parts:
        raise ConfigurationError(f"There is no part {part}; give a number from 0 to {plans.parts[-1]}.")
    for each in plans.parts if part is None else [part]:
        _print_plain(synthesize_part(plans.synthesize.text, each, _scratch_file()))


@command(needs=["train"], example=f"comface screen\ncomface screen {URI_OF_PARTS} --picture screening.png")
@configured()
@argument("tracks", "[URI...]", "parts that synthesize made (default: render a sample of the composition)", nargs=-1)
@option("--picture", "FILE.png", "output file for the figure", PATH, default=Path("screening.png"))
def screen(chosen: Chosen, tracks: tuple[str, ...], picture: Path) -> None:
    """Measure on a sample whether each direction changes its attribute, and in which range of alpha."""
    import torch

    from comface.artifacts.facts import ScreeningFacts
    from comface.artifacts.manifest import open_artifact
    from comface.files import check_output, write_file
    from comface.plan.weights import find_generators, screening_of
    from comface.runtime.folders import cache_folder
    from comface.screening.step import screen_composition, screen_tracks
    from comface.screening.table import text_table
    from comface.store import open_store
    from comface.tracks.supplies import open_supplies

    check_output(picture, [], "--picture")
    config = chosen.configuration()
    store = open_store(config.store)
    if tracks:
        parts = [open_artifact(uri, "part") for uri in tracks]
        screening = screen_tracks(store, screening_of(config), parts)
    else:
        files = open_supplies(config.weights, find_generators(config), cache_folder())
        device = "cuda" if torch.cuda.is_available() else "cpu"
        screening = screen_composition(store, screening_of(config), config.synthesize, files, device=device)
    write_file(picture, screening.read("screening.png"), private=True)
    print(text_table(screening.facts_as(ScreeningFacts)))
    print(f"picture: {picture}\n{screening.uri}")


@command(needs=["train"], example=f"comface shard {URI_OF_PARTS}")
@configured()
@argument("tracks", "URI...", "all parts that synthesize made", nargs=-1, required=True)
def shard(chosen: Chosen, tracks: tuple[str, ...]) -> None:
    """Pack tracks into shards, split 90/10 by identity."""
    from comface.shard.from_plan import shard_tracks

    _print_plain(shard_tracks(_plans(chosen).shard.text, list(tracks), _scratch_file()))


@command(needs=["train"], example="torchrun --nproc-per-node 4 -m comface pretrain s3://comface/artifacts/shards/0f3a")
@configured()
@argument("shards", "URI", "the shards artifact")
def pretrain(chosen: Chosen, shards: str) -> None:
    """Train the backbone and the change head on shards (also under torchrun)."""
    from comface.pretrain.from_plan import pretrain_backbone

    _print_plain(pretrain_backbone(_plans(chosen).pretrain.text, shards, _scratch_file())[0])


@command(needs=["train"], example="comface align fgnet --set data.fgnet.uri=/data/FGNET")
@configured()
@argument("dataset", "NAME", "name of the data set in `data`, e.g. disfa, fgnet, cohort")
def align(chosen: Chosen, dataset: str) -> None:
    """Detect and align the faces of a data set (or of its rehearsal if it has no URI)."""
    from comface.transfer.from_plan import align_faces

    for plan in _plans(chosen).datasets:
        if plan.dataset == dataset:
            _print_plain(align_faces(plan.text, _scratch_file()))
            return
    raise ConfigurationError(
        f"No task of this configuration uses the data set '{dataset}'; add such a task to transfer.tasks."
    )


@command(
    needs=["train"],
    lists=["--faces"],
    example="comface transfer --task age --method scratch --faces s3://comface/artifacts/faces/0f3a",
)
@configured()
@option("--task", "NAME", "name of the task, e.g. au12, edema-a, age, smile", required=True)
@option("--method", None, METHOD_HELP, METHOD, default="comface")
@option(
    "--mode",
    None,
    "linear: train a head on frozen features; finetune: train all weights",
    click.Choice(MODES),
    default="linear",
)
@option("--faces", "URI...", "faces artifacts of the task's data sets", multiple=True, required=True)
@option("--backbone", "REF", f"{NAMED} (method comface)", default="")
def transfer(chosen: Chosen, task: str, method: str, mode: str, faces: tuple[str, ...], backbone: str) -> None:
    """Evaluate one method on one task, with frozen features or fine-tuned."""
    from comface.artifacts.manifest import open_artifact, split_pin
    from comface.methods import method as method_called
    from comface.store import open_store
    from comface.tasks.predictions import read_predictions
    from comface.transfer.from_plan import completed, transfer_item

    plans = _plans(chosen, tasks=task, methods=method, modes=mode)
    if not plans.items.rows:
        raise ConfigurationError(
            f"The method '{method}' cannot be evaluated in the mode '{mode}'; choose another mode."
        )
    uri = _backbone(chosen, backbone) if method_called(method).reads_backbone else ""
    store = open_store(plans.items.store)
    given = [open_artifact(each, "faces") for each in faces]
    ready = completed(store, plans.items, given, [uri] * len(plans.trainings), {})
    pinned = transfer_item(ready.model_copy(update={"chosen": "0"}).text)[0]
    metrics = read_predictions(open_artifact(pinned)).metrics
    print(json.dumps({"uri": split_pin(pinned)[0], "metrics": metrics}))


@command(needs=["train"], example="comface evaluate s3://comface/artifacts/transfer/0f3a --backbone comface@v3")
@configured()
@argument("results", "URI...", "transfer artifacts", nargs=-1, required=True)
@BACKBONE
@option("--report", None, "output file for the report", PATH, default=Path("report.html"))
def evaluate(chosen: Chosen, results: tuple[str, ...], backbone: str, report: Path) -> None:
    """Summarise transfers in tables, figures and a report."""
    from comface.artifacts.manifest import open_artifact
    from comface.evaluate.from_plan import evaluate_results
    from comface.files import check_output, write_file

    check_output(report, [], "--report")
    plan, uri = _plans(chosen).evaluate.text, _backbone(chosen, backbone)
    made = evaluate_results(plan, list(results), [uri], _scratch_file(), _scratch_file())[0]
    write_file(report, open_artifact(made, "evaluation").read("report.html"), private=True)
    _print_plain(made)


@command(needs=["train"], example="comface register s3://comface/artifacts/evaluation/0f3a --backbone comface@v3")
@configured()
@argument("evaluation", "URI", "the evaluation artifact")
@BACKBONE
def register(chosen: Chosen, evaluation: str, backbone: str) -> int:
    """Apply the gate to an evaluation. Promote: register the model as the champion; cannot tell: register it only."""
    from comface.register.decision import KEEP
    from comface.register.from_plan import decide, register_model

    plan = _plans(chosen).register.text
    decision = _scratch_file()
    outcome, _ = decide(plan, evaluation, decision, _scratch_file())
    if outcome == KEEP:
        print(Path(decision).read_text("utf-8"))
        return GateRefused.exit_code
    print(register_model(plan, evaluation, [_backbone(chosen, backbone)], _scratch_file())[0])
    return 0
