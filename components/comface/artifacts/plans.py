"""Plans: the input of each step, stored as objects, so that KFP passes only short references.

    STORE/plans/RUN/KEY.json    KEY is derived from the sha256 of the content, so that a changed plan is refused

A command-line argument is limited to 128 KiB, and KFP passes all arguments of a step in one. Therefore a step gets the
URI of its plan, a step in a loop also the name of its item in that plan, and a step that collects the results of a loop
(512 parts, 2,000 transfers) their keys. A command that a user starts has its plan inline, as JSON, and no run; it
stores no plan.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.sealed import read_sealed, sealed
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.store import READINGS, Store, open_store

FOLDER = "plans"
PLAN_BYTES = 64 << 20
REPORT = "report"
"""plans/RUN/report.json names the artifact with the newest report of a run, for its last step."""
NOTHING = "none"
"""The only item of a loop that has nothing to do."""
KEY = "p[A-Za-z0-9_-]{11}"
"""66 bits of the sha256. It starts with "p" so that KFP does not parse it as a number; 2,000 keys have 30 kB."""


class Plan(BaseModel):
    """The common part of all plans; each step adds its fields (`from_plan.py` in its folder)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    store: str
    run: str = ""
    """Empty for a command that a user started."""

    @property
    def item(self) -> str:
        """The item of a loop that this step processes."""
        return ""

    @property
    def text(self) -> str:
        """The plan as canonical JSON, so that KFP caches each step exactly."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class PlanPlace:
    """The location of a run's plans; with `key`, of one plan; with `item`, of one item in it."""

    store: str
    run: str
    key: str = ""
    item: str = ""

    @property
    def reference(self) -> str:
        item = f"#{self.item}" if self.item else ""
        return f"{self.store}/{FOLDER}/{self.run}/{self.key}.json{item}"


def located(plan: str) -> PlanPlace:
    """The location of a plan, given inline or by reference, without reading it. Raises ConfigurationError for any other
    text."""
    if plan.startswith("{"):
        values = json.loads(plan)
        return PlanPlace(values["store"], values.get("run", ""))
    found = re.fullmatch(rf"(.+?)/{FOLDER}/([^/]+)/({KEY})\.json(?:#(.+))?", plan)
    if not found:
        raise ConfigurationError(f"'{plan[:200]}' is not a plan; give the plan that resolve made for this step.")
    return PlanPlace(found[1], found[2], found[3], found[4] or "")


def read_plan(plan: str, store: Store) -> dict[str, Any]:
    """The plan's content, verified; of a reference to an item, `chosen` is its name. Raises DataError if the content
    does not match its key."""
    place = located(plan)
    values: dict[str, Any] = fetched(store, place.run, place.key) if place.key else json.loads(plan)
    return values | ({"chosen": place.item} if place.item else {})


def planned(kind: type[P], plan: str, store: Store) -> P:
    """The plan as the model `kind`. Raises ConfigurationError for a plan of another version."""
    try:
        return kind.model_validate({"run": located(plan).run, **read_plan(plan, store)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigurationError(
            f"This version of comface cannot read the plan ('{'.'.join(map(str, first['loc']))}': {first['msg']}); use "
            "one image for all steps, and start the run again."
        ) from None


def kept(store: Store, run: str, value: Any) -> str:
    """Store `value` and return its key."""
    data = canonical_json(value).encode()
    key = _key(data)
    store.write(f"{FOLDER}/{run}/{key}.json", data)
    return key


def fetched(store: Store, run: str, key: str) -> Any:
    """The value stored under `key`. Raises DataError if it is absent or was changed."""
    name = f"{FOLDER}/{run}/{key}.json"
    for _ in range(READINGS):
        if _key(data := store.read(name, PLAN_BYTES)) == key:
            return json.loads(data)
    raise DataError(f"The plan '{name}' of {store.uri} was changed or is damaged; start the run again.")


def items_with(key: str, names: Sequence[str]) -> list[str]:
    """Items NAME@KEY of a loop whose steps also read what is stored under `key`: KFP's local runner gives a step in a
    loop nothing that another step made, except its item. A loop without items has the item NOTHING, because the local
    runner cannot collect from an empty loop."""
    return [f"{name}@{key}" for name in names or [NOTHING]]


def split_item(item: str) -> tuple[str, str]:
    """(NAME, KEY) of an item."""
    name, _, key = item.rpartition("@")
    return name, key


def item_of(plan: str, name: str, key: str = "") -> str:
    """The reference of one item of `plan`; with `key`, of the plan that is stored under it in the same run."""
    place = located(plan)
    return replace(place, item=name, key=key or place.key).reference


def hand_on(store: Store, run: str, artifact: Artifact) -> str:
    """The return value of a step in a loop: in a run the key of a stored reference to the artifact, otherwise its URI
    with the sha256."""
    return kept(store, run, {"artifact": artifact.pinned}) if run else artifact.pinned


def handed(store: Store, run: str, given: Sequence[str], kind: str) -> list[Artifact]:
    """The artifacts given by `hand_on` or by a user."""
    keys = (re.fullmatch(KEY, each) for each in given)
    named = [fetched(store, run, each)["artifact"] if key else each for each, key in zip(given, keys, strict=True)]
    return [open_artifact(reference, kind) for reference in named]


def name_report(store: Store, run: str, artifact: Artifact) -> None:
    """Record the artifact that has the run's report; a later one replaces it. Does nothing outside a run."""
    if run:
        store.write(f"{FOLDER}/{run}/{REPORT}.json", sealed({"artifact": artifact.pinned}))


def named_report(store: Store, run: str) -> Artifact | None:
    """The artifact that has the run's report; None before there is one. Raises DataError if it was changed."""
    key = f"{FOLDER}/{run}/{REPORT}.json"
    if not run or not store.exists(key):
        return None
    try:
        return open_artifact(read_sealed(store, key)["artifact"])
    except ValueError:
        raise DataError(f"The record '{key}' of {store.uri} was changed or is damaged; delete it.") from None


def open_place(plan: str) -> tuple[Store, PlanPlace]:
    place = located(plan)
    return open_store(place.store), place


def _key(data: bytes) -> str:
    return "p" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()[:11]
