"""`comface models list|show|promote`, the model registry, and `comface verify`, which traces artifacts to their
inputs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from comface.commands.options import AS_JSON, REFERENCE, configured
from comface.commands.surface import Group, argument, command
from comface.plan.chosen import Chosen

if TYPE_CHECKING:
    from comface.store import Store


@click.group(cls=Group)
def models() -> None:
    """List, show or promote registered models."""


def _store(chosen: Chosen) -> Store:
    from comface.store import open_store

    return open_store(chosen.configuration().store)


@models.command("list", example="comface models list --store s3://comface/artifacts")
@configured()
@AS_JSON
def list_(chosen: Chosen, as_json: bool) -> None:
    """List all versions, newest last."""
    from comface.models.listing import list_models, models_text

    rows = list_models(_store(chosen))
    print(json.dumps([row.record() for row in rows], indent=1) if as_json else models_text(rows))


@models.command(example="comface models show comface@v3")
@argument("reference", "REF", REFERENCE, required=False)
@configured()
@AS_JSON
def show(reference: str | None, chosen: Chosen, as_json: bool) -> None:
    """Show one model: its card, tasks and files."""
    from comface.models.listing import model_text, show_model

    shown = show_model(_store(chosen), reference)
    print(json.dumps(shown.record(), indent=1) if as_json else model_text(shown))


@models.command(example="comface models promote comface@v3")
@argument("reference", "REF", "NAME@v3, or NAME for its newest version")
@configured()
@AS_JSON
def promote(reference: str, chosen: Chosen, as_json: bool) -> None:
    """Make a version the champion, with which the gate compares new models."""
    from comface.models.listing import promote_model

    done = promote_model(_store(chosen), reference, datetime.now(UTC))
    before = f" (previously {done.before})" if done.before else ""
    print(json.dumps(done._asdict()) if as_json else f"{done.reference} is now the champion{before}")


@command(example="comface verify comface@v3 --store file:///backup/store")
@argument("reference", "REF", f"{REFERENCE}; or the URI of any other artifact", required=False)
@configured()
def verify(reference: str | None, chosen: Chosen) -> None:
    """Trace an artifact back to its inputs through the manifests, and check every hash.

    A model is verified together with its decision and its evaluation. References are resolved inside the given store,
    so a copy of a store can be verified too. Local weight files and data sets are compared with those that were used.
    The output also shows whether each artifact was made by the installed code; other code is not an error.
    """
    from comface.models.verification import verification
    from comface.store import open_store

    config = chosen.configuration()
    for line in verification(open_store(config.store), reference, config.weights):
        print(line)
