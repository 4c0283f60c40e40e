"""Resolve: profile and overrides -> one plan per step, after checking that the run can succeed.

In: the pipeline's few parameters. Out: the plans, each one canonical JSON string that holds the store and just the
configuration its step needs, so that caching is exact per step. Raises ConfigurationError, DataError or TryAgain.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.config import RunConfig, SynthesizeConfig
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.execution import cache_folder
from comface.manifest import canonical_json
from comface.progress import say
from comface.resolve.gpus import check_gpus_of_pod
from comface.resolve.missing import missing_models, without_missing
from comface.store import Store, open_store


@dataclass(frozen=True)
class Plans:
    """What each step of the pipeline receives."""

    synthesize: str
    parts: list[int]
    shard: str
    pretrain: str
    datasets: list[str]
    items: list[str]
    evaluate: str
    register: str
    gpus: str
    """How many each pod of a step that renders or computes features asks for: "0" or "1"."""


def plan_run(config: RunConfig, run: str) -> Plans:
    """The plans of a run named `run` (unique; failures are recorded under it), after every check."""
    config, notes = without_missing(config, missing_models())
    unknown = check_gpus_of_pod(config)
    for note in [*notes, *([unknown] if unknown else [])]:
        say(note)
    check_store(open_store(config.store))
    supplies = check_generators(config)
    check_screening(config)
    check_datasets(config)
    return make_plans(config, run, notes, supplies)


def make_plans(
    config: RunConfig, run: str, notes: Sequence[str] = (), supplies: Mapping[str, Any] | None = None
) -> Plans:
    """Configuration -> what each step receives; nothing is checked. `notes` are said in the report; `supplies` are the
    StyleGANs' files (check_generators)."""
    transfer = config.transfer

    def envelope(**sections: Any) -> str:
        return canonical_json({"store": config.store, "run": run, **sections})

    names = _dataset_names(config)
    return Plans(
        synthesize=envelope(
            synthesize=config.synthesize.model_dump(mode="json"), weights=config.weights, supplies=supplies or {}
        ),
        parts=list(range(config.synthesize.parts)),
        shard=envelope(shard=config.shard.model_dump(mode="json"), screening=config.screening.model_dump(mode="json")),
        pretrain=envelope(pretrain=config.pretrain.model_dump(mode="json")),
        datasets=[
            envelope(
                dataset=name,
                source=config.data[name].model_dump(mode="json"),
                rehearse=config.rehearse.model_dump(mode="json") if not config.data[name].uri else None,
            )
            for name in names
        ],
        items=[
            envelope(
                task=task,
                definition=config.tasks[task].model_dump(mode="json"),
                method=method,
                mode=mode,
                transfer=transfer.model_dump(mode="json", exclude={"tasks", "methods", "modes"}),
                weights=config.weights,
            )
            for task, method, mode in items(config)
        ],
        evaluate=envelope(evaluate=config.evaluate.model_dump(mode="json"), profile=config.profile, notes=list(notes)),
        register=envelope(register=config.register_model.model_dump(mode="json")),
        gpus=str(min(config.pretrain.gpus_per_node, 1)),
    )


def items(config: RunConfig) -> list[tuple[str, str, str]]:
    """(task, method, mode) of every transfer. First one task of every data set, then the tasks that share its features:
    two that run side by side do not make the same features twice (minutes, for the ImageNet backbone)."""
    transfer = config.transfer
    first = {config.tasks[task].dataset: task for task in reversed(transfer.tasks)}
    tasks = sorted(transfer.tasks, key=lambda task: first[config.tasks[task].dataset] != task)
    return [
        (task, method, mode)
        for mode in transfer.modes
        for task in tasks
        for method in transfer.methods
        if not (mode == "finetune" and method == "pixels")
    ]


def check_store(store: Store) -> None:
    """Write, read and delete one object. Raises what the store refuses with, in one sentence."""
    key, data = f"checks/{uuid.uuid4().hex}", b"comface"
    store.write(key, data)
    if store.read(key) != data:
        raise DataError(f"{store.uri} did not give back what was written to it; check the store.")
    store.delete(key)


def check_generators(config: RunConfig) -> dict[str, Any]:
    """`find_generators`, and that a batch of pre-training finds enough identities."""
    supplies = find_generators(config)
    _check_identities(config.synthesize, config.pretrain.pairs_per_step)
    return supplies


def find_generators(config: RunConfig) -> dict[str, Any]:
    """Every generator can be loaded and has a direction that fits for every attribute it is asked for. Returns what
    the plan of synthesize carries: which files of the weights location are used."""
    from comface.generators.location import find_supplies, local_files
    from comface.generators.published import STYLEGANS
    from comface.synthesize.step import preflight

    supplies, files = {}, {}
    names = sorted({share.generator for share in config.synthesize.composition} & set(STYLEGANS))
    if names:
        try:
            location, cache = open_store(config.weights), cache_folder()
        except ComfaceError as error:
            told = (
                f"The weights of {', '.join(names)} are looked for in '{config.weights}', which cannot be read: {error}"
            )
            raise type(error)(told) from None
        supplies = find_supplies(location, config.synthesize, cache)
        files = local_files(location, supplies, cache)
    preflight(config.synthesize, files=files)
    return {name: supply.model_dump(mode="json") for name, supply in supplies.items()}


def check_screening(config: RunConfig) -> None:
    """The backbone by which screening tells identity is at hand."""
    from comface.manifest import open_artifact

    screening = config.screening
    if screening.action == "skip":
        return
    if screening.backbone:
        open_artifact(screening.backbone, "backbone")


def _check_identities(synthesize: SynthesizeConfig, pairs_per_step: int) -> None:
    identities = sum(share.identities for share in synthesize.composition)
    if identities * 0.8 < pairs_per_step:
        raise ConfigurationError(
            f"A batch of {pairs_per_step} pairs needs as many identities for training, but the composition has only "
            f"{identities}; lower pretrain.pairs_per_step or raise synthesize.composition."
        )


def check_datasets(config: RunConfig) -> None:
    """Data sets with a `uri` are there and readable; the others are rehearsed."""
    from comface.transfer.datasets import read_dataset

    for name in _dataset_names(config):
        source = config.data[name]
        if source.uri:
            try:
                read_dataset(source)
            except ComfaceError as error:
                raise type(error)(f"The data set '{name}' cannot be used: {error}") from None


def _dataset_names(config: RunConfig) -> list[str]:
    used: Sequence[str] = [
        name
        for task in config.transfer.tasks
        for name in (config.tasks[task].dataset, config.tasks[task].train_dataset)
    ]
    return sorted({name for name in used if name})
