"""Runs and versions on a KFP server: start a run, wait for its end, upload the pipeline to the UI.

In: a connection, a package, typed arguments. Out: ids and addresses. Raises ConfigurationError or TryAgain.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.execution import recorded_failure
from comface.plan.from_parameters import configure
from comface.plan.parameters import Parameters
from comface.store import open_store
from comface.submit.connection import Connection
from comface.submit.package import Package

logger = logging.getLogger(__name__)

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
POLL_S = 10.0
PATIENCE_S = 600.0
"""How long a server may not answer while we wait for a run: an upgrade of KFP takes minutes."""


def experiment_id(connection: Connection, name: str) -> str:
    """The experiment called `name`, created if it does not exist."""
    import kfp_server_api

    named = _only_named(name)
    options = {"namespace": connection.namespace} if connection.namespace else {}
    found = connection.ask(
        "ExperimentServiceApi", "experiment_service_list_experiments", filter=named, page_size=2, **options
    )
    if found.experiments:
        return str(found.experiments[0].experiment_id)
    body = kfp_server_api.V2beta1Experiment(display_name=name, namespace=connection.namespace or None)
    made = connection.ask("ExperimentServiceApi", "experiment_service_create_experiment", experiment=body)
    return str(made.experiment_id)


def start_run(
    connection: Connection, package: Package, arguments: Mapping[str, Any], experiment: str, name: str, account: str
) -> str:
    """The id of a new run. `account`: the service account of its pods; empty: the server's default."""
    import kfp_server_api

    body = kfp_server_api.V2beta1Run(
        experiment_id=experiment_id(connection, experiment),
        display_name=name,
        pipeline_spec=package.specification,
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        service_account=account or None,
    )
    run = connection.ask("RunServiceApi", "run_service_create_run", run=body)
    if not run.run_id:
        raise ConfigurationError(
            f"The server at {connection.endpoint} returned no id for the run; check that it is the KFP API."
        )
    return str(run.run_id)


def run_page(connection: Connection, run: str) -> str:
    return f"{connection.page}/#/runs/details/{run}"


def wait_for_run(
    connection: Connection,
    run: str,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """The final state of the run. Tolerates a server that does not answer for PATIENCE_S."""
    shown, answered = "", clock()
    while True:
        try:
            state = connection.ask("RunServiceApi", "run_service_get_run", run).state or "PENDING"
            answered = clock()
        except TryAgain:
            if clock() - answered > PATIENCE_S:
                raise
            state = shown
        if state != shown:
            logger.info(f"{run}: {state.lower()}")
            shown = state
        if state in ENDED:
            return str(state)
        sleep(POLL_S)


def upload(connection: Connection, package: Package, version: str) -> tuple[str, bool]:
    """(id of the pipeline, whether the version is new). Versions are never replaced: their names contain the hash."""
    options = {"namespace": connection.namespace} if connection.namespace else {}
    found = connection.ask(
        "PipelineServiceApi", "pipeline_service_list_pipelines", filter=_only_named(package.name), **options
    )
    with tempfile.NamedTemporaryFile(prefix="comface-", suffix=".yaml") as file:
        file.write(package.data)
        file.flush()
        return _uploaded(connection, package, version, file.name, found.pipelines, options)


def _uploaded(
    connection: Connection, package: Package, version: str, path: str, pipelines: Any, options: Mapping[str, str]
) -> tuple[str, bool]:
    if not pipelines:
        made = connection.ask("PipelineUploadServiceApi", "upload_pipeline", path, name=package.name, **options)
        pipeline = str(made.pipeline_id)  # its first version has the pipeline's name, so ours is added
    else:
        pipeline = str(pipelines[0].pipeline_id)
        versions = connection.ask(
            "PipelineServiceApi", "pipeline_service_list_pipeline_versions", pipeline, filter=_only_named(version)
        )
        if versions.pipeline_versions:
            return pipeline, False
    connection.ask("PipelineUploadServiceApi", "upload_pipeline_version", path, name=version, pipelineid=pipeline)
    return pipeline, True


def _only_named(name: str) -> str:
    """KFP's filter, as its own client writes it (operation 1 is EQUALS)."""
    return json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": name}]})


def failure(values: Mapping[str, Any], run: str, state: str, page: str) -> ComfaceError:
    """The error that the failed step recorded, where the store can be read from here. `values`: all arguments of the
    run."""
    try:
        place = configure(Parameters(values["profile"], store=values["store"])).store
        found = recorded_failure(open_store(place), run)
    except (ComfaceError, KeyError):
        found = None
    return found or TryAgain(f"The run ended as {state.lower()}; {page} says why.")
