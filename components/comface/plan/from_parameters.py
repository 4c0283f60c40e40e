"""Resolve as the component calls it: the pipeline's parameters in, plans out."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import namedtuple
from collections.abc import Set
from typing import Any

from comface.artifacts.plans import Plan, PlanPlace, kept, named_report
from comface.config.names import place_uri, quoted
from comface.errors import ComfaceError, ConfigurationError
from comface.execution import FAILURES, execute, read_failure, recorded_failure
from comface.execution.pages import text_page, write_text
from comface.launch import KEEPS_RUNNING
from comface.launch.place import place_of
from comface.models.signing import trust
from comface.plan.configuration import RunConfig, profiles, resolve
from comface.plan.page import plan_page
from comface.plan.parameters import Parameters, data_sources, names, override_lines
from comface.plan.step import Plans, plan_run
from comface.runtime.logs import labelled
from comface.store import Store, open_store

logger = logging.getLogger(__name__)

FIELDS = (
    "synthesize", "parts", "shard", "pretrain", "trainings", "datasets", "items", "evaluate", "register",
    "synthesize_gpus", "features_gpus", "finetune_gpus",
)  # fmt: skip
BY_REFERENCE = ("synthesize", "shard", "pretrain", "items", "evaluate", "register")
REPORT = "report.html"
JUST_NOW_S = 900.0
"""Longer than the attempts of a permanently failed step and the start of the exit handler's pod take."""


def resolve_parameters(
    parameters: Parameters, run_id: str, page_path: str = "", price_per_gpu_hour: float = 0.0
) -> Any:
    """What the component returns, in the order of its output fields. `run_id` names the run's failure records;
    `page_path`: where the page with plan and cost goes."""

    def work(*_: Any) -> Any:
        config = configure(parameters)
        trust(config.registry.trusted_keys)
        check_price(price_per_gpu_hour)
        plans = plan_run(config, run_id)
        if page_path:
            write_text(page_path, plan_page(config, plans, price_per_gpu_hour))
        handed = stored(plans, open_store(config.store), run_id)
        return namedtuple("Plans", FIELDS)(*(handed[name] for name in FIELDS))

    try:
        place = _store_of(parameters.profile, parameters.store)
    except ConfigurationError as error:  # no profile, so no store for a record of the failure
        with labelled("resolve", run=run_id):
            logger.error(str(error))
        raise SystemExit(error.exit_code) from None
    return execute("resolve", Plan(store=place, run=run_id).text, Plan, work)


def _store_of(profile: str, store: str) -> str:
    """Where the first step and the end of a run, which sees no overrides, keep and find its failures: the parameter
    `store`, else the store of the profile. Raises ConfigurationError for an unknown profile."""
    return place_uri(store) if store else resolve(profile).store


def stored(plans: Plans, store: Store, run: str) -> dict[str, Any]:
    """Writes the plans to the store, and returns references to them."""

    def reference(plan: Plan) -> str:
        return PlanPlace(store.uri, run, kept(store, run, plan.model_dump(mode="json", by_alias=True))).reference

    handed = {field: getattr(plans, field) for field in FIELDS}
    handed |= {name: reference(handed[name]) for name in BY_REFERENCE}
    handed["datasets"] = [reference(plan) for plan in plans.datasets]
    return handed


def ending(state: str, profile: str, store: str, run_id: str, report_path: str = "") -> str:
    """One line on how a run ended: its state, and the message of the step that failed. Deletes a training job that
    still runs after its step (KFP gives a step that it terminates no time), unless the step reported that the job keeps
    running. A request that fails is only logged: an exit handler that fails itself would hide how the run ended.
    `report_path`: where the report goes, or a page with the line."""
    line, kept = f"{run_id}: {state.lower()}", set[str]()
    place = _store_of(profile, store) if store or profile in profiles() else ""
    with labelled("finish", run=run_id):
        if state != "SUCCEEDED":
            try:
                failure = recorded_failure(open_store(place), run_id) if place else None
                line += f" in {failure}" if failure else ""
                kept = _kept_trainings(open_store(place), run_id) if place else set()
            except ComfaceError as error:
                logger.warning(f"it is unknown which step failed: {error}")
            _end_jobs(run_id, kept)
        logger.info(line)
        if report_path:
            write_text(report_path, _report(place, run_id) or text_page("No report", line))
    return line


def _report(place: str, run: str) -> str:
    """The newest report of the run; empty if it has none."""
    try:
        found = named_report(open_store(place), run) if place else None
        return found.read(REPORT).decode() if found and REPORT in found.manifest.objects else ""
    except ComfaceError as error:
        logger.warning(f"the report cannot be shown: {error}")
        return ""


def _kept_trainings(store: Store, run: str) -> set[str]:
    """The trainings whose step has just reported that its job keeps running: nothing is wrong with that job, its
    launcher lost the API server or its permission. A report of an earlier attempt does not count. The name of the only
    training of a run is empty."""
    kept = set()
    for key in store.keys(f"{FAILURES}/{run}") if run else ():
        name = key.rpartition("/")[2].removesuffix(".json")
        record = read_failure(store, key) if name.partition("-")[0] == "pretrain" else None
        if record and KEEPS_RUNNING in record.sentence and time.time() - record.at < JUST_NOW_S:
            kept.add(name.partition("-")[2])
    return kept


def _end_jobs(run_id: str, kept: Set[str]) -> None:
    pod = place_of(os.environ)
    if pod is None:
        return
    from comface.launch.cluster_launcher import end_jobs

    if kept:
        what = "the training job of the run keeps" if len(kept) == 1 else f"{len(kept)} training jobs of the run keep"
        logger.warning(
            f"{what} running: retry the run to reattach to it, or delete the job "
            f"(kubectl --namespace {pod.namespace} get pytorchjobs,trainjobs)"
        )
    end_jobs(run_id, pod, kept=kept)


def check_price(price_per_gpu_hour: float) -> None:
    """Raises ConfigurationError for a price that is not one."""
    if not 0 <= price_per_gpu_hour < math.inf:
        raise ConfigurationError(
            f"The parameter 'price_per_gpu_hour' is {price_per_gpu_hour:g}; give a price of 0 or more."
        )


def configure(parameters: Parameters) -> RunConfig:
    """The configuration that the pipeline's parameters mean. Raises ConfigurationError."""
    extra: dict[str, Any] = {}
    if parameters.store:
        extra["store"] = parameters.store
    if parameters.weights:
        extra["weights"] = parameters.weights
    if parameters.data:
        extra["data"] = data_sources(parameters.data)
    chosen = {"tasks": names(parameters.tasks), "methods": names(parameters.methods)}
    extra["transfer"] = {name: values for name, values in chosen.items() if values}
    sizes = {"nodes": (parameters.nodes, 0), "gpus_per_node": (parameters.gpus_per_node, -1)}
    extra["pretrain"] = {name: value for name, (value, empty) in sizes.items() if value != empty}
    if parameters.run_name:
        extra["register"] = {"name": parameters.run_name}
    config = resolve(parameters.profile, override_lines(parameters.overrides), extra)
    if config.store != (known := _store_of(parameters.profile, parameters.store)):
        raise ConfigurationError(
            f"The override 'store' is {quoted(config.store)}, but the end of the run reads failures from "
            f"{quoted(known)}; give the store with the parameter `store` (--param store=…), not with an override."
        )
    return config
