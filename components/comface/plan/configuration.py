"""A run's configuration: defaults, a profile, then overrides.

Each section is defined beside the code that it configures (for example `pretrain/config.py`). Profiles are YAML files
that override defaults; `--set pretrain.epochs=4` overrides a profile. A step receives its section as one canonical JSON
string, so that caching is exact per step. `plan/sizes.py` checks what a whole run needs.
"""

from __future__ import annotations

import copy
import functools
import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from comface.config.credentials import override_values, refuse_credentials
from comface.config.names import Name, quoted
from comface.config.reading import merge, parse, read_override, wrong
from comface.config.section import Once, Section, StorePlace
from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.rehearsal.registry import REHEARSALS
from comface.errors import ConfigurationError, gathered
from comface.evaluate.config import EvaluateConfig
from comface.methods.comface import CHAMPION, PREFIX, VARIANTS, variant_name
from comface.models.config import RegistryConfig
from comface.plan.studies import Basis, StudyName, study_values
from comface.pretrain.config import PretrainConfig
from comface.register.config import RegisterConfig
from comface.screening.config import ScreeningConfig
from comface.shard.config import ShardConfig
from comface.tasks.config import Task
from comface.tasks.registry import TASKS
from comface.tracks.config import SynthesizeConfig
from comface.transfer.config import TransferConfig

RunSeed = Annotated[int, Field(ge=0, le=1_000_000)]


class RunConfig(Section):
    """A whole run. Each step receives only its own section (and reads artifacts)."""

    profile: Name = Field(default="paper", description="the profile that the configuration starts from")
    store: StorePlace = Field(default="s3://comface/artifacts", description="object store for artifacts")
    weights: StorePlace = Field(
        default="s3://comface/weights", description="location of the weights of generators and methods"
    )
    check_gpus: bool = Field(
        default=True,
        description="on a cluster, refuse a run whose GPUs no node has; set to false if nodes are added on demand",
    )
    data: dict[Name, DataSource] = Field(
        default={name: DataSource(layout=rehearsal.layout) for name, rehearsal in REHEARSALS.items()},
        max_length=200,
        description="data sets by name",
    )
    tasks: dict[Name, Task] = Field(default=TASKS, max_length=200, description="tasks by name")
    study: StudyName = Field(
        default="",
        description="sets seeds, variants, tasks, methods and modes for table7 (ablation), table8 (backbones), figure3 "
        "(scale) or baselines (ComFace and other methods, three seeds); other fields change what it sets",
    )
    seeds: Annotated[tuple[RunSeed, ...], Once] = Field(
        default=(0,),
        min_length=1,
        max_length=20,
        description="repetitions of pre-training, random weights and fine-tuning; the first is registered. Folds and "
        "pairs are the same for all",
    )
    variants: dict[Name, dict[Name, Any]] = Field(
        default={},
        max_length=50,
        description="further pre-trainings, {NAME: {field of pretrain: value}}; their methods are comface:NAME",
    )
    rehearse: RehearseConfig = Field(default=RehearseConfig(), description="the rehearsal data sets")
    synthesize: SynthesizeConfig = Field(
        default=SynthesizeConfig(), description="the tracks: generators, identities, attributes and alphas"
    )
    screening: ScreeningConfig = Field(
        default=ScreeningConfig(), description="what an attribute must show on a sample of tracks"
    )
    shard: ShardConfig = Field(default=ShardConfig(), description="the training and validation files")
    pretrain: PretrainConfig = Field(
        default=PretrainConfig(), description="the training of f, g and l (sections 3 and 4.1)"
    )
    transfer: TransferConfig = Field(
        default=TransferConfig(), description="tasks, methods and cross-validation (section 4.1)"
    )
    evaluate: EvaluateConfig = Field(default=EvaluateConfig(), description="the intervals of the report")
    register_model: RegisterConfig = Field(
        default=RegisterConfig(), alias="register", description="the gate, and the registered model"
    )
    registry: RegistryConfig = Field(
        default=RegistryConfig(), description="which keys are trusted, and copies in other registries"
    )

    @model_validator(mode="after")
    def _names_exist(self) -> RunConfig:
        for name in self.transfer.tasks:
            if name not in self.tasks:
                raise ValueError(f"transfer.tasks names '{name}', which `tasks` does not define")
            for dataset in (self.tasks[name].dataset, self.tasks[name].train_dataset):
                if dataset and dataset not in self.data:
                    raise ValueError(f"the task '{name}' reads the data set '{dataset}', which `data` lacks")
        if list(self.seeds) != sorted(self.seeds):
            raise ValueError("seeds must increase: the first is that of the model which is registered")
        for name, fields in self.variants.items():
            if name == CHAMPION:
                raise ValueError(
                    f"variants defines '{name}', but {PREFIX}{name} is the registered champion; choose another name"
                )
            if name in VARIANTS:
                raise ValueError(
                    f"variants defines '{name}', but {PREFIX}{name} is a row of the paper's table 7; choose another "
                    "name"
                )
            values = self.pretrain.model_dump(mode="json")
            merge(values, fields)
            try:
                PretrainConfig.model_validate(values)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(["variants", name, *map(str, first["loc"])])
                raise ValueError(f"'{where}' {wrong(first)}") from None
        for method in self.transfer.methods:
            variant = variant_name(method)
            if variant and variant not in {CHAMPION, *VARIANTS, *self.variants}:
                known = ", ".join([CHAMPION, *VARIANTS, *self.variants])
                raise ValueError(
                    f"transfer.methods names '{method}', but `variants` has no '{variant}'; it has {known}"
                )
        for field in ("thresholds", "margins"):
            for each in getattr(self.register_model, field):
                if each.task not in self.tasks:
                    raise ValueError(f"register.{field} names '{each.task}', which `tasks` does not define")
        return self


def profiles() -> tuple[str, ...]:
    folder = importlib.resources.files("comface") / "plan" / "profiles"
    return tuple(sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")))


@functools.cache
def _profile_values(profile: str) -> dict[str, Any]:
    text = (importlib.resources.files("comface") / "plan" / "profiles" / f"{profile}.yaml").read_text("utf-8")
    values = RunConfig().model_dump(mode="json", include={"data", "tasks"})  # profiles add to these
    merge(values, yaml.safe_load(text) or {})
    return values | {"profile": profile}


def resolve(
    profile: str,
    overrides: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
    places: Mapping[str, str] | None = None,
) -> RunConfig:
    """The configuration of a run: defaults, then the profile, then what its study sets, then `extra` (a nested
    mapping), then `overrides`.

    `overrides` are `dotted.field=value` with a YAML value, `places` says where a file gives them. Raises
    ConfigurationError with a message for each problem: an unknown profile or field, a value out of range."""
    overrides = list(overrides)
    refuse_credentials(override_values(overrides))
    refuse_credentials(extra or {})
    if profile not in profiles():
        raise ConfigurationError(f"There is no profile {quoted(profile)}; choose one of {', '.join(profiles())}.")
    own: dict[str, Any] = copy.deepcopy(dict(extra or {}))
    problems: list[ConfigurationError] = []
    for override in overrides:
        try:
            parts, nested = read_override(override)
        except ConfigurationError as error:
            problems.append(error)
            continue
        for part in reversed(parts):
            nested = {part: nested}
        merge(own, nested)
    try:
        config = _merged(profile, {}, own, places)
        if config.study:
            config = _merged(profile, study_values(config.study, basis_of(config)), own, places)
    except ConfigurationError as error:
        problems.append(error)
    if problems:
        raise gathered(problems)
    return config


def config_yaml(config: RunConfig) -> str:
    """The whole configuration in the form of a `--config` file."""
    values = config.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def basis_of(config: RunConfig) -> Basis:
    """The sections that a study is made from."""
    return Basis(config.synthesize, config.shard, config.pretrain, config.transfer, config.register_model.must_beat)


def _merged(
    profile: str, study: Mapping[str, Any], own: Mapping[str, Any], places: Mapping[str, str] | None
) -> RunConfig:
    values: dict[str, Any] = copy.deepcopy(_profile_values(profile))
    merge(values, study)
    merge(values, own)
    return parse(RunConfig, values, places)
