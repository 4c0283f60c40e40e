"""What a `model` artifact holds beside the backbone: preprocessing, heads with their intervals, the facts of the card.

In: artifacts of earlier steps. Out: plain values. Objects of a `model`:

    model.safetensors           the backbone's file, as pre-training published it (keys backbone.*, head.*)
    heads/TASK.safetensors      one per task, as transfer published it: mean, scale, weight, bias, antisymmetric
    backbones/TASK.safetensors  of a task whose fine-tuned network is used: f as transfer published it
    heads.json                  per task: mode, unit, rehearsal, interval_half_width, coverage and what was measured
    preprocessing.json          how a face becomes the network's input
    config.json, card.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from comface.artifacts.manifest import Artifact, Reference
from comface.errors import DataError
from comface.faces.framing import FRAMING
from comface.methods import challenger
from comface.methods.config import TrainedConfig
from comface.models.format import Preprocessing, Task
from comface.register.card import CardFacts
from comface.register.gate import Metric
from comface.register.interval import half_width
from comface.register.origins import Origins
from comface.tasks.predictions import read_predictions

FINETUNE_GAIN = 0.02
"""By how much the correlation of fine-tuning must be ahead before `compare` uses it: it costs a network of its own per
task, and of two figures from the same people the larger one is partly luck."""


def metric_of(artifact: Artifact) -> Metric:
    """What a `transfer` artifact reached, computed from its predictions. Raises DataError where its facts differ."""
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
        test_sha256=facts.test_sha256,
    )


def metrics_of(evaluation: Artifact) -> list[Metric]:
    """What was measured: by the `transfer` artifacts that the evaluation was made from."""
    return [metric_of(artifact) for artifact in evaluation.inputs().values() if artifact.manifest.kind == "transfer"]


def usable_heads(transfers: Sequence[Artifact], backbone: Artifact) -> dict[str, Artifact]:
    """Per task, sorted, the transfer of ComFace that `compare` will use: linear, or fine-tuned where only that was run
    or is clearly better on held-out people (_better). Raises DataError when one was made with another backbone,
    one comes twice, or there is none."""
    found: dict[str, dict[str, Artifact]] = {}
    for artifact in transfers:
        facts = artifact.facts
        task, mode = str(facts.get("task")), str(facts.get("mode"))
        if facts.get("method") != challenger().name:
            continue
        if mode in found.setdefault(task, {}):
            raise DataError(f"Two heads were given for the task '{task}' ({mode}); pass one of them.")
        origin = _backbone_of(artifact)
        if origin is None or origin.sha256 != backbone.sha256:
            raise DataError(f"The head of '{task}' at {artifact.uri} belongs to another backbone; fit it again.")
        found[task][mode] = artifact
    if not found:
        raise DataError("No head of ComFace was given to register; run transfer with the method comface first.")
    return {task: _chosen(modes) for task, modes in sorted(found.items())}


def _backbone_of(transfer: Artifact) -> Reference | None:
    """Of linear evaluation through its features, of fine-tuning directly."""
    through = transfer.input("features") if "features" in transfer.manifest.inputs else transfer
    return through.manifest.inputs.get("backbone")


def _chosen(modes: Mapping[str, Artifact]) -> Artifact:
    if len(modes) == 1:
        return next(iter(modes.values()))
    linear, finetuned = (metric_of(modes[mode]) for mode in ("linear", "finetune"))
    return modes["finetune" if _better(finetuned, linear) else "linear"]


def _better(finetuned: Metric, linear: Metric) -> bool:
    """On the same people: clearly the higher correlation, and no larger error."""
    if finetuned.corr is None or finetuned.mae is None or finetuned.test_sha256 != linear.test_sha256:
        return False
    if linear.corr is None or linear.mae is None:
        return True
    return finetuned.corr > linear.corr + FINETUNE_GAIN and finetuned.mae <= linear.mae


def heads_record(heads: Mapping[str, Artifact], coverage: float) -> dict[str, Task]:
    record = {}
    for task, artifact in heads.items():
        metric, read = metric_of(artifact), read_predictions(artifact)
        width = half_width(read.subjects, read.predicted_P - read.change_P, coverage)
        try:
            record[task] = Task(
                **{name: getattr(metric, name) for name in Task.model_fields if hasattr(metric, name)},
                subjects=len(set(read.subjects)),
                pairs=len(read.change_P),
                coverage=coverage,
                interval_half_width=width,
            )
        except ValidationError as error:
            where, why = error.errors()[0]["loc"], error.errors()[0]["msg"]
            raise DataError(f"The task '{task}' cannot be registered ({where[0]}: {why}); correct `tasks`.") from None
    return record


def preprocessing(heads: Mapping[str, Artifact], backbone: Artifact) -> Preprocessing:
    """As ComFace's features are made: the face aligned at `aligned_px` (the largest, should data sets differ), its view
    brought to `size_px`, normalised."""
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
