"""Output of `comface models list|show|promote|alias|rollback|history`.

In: a store, names. Out: plain rows, and their text for the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from comface.artifacts.manifest import open_artifact
from comface.errors import ConfigurationError
from comface.models.aliases import CHAMPION, Promotion
from comface.models.format import SEEN, Task, read_card, read_facts
from comface.models.references import find_version, place_of, resolve_model
from comface.models.registry import Registry, Version, names
from comface.models.signing import Signature, sign, signatures
from comface.store import Store
from comface.tasks.config import base, mode_title, options

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

UNSEEN = f"without {SEEN}: compare does not check whether a photo is unlike those that the model has seen"
SIGNED = {"trusted": "signed (trusted)", "yes": "signed", "no": "not signed", "invalid": "SIGNATURE INVALID"}


class Listed(NamedTuple):
    """A version, as `comface models list --json` prints it."""

    reference: str
    champion: bool
    aliases: tuple[str, ...]
    registered_at: str
    tasks: dict[str, Task]
    uri: str
    signed: str
    """`trusted`: by a trusted key; `yes`: by another key; `no`; `invalid`: a signature that does not fit."""

    def record(self) -> dict[str, Any]:
        return self._asdict() | {"tasks": _records(self.tasks)}


class Shown(NamedTuple):
    """A model, as `comface models show --json` prints it."""

    reference: str
    uri: str
    sha256: str
    tasks: dict[str, Task]
    card: str
    objects: dict[str, int]
    """Sizes in bytes."""
    signatures: list[Signature]

    def record(self) -> dict[str, Any]:
        signed = [each._asdict() for each in self.signatures]
        return self._asdict() | {"tasks": _records(self.tasks), "signatures": signed}


class Promoted(NamedTuple):
    """A change of the champion or of another alias, as `comface models promote|alias|rollback|history --json` prints
    it. `reference`: None if the alias was removed; `before`: what it named before."""

    alias: str
    reference: str | None
    before: str | None
    promoted_at: str
    why: str
    rolled_back: bool

    @property
    def text(self) -> str:
        """What is so now."""
        before = f" (previously {self.before})" if self.before else ""
        if self.alias != CHAMPION:
            if self.reference is None:
                return f"The alias '{self.alias}' is removed{before}"
            return f"{self.reference} now has the alias '{self.alias}'{before}"
        if self.reference is None:
            return f"There is no champion any more{before}"
        return f"{self.reference} is {'again' if self.rolled_back else 'now'} the champion{before}"


class Signed(NamedTuple):
    """A new signature, as `comface models sign --json` prints it."""

    reference: str
    key: str


class Decided(NamedTuple):
    """The gate's decision on a version."""

    uri: str
    sentences: tuple[str, ...]


class Past(NamedTuple):
    """One change of the champion with the gate's decision on that version when it was registered."""

    change: Promoted
    decision: Decided | None

    def record(self) -> dict[str, Any]:
        return self.change._asdict() | {"decision": self.decision._asdict() if self.decision else None}


def list_models(store: Store) -> list[Listed]:
    """Return one row per version, newest last."""
    rows = []
    for name in names(store):
        registry = Registry(store, name)
        aliases = registry.aliases()
        for version in registry.versions():
            named = tuple(alias for alias, each in aliases.items() if each.number == version.number)
            rows.append(_row(registry, version, named))
    return sorted(rows, key=lambda row: row.registered_at)


def models_text(rows: Sequence[Listed]) -> str:
    if not rows:
        return (
            "This store has no registered models; `comface run` registers one. Until then, the model that ships with "
            "the package is used: `comface models show shipped`."
        )
    lines = []
    for row in rows:
        at = row.registered_at[:16].replace("T", " ")
        lines.append("  ".join([f"{row.reference:<15}", at, SIGNED[row.signed], ", ".join(row.aliases)]).rstrip())
        width = max(map(len, row.tasks), default=0)
        lines += [f"    {task:<{width}}  {_task(entry)}" for task, entry in row.tasks.items()]
    return "\n".join(lines)


def show_model(store: Store, reference: str | None) -> Shown:
    called, model = resolve_model(store, reference)
    objects = {name: entry.size_bytes for name, entry in model.manifest.objects.items()}
    tasks = read_facts(model).tasks
    return Shown(called, model.uri, model.sha256, tasks, read_card(model), objects, signatures(model))


def model_text(shown: Shown) -> str:
    objects = "\n".join(f"  {size:>12,} B  {name}" for name, size in shown.objects.items())
    signed = "\n".join(f"  {_signature(each)}" for each in shown.signatures) or "  not signed"
    unseen = "" if SEEN in shown.objects else f"\n  {UNSEEN}"
    return f"{shown.card}\n{shown.reference} = {shown.uri}\n{objects}{unseen}\n{signed}"


def _signature(each: Signature) -> str:
    if not each.valid:
        return "a signature does not fit the model: one of the two was changed"
    return f"signed by {each.key} ({'a trusted key' if each.trusted else 'not one of the trusted keys'})"


def promote_model(store: Store, reference: str, now: datetime, why: str = "") -> Promoted:
    """Make NAME@vN (or the newest version of NAME) the champion."""
    registry, number = _version_of(store, reference)
    return _promoted(registry, CHAMPION, registry.promote(number, now, why))


def alias_model(store: Store, reference: str, alias: str, now: datetime, why: str = "") -> Promoted:
    """Let `alias` name NAME@vN (or the newest version of NAME)."""
    registry, number = _version_of(store, reference)
    return _promoted(registry, alias, registry.point(alias, number, now, why))


def sign_model(store: Store, reference: str | None, private: Ed25519PrivateKey) -> Signed:
    """Sign a model that is registered, or that lies at a URI or path."""
    if reference is not None and (uri := place_of(reference)) is not None:
        return Signed(uri, sign(open_artifact(uri, "model"), private))
    version = find_version(store, reference)
    return Signed(version.reference, sign(Registry(store, version.name).unchecked(version), private))


def remove_alias(store: Store, reference: str, now: datetime, why: str = "") -> Promoted:
    """Remove the alias of NAME@ALIAS; the version stays."""
    name, _, alias = reference.partition("@")
    registry = registry_of(store, name)
    return _promoted(registry, alias, registry.point(alias, None, now, why))


def rollback_model(store: Store, name: str, now: datetime, why: str = "") -> Promoted:
    """Make the previous champion of NAME the champion again."""
    registry = registry_of(store, name)
    return _promoted(registry, CHAMPION, registry.rollback(now, why))


def history_of(store: Store, name: str) -> list[Past]:
    """Return who became champion of NAME, when and why, oldest first."""
    registry = registry_of(store, name)
    return [_past(registry, each) for each in registry.history()]


def history_text(name: str, past: Sequence[Past]) -> str:
    if not past:
        return f"'{name}' never had a champion; choose one with `comface models promote {name}@v1`."
    lines = []
    for change, decision in past:
        after = f", after {change.before}" if change.before else ""
        what = "removed" if change.reference is None else "rolled back" if change.rolled_back else "promoted"
        who = change.reference or "no champion"
        lines.append(f"{change.promoted_at[:16].replace('T', ' ')}  {who}  {what}{after}")
        lines += [f"    why: {change.why}"] if change.why else []
        if decision is not None:
            lines += [f"    gate at registration: {sentence}" for sentence in decision.sentences]
            lines.append(f"    decision: {decision.uri}")
    return "\n".join(lines)


def _past(registry: Registry, change: Promotion) -> Past:
    version = registry.version(change.version) if change.version is not None else None
    recorded = registry.decision(version) if version is not None else None
    decided = None
    if recorded is not None:
        record = recorded.facts
        first = record["outcome"] if "outcome" in record else "passed" if record.get("passed") else "rejected"
        sentences = [*record.get("reasons", ()), *record.get("notes", ())]
        decided = Decided(recorded.uri, (str(first), *map(str, sentences)))
    return Past(_promoted(registry, CHAMPION, change), decided)


def _version_of(store: Store, reference: str) -> tuple[Registry, int]:
    if place_of(reference) is not None:
        raise ConfigurationError(f"This command needs a version, not the location {reference}; write NAME@v3.")
    called, _ = resolve_model(store, reference)
    name, _, number = called.partition("@v")
    return Registry(store, name), int(number)


def registry_of(store: Store, name: str) -> Registry:
    """The registry of NAME. Raises ConfigurationError if no model has this name."""
    registry = Registry(store, name)
    if name not in (known := names(store)):
        raise ConfigurationError(
            f"No model '{name}' is registered in {store.uri}; registered models: {', '.join(known) or 'none'}."
        )
    return registry


def _promoted(registry: Registry, alias: str, change: Promotion) -> Promoted:
    after, before = (
        f"{registry.name}@v{number}" if number is not None else None for number in (change.version, change.before)
    )
    return Promoted(alias, after, before, change.promoted_at.isoformat(), change.why, change.rolled_back)


def _row(registry: Registry, version: Version, aliases: tuple[str, ...]) -> Listed:
    model = registry.unchecked(version)
    return Listed(
        version.reference,
        CHAMPION in aliases,
        aliases,
        version.registered_at.isoformat(),
        read_facts(model).tasks,
        model.uri,
        _signed(signatures(model)),
    )


def _signed(found: Sequence[Signature]) -> str:
    if any(each.trusted for each in found):
        return "trusted"
    if not all(each.valid for each in found):
        return "invalid"
    return "yes" if found else "no"


def _records(tasks: Mapping[str, Task]) -> dict[str, dict[str, Any]]:
    return {name: task.model_dump(mode="json") for name, task in tasks.items()}


def _task(task: Task) -> str:
    value = "unknown" if task.corr is None else f"{task.corr:.2f}"
    mode = "fine-tuned" if base(task.mode) == "finetune" else "linear"
    words = [f"correlation {value}", mode_title(task.mode) if options(task.mode) else mode]
    return ", ".join(words + (["rehearsal"] if task.rehearsal else []))
