"""Plans: what each step receives, as objects of the store; what travels through KFP is short.

    STORE/plans/RUN/KEY.json    KEY is made of the sha256 of the content, so a changed plan is refused

A word of a command line ends at 128 KiB, and KFP hands a step all its arguments in one word. So a step is given the URI
of its plan, a loop the keys of its items, and who collects what a loop made (512 parts, 2,000 transfers) their keys. A
person's command has its plan inline, as JSON, and no run: it leaves no plan behind.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from comface.artifacts.manifest import Artifact, open_artifact
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.store import READINGS, Store, open_store

FOLDER = "plans"
PLAN_BYTES = 64 << 20
KEY = "p[A-Za-z0-9_-]{11}"
"""66 bits of the sha256. Never a number, as which KFP would read it; 2,000 of them in one argument are 30 kB."""


class Plan(BaseModel):
    """What the plans of all steps have in common; each step adds what it needs (`from_plan.py` in its folder)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    store: str
    run: str = ""
    """Empty for a person's command."""

    @property
    def item(self) -> str:
        """What tells the step from those of the same loop."""
        return ""

    @property
    def text(self) -> str:
        """The plan as a step is given it: canonical JSON, so that caching is exact per step."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class PlanPlace:
    """Where the plans of a run lie; with `key`, one of them; with `item`, one item of that."""

    store: str
    run: str
    key: str = ""
    item: int | None = None

    @property
    def reference(self) -> str:
        item = "" if self.item is None else f"#{self.item}"
        return f"{self.store}/{FOLDER}/{self.run}/{self.key}.json{item}"


def located(plan: str) -> PlanPlace:
    """What a plan, inline or by reference, says of where it belongs, before it is read."""
    if plan.startswith("{"):
        values = json.loads(plan)
        return PlanPlace(values["store"], values.get("run", ""))
    found = re.fullmatch(rf"(.+)/{FOLDER}/([^/]+)/({KEY})\.json(?:#(\d+))?", plan)
    if not found:
        raise ConfigurationError(f"'{plan[:200]}' is no plan; give what resolve made for this step.")
    return PlanPlace(found[1], found[2], found[3], int(found[4]) if found[4] else None)


def read_plan(plan: str, store: Store) -> dict[str, Any]:
    """The plan's content, checked. Raises DataError when it is not what its key says."""
    place = located(plan)
    values: dict[str, Any] = fetched(store, place.run, place.key) if place.key else json.loads(plan)
    if place.item is None:
        return values
    if not 0 <= place.item < len(values["items"]):
        raise ConfigurationError(f"The plan {plan} has no such item; it has {len(values['items'])}.")
    return dict(values["items"][place.item])


def planned(kind: type[P], plan: str, store: Store) -> P:
    """The plan as the step reads it. Raises ConfigurationError for one that another version made."""
    try:
        return kind.model_validate({"run": located(plan).run, **read_plan(plan, store)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigurationError(
            f"This version of comface cannot read the plan ('{'.'.join(map(str, first['loc']))}': {first['msg']}); use "
            "one image for all steps, and start the run again."
        ) from None


def kept(store: Store, run: str, value: Any) -> str:
    """Store `value`, and give its key."""
    data = canonical_json(value).encode()
    key = _key(data)
    store.write(f"{FOLDER}/{run}/{key}.json", data)
    return key


def fetched(store: Store, run: str, key: str) -> Any:
    """What was kept under `key`. Raises DataError when it is gone or was changed."""
    name = f"{FOLDER}/{run}/{key}.json"
    for _ in range(READINGS):
        if _key(data := store.read(name, PLAN_BYTES)) == key:
            return json.loads(data)
    raise DataError(f"The plan '{name}' of {store.uri} was changed or is damaged; start the run again.")


def item_of(plan: str, item: str) -> str:
    """The reference of one item of a loop, whose items are plans of the run that `plan` belongs to."""
    place = located(plan)
    key, _, number = item.partition(".")
    return PlanPlace(place.store, place.run, key, int(number) if number.isdecimal() else None).reference


def hand_on(store: Store, run: str, artifact: Artifact) -> str:
    """What a step that runs in a loop returns: in a run the key of a note that names the artifact, otherwise its URI
    with the sha256."""
    return kept(store, run, {"artifact": artifact.pinned}) if run else artifact.pinned


def handed(store: Store, run: str, given: Sequence[str], kind: str) -> list[Artifact]:
    """The artifacts that `hand_on` or a person named."""
    keys = (re.fullmatch(KEY, each) for each in given)
    named = [fetched(store, run, each)["artifact"] if key else each for each, key in zip(given, keys, strict=True)]
    return [open_artifact(reference, kind) for reference in named]


def open_place(plan: str) -> tuple[Store, PlanPlace]:
    place = located(plan)
    return open_store(place.store), place


def _key(data: bytes) -> str:
    return "p" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()[:11]
