"""Verifies that a model and everything behind it are unchanged: manifests, objects, registry, signature, weight files,
data sets, code.

In: a store, and the reference of a model or of any other artifact. Out: one line per artifact and per file, then what
was checked, and what could not be checked and why. Raises DataError for the first object that differs from its
manifest, and at the end if weight files or data sets have changed. Everything is looked for in the store that was
named, so a copy of a store can be verified without the original.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from comface.artifacts.code_digest import code_digest
from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.verify import verify
from comface.errors import DataError
from comface.models.references import default_model, place_of, resolve_model
from comface.models.registry import Registry
from comface.models.shipped import NAME as SHIPPED
from comface.models.shipped import shipped_model
from comface.models.signing import check_signature, signatures
from comface.models.sources import CHANGED, UNCHANGED, UNCHECKED, state_of, used
from comface.runtime.progress import counted, shown
from comface.store import Store

MOST_NAMED = 5


@dataclass
class _Walk:
    """What was found on the way back from an artifact."""

    artifacts: int = 0
    objects: int = 0
    size_bytes: int = 0
    files: dict[tuple[str, str], tuple[str, bool]] = field(default_factory=dict)
    """(description, sha256) -> place, whether it is a data set."""
    may_differ: set[tuple[str, str]] = field(default_factory=set)
    """Data sets of artifacts from which a person was removed: the person is gone from them, too."""
    code: Counter[str] = field(default_factory=Counter)
    partly: dict[str, tuple[int, str]] = field(default_factory=dict)
    wholly: list[str] = field(default_factory=list)
    outside: int = 0

    def on_removed(self, uri: str, told: str, count: int) -> None:
        if count:
            self.partly[uri] = count, told
        else:
            self.wholly.append(f"removed {told}  {uri}")

    def add(self, artifact: Artifact, root: str, weights: str) -> str:
        """Count an artifact; return its line."""
        entries = artifact.manifest.objects.values()
        gone, told = self.partly.get(artifact.uri, (0, ""))
        there = len(entries) - gone
        self.artifacts, self.objects = self.artifacts + 1, self.objects + there
        self.size_bytes += sum(entry.size_bytes for entry in entries)
        for what, sha256, place in used(artifact, weights):
            is_dataset = sha256 == artifact.manifest.config.get("fingerprint")
            self.files[what, sha256] = place, is_dataset
            self.may_differ |= {(what, sha256)} if gone and is_dataset else set()
        self.code[made_by(artifact)] += 1
        self.outside += artifact.root != root
        outside = "" if artifact.root == root else f"  (outside {root})"
        lacking = f"  ({counted(gone, 'object')} removed {told})" if gone else ""
        return f"ok  {there:>5} objects  {artifact.uri}{outside}{lacking}"


def verification(store: Store, reference: str | None, weights: str, quick: bool = False) -> Iterator[str]:
    """Yield the lines of the verification one by one. `weights`: the weights location. `quick`: check the manifests and
    that all objects are there; do not read the objects, weight files and data sets."""
    if reference == SHIPPED:
        yield from _of_shipped()
        return
    starts, told = starting_points(store, reference)
    walk, root = _Walk(), starts[0].root
    pinned = (start.pinned for start in starts)
    for artifact in shown(verify(*pinned, on_removed=walk.on_removed, quick=quick), "verifying", unit="artifact"):
        yield walk.add(artifact, root, weights)
    yield from told
    differing, unchecked, same = [], [], 0
    for (what, sha256), (place, is_dataset) in walk.files.items():
        state, why = (UNCHECKED, "quick") if quick else state_of(place, sha256, is_dataset)
        where = f" ({why})" if why else f" ({place})"
        yield f"{what}: {state}{where}"
        differing += [what] if state == CHANGED and (what, sha256) not in walk.may_differ else []
        unchecked += [f"{what} ({why})"] if state == UNCHECKED else []
        same += state == UNCHANGED
    for made, count in sorted(walk.code.items()):
        yield f"code: {counted(count, 'artifact')} by {made}"
    if differing:
        raise DataError(
            f"{differing[0]} has changed since it was used (number of changed files and data sets: {len(differing)}, "
            "listed above); restore the original file, or make the artifacts that depend on it again."
        )
    yield from walk.wholly
    yield from _summary(walk, unchecked, same, quick)


def _summary(walk: _Walk, unchecked: list[str], same: int, quick: bool) -> Iterator[str]:
    """What was checked, and what was not."""
    gone = len(walk.partly) + len(walk.wholly)
    removed = f"; removed on purpose, in whole or in part: {counted(gone, 'artifact')}" if gone else ""
    counts = f"{counted(walk.artifacts, 'artifact')}, {counted(walk.objects, 'object')}"
    sources = f"; {same} of {len(walk.files)} weight files and data sets unchanged" if walk.files else ""
    if quick:
        yield f"{counts}: all manifests match and all objects are there{removed}"
        yield "Not checked (quick): the content of the objects, weight files and data sets. Run without --quick for it."
        return
    yield f"{counts} ({walk.size_bytes / 1e6:,.1f} MB): all hashes match{removed}{sources}"
    if unchecked:
        more = f", and {len(unchecked) - MOST_NAMED} more" if len(unchecked) > MOST_NAMED else ""
        yield f"Not checked: {'; '.join(unchecked[:MOST_NAMED])}{more}."
    if walk.outside:
        outside = counted(walk.outside, "artifact")
        yield f"Outside the named store: {outside}; copy them too, if this store is to stand alone."


def _of_shipped() -> Iterator[str]:
    model = shipped_model()
    for name in model.manifest.objects:
        model.check(name)
    yield f"ok  {len(model.manifest.objects):>5} objects  {model.uri}"
    yield "The model that ships with the package is unchanged. Its inputs are not in the package, and were not checked."


def starting_points(store: Store, reference: str | None) -> tuple[list[Artifact], list[str]]:
    """Return the artifact, and for a registered model also the decision of its gate; and a line for each fact about its
    registration and signature. Raises DataError if a record is damaged, or if no trusted key signed the model."""
    if reference is not None and (uri := place_of(reference)) is not None:
        artifact = open_artifact(uri)
        return [artifact], [_signed(artifact)] if artifact.manifest.kind == "model" else []
    called, model = resolve_model(store, reference or default_model(store).reference)
    name, _, number = called.partition("@v")
    registry = Registry(store, name)
    decision = registry.decision(registry.version(int(number)))
    records = len(registry.versions()) + sum(len(registry.history(alias)) for alias in registry.alias_names())
    told = [f"registry: the record of {called} names this model; {counted(records, 'record')} of '{name}' are intact"]
    told += [] if decision else [f"registry: {called} has no decision of a gate"]
    return [model, *([decision] if decision else [])], [*told, _signed(model)]


def _signed(model: Artifact) -> str:
    trusted = check_signature(model)
    if trusted is not None:
        return f"signature: by the trusted key {trusted}"
    found = signatures(model)
    if any(not each.valid for each in found):
        raise DataError(
            f"A signature of the model at {model.uri} does not fit it: one of the two was changed; get both again."
        )
    if not found:
        return "signature: none"
    return f"signature: by {', '.join(each.key for each in found)}; not checked against trusted keys: there are none"


def made_by(artifact: Artifact) -> str:
    code = artifact.manifest.code
    present = code_digest() == code["digest"]
    return f"version {code['version']}, {'the installed code' if present else 'code other than the installed code'}"
