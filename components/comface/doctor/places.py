"""What a run needs besides the cluster: its settings, store, weights and data sets, as resolve checks them.

In: the configuration; credentials from the environment. Out: checks. They read nothing large: they list objects.
"""

from __future__ import annotations

import contextlib

from comface.doctor.rows import Check, Row
from comface.errors import ComfaceError
from comface.generators.registry import generator
from comface.launch.local import gpus_of_machine
from comface.plan.checks import Check as RunCheck
from comface.plan.checks import check_store, survey_run
from comface.plan.configuration import RunConfig
from comface.runtime.logs import in_pod
from comface.store import open_store
from comface.store.s3 import S3Store

SECTION = "run"
REACH = "check AWS_ENDPOINT_URL and the network"


def place_checks(config: RunConfig) -> list[Check]:
    """The checks of resolve, one row each. The store has more rows; doctor/kubernetes.py checks GPUs in the cluster."""
    checks = [Check(SECTION, "store", lambda: store_rows(config.store), REACH)]
    survey = survey_run(config)
    for each in survey.checks:
        if each.name not in ("store", "GPUs"):
            checks.append(Check(SECTION, each.name, lambda each=each: [row_of(each)], REACH))  # type: ignore[misc]
    own_gpus = config.pretrain.nodes == 1 and config.pretrain.gpus_per_node and not in_pod()
    if own_gpus:
        checks.append(Check(SECTION, "GPUs of this machine", lambda: [own_gpus_row(config.pretrain.gpus_per_node)], ""))
    _import_first(survey.config, bool(own_gpus) or any(":" in name for name in config.transfer.methods))
    return checks


def _import_first(config: RunConfig, uses_torch: bool) -> None:
    """Import what several checks import, and torch only if they use it. They run in parallel threads, in which Python
    breaks a deadlock of two imports by handing out a half-initialized module."""
    if uses_torch:
        gpus_of_machine()
    for share in () if config.pretrain.reuse else config.synthesize.composition:
        with contextlib.suppress(ComfaceError, ImportError):  # its check reports it
            generator(share.generator).attributes()  # imports an embedded generator, and torch


def own_gpus_row(wanted: int) -> Row:
    """For `comface run`; the cluster's GPUs have a row of their own."""
    found = gpus_of_machine()
    said = f"PyTorch finds {found}; requested: {wanted}"
    if found >= wanted:
        return Row(SECTION, "GPUs of this machine", "ok", said)
    return Row(SECTION, "GPUs of this machine", "note", said, "`comface run` needs them; a run on a cluster does not")


def row_of(check: RunCheck) -> Row:
    """`–` if something is left out, or a margin of the gate is too small."""
    found = check.ask().rstrip(".")
    if found.startswith(("absent: ", "too small for ")):
        found, _, todo = found.partition("; ")
        return Row(SECTION, check.name, "note", found, todo)
    if "`comface fetch`" in found:
        found, _, _ = found.partition(". Run `comface fetch`")
        return Row(SECTION, check.name, "note", found, "comface fetch")
    return Row(SECTION, check.name, "ok", found)


def store_rows(uri: str) -> list[Row]:
    store = open_store(uri)
    rows = [Row(SECTION, "store", "ok", check_store(store))]
    if isinstance(store, S3Store):
        rows.append(versioning_row(store))
    return rows


def versioning_row(store: S3Store) -> Row:
    try:
        status = store.versioning()
    except ComfaceError as error:
        return Row(SECTION, "versioning", "note", f"unknown: {error}".rstrip("."))
    if status == "Enabled":
        return Row(SECTION, "versioning", "ok", "on")
    todo = f"turn it on to be able to restore deleted objects: mc version enable ALIAS/{store.bucket}"
    return Row(SECTION, "versioning", "note", "off", todo)
