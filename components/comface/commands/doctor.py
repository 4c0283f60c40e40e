"""`comface doctor`: says in seconds what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from comface.commands.configured import add_configuration, default_store
from comface.errors import ConfigurationError
from comface.plan.configuration import resolve


def add_commands(commands: Any) -> None:
    text = "say in seconds what is missing: cluster, KFP, permissions, secret, GPUs, store, weights, data sets"
    parser = commands.add_parser("doctor", help=text, description=f"{text[0].upper()}{text[1:]}.")
    add_configuration(parser)
    parser.add_argument(
        "--endpoint", metavar="URL", help="the KFP API (default: KFP_ENDPOINT; in a pod, the cluster's)"
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="the namespace that runs use (default: KFP_NAMESPACE, else comface)"
    )
    parser.add_argument(
        "--pipeline", type=Path, metavar="FILE", help="compiled pipeline (default: the one that the package brings)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=doctor)


def doctor(arguments: argparse.Namespace) -> int:
    """0 only when nothing is red."""
    from comface.cluster.client import Cluster, NoAnswer, open_cluster
    from comface.doctor.rows import Row, as_json, run_checks, table

    cluster: Cluster | None = None
    told: list[Row] = []
    try:
        cluster = open_cluster()
        if cluster is None:
            told = [Row("cluster", "all", "skipped", "no kubeconfig is here (KUBECONFIG or ~/.kube/config)")]
    except NoAnswer as error:
        told = [Row("cluster", "kubeconfig", "red", str(error), error.todo)]
    rows = [*told, *run_checks(_checks(arguments, cluster))]
    print(json.dumps(as_json(rows), indent=1) if arguments.json else table(rows), flush=True)
    return ConfigurationError.exit_code if any(row.state == "red" for row in rows) else 0


def _checks(arguments: argparse.Namespace, cluster: Any) -> list[Any]:
    """Without --store it is the profile's own where a cluster is at hand, and the folder of `comface run` where not."""
    from comface.doctor.kubernetes import cluster_checks
    from comface.doctor.pipelines import SECTION, kfp_row
    from comface.doctor.places import place_checks
    from comface.doctor.rows import Check, Row
    from comface.run.local import find_pipeline
    from comface.submit.package import read_package

    store = arguments.store or (None if cluster else default_store(arguments))
    config = resolve(arguments.profile, arguments.overrides, {"store": store} if store else None)
    checks = []
    if cluster:
        namespace = arguments.namespace or os.environ.get("KFP_NAMESPACE") or "comface"
        images = read_package(find_pipeline(arguments.pipeline)).images()
        checks += cluster_checks(cluster, config, namespace, images)
    if cluster or arguments.endpoint or os.environ.get("KFP_ENDPOINT"):
        ask = lambda: [kfp_row(arguments.endpoint, arguments.namespace, cluster)]  # noqa: E731
        checks.append(Check(SECTION, "API", ask, "start the port-forward, or give --endpoint"))
    else:
        absent = Row(SECTION, "API", "skipped", "no server is named (--endpoint or KFP_ENDPOINT)")
        checks.append(Check(SECTION, "API", lambda: [absent]))
    return [*checks, *place_checks(config)]
