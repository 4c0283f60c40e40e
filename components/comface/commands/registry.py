"""`comface models list|show|promote|…`, the model registry, and `comface verify`, which traces artifacts to their
inputs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from comface.commands.options import AS_JSON, REFERENCE, REGISTERED, configured, output_option
from comface.commands.surface import PATH, Group, Names, argument, command, flag, option
from comface.errors import ConfigurationError
from comface.files import check_output, write_file
from comface.plan.chosen import Chosen
from comface.runtime.extras import check_extras

if TYPE_CHECKING:
    from comface.models.listing import Promoted
    from comface.store import Store


@click.group(cls=Group)
def models() -> None:
    """List, show, promote or take back registered models."""


def _store(chosen: Chosen) -> Store:
    from comface.store import open_store

    return open_store(chosen.reading().store)


@models.command("list", example="comface models list --store s3://comface/artifacts")
@configured()
@AS_JSON
def list_(chosen: Chosen, as_json: bool) -> None:
    """List all versions, newest last."""
    from comface.models.listing import list_models, models_text

    rows = list_models(_store(chosen))
    print(json.dumps([row.record() for row in rows], indent=1) if as_json else models_text(rows))


@models.command(example="comface models show comface@v3")
@argument("reference", "[REF]", REFERENCE, required=False)
@configured()
@AS_JSON
def show(reference: str | None, chosen: Chosen, as_json: bool) -> None:
    """Show one model: its card, tasks and files."""
    from comface.models.listing import model_text, show_model

    shown = show_model(_store(chosen), reference)
    print(json.dumps(shown.record(), indent=1) if as_json else model_text(shown))


WHY = option("--why", "TEXT", "the reason, for the history", default="")


@models.command(example='comface models promote comface@v3 --why "new cameras"')
@argument("reference", "REF", "NAME@v3, or NAME for its newest version")
@WHY
@configured()
@AS_JSON
def promote(reference: str, why: str, chosen: Chosen, as_json: bool) -> None:
    """Make a version the champion, with which the gate compares new models.

    Every file of the model is compared with its manifest first.
    """
    from comface.models.listing import promote_model

    _said(promote_model(_store(chosen), reference, datetime.now(UTC), why), as_json)
    _mirror(chosen, reference)


@models.command(example="comface models rollback comface")
@argument("name", "NAME", "name of the model")
@WHY
@configured()
@AS_JSON
def rollback(name: str, why: str, chosen: Chosen, as_json: bool) -> None:
    """Make the previous champion the champion again.

    This adds a record to the history and deletes nothing. A second rollback returns to the champion before that.
    """
    from comface.models.listing import rollback_model

    _said(rollback_model(_store(chosen), name, datetime.now(UTC), why), as_json)
    _mirror(chosen, name)


@models.command(example="comface models alias comface@v3 ward-7\ncomface models alias comface@ward-7 --remove")
@argument("reference", "REF", "NAME@v3, or NAME for its newest version; with --remove: NAME@ALIAS")
@argument("alias", "[ALIAS]", "lower-case letters, digits and hyphens", required=False)
@flag("--remove", "remove the alias; the version stays")
@WHY
@configured()
@AS_JSON
def alias(reference: str, alias: str | None, remove: bool, why: str, chosen: Chosen, as_json: bool) -> None:
    """Give a version a name, NAME@ALIAS. The alias `champion` is the one that `comface models promote` sets."""
    from comface.models.listing import alias_model, remove_alias

    if remove == (alias is not None):
        raise ConfigurationError("The alias is missing or given twice; give REF and ALIAS, or NAME@ALIAS and --remove.")
    store, now = _store(chosen), datetime.now(UTC)
    _said(
        alias_model(store, reference, alias, now, why) if alias else remove_alias(store, reference, now, why), as_json
    )
    _mirror(chosen, reference)


@models.command(example="comface models history comface")
@argument("name", "NAME", "name of the model")
@configured()
@AS_JSON
def history(name: str, chosen: Chosen, as_json: bool) -> None:
    """Show who became champion, when and why, with the gate's decision at registration. Oldest first."""
    from comface.models.listing import history_of, history_text

    past = history_of(_store(chosen), name)
    print(json.dumps([each.record() for each in past], indent=1) if as_json else history_text(name, past))


@models.command(example="comface models keygen ~/comface-signing.pem")
@argument("file", "FILE", "where to write the private key; the public key is written to FILE.pub", PATH)
def keygen(file: Path) -> None:
    """Make a key pair (ed25519) for signing models, and print the public key.

    COMFACE_SIGNING_KEY=FILE signs every model that is registered. `registry.trusted_keys` in the configuration, or
    COMFACE_TRUSTED_KEYS, names the public keys without whose signature a model is refused.
    """
    from comface.models.signing import generate_key

    print(generate_key(file))


@models.command("sign", example="comface models sign comface@v3 --key ~/comface-signing.pem")
@argument("reference", "[REF]", REGISTERED, required=False)
@option("--key", "FILE", "the private key (default: the file that COMFACE_SIGNING_KEY names)", PATH)
@configured()
@AS_JSON
def sign_(reference: str | None, key: Path | None, chosen: Chosen, as_json: bool) -> None:
    """Sign a model, after every file was compared with its manifest."""
    from comface.models.listing import sign_model
    from comface.models.signing import SIGNING_KEY, key_of_environment, read_private_key

    store = _store(chosen)
    private = read_private_key(key) if key is not None else key_of_environment()
    if private is None:
        raise ConfigurationError(f"There is no signing key; give --key FILE, or set {SIGNING_KEY}.")
    signed = sign_model(store, reference, private)
    print(json.dumps(signed._asdict()) if as_json else f"{signed.reference} is signed by {signed.key}")


@models.command(needs=["registries"], example="comface models mirror comface --config comface.yaml")
@argument("name", "NAME", "name of the model")
@configured()
def mirror(name: str, chosen: Chosen) -> None:
    """Bring the other registries (`registry.mirrors`: MLflow, Kubeflow Model Registry) in step with the store.

    Registration and every change of an alias do this, too. Run it after one of the registries did not answer, or to
    fill a new one: it adds what is missing and changes nothing else.
    """
    if not chosen.configuration().registry.mirrors:
        raise ConfigurationError(
            "The configuration names no other registry; set registry.mirrors, for example to {mlflow: http://HOST:5000}."
        )
    for sentence in _mirror(chosen, name):
        print(sentence)


def _mirror(chosen: Chosen, reference: str) -> list[str]:
    """Bring the other registries in step. What the store holds is already said, so an error only means the copies."""
    mirrors = chosen.configuration().registry.mirrors
    if not mirrors:
        return []
    from comface.models.listing import registry_of
    from comface.models.mirrors import mirror_registry

    return mirror_registry(registry_of(_store(chosen), reference.partition("@")[0]), mirrors)


SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


@models.command(example="comface models export comface@v3 --format onnx --output comface.onnx")
@argument("reference", "[REF]", REFERENCE, required=False)
@option("--format", None, "ONNX, or torch.export", Names(lambda: SUFFIXES), required=True)
@output_option("FILE", "where to write it: FILE.onnx, or FILE.pt2 for torch")
@configured()
def export(reference: str | None, format: str, output: Path, chosen: Chosen) -> None:
    """Write a model as one file for programs without this package: two aligned faces in, the changes out.

    The file is compared with the model on random faces before it is written. Finding the face, the checks of a pair and
    the prediction intervals are not part of it (docs/python.md).
    """
    from comface.models.export import exported
    from comface.models.model import Model

    if output.suffix.lower() != SUFFIXES[format]:
        raise ConfigurationError(f"The output '{output}' does not end in {SUFFIXES[format]}; rename it.")
    if format == "onnx":
        check_extras("comface models export --format onnx", "export")
    check_output(output, ())
    model = Model.load(_store(chosen), reference)
    write_file(output, exported(model, format))
    print(f"{output}: {model.reference} as {format}, {output.stat().st_size / 1e6:.1f} MB")


def _said(done: Promoted, as_json: bool) -> None:
    print(json.dumps(done._asdict()) if as_json else done.text)


@command(example="comface verify comface@v3 --store file:///backup/store")
@argument("reference", "[REF]", f"{REGISTERED}; or the URI of any other artifact", required=False)
@flag("--quick", "check the manifests, and that all objects are there; do not read the objects")
@configured()
def verify(reference: str | None, quick: bool, chosen: Chosen) -> None:
    """Trace an artifact back to its inputs through the manifests, and check every hash.

    A model is verified together with its signature, its record in the registry, its decision and its evaluation.
    References are resolved inside the given store, so a copy of a store can be verified too. Weight files and data sets
    are compared with those that were used. The output ends with what was checked, and what could not be checked and
    why. It also shows whether each artifact was made by the installed code; other code is not an error.
    """
    from tqdm import tqdm

    from comface.models.verification import verification
    from comface.store import open_store

    config = chosen.reading()
    for line in verification(open_store(config.store), reference, config.weights, quick):
        tqdm.write(line)  # above the progress bar
