"""The list of checks before a run: resolve raises all problems, doctor prints a row for each check.

In: a RunConfig. Out: a Survey: the configuration that can run here, what is left out of it and why, and the checks,
which have not run yet. Each check ends in seconds and returns its result as one line.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from comface.errors import ComfaceError, ConfigurationError, DataError, raise_any
from comface.methods import METHODS, method
from comface.plan import consistency
from comface.plan.configuration import RunConfig
from comface.plan.datasets import check_dataset
from comface.plan.gpus import check_gpus_of_pod
from comface.plan.missing import absent_methods, missing_models, rival_problems, without_missing
from comface.plan.reuse import with_reused
from comface.plan.sizes import room_problems, sizes_of
from comface.plan.weights import check_screening, find_generators, method_keys
from comface.pretrain.draft import process_count
from comface.runtime.progress import counted
from comface.store import Store, open_store
from comface.tracks.composition import totals
from comface.tracks.supplies import Supply

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """`ask` returns the result, or raises all problems of its kind as one error."""

    name: str
    ask: Callable[[], str]
    told: bool = False
    """Whether a run logs the result as well."""


@dataclass(frozen=True)
class Survey:
    config: RunConfig
    """What can run here: without the parts that need published files which are not on this machine."""
    notes: list[str]
    """What is left out, for the log and the report."""
    absent: Mapping[str, str]
    """Method -> why it does not run; a row of the report."""
    checks: list[Check]
    supplies: dict[str, Supply] = field(default_factory=dict)
    """Part of the plan of synthesize; the check 'weights' fills it in."""


def survey_run(config: RunConfig) -> Survey:
    asked = config
    notes: list[str] = []
    absent: dict[str, str] = {}
    wrong: list[ComfaceError] = []
    try:
        config = asked = with_reused(asked)
        missing = missing_models()
        absent = absent_methods(asked, missing)
        wrong += rival_problems(asked, absent)
        config, notes = without_missing(asked, missing, absent)
    except ComfaceError as error:
        wrong.append(error)
    survey = Survey(config, notes, absent, [])

    def models() -> str:
        raise_any(wrong)
        return " ".join(note for note in notes if "`comface fetch`" in note) or "all required files are available"

    def generators() -> str:
        if config.pretrain.reuse:
            return "not needed: the run uses a backbone that exists"
        survey.supplies.update(find_generators(config))
        names = sorted({share.generator for share in config.synthesize.composition})
        return f"{', '.join(names)}: weights and all directions are available"

    survey.checks.extend(
        [
            *configuration_checks(config, asked),
            Check("embedded models", models),
            *(Check(f"method {name}", functools.partial(check_method, name, asked, absent)) for name in _named(asked)),
            Check("weights", generators),
            Check("screening", lambda: "skipped" if config.pretrain.reuse else check_screening(config)),
            *(
                Check(f"data set {name}", functools.partial(check_dataset, config, name))
                for name in consistency.dataset_names(config)
            ),
            Check("store", lambda: check_store(open_store(config.store))),
            Check("margins of the gate", lambda: check_margins(config)),
            Check("plan", lambda: _room(config), told=True),
            Check("GPUs", lambda: check_gpus_of_pod(config) or "", told=True),
        ]
    )
    return survey


def _named(config: RunConfig) -> list[str]:
    """The methods that read a weight file or that people name from outside: a backbone of timm, their own function."""
    screening = [config.screening.method] if config.screening.action != "skip" else []
    names = dict.fromkeys([*config.transfer.methods, *screening])
    return [name for name in names if name not in METHODS or METHODS[name].takes_weights]


def check_method(name: str, config: RunConfig, absent: Mapping[str, str]) -> str:
    """Which file it reads. Raises ConfigurationError if its code is not on this machine."""
    entry = method(name)
    entry.check()
    if name in absent:
        return f"absent: {absent[name]}"
    key = None
    if entry.files and name in config.transfer.methods:
        with contextlib.suppress(ConfigurationError):  # its packaged weights are used
            key = method_keys(config)[name]
    return f"{key} in {config.weights}" if key else entry.fetched or "found"


def configuration_checks(config: RunConfig, asked: RunConfig | None = None) -> list[Check]:
    """The checks that open nothing. `asked`: the configuration before anything was left out."""

    def check(name: str, problems: Callable[[RunConfig], Iterable[ComfaceError]], of: RunConfig, found: str) -> Check:
        def ask() -> str:
            raise_any(problems(of))
            return found

        return Check(name, ask)

    wanted = config.pretrain
    processes = process_count(wanted, {})
    methods = ", ".join(config.transfer.methods)
    return [
        check(
            "composition",
            consistency.composition_problems,
            config,
            f"{totals(config.synthesize).identities:,} identities for batches of {wanted.pairs_per_step} pairs",
        ),
        check(
            "batch",
            consistency.batch_problems,
            config,
            f"{wanted.pairs_per_step} pairs for {processes} process{'es' if processes > 1 else ''}",
        ),
        check("views", consistency.view_problems, config, f"{wanted.image_size_px} px for {wanted.backbone}"),
        check("methods and gate", consistency.gate_problems, asked or config, methods),
    ]


def check_configuration(config: RunConfig) -> None:
    """Checks the configuration alone. Raises ConfigurationError with all problems."""
    found = []
    for check in configuration_checks(config):
        try:
            check.ask()
        except ComfaceError as error:
            found.append(error)
    raise_any(found)


def check_store(store: Store) -> str:
    """Writes, reads and deletes one object. Raises the store's error."""
    key, data = f"checks/{uuid.uuid4().hex}", b"comface"
    store.write(key, data)
    if store.read(key) != data:
        raise DataError(f"{store.uri} returned other bytes than were written to it; check the store.")
    store.delete(key)
    return f"{store.uri}: written, read and deleted"


def check_margins(config: RunConfig) -> str:
    """Warns of margins that are too small for the people on whom the champion was tested. A champion that cannot be
    read stops no run: the gate says so."""
    from comface.models.registry import Registry
    from comface.register.champion import too_few_people  # imports numpy

    try:
        registry = Registry(open_store(config.store), config.register_model.name)
        found = list(too_few_people(registry, config.register_model, config.transfer.tasks))
    except ComfaceError as error:
        return f"not examined ({str(error).rstrip('.')})"
    for sentence in found:
        logger.warning(sentence)
    if found:
        return f"too small for {counted(len(found), 'task')}; add people, or set a larger margin (register.margins)"
    return "no margin is known to be too small"


def _room(config: RunConfig) -> str:
    try:
        store = open_store(config.store)
    except ComfaceError:
        store = None  # its own check reports the error
    raise_any(room_problems(config, store))
    return sizes_of(config).sentence()
