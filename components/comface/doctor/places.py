"""The places that a run reads and writes: its store, the weights location, its data sets.

In: the configuration; credentials from the environment. Out: checks. Nothing large is read: what is there is listed.
"""

from __future__ import annotations

from comface.config import RunConfig
from comface.doctor.rows import Check, Row
from comface.generators.location import find_file, find_weights, needed
from comface.models import ALL
from comface.resolve.missing import missing_models, without_missing
from comface.resolve.step import check_store
from comface.store import open_store
from comface.store_s3 import S3Store
from comface.transfer.datasets import read_dataset

SECTION = "store and data"
REACH = "check AWS_ENDPOINT_URL and the network"


def place_checks(config: RunConfig) -> list[Check]:
    checks = [
        Check(SECTION, "store", lambda: store_rows(config.store), REACH),
        Check(SECTION, "embedded models", lambda: [model_row(config)]),
        Check(SECTION, "weights", lambda: [weights_row(config)], REACH),
    ]
    for name in dataset_names(config):
        checks.append(Check(SECTION, f"data set {name}", lambda name=name: [dataset_row(config, name)], REACH))  # type: ignore[misc]
    return checks


def store_rows(uri: str) -> list[Row]:
    store = open_store(uri)
    check_store(store)
    rows = [Row(SECTION, "store", "ok", f"{store.uri}: written, read and deleted")]
    if isinstance(store, S3Store):
        rows.append(versioning_row(store))
    return rows


def versioning_row(store: S3Store) -> Row:
    from minio.error import MinioException

    try:
        status = store.client.get_bucket_versioning(store.bucket).status
    except MinioException as error:
        code = getattr(error, "code", "") or type(error).__name__
        return Row(SECTION, "versioning", "note", f"unknown: the store answered {code}")
    if status == "Enabled":
        return Row(SECTION, "versioning", "ok", "on")
    todo = f"turn it on, so that what is overwritten or deleted can be had back: mc version enable ALIAS/{store.bucket}"
    return Row(SECTION, "versioning", "note", "off", todo)


def model_row(config: RunConfig) -> Row:
    """Raises ConfigurationError where nothing is left to run without them."""
    missing = missing_models()
    notes = without_missing(config, missing)[1]
    if notes:
        return Row(SECTION, "embedded models", "note", notes[0].partition(" Run ")[0].rstrip("."), "comface fetch")
    return Row(SECTION, "embedded models", "ok", f"{len(ALL) - len(missing)} of {len(ALL)} here, all that is needed")


def weights_row(config: RunConfig) -> Row:
    wanted = needed(config.synthesize)
    if not wanted:
        return Row(SECTION, "weights", "ok", "no StyleGAN is asked for")
    location = open_store(config.weights)
    keys = list(location.keys())
    missing = [generator for generator in wanted if find_weights(location, keys, generator) is None]
    for generator, entries in wanted.items():
        missing += [
            entry.file for entry in entries.values() if find_file(location, keys, entry.file, generator) is None
        ]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        found = f"{location.uri} lacks {', '.join(missing[:5])}{more}"
        return Row(SECTION, "weights", "red", found, "put the published files there (docs/generators.md)")
    return Row(SECTION, "weights", "ok", f"{location.uri} has those of {', '.join(wanted)} and all directions")


def dataset_names(config: RunConfig) -> list[str]:
    tasks = [config.tasks[name] for name in config.transfer.tasks]
    return sorted({name for task in tasks for name in (task.dataset, task.train_dataset) if name})


def dataset_row(config: RunConfig, name: str) -> Row:
    source = config.data[name]
    if not source.uri:
        return Row(SECTION, f"data set {name}", "ok", "none is given: the rehearsal one stands in")
    photos = read_dataset(source)
    return Row(SECTION, f"data set {name}", "ok", f"{len(photos)} photos at {source.uri}")
