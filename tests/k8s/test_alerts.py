"""Alert rules and dashboard: they name metrics that exist, promtool accepts them, each alert has been seen to fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from overlays import K8S, ROOT

from comface.launch.request import METRICS_PORT
from comface.runtime.monitoring import METRICS

MONITORING = K8S / "components" / "monitoring"
LIVES = sorted(Path(__file__).parent.glob("alerts*.test.yaml"))
FOREIGN = {
    "kube_pod_status_unschedulable",  # kube-state-metrics
    "kubelet_volume_stats_available_bytes",  # kubelet
    "kubelet_volume_stats_capacity_bytes",
    "resource_manager_workflow_runs_failed",  # KFP's API server, backend/src/apiserver/resource/resource_manager.go
    "resource_manager_workflow_runs_success",
    "up",  # Prometheus itself
}
"""Metrics that others publish, which this repository cannot check."""
WORDS = {
    "absent", "avg", "by", "count", "max", "max_over_time", "offset", "or", "rate", "sum", "time", "unless", "vector",
    "kind", "namespace", "range", "persistentvolumeclaim", "pod", "profile", "service", "training_job",
    "workflow", "d", "h", "m",
}  # fmt: skip

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool; `make test-k8s` installs it (Debian's package prometheus)"
)


def rules() -> dict[str, list[dict[str, object]]]:
    return yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]


def alerts() -> dict[str, dict[str, object]]:
    return {rule["alert"]: rule for group in rules()["groups"] for rule in group["rules"]}


def panels() -> list[dict[str, object]]:
    return json.loads((MONITORING / "dashboard.json").read_text())["panels"]


def names_in(expression: str) -> set[str]:
    """Metrics in an expression: every name in it that is no label's value, function or label."""
    return set(re.findall(r"[a-zA-Z_]\w*", re.sub(r'"[^"]*"', "", expression))) - WORDS


EXPRESSIONS = [(name, str(rule["expr"])) for name, rule in alerts().items()] + [
    (panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]
]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_every_metric_that_is_read_is_published(where: str, expression: str) -> None:
    assert names_in(expression)
    assert names_in(expression) <= METRICS.keys() | FOREIGN


def test_a_metric_that_nobody_publishes_would_be_found() -> None:
    assert names_in("rate(comface_pretrain_pears_total[2m]) > 0") == {"comface_pretrain_pears_total"}


def test_every_metric_that_is_published_is_read_somewhere() -> None:
    read = set().union(*(names_in(expression) for _, expression in EXPRESSIONS))
    assert METRICS.keys() <= read


def test_every_alert_leads_to_its_section_of_the_runbook() -> None:
    headings = re.findall(r"^## (ComFace\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"


def test_prometheus_is_let_in_on_the_port_that_the_pods_serve() -> None:
    policy = yaml.safe_load((MONITORING / "network.yaml").read_text())
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": METRICS_PORT}]


def test_the_lives_make_every_alert_fire_and_stay_silent() -> None:
    told = [life for path in LIVES for life in yaml.safe_load(path.read_text())["tests"]]
    lives = [check for life in told for check in life["alert_rule_test"]]
    assert {check["alertname"] for check in lives if check["exp_alerts"]} == set(alerts())
    assert {check["alertname"] for check in lives if not check["exp_alerts"]} == set(alerts())


def promtool(folder: Path, spec: str, *command: str) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(spec)
    for path in LIVES:
        shutil.copy(path, folder)
    return subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True)


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    done = promtool(tmp_path, yaml.safe_dump(rules()), "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("lives", [path.name for path in LIVES])
def test_every_alert_does_in_its_life_what_the_life_says(tmp_path: Path, lives: str) -> None:
    done = promtool(tmp_path, yaml.safe_dump(rules()), "test", "rules", lives)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_a_threshold_that_is_wrong_would_be_noticed(tmp_path: Path) -> None:
    wrong = yaml.safe_dump(rules()).replace("> 900", "> 90000")
    assert promtool(tmp_path, wrong, "test", "rules", "alerts.test.yaml").returncode
