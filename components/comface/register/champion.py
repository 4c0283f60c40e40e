"""Reads what the champion estimated for the test pairs of a challenger.

In: the registry, the challenger's head per task, and all transfers of the evaluation. Out: a `Champion` with, per task,
the estimates of both for the same pairs, or the reason why there are none.

A champion's own predictions are among the inputs of its `model` artifact. They are of the same pairs if its protocol
has the same digest (photos, people, folds and pairs). If it has another one, the predictions of a transfer of this
evaluation that was made from the champion's backbone take their place: the method `comface:champion`, or the challenger
itself if only the data changed and both have one backbone. Such heads are fitted on today's training people. The
registered heads cannot be tested on today's people, because they were fitted on some of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from comface.artifacts.facts import ProtocolFacts, TransferFacts
from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.models.format import Task, read_facts
from comface.models.registry import Registry
from comface.register.config import RegisterConfig
from comface.register.contents import backbone_of
from comface.register.paired import Champion, Paired, Unpaired
from comface.register.power import POWER, advice, half_width, power
from comface.tasks.agreement import Scored
from comface.tasks.intervals import sample, standard_error
from comface.tasks.metrics import FIGURES
from comface.tasks.predictions import Predictions, groups_of, read_predictions

BESIDE = "add comface:champion to transfer.methods to evaluate its backbone on the pairs of this run"
SETTINGS = {"folds": "transfer.folds", "pairs_per_subject": "transfer.pairs_per_subject", "seed": "transfer.seed",
            "validation_fraction": "transfer.validation_fraction"}  # fmt: skip


def read_champion(registry: Registry, heads: Mapping[str, Artifact], evaluated: Sequence[Artifact]) -> Champion | None:
    """`heads`: task → the challenger's transfer that would be registered. None if no version was ever promoted. Raises
    DataError if a transfer of the challenger cannot be used; a champion that cannot be read is a `problem`."""
    reference = f"{registry.name}@champion"
    try:
        if not (reference := champion_reference(registry)):
            return None
        version = registry.champion()
        assert version is not None, "the last change of the champion names a version"
        model = registry.open(version)
        tasks = read_facts(model).tasks
    except (ConfigurationError, DataError) as error:
        return Champion(reference, problem=str(error).rstrip("."))
    made_of = {task: model.manifest.inputs.get(f"{task}-{known.mode}") for task, known in tasks.items()}
    if {task: each.sha256 for task, each in made_of.items() if each} == {t: head.sha256 for t, head in heads.items()}:
        return Champion(reference, is_challenger=True, model=model)
    found = [_Opponent(model, task, tasks.get(task), evaluated) for task in sorted({*tasks, *heads})]
    pairs = tuple(each.against(heads.get(each.task)) for each in found)
    made_from = {each.task: each.used.sha256 if each.used else "" for each in found}
    return Champion(reference, pairs, model=model, made_from=made_from)


def champion_reference(registry: Registry) -> str:
    """NAME@vN of the champion, also if that version cannot be read; empty if there is none."""
    history = registry.history()
    return f"{registry.name}@v{history[-1].version}" if history and history[-1].version is not None else ""


def too_few_people(registry: Registry, config: RegisterConfig, tasks: Collection[str]) -> Iterator[str]:
    """Before a run: a sentence per task whose margin has a power below POWER with the people of the champion's test.
    The standard error of the gain is not known yet; that of the champion's own figure stands in. The two are equal if
    both models are equally good and the influences of the people on their figures correlate with 0.5 (docs/gate.md)."""
    version = registry.champion()
    if version is None:
        return
    model = registry.open(version)
    for task, known in sorted(read_facts(model).tasks.items()):
        metric, margin, _ = config.margin_of(task)
        if task not in tasks or not margin:
            continue
        tested = read_predictions(model.input(f"{task}-{known.mode}", "transfer"))
        half, people = half_width(_own_error(tested, metric), config.confidence), len(set(tested.subjects))
        if power(margin, half, people, config.confidence) < POWER:
            unit = known.unit if metric == "mae" else ""
            yield (
                f"The margin of {margin:g}{f' {unit}' if unit else ''} for '{task}' is small for {people:,} people, on "
                f"whom {version.reference} was tested: {advice(margin, half, people, config.confidence, unit)} "
                "(register.margins)."
            )


def _own_error(tested: Predictions, metric: str) -> float:
    """The standard error of the champion's own figure, over people."""
    rows = len(tested.change_P) // tested.repeats
    _, subject_P = np.unique(np.asarray(tested.subjects[:rows]), return_inverse=True)
    once_1S = np.ones((1, int(subject_P.max()) + 1))
    scored = Scored(subject_P, tested.change_P[:rows], tested.predicted_P.reshape(tested.repeats, rows), once_1S, 0.95)
    return float(standard_error(sample(FIGURES[metric], scored.sums(), once_1S).influence_S[None], once_1S)[0])


class _Opponent:
    """The champion on one task. `used`: the transfer with its estimates, once it was compared."""

    def __init__(self, model: Artifact, task: str, known: Task | None, evaluated: Sequence[Artifact]) -> None:
        self.model, self.task, self.known, self.evaluated = model, task, known, evaluated
        self.used: Artifact | None = None

    def against(self, head: Artifact | None) -> Paired | Unpaired:
        if head is None:
            assert self.known is not None, "a task is of the champion or of the challenger"
            return Unpaired(
                self.task, self.known.mode, "the challenger was not evaluated on it; add it to transfer.tasks."
            )
        ours = read_predictions(head)
        if self.known is None:
            return Unpaired(self.task, ours.facts.mode, "it is a task that the champion does not have.", blocks=False)
        stored, why = self._stored()
        for theirs, note in self._candidates(stored, ours):
            if theirs.facts.protocol_sha256 == ours.facts.protocol_sha256:
                return self._paired(head, ours, theirs, note)
        return self._unpaired(ours, stored, head, why)

    def _stored(self) -> tuple[Artifact | None, str]:
        """The transfer that the champion was registered with, or why it cannot be read."""
        assert self.known is not None, "read only for a task of the champion"
        try:
            transfer = self.model.input(f"{self.task}-{self.known.mode}", "transfer")
            read_predictions(transfer)
        except (ConfigurationError, DataError):
            return None, "its estimates for single pairs cannot be read (they were deleted, or are of an older version)"
        return transfer, ""

    def _candidates(self, stored: Artifact | None, ours: Predictions) -> Iterator[tuple[Predictions, str]]:
        """The champion's own predictions, then those of its backbone in this evaluation, in its own mode first."""
        assert self.known is not None, "read only for a task of the champion"
        if stored is not None:
            self.used = stored
            yield read_predictions(stored), ""
        backbone, mode = self.model.manifest.inputs.get("backbone"), self.known.mode
        beside = []
        for transfer in self.evaluated:
            facts, origin = transfer.facts_as(TransferFacts), backbone_of(transfer)
            if backbone and origin and facts.task == self.task and origin.sha256 == backbone.sha256:
                beside.append((facts.mode != mode, facts.mode != ours.facts.mode, facts.seed, facts.method, transfer))
        for *_, transfer in sorted(beside, key=lambda each: each[:-1]):
            self.used = transfer
            yield read_predictions(transfer), "the champion's backbone was evaluated anew on the pairs of this run."
        self.used = None

    def _paired(self, head: Artifact, ours: Predictions, theirs: Predictions, note: str) -> Paired:
        same = np.array_equal(ours.change_P, theirs.change_P) and ours.subjects == theirs.subjects
        if not same:
            raise DataError(
                f"The protocols of '{self.task}' of the challenger and of the champion have one digest, but other "
                "pairs; run the transfers of this task again."
            )
        rows = len(ours.change_P) // ours.repeats
        _, subject_P = np.unique(np.asarray(ours.subjects[:rows]), return_inverse=True)
        return Paired(
            self.task,
            ours.facts.mode,
            theirs.facts.mode,
            ours.facts.unit,
            bool(ours.facts.rehearsal),
            subject_P,
            ours.change_P[:rows],
            ours.predicted_P.reshape(ours.repeats, rows),
            theirs.predicted_P.reshape(theirs.repeats, rows),
            groups_of(ours, rows, _photos(head)),
            note,
        )

    def _unpaired(self, ours: Predictions, stored: Artifact | None, head: Artifact, why: str) -> Unpaired:
        assert self.known is not None, "read only for a task of the champion"
        task, mode, rehearsal = self.task, ours.facts.mode, bool(ours.facts.rehearsal)
        if self.known.rehearsal and not rehearsal:
            said = (
                "the champion was evaluated on a rehearsal, which says nothing about people, the challenger on photos."
            )
            return Unpaired(task, mode, said, blocks=False)
        if rehearsal and not self.known.rehearsal:
            said = (
                "the champion was evaluated on photos, the challenger on a rehearsal, which says nothing about people"
            )
            return Unpaired(task, mode, f"{said}; set the data set's uri.")
        if stored is None:
            return Unpaired(task, mode, f"{why}; {BESIDE}, or restore them.")
        before, now = (each.input("protocol", "protocol") for each in (stored, head))
        return Unpaired(task, mode, f"{_difference(before, now)}; {BESIDE}.")


def _photos(head: Artifact) -> Sequence[Mapping[str, Any]]:
    faces = head.input("protocol").input("faces")
    return faces.read_json("photos.json") if "photos.json" in faces.manifest.objects else ()


def _difference(before: Artifact, now: Artifact) -> str:
    """What differs between two protocols of a task, in words."""
    old, new = (each.facts_as(ProtocolFacts) for each in (before, now))
    people = f"{old.subjects:,} people and {old.pairs:,} test pairs before, {new.subjects:,} and {new.pairs:,} now"
    if (old.dataset, old.train_dataset) != (new.dataset, new.train_dataset):
        sets = [" after ".join(filter(None, (each.dataset, each.train_dataset))) for each in (old, new)]
        return f"the champion was tested on another data set ({sets[0]}, now {sets[1]}; {people})"
    if changed := list(_settings(before, now)):
        return f"the champion was tested on other pairs ({', '.join(changed)}; {people})"
    if _faces(before) != _faces(now):
        return f"the photos of the data set changed ({people})"
    return f"the labels of the data set changed ({people})"


def _settings(before: Artifact, now: Artifact) -> Iterator[str]:
    old, new = before.manifest.config, now.manifest.config
    for name, title in SETTINGS.items():
        if old.get(name) != new.get(name):
            yield f"{title} {old.get(name)} before, {new.get(name)} now"
    defined = [each.get("definition") or {} for each in (old, new)]
    for name in sorted({*defined[0], *defined[1]}):
        if defined[0].get(name) != defined[1].get(name):
            yield f"{name} of the task {defined[0].get(name)} before, {defined[1].get(name)} now"


def _faces(protocol: Artifact) -> tuple[Any, Any]:
    folds = protocol.read_json("folds.json")
    return folds.get("faces"), folds.get("train_faces")
