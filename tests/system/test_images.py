"""The images as a cluster runs them: no capability, no network, nothing writable but /tmp, not root. Run by
`make test-images`; COMFACE_TEST_IMAGES=laptop runs the whole laptop profile instead of a tiny one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tiny_run import ROOT, TINY, sets

from comface.execution.container_image import GPU_IMAGE, IMAGE
from comface.models.references import resolve_model
from comface.plan.parameters import override_mapping
from comface.run.one_machine import for_one_machine
from comface.store import open_store
from comface.weights.fetched import ALL

WHICH = os.environ.get("COMFACE_TEST_IMAGES", "")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not WHICH, reason="needs the images and a container engine: make test-images"),
]

CPU, GPU, SERVING = IMAGE, GPU_IMAGE, GPU_IMAGE.replace("gpu", "serving")
USER = 10001
DOCKER = os.environ.get("DOCKER", "docker")
LOCKED_IN = (
    "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none",
    "--tmpfs", "/tmp:mode=1777",
)  # fmt: skip
OVERRIDES = () if WHICH == "laptop" else TINY


def inside(image: str, *command: str, mounts: tuple[str, ...] = (), entry: str | None = None) -> str:
    """What a command prints in a container that has no rights."""
    words = [*LOCKED_IN, *(word for mount in mounts for word in ("--volume", mount))]
    entry_point = [] if entry is None else ["--entrypoint", entry]
    done = subprocess.run(
        [DOCKER, "run", "--rm", *words, *entry_point, image, *command],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@dataclass(frozen=True)
class Ran:
    store: Path
    pages: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The compiled pipeline, every step in a container of its own, through KFP's own runner."""
    import docker
    from kfp import components, local

    folder = tmp_path_factory.mktemp("images")
    store, pages = folder / "store", folder / "kfp"
    before = os.umask(0)  # these folders are this user's, the steps are another's
    try:
        store.mkdir()
        pages.mkdir()
        local.init(
            runner=local.DockerRunner(
                read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges"], network_mode="none",
                tmpfs={"/tmp": "mode=1777"}, shm_size="1g",
                mounts=[docker.types.Mount(str(store), str(store), type="bind")],
            ),
            pipeline_root=str(pages),
        )  # fmt: skip
        pipeline = for_one_machine((ROOT / "pipelines" / "comface.yaml").read_text())
        components.load_component_from_text(pipeline)(
            profile="laptop", overrides=override_mapping(OVERRIDES), run_name="from-images", store=store.as_uri(),
            nodes=1, gpus_per_node=0,
        )  # fmt: skip
    finally:
        os.umask(before)
    return Ran(store, pages)


def test_the_whole_pipeline_ends_with_a_registered_model_and_a_report(ran: Ran) -> None:
    reference, model = resolve_model(open_store(ran.store.as_uri()), None)
    assert reference == "from-images@v1"
    assert model.manifest.inputs
    report = next(ran.pages.glob("*/evaluate/report")).read_text()
    assert "<html" in report
    assert re.search(r"(?i)rehears", report)


def test_all_that_was_written_belongs_to_the_user_of_the_images(ran: Ran) -> None:
    written = [path for path in ran.store.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert {path.stat().st_uid for path in written} == {USER}


def test_the_serving_image_compares_two_photos_with_the_model_that_was_made_there(ran: Ran, tmp_path: Path) -> None:
    photo = ROOT / "tests" / "data" / "astronaut.jpg"
    mounts = (f"{ran.store}:{ran.store}:ro", f"{photo}:/photos/before.jpg:ro", f"{photo}:/photos/after.jpg:ro")
    words = ("compare", "/photos/before.jpg", "/photos/after.jpg", "--store", ran.store.as_uri(), "--json")
    said = json.loads(inside(SERVING, *words, mounts=mounts))
    assert "from-images@v1" in said["model"]
    assert all(abs(change["change"]) < 1e-3 for change in said["changes"].values())


def test_the_composed_machine_runs_the_pipeline_against_an_s3_server(s3_environment: dict[str, str]) -> None:
    machine = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["machine"]
    assert machine["environment"].keys() == s3_environment.keys()
    hardening = ["--cap-drop", *machine["cap_drop"], "--security-opt", *machine["security_opt"]]
    assert machine["read_only"]
    (runs,) = machine["volumes"]
    volume = f"comface-test-{os.getpid()}"
    room = [
        "--tmpfs", *machine["tmpfs"], "--shm-size", machine["shm_size"], "--workdir", machine["working_dir"],
        "--volume", runs.replace("runs:", f"{volume}:", 1),
    ]  # fmt: skip
    names = [word for name in s3_environment for word in ("--env", name)]
    command = [*machine["command"], *sets(TINY)]
    words = [DOCKER, "run", "--rm", "--read-only", "--network", "host", *hardening, *room, *names]
    try:
        done = subprocess.run(
            [*words, machine["image"], *command],
            capture_output=True, text=True, timeout=600, check=False, env=os.environ | s3_environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        mounts = (f"{volume}:/runs:ro",)
        assert "<html" in inside(GPU, "/runs/report.html", mounts=mounts, entry="cat")
        assert s3_environment["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    finally:
        subprocess.run([DOCKER, "volume", "rm", volume], capture_output=True, check=False)


@pytest.mark.parametrize("image", [CPU, GPU, SERVING])
def test_an_image_is_not_root_and_holds_no_tool_that_builds(image: str) -> None:
    script = "id -u; for tool in cc gcc c++ make git pip pip3 curl wget; do command -v $tool; done; true"
    assert inside(image, "-c", script, entry="sh").split() == [str(USER)]


@pytest.mark.parametrize("image", [CPU, GPU, SERVING])
def test_nothing_in_an_image_can_be_changed_by_its_user(image: str) -> None:
    script = "find / -xdev -writable ! -type l ! -path '/proc/*' ! -path '/tmp*' ! -path '/dev/*' 2>/dev/null; true"
    words = ["run", "--rm", "--cap-drop", "ALL", "--network", "none", "--entrypoint", "sh", image, "-c", script]
    found = subprocess.run([DOCKER, *words], capture_output=True, text=True, check=True).stdout.split()
    assert [path for path in found if path not in ("/runs", "/var/tmp", "/run/lock")] == []


@pytest.mark.parametrize(("image", "whole"), [(CPU, False), (GPU, True), (SERVING, True)])
def test_models_are_baked_into_the_larger_images_and_the_bill_of_materials_names_all(image: str, whole: bool) -> None:
    ask = "from comface.weights.fetched import available; print(*available())"
    assert set(inside(image, "-c", ask, entry="python3").split()) == (set(ALL) if whole else set())
    bill = json.loads(inside(image, "/opt/comface/share/sbom.cdx.json", entry="cat"))
    names = {component["name"] for component in bill["components"]}
    assert {"comface", "kfp", "libc6"} <= names
    assert ({"torch", *ALL} & names == {"torch", *ALL}) is whole
