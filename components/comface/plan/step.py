"""Resolve: profile and overrides -> one plan per step, after checking that the run can succeed.

In: a RunConfig. Out: the plans, each a canonical JSON string with the store and only the configuration that its step
needs, so that caching is exact per step. Raises ConfigurationError, DataError or TryAgain.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.config.canonical import canonical_json
from comface.errors import ComfaceError, raise_any
from comface.plan.checks import survey_run
from comface.plan.configuration import RunConfig
from comface.plan.consistency import dataset_names, items
from comface.plan.weights import method_files, screening_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plans:
    """The plans of the steps."""

    synthesize: str
    parts: list[int]
    shard: str
    pretrain: str
    datasets: list[str]
    items: list[str]
    evaluate: str
    register: str
    gpus: str
    """How many GPUs a pod requests for rendering or computing features: "0" or "1"."""


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
    return make_plans(survey.config, run, survey.notes, survey.supplies, survey.absent)


def make_plans(
    config: RunConfig,
    run: str,
    notes: Sequence[str] = (),
    supplies: Mapping[str, Any] | None = None,
    absent: Mapping[str, str] | None = None,
) -> Plans:
    """Makes the plans, without checks. `notes`: shown in the report; `supplies`: the StyleGANs' files
    (find_generators); `absent`: the requested methods that cannot run, and why."""
    transfer = config.transfer

    def envelope(**sections: Any) -> str:
        return canonical_json({"store": config.store, "run": run, **sections})

    names, weights = dataset_names(config), method_files(config)
    screening = config.screening if config.screening.action == "skip" else screening_of(config)
    return Plans(
        synthesize=envelope(
            synthesize=config.synthesize.model_dump(mode="json"), weights=config.weights, supplies=supplies or {}
        ),
        parts=list(range(config.synthesize.parts)),
        shard=envelope(shard=config.shard.model_dump(mode="json"), screening=screening.model_dump(mode="json")),
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
                weight_file=weights.get(method),
            )
            for task, method, mode in items(config)
        ],
        evaluate=envelope(
            evaluate=config.evaluate.model_dump(mode="json"),
            profile=config.profile,
            notes=list(notes),
            absent=dict(absent or {}),
        ),
        register=envelope(register=config.register_model.model_dump(mode="json")),
        gpus=str(min(config.pretrain.gpus_per_node, 1)),
    )
