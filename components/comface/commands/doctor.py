"""`comface doctor`: reports within seconds what is missing, and what to do about it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.commands.options import AS_JSON, ENDPOINT, PIPELINE, configured
from comface.commands.surface import command, option
from comface.errors import ConfigurationError
from comface.plan.chosen import Chosen

if TYPE_CHECKING:
    from comface.plan.configuration import RunConfig


@command(example="comface doctor --profile paper\nKFP_ENDPOINT=http://localhost:8080 comface doctor")
@configured()
@ENDPOINT
@option("--namespace", "NAME", "namespace of the runs (default: KFP_NAMESPACE, else comface)")
@PIPELINE
@AS_JSON
def doctor(chosen: Chosen, endpoint: str | None, namespace: str | None, pipeline: Path | None, as_json: bool) -> int:
    """Report what is missing: cluster, KFP, permissions, secret, GPUs, store, weights, data sets.

    It takes seconds. The exit code is 0 only if nothing is missing. Each failed check says what to do.
    """
    from comface.cluster.client import Cluster, NoAnswer, open_cluster
    from comface.doctor import rows
    from comface.runtime.extras import check_extras

    cluster: Cluster | None = None
    found: list[rows.Row] = []
    try:
        check_extras("comface doctor", "cluster")
        cluster = open_cluster()
        if cluster is None:
            found = [rows.Row("cluster", "all", "skipped", "no kubeconfig found (KUBECONFIG or ~/.kube/config)")]
    except ConfigurationError as error:
        found = [rows.Row("cluster", "all", "skipped", str(error))]
    except NoAnswer as error:
        found = [rows.Row("cluster", "kubeconfig", "red", str(error), error.todo)]
    # Without --store, check the store of the profile if there is a cluster, else the store of `comface run`.
    resolve = chosen.resolve if cluster and not chosen.store else chosen.configuration
    config = resolve(more=chosen.of_a_study(resolve()))
    checks = _checks(config, cluster, endpoint, namespace, pipeline)
    found += rows.run_checks(checks)
    print(json.dumps(rows.as_json(found), indent=1) if as_json else rows.table(found), flush=True)
    return ConfigurationError.exit_code if any(row.state == "red" for row in found) else 0


def _checks(
    config: RunConfig, cluster: Any, endpoint: str | None, namespace: str | None, pipeline: Path | None
) -> list[Any]:
    from comface.doctor.kubernetes import cluster_checks
    from comface.doctor.pipelines import SECTION, kfp_row
    from comface.doctor.places import place_checks
    from comface.doctor.rows import Check, Row
    from comface.run.local import find_pipeline
    from comface.submit.package import read_package

    checks = []
    if cluster:
        place = namespace or os.environ.get("KFP_NAMESPACE") or "comface"
        images = read_package(find_pipeline(pipeline)).images()
        checks += cluster_checks(cluster, config, place, images)
    if cluster or endpoint or os.environ.get("KFP_ENDPOINT"):
        todo = "start the port-forward, or give --endpoint"
        checks.append(Check(SECTION, "API", lambda: [kfp_row(endpoint, namespace, cluster)], todo))
    else:
        absent = Row(SECTION, "API", "skipped", "no server given (--endpoint or KFP_ENDPOINT)")
        checks.append(Check(SECTION, "API", lambda: [absent]))
    return [*checks, *place_checks(config)]
