"""Checks of the configuration alone: methods, gate, batch, views, rehearsals.

In: a RunConfig. Out: errors, one per problem. Nothing is opened; this takes milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from comface.config.names import place_uri
from comface.datasets.registry import layout as layout_called
from comface.datasets.rehearsal.registry import REHEARSALS
from comface.directions.published import attribute_name
from comface.errors import ConfigurationError
from comface.generators.registry import generator as registered
from comface.methods import challenger, in_order, method
from comface.methods.comface import variant_name
from comface.methods.gallery import LEAST_GALLERY
from comface.networks import PATCH_PX
from comface.plan.configuration import RunConfig, basis_of
from comface.plan.studies import own_methods
from comface.plan.trainings import items, trainings
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import check_batch, process_count
from comface.tracks.composition import check_names, totals
from comface.tracks.supplies import needed

SHOW_A_FACE = 0.9
"""Least share of identities with a detected face, for the embedded generators and the StyleGANs."""
LEAST_SUBJECTS = 3
"""One for training, one for validation, one for testing."""


def dataset_names(config: RunConfig) -> list[str]:
    """The data sets that the run's tasks read."""
    tasks = [config.tasks[name] for name in config.transfer.tasks]
    return sorted({name for task in tasks for name in (task.dataset, task.train_dataset) if name})


def composition_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    if config.pretrain.reuse:
        yield from _reuse_problems(config)
        return
    try:
        check_names(config.synthesize)
    except ConfigurationError as error:
        yield error
    identities, parts = totals(config.synthesize).identities, config.synthesize.parts
    yield from _direction_problems(config)
    yield from _screening_problems(config)
    if parts > identities:
        yield ConfigurationError(
            f"synthesize.parts is {parts}, but there are only {identities} identities; lower it to {identities}."
        )
    left = int(identities * (SHOW_A_FACE - config.shard.validation_fraction))
    batches = {wanted.pairs_per_step: where for wanted, where in reversed([*_trainings(config)])}
    for pairs, where in batches.items():
        if left >= pairs:
            continue
        there = f"only {identities}"
        if identities >= pairs:
            there = f"{identities}, of which about {left} can train (some validate, some have no detected face)"
        yield ConfigurationError(
            f"A batch of {pairs} pairs needs as many identities for training, but the composition has {there}; lower "
            f"{where}.pairs_per_step or raise synthesize.composition."
        )


def _reuse_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """One backbone exists, so no other is trained."""
    if len(trainings(config)) > 1:
        yield ConfigurationError(
            "pretrain.reuse uses one backbone that exists, but variants, seeds or a study ask for several "
            "pre-trainings; remove these, or set pretrain.reuse=''."
        )


def _direction_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """The embedded generators have the requested attributes, and every change of the catalogue is used."""
    for share in config.synthesize.composition:
        known = registered(share.generator).attributes()
        missing = [name for name in share.attributes if name not in known] if known else []
        if missing:
            yield ConfigurationError(
                f"The generator '{share.generator}' has no direction for {', '.join(missing)}; "
                f"it has {', '.join(known)}."
            )
    used = needed(config.synthesize)
    for generator, changes in config.synthesize.directions.items():
        for attribute in changes:
            if attribute_name(attribute) not in used.get(generator, {}):
                yield ConfigurationError(
                    f"synthesize.directions changes '{attribute}' of '{generator}', which synthesize.composition does "
                    "not sweep; correct the name, or remove the change."
                )


def _screening_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """Thresholds that no attribute can reach."""
    wanted, sweep = config.screening, 2 * config.synthesize.alpha_max
    if wanted.action == "skip":
        return
    if wanted.min_range > sweep:
        yield ConfigurationError(
            f"screening.min_range is {wanted.min_range:g}, but tracks cover a range of alpha of only {sweep:g} "
            "(2 * synthesize.alpha_max); lower it."
        )
    people = Counter[str]()
    for share in config.synthesize.composition:
        people[share.generator] += share.identities
    for generator, count in people.items():
        if count < LEAST_GALLERY:
            yield ConfigurationError(
                f"The screening compares at least {LEAST_GALLERY} people, but the composition has {count} of "
                f"'{generator}'; raise its identities, or set screening.action to skip."
            )


def batch_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    if config.pretrain.reuse:
        return
    for wanted, where in _trainings(config):
        pairs = wanted.pairs_per_step
        try:
            check_batch(pairs, process_count(wanted, {}), f"{where}.pairs_per_step", wanted.accumulate)
        except ConfigurationError as error:
            yield error
        if wanted.identities is not None and wanted.identities < pairs:
            yield ConfigurationError(
                f"A batch of {pairs} pairs needs as many identities, but {where}.identities is {wanted.identities}; "
                f"raise it, or lower {where}.pairs_per_step."
            )


def view_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    sections = [(where, wanted.backbone, wanted.image_size_px) for wanted, where in _trainings(config)]
    if any(method(name).random for name in config.transfer.methods):
        sections.append(("transfer", config.transfer.backbone, config.transfer.image_size_px))
    for section, backbone, side_px in sections:
        patch_px = PATCH_PX.get(backbone, 1)
        if side_px % patch_px:
            below, above = side_px // patch_px * patch_px, -(-side_px // patch_px) * patch_px
            yield ConfigurationError(
                f"The network {backbone} takes views whose side is a multiple of {patch_px} px; "
                f"{section}.image_size_px is {side_px}: use {below} or {above}, or choose another {section}.backbone."
            )


def _trainings(config: RunConfig) -> Iterator[tuple[PretrainConfig, str]]:
    """Each distinct pre-training (the seed is no difference), and the section of the configuration that defines it."""
    seen = set()
    for training in trainings(config):
        name = variant_name(training.method)
        if training.method not in seen:
            seen.add(training.method)
            yield training.config, f"variants.{name}" if name in config.variants else "pretrain"


def gate_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """The tasks can be evaluated and the gate can be passed: ComFace and its rival run."""
    yield from _task_problems(config)
    wanted, ours = config.register_model, challenger().name
    run = {(row.task, row.method, row.mode) for row in items(config)}
    if ours not in config.transfer.methods:
        yield ConfigurationError(
            f"transfer.methods has no '{ours}', the method that the run trains and registers, so the gate would "
            "reject the model; add it."
        )
    elif not any(name == ours for _, name, _ in run):
        yield ConfigurationError(
            f"The run would evaluate '{ours}' on no task: transfer.modes ({', '.join(config.transfer.modes)}) and "
            f"transfer.tasks ({', '.join(config.transfer.tasks)}) do not fit each other; add linear or finetune."
        )
    yield from _study_problems(config)
    for threshold in wanted.thresholds:
        if not config.tasks[threshold.task].registrable:
            yield ConfigurationError(
                f"register.thresholds names '{threshold.task}', which no model has a head for (it is of single photos, "
                "or has its own split of subjects); remove the threshold."
            )
            continue
        if (threshold.task, ours, threshold.mode) not in run and ours in config.transfer.methods:
            yield ConfigurationError(
                f"register.thresholds names '{threshold.task}' ({threshold.mode}), which the run does not evaluate; "
                "add it to transfer.tasks and transfer.modes, or remove the threshold."
            )
    for margin in wanted.margins:
        if not config.tasks[margin.task].registrable:
            yield ConfigurationError(
                f"register.margins names '{margin.task}', which no model has a head for (it is of single photos, or "
                "has its own split of subjects); remove the margin."
            )
    rival = wanted.must_beat
    if rival == ours:
        yield ConfigurationError(f"register.must_beat names '{ours}', which cannot beat itself; name another method.")
    elif rival and rival not in config.transfer.methods:
        yield ConfigurationError(
            f"register.must_beat names '{rival}', which is not among transfer.methods "
            f"({', '.join(config.transfer.methods)}); add it, or name one of them."
        )
    elif rival and not any(name == rival for _, name, _ in run):
        yield ConfigurationError(
            f"register.must_beat names '{rival}', which transfer.modes ({', '.join(config.transfer.modes)}) "
            "does not evaluate; add linear, or name another method."
        )


def _study_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """The study has its rows: what a person sets wins over the study, but must not leave nothing of it."""
    own = own_methods(config.study, basis_of(config)) if config.study else set()
    if own and not own & {row.method for row in items(config)}:
        yield ConfigurationError(
            f"The study {config.study} compares {', '.join(in_order(own))}, but the run evaluates none of them, "
            "because transfer.methods, transfer.tasks or transfer.modes is set to other values; remove these, or the "
            "study."
        )


def _task_problems(config: RunConfig) -> Iterator[ConfigurationError]:
    """No task is tested on people it was trained on, and rehearsals have the labels that tasks need."""
    for task in config.transfer.tasks:
        definition = config.tasks[task]
        if definition.train_dataset == definition.dataset:
            yield ConfigurationError(
                f"The task '{task}' would train and test on the same people ('{definition.dataset}'); remove "
                f"tasks.{task}.train_dataset to use cross-validation, or name another data set."
            )
    for name in dataset_names(config):
        place = config.data[name].uri
        if not place:
            yield from rehearsal_problems(config, name)
        elif config.store.rstrip("/") == place_uri(place).rstrip("/"):
            yield ConfigurationError(
                f"The store {config.store} is the folder of the data set '{name}', so every run would change that data "
                "set; name another store."
            )


def rehearsal_problems(config: RunConfig, name: str) -> Iterator[ConfigurationError]:
    """A data set without a URI can be rehearsed, with the labels and the people that the tasks need."""
    source, known = config.data[name], REHEARSALS.get(name)
    if known is None or known.layout != source.layout:
        what = f"of the layout {source.layout}" if known else "of that name"
        yield ConfigurationError(
            f"The data set '{name}' has no `uri`, and there is no rehearsal {what}; give data.{name}.uri."
        )
        return
    absent = [label for label in source.labels if label not in known.labels]
    if absent:
        yield ConfigurationError(
            f"data.{name}.labels names '{absent[0]}', but the rehearsal of '{name}' has only "
            f"{', '.join(known.labels)}; name one of these."
        )
    chosen = source.labels if layout_called(source.layout).chooses_labels else ()
    read = [label for label in known.labels if not chosen or label in chosen]
    people = getattr(config.rehearse, known.people)
    for task in config.transfer.tasks:
        definition = config.tasks[task]
        if name not in (definition.dataset, definition.train_dataset):
            continue
        label = definition.label or (read[0] if len(read) == 1 else "")
        if label not in read:
            yield no_label(config, task, name, read)
        elif definition.min_change > known.labels[label]:
            yield ConfigurationError(
                f"tasks.{task}.min_change is {definition.min_change:g}, but '{label}' of the rehearsal of '{name}' "
                f"changes by at most {known.labels[label]:g}; lower it."
            )
        if people < needed_subjects(config, task, name):
            yield ConfigurationError(
                f"The task '{task}' needs {needed_subjects(config, task, name)} people of '{name}' (transfer.folds), "
                f"but rehearse.{known.people} is {people}; raise it, or lower transfer.folds."
            )


def needed_subjects(config: RunConfig, task: str, dataset: str) -> int:
    """How many people with a change the task needs in `dataset`: one per fold of the data set it trains on, and one of
    another data set that it is tested on."""
    if config.tasks[task].split is not None:
        return LEAST_SUBJECTS
    trains_on = config.tasks[task].train_dataset or config.tasks[task].dataset
    return max(config.transfer.folds, LEAST_SUBJECTS) if dataset == trains_on else 1


def no_label(config: RunConfig, task: str, name: str, known: Sequence[str]) -> ConfigurationError:
    label, source, there = config.tasks[task].label, config.data[name], ", ".join(known) or "none"
    layout = layout_called(source.layout)
    if not label:
        return ConfigurationError(
            f"The task '{task}' names no label, and the data set '{name}' has several: {there}; set tasks.{task}.label."
        )
    what = (
        f"{layout.labels_from} has no column '{label}'"
        if layout.labels_from and source.uri
        else f"the data set has no label '{label}'"
    )
    hint = f"; name others in data.{name}.labels" if layout.chooses_labels and source.uri else ""
    return ConfigurationError(f"The task '{task}' cannot use the data set '{name}': {what}; it has: {there}{hint}.")
