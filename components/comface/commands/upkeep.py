"""`comface forget`, which removes a person's data, and `comface artifacts list|clean|rules`, which keep a store."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from comface.commands.options import AS_JSON, configured
from comface.commands.surface import Group, argument, command, flag, option
from comface.errors import ConfigurationError
from comface.plan.chosen import Chosen
from comface.runtime.output import say

if TYPE_CHECKING:
    from comface.store import Store

YES = flag("--yes", "remove it; without this, nothing is removed")


def _store(chosen: Chosen) -> Store:
    from comface.store import open_store

    return open_store(chosen.reading().store)


@command(example="comface forget patient-017 --dry-run\ncomface forget patient-017 --dataset edema-a --yes")
@argument("subject", "SUBJECT", "id of the person in the data set; - reads it from standard input")
@option("--dataset", "NAME", "only the person of this data set (default: of every data set that has this id)")
@flag("--dry-run", "show what would be removed")
@flag("--yes", "do not ask")
@configured()
def forget(subject: str, dataset: str | None, dry_run: bool, yes: bool, chosen: Chosen) -> None:
    """Remove a person's photos, faces, features and predictions, and list the models that saw the person.

    Models, reports and the data set itself stay: the output says what to do about them. The removal is recorded
    without the id of the person. The command can be repeated: it completes a removal that was interrupted.
    """
    from comface.upkeep.forget import find_person
    from comface.upkeep.forget import forget as remove
    from comface.upkeep.told import told

    store = _store(chosen)
    subject = sys.stdin.readline().strip() if subject == "-" else subject
    if not subject:
        raise ConfigurationError("No id of a person is given; give SUBJECT, or write it to standard input.")
    found = find_person(store, subject, dataset)
    for line in told(found):
        print(line)
    if dry_run or not (found.targets or found.interrupted):
        return
    if not yes and not (sys.stdin.isatty() and click.confirm("Remove these objects for good?", err=True)):
        raise ConfigurationError("Nothing was removed; give --yes to remove it, or --dry-run to see what would go.")
    remove(store, subject, found, datetime.now(UTC).date())
    say("The data of this person are removed, and the removal is recorded without the id.")


@click.group(cls=Group)
def artifacts() -> None:
    """List or clean what a store has, or show its rules."""


@artifacts.command("list", example="comface artifacts list --store s3://comface/artifacts --kind faces")
@option("--kind", "KIND", "only artifacts of this kind, e.g. tracks, faces, model")
@configured()
@AS_JSON
def list_(kind: str | None, chosen: Chosen, as_json: bool) -> None:
    """List artifacts with size and age, and what refers to what."""
    from comface.upkeep.cleaning import listed, listing_text

    rows = [row for row in listed(_store(chosen), time.time()) if kind in (None, row.kind)]
    print(json.dumps([row.record() for row in rows], indent=1) if as_json else listing_text(rows))


@artifacts.command(example="comface artifacts clean\ncomface artifacts clean --older-than 60 --yes")
@option("--older-than", "DAYS", "remove only what is older", click.FloatRange(min=0), default=30.0)
@option(
    "--inputs",
    None,
    "also remove inputs of registered models, which compare does not need: old = not a champion's, all = any "
    "(then the gate cannot compare with the champion, and verify says what was removed)",
    click.Choice(["old", "all"]),
)
@YES
@configured()
def clean(older_than: float, inputs: str | None, yes: bool, chosen: Chosen) -> None:
    """Remove what no registered model and no recent run needs, and incomplete writes.

    Without --yes, it only shows what it would remove. A run is recent if it wrote anything within --older-than days, so
    choose more days than the longest run takes and than a schedule pauses.
    """
    from comface.upkeep.cleaning import clean as remove
    from comface.upkeep.cleaning import find_waste

    store = _store(chosen)
    waste = find_waste(store, time.time(), older_than, inputs or "")
    for line in waste.lines():
        print(line)
    if yes:
        remove(store, waste, datetime.now(UTC).date())
    elif waste.is_any:
        say("Nothing was removed; give --yes to remove it.")


@artifacts.command(example="comface artifacts rules --faces 365 --store s3://comface/artifacts --set-on-bucket")
@option("--faces", "DAYS", "remove aligned faces, features and folds after so many days", click.IntRange(min=1))
@option(
    "--versions", "DAYS", "remove replaced and deleted objects after so many days", click.IntRange(min=1), default=30
)
@option("--uploads", "DAYS", "remove incomplete uploads after so many days", click.IntRange(min=1), default=7)
@flag("--set-on-bucket", "set the rules on the bucket of the store; they replace its rules")
@configured()
def rules(faces: int | None, versions: int, uploads: int, set_on_bucket: bool, chosen: Chosen) -> None:
    """Print lifecycle rules for the bucket of the store, as JSON for `aws s3api` and `mc ilm rule import`."""
    from comface.upkeep.rules import bucket_rules, set_rules

    store = _store(chosen)
    wanted = bucket_rules(store, faces, versions, uploads)
    print(json.dumps(wanted, indent=2))
    if set_on_bucket:
        set_rules(store, wanted)
        say(f"The rules are set on the bucket of {store.uri}.")
