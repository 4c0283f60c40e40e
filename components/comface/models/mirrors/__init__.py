"""Copies of the registry in other model registries: MLflow, Kubeflow Model Registry.

In: the registry of a model in the object store, which alone decides, and the addresses of other registries. Out: there,
the same versions and aliases. `bring_in_step` compares what is there with what should be, and adds what is missing. So
after a failure the same call completes the copy, and a call too many changes nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from comface.errors import ComfaceError, ConfigurationError, DataError, TryAgain, raise_any
from comface.models.config import MirrorName
from comface.models.format import read_facts
from comface.models.mirrors.interface import Entry, Mirror
from comface.models.registry import Registry, Version
from comface.runtime.extras import check_extras

PAUSES_S = (1.0, 3.0)
"""Before the second and the third attempt."""

logger = logging.getLogger(__name__)


def mirror_registry(
    registry: Registry, addresses: Mapping[MirrorName, str], pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """Bring each of the other registries in step; return one sentence each. Raises the errors of those that failed,
    after all were tried: what the store holds is not affected."""
    done: list[str] = []
    problems: list[ComfaceError] = []
    for name, address in addresses.items():
        check_extras(f"registry.mirrors: {name}", "registries")
        try:
            done.append(_patiently(registry, open_mirror(name, address), pause))
        except ComfaceError as error:
            problems += error.problems
    raise_any(problems)
    return done


def open_mirror(name: MirrorName, address: str) -> Mirror:
    """The other registry at an address; credentials come from the environment."""
    if name == "mlflow":
        from comface.models.mirrors.mlflow import MlflowMirror

        return MlflowMirror(address)
    from comface.models.mirrors.kubeflow import KubeflowMirror

    return KubeflowMirror(address)


def bring_in_step(registry: Registry, mirror: Mirror) -> str:
    """Add the versions and aliases that a mirror lacks. A model that was changed, or that no trusted key signed, is not
    copied, and is an error after everything else was copied."""
    there = mirror.versions(registry.name)
    problems: list[ComfaceError] = []
    usable: set[int] = set()
    added = 0
    for version in registry.versions():
        try:
            if there.get(version.number, version.sha256) != version.sha256:
                raise ConfigurationError(
                    f"{mirror.title} has another model as {version.reference}, not the one of {registry.store.uri}; "
                    "use another model name, or another registry."
                )
            if version.number not in there:
                mirror.add(_entry(registry, version))
                added += 1
            usable.add(version.number)
        except (DataError, ConfigurationError) as error:
            problems.append(error)
    wanted = {alias: each.number for alias, each in registry.aliases().items() if each.number in usable}
    present = mirror.aliases(registry.name) if usable else {}
    removed = frozenset(set(registry.alias_names()) & (present.keys() - wanted.keys()))
    if removed or {alias: present.get(alias) for alias in wanted} != wanted:
        mirror.set_aliases(registry.name, wanted, removed)
    raise_any(problems)
    return f"{mirror.title} has all {len(usable)} versions of '{registry.name}' ({added} added now) and its aliases."


def _patiently(registry: Registry, mirror: Mirror, pause: Callable[[float], None]) -> str:
    for seconds in PAUSES_S:
        try:
            return bring_in_step(registry, mirror)
        except TryAgain as error:
            logger.info(f"{error} Trying again in {seconds:g} s.")
            pause(seconds)
    try:
        return bring_in_step(registry, mirror)
    except TryAgain as error:
        raise TryAgain(
            f"The registry in the store is complete, but its copy is not: {str(error).rstrip('.')}; "
            f"run `comface models mirror {registry.name}` when it answers, which completes the copy."
        ) from None


def _entry(registry: Registry, version: Version) -> Entry:
    """Raises DataError if a file of the model differs from its manifest, or if no trusted key signed it."""
    model = registry.check(version)
    tasks = read_facts(model).tasks
    shown = {
        f"corr {task}": f"{'unknown' if each.corr is None else f'{each.corr:.3f}'}{', rehearsal' * each.rehearsal}"
        for task, each in tasks.items()
    }
    properties = {"registered_at": version.registered_at.isoformat(), "tasks": ", ".join(tasks), **shown}
    return Entry(registry.name, version.number, model.uri, model.sha256, properties)
