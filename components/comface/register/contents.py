"""The contents of a `model` artifact apart from the backbone: preprocessing, heads with intervals, facts for the card.

In: artifacts of earlier steps. Out: plain values. Objects of a `model`:

    model.safetensors           the backbone, copied from pre-training (keys backbone.*, head.*)
    heads/TASK.safetensors      one per task, copied from transfer: mean, scale, weight, bias, antisymmetric
    backbones/TASK.safetensors  the fine-tuned backbone of a task that uses it, copied from transfer
    features.safetensors        the distribution of the features of the heads' photos (models/seen.py)
    heads.json                  per task: mode, unit, rehearsal, prediction interval, coverage and metrics
    preprocessing.json          the steps from an aligned face to the network's input
    config.json, card.md
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import ValidationError

from comface.artifacts.arrays import Rows
from comface.artifacts.facts import FacesFacts, TransferFacts
from comface.artifacts.manifest import Artifact, Reference
from comface.errors import DataError
from comface.faces.framing import FRAMING
from comface.methods import challenger
from comface.methods.config import TrainedConfig
from comface.models.format import Interval, Preprocessing, Share, Task
from comface.models.seen import Seen, seen
from comface.register.card import CardFacts
from comface.register.gate import Metric
from comface.register.origins import Origins
from comface.tasks.config import MODES, base, options
from comface.tasks.conformal import Errors, calibrate, measure
from comface.tasks.predictions import Predictions, mean_metrics, read_predictions

FINETUNE_GAIN = 0.02
"""Minimum gain in correlation over linear before `compare` uses the fine-tuned network. It costs one extra network per
task, and choosing the better of two results on the same people is optimistic."""

MOST_PHOTOS = 5000
"""Photos per data set whose features describe what the model has seen."""


def metric_of(artifact: Artifact) -> Metric:
    """Compute the metrics of a `transfer` artifact from its predictions. Raises DataError if its facts differ."""
    read = read_predictions(artifact)
    facts = read.facts
    return Metric(
        facts.task,
        facts.method,
        facts.mode,
        corr=read.metrics["corr"],
        mae=read.metrics["mae"],
        acc=read.metrics.get("acc"),
        unit=facts.unit,
        dataset=facts.dataset or "",
        rehearsal=bool(facts.rehearsal),
        protocol_sha256=facts.protocol_sha256,
    )


def transfers_of(evaluation: Artifact) -> list[Artifact]:
    """Return the `transfer` artifacts that the evaluation was made from."""
    return [artifact for artifact in evaluation.inputs().values() if artifact.manifest.kind == "transfer"]


def metrics_of(transfers: Sequence[Artifact]) -> tuple[list[list[Metric]], tuple[str, ...]]:
    """Return the metrics of the transfers of an evaluation: per task, method and mode, those of its seeds, the first
    seed first; and one sentence per task that a model cannot have."""
    facts_of = [(artifact, artifact.facts_as(TransferFacts)) for artifact in transfers]
    by_key: dict[tuple[str, str, str, str], list[Metric]] = {}
    for artifact, facts in sorted(facts_of, key=lambda each: each[1].seed):
        if facts.registrable:
            key = facts.task, facts.method, facts.mode, facts.protocol_sha256
            by_key.setdefault(key, []).append(metric_of(artifact))
    return list(by_key.values()), tuple(sorted({_left_out(each) for _, each in facts_of if not each.registrable}))


def _left_out(facts: TransferFacts) -> str:
    why = "is of single photos" if facts.kind == "single" else "has its own split of subjects"
    return f"{facts.task} is not part of the model, because it {why}."


def over_seeds(metrics: Sequence[Metric]) -> Metric:
    """Return the mean metrics of several seeds."""
    means = mean_metrics([{"corr": each.corr, "mae": each.mae, "acc": each.acc} for each in metrics])
    return dataclasses.replace(metrics[0], corr=means["corr"], mae=means["mae"], acc=means["acc"])


def usable_heads(transfers: Sequence[Artifact], backbone: Artifact) -> dict[str, Artifact]:
    """Return per task (sorted) the transfer of ComFace that `compare` will use: linear, or fine-tuned if linear was not
    run or fine-tuning is clearly better on held-out people (`_better`). Empty if ComFace was evaluated only on tasks
    that a model cannot have. Raises DataError if a head belongs to another backbone, if there are two heads for a task
    and mode, or if there is no head."""
    found: dict[str, dict[str, Artifact]] = {}
    ours = of_challenger(transfers)
    if not ours:
        raise DataError("There is no ComFace head to register; run transfer with the method 'comface' first.")
    for artifact in registrable(ours):
        facts = artifact.facts_as(TransferFacts)
        task, mode = facts.task, facts.mode
        if mode in found.setdefault(task, {}):
            raise DataError(f"There are two heads for the task '{task}' ({mode}); pass only one of them.")
        origin = backbone_of(artifact)
        if origin is None or origin.sha256 != backbone.sha256:
            raise DataError(f"The head of '{task}' at {artifact.uri} belongs to another backbone; fit it again.")
        found[task][mode] = artifact
    return {task: _chosen(modes) for task, modes in sorted(found.items())}


def first_heads(transfers: Sequence[Artifact]) -> dict[str, Artifact]:
    """Return per task (sorted) the transfer that `usable_heads` will choose of an evaluation: that of the first seed,
    which is registered."""
    found: dict[str, dict[str, Artifact]] = {}
    ours = [(artifact.facts_as(TransferFacts), artifact) for artifact in registrable(of_challenger(transfers))]
    for facts, artifact in sorted(ours, key=lambda each: each[0].seed):
        found.setdefault(facts.task, {}).setdefault(facts.mode, artifact)
    return {task: _chosen(modes) for task, modes in sorted(found.items())}


def of_challenger(transfers: Sequence[Artifact]) -> list[Artifact]:
    return [each for each in transfers if each.facts_as(TransferFacts).method == challenger().name]


def registrable(transfers: Sequence[Artifact]) -> list[Artifact]:
    """Return the transfers of tasks that a model can have."""
    return [each for each in transfers if each.facts_as(TransferFacts).registrable]


def backbone_of(transfer: Artifact) -> Reference | None:
    """Return the backbone of a transfer: for linear through its features, for fine-tuning directly."""
    through = transfer.input("features") if "features" in transfer.manifest.inputs else transfer
    return through.manifest.inputs.get("backbone")


def _chosen(modes: Mapping[str, Artifact]) -> Artifact:
    """Of the paper's own forms if they were evaluated, otherwise of the modes with options. The linear one that is
    first in the order of the modes, unless fine-tuning is clearly better."""
    shown = [mode for mode in MODES if mode in modes]
    candidates = [mode for mode in shown if not options(mode)] or shown
    best, *others = (metric_of(modes[mode]) for mode in candidates)
    for other in others:
        if base(other.mode) == "finetune" and base(best.mode) == "linear" and _better(other, best):
            best = other
    return modes[best.mode]


def _better(finetuned: Metric, linear: Metric) -> bool:
    """Whether, on the same test set, fine-tuning has a correlation higher by FINETUNE_GAIN and no larger MAE."""
    if finetuned.corr is None or finetuned.mae is None or finetuned.protocol_sha256 != linear.protocol_sha256:
        return False
    if linear.corr is None or linear.mae is None:
        return True
    return finetuned.corr > linear.corr + FINETUNE_GAIN and finetuned.mae <= linear.mae


def _why(used: Metric, evaluated: Sequence[Metric]) -> str:
    """Why `compare` uses this mode of a task, of the modes that were evaluated."""
    others = {metric.mode: metric for metric in evaluated if metric.task == used.task and metric.mode != used.mode}
    other = others.get("linear" if base(used.mode) == "finetune" else "finetune")
    if not others:
        return "no other mode was evaluated"
    if other is None:
        return "the other modes have options that the paper does not have"
    if used.protocol_sha256 != other.protocol_sha256:
        return f"{other.mode} was evaluated on other pairs"
    figures = f"correlation {_digits(used.corr)} instead of {_digits(other.corr)}, MAE {_digits(used.mae)} instead of "
    figures += _digits(other.mae)
    if base(used.mode) == "finetune":
        return f"clearly better than linear on people it was not trained on: {figures}"
    return f"fine-tuning is not clearly better (more than {FINETUNE_GAIN:g} in correlation, no larger MAE): {figures}"


def _digits(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def heads_record(heads: Mapping[str, Artifact], evaluated: Sequence[Artifact], coverage: float) -> dict[str, Task]:
    """Return heads.json. `evaluated`: the transfers of ComFace in all modes."""
    record, metrics = {}, [metric_of(artifact) for artifact in evaluated]
    for task, artifact in heads.items():
        metric, read = metric_of(artifact), read_predictions(artifact)
        try:
            record[task] = Task(
                **{name: getattr(metric, name) for name in Task.model_fields if hasattr(metric, name)},
                subjects=len(set(read.subjects)),
                pairs=len(read.change_P),
                coverage=coverage,
                interval=_interval(artifact, read, coverage),
                why_mode=_why(metric, metrics),
            )
        except ValidationError as error:
            where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
            raise DataError(f"The task '{task}' cannot be registered ({where[0]}: {why}); correct `tasks`.") from None
    return record


def _interval(transfer: Artifact, read: Predictions, coverage: float) -> Interval | None:
    """Return the prediction interval of a head, with its coverage measured on held-out people. None if there are too
    few people."""
    photos = transfer.input("protocol").input("faces").read_json("photos.json")
    errors = Errors.of_photos(read, photos)
    width, measured = calibrate(errors, coverage), measure(errors, coverage)
    if width is None or not math.isfinite(measured.half_width):
        return None
    share = measured.measured
    ends = {name: end for name, end in (("low", share.low), ("high", share.high)) if math.isfinite(end)}
    return Interval(
        constant=width.constant,
        weights=dict(width.weights),
        mean_half_width=measured.half_width,
        measured_coverage=Share(value=share.value, **ends),
    )


def seen_by(results: Sequence[Artifact]) -> Seen | None:
    """Return the distribution of the features of the photos that the heads were fitted on, of at most MOST_PHOTOS
    photos per data set. `results`: the transfers of ComFace. None if linear evaluation was not run."""
    inputs = [each.input("features") for each in results if "features" in each.manifest.inputs]
    features, subjects = [], []
    for artifact in {each.uri: each for each in inputs}.values():
        faces = artifact.input("faces")
        rows, photos = Rows(artifact, "features"), faces.read_json("photos.json")
        used = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_PHOTOS)).astype(int))
        features.append(rows[used])
        dataset = faces.facts_as(FacesFacts).dataset
        subjects += [f"{dataset}/{photos[row].get('subject', row)}" for row in used]
    return seen(np.concatenate(features), subjects) if features else None


def preprocessing(heads: Mapping[str, Artifact], backbone: Artifact) -> Preprocessing:
    """Return the preprocessing of ComFace's features: align the face at `aligned_px` (the largest value if data sets
    differ), resize it to `size_px` and normalise it."""
    seen = TrainedConfig.of(backbone).preprocessing
    sources = [head.input("faces").manifest.config for head in heads.values()]
    aligned_px = max(int(source.get("face_size_px") or seen.size_px) for source in sources)
    return Preprocessing(**seen.model_dump(), framing=FRAMING, aligned_px=aligned_px, mirrored=True)


def card_facts(
    name: str,
    backbone: Artifact,
    record: Mapping[str, Task],
    inputs: Mapping[str, Artifact],
    origins: Origins,
    coverage: float,
) -> CardFacts:
    return CardFacts(
        name=name,
        backbone=backbone.manifest.config["backbone"],
        image_size_px=int(backbone.manifest.config["image_size_px"]),
        origins=origins,
        metrics=[metric_of(artifact) for artifact in inputs.values() if artifact.manifest.kind == "transfer"],
        tasks=record,
        coverage=coverage,
        inputs={name: artifact.sha256 for name, artifact in inputs.items()},
    )
