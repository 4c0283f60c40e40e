"""The two scripts of k8s/, run as they are with a stand-in for the program that would reach a server."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from overlays import K8S

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which secrets.sh draws from")
KUBECTL = """#!/bin/sh
case $1 in
  create)
    cat >"$HOME/created"
    echo 'secret/comface-store created'
    for name in minio-root mlpipeline-minio-artifact; do
      said='Error from server (AlreadyExists): error when creating "STDIN": secrets'
      echo "$said \\"$name\\" already exists" >&2
    done
    if [ -e "$HOME/broken" ]; then cat "$HOME/broken" >&2; fi
    exit 1 ;;
esac
"""
MC = """#!/bin/sh
echo "$@" >>"$HOME/called"
test "$1" != ready || test "$(grep -c ready "$HOME/called")" -gt 1
"""


def run(folder: Path, program: str, text: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    stand_in = folder / program
    stand_in.write_text(text)
    stand_in.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        command, env={"PATH": path, "HOME": str(folder), **environment}, capture_output=True, text=True, timeout=30
    )


def created(folder: Path, *arguments: str) -> tuple[dict[str, dict[str, str]], str]:
    done = run(folder, "kubectl", KUBECTL, "sh", str(K8S / "secrets.sh"), *arguments)
    assert done.returncode == 0, done.stderr
    secrets = yaml.safe_load_all((folder / "created").read_text())
    return {secret["metadata"]["name"]: secret["stringData"] for secret in secrets}, done.stdout + done.stderr


def test_every_value_is_drawn_by_chance_and_shown_nowhere(tmp_path: Path) -> None:
    first, shown = created(tmp_path / "1", "comface")
    again, _ = created(tmp_path / "2", "comface")
    drawn = [
        value
        for secret in first.values()
        for key, value in secret.items()
        if key not in ("AWS_REGION", "AWS_ENDPOINT_URL")
    ]
    drawn_again = [value for secret in again.values() for value in secret.values()]
    assert len(set(drawn)) == len(drawn) == 7
    assert not set(drawn) & set(drawn_again)
    assert not any(value in shown or "@" in value for value in drawn)
    assert all(len(value) in (20, 40) for value in drawn if not value.startswith("comface:"))
    name, key = first["minio-root"]["MINIO_KMS_SECRET_KEY"].split(":")
    assert name == "comface"
    assert len(base64.b64decode(key, validate=True)) == 32


def test_the_endpoint_is_minio_of_the_namespace_unless_another_is_given(tmp_path: Path) -> None:
    here, _ = created(tmp_path / "1", "kubeflow")
    there, _ = created(tmp_path / "2", "comface", "https://s3.example.com")
    assert here["comface-store"]["AWS_ENDPOINT_URL"] == "http://minio.kubeflow.svc:9000"
    assert there["comface-store"]["AWS_ENDPOINT_URL"] == "https://s3.example.com"


def test_a_secret_that_exists_is_kept_and_that_is_said(tmp_path: Path) -> None:
    _, shown = created(tmp_path / "1", "comface")
    assert shown.splitlines() == [
        "secret/comface-store created",
        "secret/minio-root exists, and is kept",
        "secret/mlpipeline-minio-artifact exists, and is kept",
    ]


def test_what_else_the_server_says_is_an_error(tmp_path: Path) -> None:
    said = 'Error from server (NotFound): error when creating "STDIN": namespaces "comface" not found'
    (tmp_path / "broken").write_text(said)
    done = run(tmp_path, "kubectl", KUBECTL, "sh", str(K8S / "secrets.sh"), "comface")
    assert done.returncode == 1
    assert done.stderr.strip() == said


def test_without_a_namespace_the_script_says_how_to_call_it(tmp_path: Path) -> None:
    done = run(tmp_path, "kubectl", KUBECTL, "sh", str(K8S / "secrets.sh"))
    assert done.returncode
    assert "usage: sh k8s/secrets.sh NAMESPACE" in done.stderr


def test_the_set_up_of_minio_waits_then_makes_buckets_and_users_with_their_own_policy(tmp_path: Path) -> None:
    script = (K8S / "minio" / "setup.sh").read_text().replace("/setup/", f"{K8S / 'minio'}/")
    keys = {
        f"{who}_{what}_KEY": f"{who}-{what}".lower() for who in ("COMFACE", "KFP") for what in ("ACCESS", "SECRET")
    }  # fmt: skip
    root = {"ROOT_USER": "root", "ROOT_PASSWORD": "word", "MINIO_ENDPOINT": "minio:9000", "MINIO_SCHEME": "http"}
    done = run(tmp_path, "mc", MC, "sh", "-c", script, **keys, **root)
    assert done.returncode == 0, done.stderr
    called = (tmp_path / "called").read_text().splitlines()
    assert called[:2] == ["ready store", "ready store"]
    for bucket, user, policy in (("comface", "comface-access", "comface"), ("mlpipeline", "kfp-access", "kfp")):
        assert f"mb --ignore-existing store/{bucket}" in called
        assert f"encrypt set sse-s3 store/{bucket}" in called
        assert f"admin policy attach store {policy} --user {user}" in called
    assert "version enable store/comface" in called
    assert not any(value in done.stdout + done.stderr for value in ("comface-secret", "kfp-secret", "word"))


@pytest.mark.parametrize(("policy", "bucket"), [("comface", "comface"), ("kfp", "mlpipeline")])
def test_a_policy_reaches_its_own_bucket_only_and_cannot_change_it_or_erase_versions(policy: str, bucket: str) -> None:
    statements = yaml.safe_load((K8S / "minio" / f"policy-{policy}.json").read_text())["Statement"]
    actions = {action for statement in statements for action in statement["Action"]}
    resources = {resource for statement in statements for resource in statement["Resource"]}
    assert resources == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}
    assert not any("*" in action for action in actions)
    assert {action for action in actions if "Version" in action} <= {"s3:GetBucketVersioning"}
    assert not any(action.startswith(("s3:PutBucket", "s3:DeleteBucket", "s3:CreateBucket")) for action in actions)
