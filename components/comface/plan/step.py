"""Resolve: profile and overrides -> one plan per step, after checking that the run can succeed.

In: a RunConfig. Out: the plans, each with the store and only the configuration that its step needs, so that caching is
exact per step. Raises ConfigurationError, DataError or TryAgain.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from comface.errors import ComfaceError, raise_any
from comface.evaluate.from_plan import EvaluatePlan
from comface.generators.registry import requests_gpu
from comface.methods import method
from comface.plan.checks import survey_run
from comface.plan.command import command_of
from comface.plan.configuration import RunConfig
from comface.plan.consistency import dataset_names
from comface.plan.reuse import with_reused
from comface.plan.trainings import encodings, is_trained, items, training_of, trainings
from comface.plan.weights import champion_backbone, method_files, random_methods, screening_of
from comface.pretrain.from_plan import PretrainPlan
from comface.register.from_plan import RegisterPlan
from comface.shard.from_plan import ShardPlan
from comface.synthesize.from_plan import NO_PART, SynthesizePlan
from comface.tasks.config import base
from comface.tracks.blocks import part_count
from comface.tracks.supplies import Sealed, Supply
from comface.transfer.from_plan import AlignPlan, ItemsPlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plans:
    """The plans of the steps."""

    synthesize: SynthesizePlan
    parts: list[int]
    shard: ShardPlan
    pretrain: PretrainPlan
    datasets: list[AlignPlan]
    items: ItemsPlan
    evaluate: EvaluatePlan
    register: RegisterPlan
    gpus: str
    """How many GPUs a pod of a loop requests: "0" or "1"."""

    @property
    def counts(self) -> dict[str, int]:
        """Step → number of items of its loop."""
        modes = [base(row.mode) for row in self.items.rows]
        return {
            "synthesize": 0 if self.shard.reuse else len(self.parts),
            "pretrain": len(self.trainings),
            "align": len(self.datasets),
            "features": len(self.items.encodings),
            "transfer": modes.count("linear"),
            "finetune": modes.count("finetune"),
        }

    @property
    def trainings(self) -> list[str]:
        """The items of the loop over trainings."""
        return list(self.pretrain.trainings)

    @property
    def synthesize_gpus(self) -> str:
        """The GPUs of a part: none if no generator of the composition gains from one. KFP gives all items of a loop the
        same resources, so one StyleGAN requests a GPU for every part."""
        names = {share.generator for share in self.synthesize.synthesize.composition}
        return self.gpus if requests_gpu(names) and not self.shard.reuse else "0"

    @property
    def features_gpus(self) -> str:
        return self.gpus if self.items.encodings else "0"

    @property
    def finetune_gpus(self) -> str:
        return self.gpus if any(base(row.mode) == "finetune" for row in self.items.rows) else "0"


def plan_run(config: RunConfig, run: str) -> Plans:
    """The plans of a run named `run` (unique; failures are recorded under it), after all checks. Raises all problems
    as one error."""
    survey = survey_run(config)
    found: list[ComfaceError] = []
    for check in survey.checks:
        try:
            told = check.ask()
        except ComfaceError as error:
            found.append(error)
        else:
            if check.told and told:
                logger.info(told)
    raise_any(found)
    for note in survey.notes:
        logger.info(note)
    plans = make_plans(survey.config, run, survey.notes, survey.supplies, survey.absent)
    asked = config.pretrain.model_copy(update={"reuse": survey.config.pretrain.reuse})
    headed = {"command": command_of(config.model_copy(update={"pretrain": asked})), "started": round(time.time(), 3)}
    return replace(plans, evaluate=plans.evaluate.model_copy(update=headed))


def make_plans(
    config: RunConfig,
    run: str,
    notes: Sequence[str] = (),
    supplies: Mapping[str, Supply] | None = None,
    absent: Mapping[str, str] | None = None,
) -> Plans:
    """Makes the plans, without checks. `notes`: shown in the report; `supplies`: the StyleGANs' files
    (find_generators); `absent`: the requested methods that cannot run, and why."""
    config = with_reused(config)
    store, files, reuse = config.store, method_files(config), bool(config.pretrain.reuse)
    screening = config.screening if reuse or config.screening.action == "skip" else screening_of(config)
    return Plans(
        synthesize=SynthesizePlan(
            store=store, run=run, synthesize=config.synthesize, weights=config.weights, supplies=dict(supplies or {})
        ),
        parts=[NO_PART] if reuse else list(range(part_count(config.synthesize))),
        shard=ShardPlan(store=store, run=run, shard=config.shard, screening=screening, reuse=reuse),
        pretrain=PretrainPlan(store=store, run=run, trainings={each.name: each.config for each in trainings(config)}),
        datasets=_align_plans(config, run),
        items=_items_plan(config, run, files),
        evaluate=EvaluatePlan(
            store=store,
            run=run,
            evaluate=config.evaluate,
            profile=config.profile,
            notes=tuple(notes),
            absent=dict(absent or {}),
            titles={name: config.tasks[name].title for name in config.transfer.tasks if config.tasks[name].title},
            random_weights=random_methods(config, files),
        ),
        register=RegisterPlan(store=store, run=run, register=config.register_model, registry=config.registry),
        gpus=str(min(config.pretrain.gpus_per_node, 1)),
    )


def _align_plans(config: RunConfig, run: str) -> list[AlignPlan]:
    return [
        AlignPlan(
            store=config.store,
            run=run,
            dataset=name,
            source=config.data[name],
            rehearse=None if config.data[name].uri else config.rehearse,
        )
        for name in dataset_names(config)
    ]


def _items_plan(config: RunConfig, run: str, files: Mapping[str, Sealed]) -> ItemsPlan:
    position = {each.config.canonical(): number for number, each in enumerate(trainings(config))}
    return ItemsPlan(
        store=config.store,
        run=run,
        rows=tuple(items(config)),
        seeds=config.seeds,
        encodings=encodings(config),
        tasks={name: config.tasks[name] for name in config.transfer.tasks},
        transfer=config.transfer,
        weights=config.weights,
        weight_files=dict(files),
        trainings={
            f"{name}/{seed}": position[training_of(config, name, seed).config.canonical()]
            for name in config.transfer.methods
            if is_trained(name)
            for seed in config.seeds
        },
        champion=champion_backbone(config)[0]
        if any(method(name).of_champion for name in config.transfer.methods)
        else "",
    )
