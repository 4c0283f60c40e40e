"""The whole pipeline through `comface run`, undisturbed and disturbed, on files and on S3, with and without dcgan."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import radosgw
from faulty_proxy import KINDS, faulty
from tiny_run import bare_environment, comface, command, manifests, run_arguments

from comface.artifacts.manifest import open_artifact
from comface.store import open_store
from comface.weights.fetched import ALL, DCGAN, available, models_folder

pytestmark = pytest.mark.system
needs_models = pytest.mark.skipif(set(available()) != set(ALL), reason="needs what `comface fetch` takes from packages")

WITH_COHORT = (
    "synthesize.composition=[{generator: dcgan, identities: 40, attributes: [smile, age]},"
    " {generator: procedural, identities: 24, attributes: [weight, smile, age]}]",
    "synthesize.parts=2",
    "transfer.tasks=[age, smile]",
    "transfer.methods=[scratch, pixels, comface]",
    "rehearse.cohort_subjects=6",
    "rehearse.cohort_photos=4",
)
ORPHANS_END_S = 5.0


def as_a_person() -> dict[str, str]:
    """The environment without what the test suite sets for itself: training then uses all cores."""
    return {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY")}


class Run:
    """A `comface run` under way, in a session of its own, as in a terminal of its own."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        self.said = folder.with_name(f"{folder.name}-said")
        with self.said.open("w") as out:
            self.process = subprocess.Popen(
                command(*run_arguments(folder, *overrides)), stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, env=as_a_person(),
            )  # fmt: skip

    def wait(self, timeout_s: float = 600) -> int:
        return self.process.wait(timeout_s)

    def text(self) -> str:
        return self.said.read_text()

    def steps(self) -> list[int]:
        """Processes of its steps that are alive: the folder is among their arguments."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if str(self.folder).encode() in words and state != "Z":
                    found.append(int(entry.name))
        return found

    def wait_until_nothing_runs(self) -> None:
        until = time.monotonic() + ORPHANS_END_S
        while self.steps() and time.monotonic() < until:
            time.sleep(0.1)
        assert self.steps() == [], "an orphaned step goes on"


def registered(store: str, **options: object) -> list[dict[str, object]]:
    done = comface("models", "list", "--json", "--store", store, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def written(store: Path) -> dict[Path, int]:
    """When each object was written; every run has plans of its own."""
    files = (path for path in store.rglob("*") if path.is_file() and not path.is_relative_to(store / "plans"))
    return {path: path.stat().st_mtime_ns for path in files}


# Undisturbed


@pytest.fixture(scope="module")
def with_cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """Folder, what was said, seconds."""
    folder = tmp_path_factory.mktemp("cohort") / "run"
    started = time.monotonic()
    done = comface(*run_arguments(folder, *WITH_COHORT), timeout_s=900)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr, time.monotonic() - started


@needs_models
def test_a_run_ends_with_a_report_a_model_and_a_first_comparison(with_cohort: tuple[Path, str, float]) -> None:
    folder, said, _ = with_cohort
    for name in ("report.html", "comparison.png", "run.log"):
        assert (folder / name).stat().st_size > 1000
        assert name == "run.log" or str(folder / name) in said
    assert "comface@v1" in said
    assert "Traceback" not in said
    (model,) = registered((folder / "store").as_uri())
    assert "comface@v1" in json.dumps(model)


@needs_models
def test_a_second_run_reuses_everything(with_cohort: tuple[Path, str, float]) -> None:
    folder, _, _ = with_cohort
    before = written(folder / "store")
    done = comface(*run_arguments(folder, *WITH_COHORT), timeout_s=900)
    assert done.returncode == 0, done.stderr
    assert "comface@v1" in done.stderr
    for word in ("epoch 1/", "generating the synthetic", "features of "):
        assert word not in done.stderr, "it works again"
    assert done.stderr.count("(0 tracks rendered now)") == 2, "one line per part"
    assert written(folder / "store") == before
    assert len(registered((folder / "store").as_uri())) == 1


@needs_models
def test_one_changed_field_makes_only_what_depends_on_it_again(with_cohort: tuple[Path, str, float]) -> None:
    folder, _, _ = with_cohort
    before = set(manifests(folder / "store"))
    done = comface(*run_arguments(folder, *WITH_COHORT, "evaluate.seed=9"), timeout_s=900)
    assert done.returncode == 0, done.stderr
    new = {address.partition("/")[0] for address in set(manifests(folder / "store")) - before}
    assert new == {"evaluation", "decision"}
    assert len(registered((folder / "store").as_uri())) == 1, "the same model keeps its version"


@needs_models
def test_a_refusal_by_the_gate_is_code_66_a_report_and_a_record(with_cohort: tuple[Path, str, float]) -> None:
    folder, _, _ = with_cohort
    strict = ("register.name=strict", "register.thresholds=[{task: age, min_corr: 1.0}]")
    done = comface(*run_arguments(folder, *WITH_COHORT, *strict), timeout_s=900)
    assert done.returncode == 66, done.stderr
    assert "not registered. Keep: the challenger is rejected" in done.stderr
    assert "below the threshold of 1.00" in done.stderr
    assert "Traceback" not in done.stderr
    decisions = [m for a, m in manifests(folder / "store").items() if a.startswith("decision/")]
    refused = [m for m in decisions if m["facts"]["outcome"] == "keep"]
    assert len(refused) == 1
    assert "age" in refused[0]["facts"]["reasons"][0]
    assert "strict" not in json.dumps(registered((folder / "store").as_uri()))


def test_a_step_that_fails_gives_the_run_its_sentence_and_its_code(tmp_path: Path) -> None:
    broken = tmp_path / "run"
    done = comface(*run_arguments(broken), timeout_s=900)
    assert done.returncode == 0, done.stderr
    (shard,) = (broken / "store").glob("shards/*/train-00000.tar")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    shutil.rmtree(broken / "store" / "backbone")
    done = comface(*run_arguments(broken), timeout_s=900)
    assert done.returncode == 65, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("comface: pretrain: The object 'train-00000.tar' of ")
    assert "Traceback" not in done.stderr
    records = list((broken / "store" / "failures").rglob("pretrain.json"))
    assert json.loads(records[0].read_text())["exit_code"] == 65
    assert f"{records[0].parent.name}: failed in pretrain: " in done.stderr, "the exit handler says it too"


# Disturbed: the same path each time, since manifests name where their inputs lie


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], float]:
    """A folder (empty again), the manifests that an undisturbed run leaves there, and its seconds."""
    folder = tmp_path_factory.mktemp("disturbed") / "run"
    started = time.monotonic()
    run = Run(folder)
    assert run.wait() == 0, run.text()
    seconds, left = time.monotonic() - started, manifests(folder / "store")
    shutil.rmtree(folder)
    return folder, left, seconds


def ends_as(folder: Path, expected: dict[str, object]) -> None:
    run = Run(folder)
    assert run.wait() == 0, run.text()
    assert "comface@v1" in run.text()
    found = manifests(folder / "store")
    assert found.keys() == expected.keys()
    assert found == expected
    assert not list((folder / "store").glob("backbone/*/checkpoint*"))


@pytest.mark.parametrize("whole_session", [False, True], ids=["the command", "all its processes"])
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    undisturbed: tuple[Path, dict[str, object], float], whole_session: bool
) -> None:
    folder, expected, seconds = undisturbed
    shutil.rmtree(folder, ignore_errors=True)
    moments = random.Random(int(whole_session))
    for _ in range(4):
        run = Run(folder)
        try:
            run.wait(moments.uniform(0.1, 0.8) * seconds)
        except subprocess.TimeoutExpired:
            if whole_session:
                os.killpg(run.process.pid, signal.SIGKILL)
            else:
                run.process.kill()
            run.process.wait()
        run.wait_until_nothing_runs()
    ends_as(folder, expected)


@pytest.mark.parametrize("share", [0.15, 0.4, 0.6])
def test_a_run_that_is_interrupted_says_so_and_goes_on(
    undisturbed: tuple[Path, dict[str, object], float], share: float
) -> None:
    """Ctrl-C: the terminal sends it to all processes of the foreground."""
    folder, expected, seconds = undisturbed
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder)
    with pytest.raises(subprocess.TimeoutExpired):
        run.wait(share * seconds)
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.wait(60) == 143
    last = run.text().strip().splitlines()[-1]
    assert last == "comface: interrupted; finished work is kept, run the same command to resume."
    assert "Traceback" not in run.text()
    run.wait_until_nothing_runs()
    ends_as(folder, expected)


# Several trainings


def test_two_seeds_and_a_variant_share_the_shards_and_end_in_one_report(tmp_path: Path) -> None:
    chosen = [
        "seeds=[0, 1]",
        "transfer.methods=[pixels, scratch, comface, 'comface:inter']",
        "transfer.modes=[linear, finetune]",
        "transfer.epochs=1",
    ]
    done = comface(*run_arguments(tmp_path / "run", *chosen), timeout_s=900)
    assert done.returncode == 0, done.stderr
    made = manifests(tmp_path / "run" / "store")
    kinds = Counter(address.partition("/")[0] for address in made)
    assert (kinds["shards"], kinds["backbone"], kinds["features"], kinds["protocol"]) == (1, 4, 7, 1)
    assert kinds["transfer"] == 7 + 6, "pixels have no seed and no layers to fine-tune"
    (evaluation,) = [each for address, each in made.items() if address.startswith("evaluation/")]
    inputs = evaluation["inputs"].keys()
    assert {"age/pixels/linear/0", "age/comface/linear/1", "age/comface:inter/finetune/1"} <= inputs, sorted(inputs)
    assert not list((tmp_path / "run" / "store").glob("backbone/*/checkpoint*"))
    assert "pretrain 4 of 4" in done.stderr
    for name in ("comface/1", "comface:inter/0"):
        assert f"INFO pretrain {name}: epoch 2/2" in done.stderr


# S3


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if radosgw.missing():
        pytest.skip(f"needs Ceph's gateway: {radosgw.INSTALL}")
    with radosgw.radosgw(tmp_path_factory.mktemp("ceph"), "comface") as environment:
        yield environment


@pytest.fixture(params=["s3_environment", "ceph"], ids=["moto", "radosgw"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a client of each server, set in os.environ as well."""
    environment = request.getfixturevalue(request.param)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def test_a_run_on_s3_ends_well_and_no_credential_is_anywhere(s3: dict[str, str], tmp_path: Path) -> None:
    store = "s3://comface/whole-run"
    done = comface(*run_arguments(tmp_path / "run"), "--store", store, timeout_s=900)
    assert done.returncode == 0, done.stderr
    assert "comface@v1" in done.stderr
    assert len(registered(store)) == 1
    verified = comface("verify", "--store", store)
    assert verified.returncode == 0, verified.stderr
    assert "all hashes match" in verified.stdout
    objects = open_store(store)
    places = {f"{store}/{key}": objects.read(key) for key in objects.keys()}  # noqa: SIM118
    assert any(name.endswith("manifest.json") for name in places)
    places |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    places |= {"what it said": (done.stderr + done.stdout).encode()}
    for secret in (s3["AWS_SECRET_ACCESS_KEY"], s3["AWS_ACCESS_KEY_ID"]):
        assert [place for place, data in places.items() if secret.encode() in data] == []


def test_a_run_with_every_twentieth_request_spoilt_ends_well_in_one_start(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = "s3://comface/spoilt-run"
    with faulty(s3["AWS_ENDPOINT_URL"], 0.05, seed=1, stall_s=3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        done = comface(*run_arguments(tmp_path / "run"), "--store", store, timeout_s=900)
        assert done.returncode == 0, done.stderr
    assert len([kind for kind in KINDS if proxy.seen[kind]]) > 5
    assert sum(proxy.seen[kind] for kind in KINDS) > 10
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    assert len(registered(store)) == 1
    verified = comface("verify", "--store", store)
    assert verified.returncode == 0, verified.stderr
    assert "Traceback" not in done.stderr + (tmp_path / "run" / "run.log").read_text()


def test_a_run_on_a_store_that_refuses_the_key_ends_at_once(s3: dict[str, str], tmp_path: Path) -> None:
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong-secret-word"}
    done = comface(*run_arguments(tmp_path / "run"), "--store", "s3://comface/refused", environment=wrong)
    assert done.returncode == 64
    assert "refused the access key" in done.stderr
    assert "wrong-secret-word" not in done.stderr


# Without the learned generator


@needs_models
def test_without_dcgans_file_the_procedural_generator_runs_alone_and_the_report_says_so(tmp_path: Path) -> None:
    files = [path for name in ALL if name != DCGAN for path in models_folder().glob(f"{name}*")]
    python = bare_environment(tmp_path / "venv", files)
    folder = tmp_path / "run"
    done = comface(*run_arguments(folder, *WITH_COHORT), python=python, timeout_s=900)
    assert done.returncode == 0, done.stderr
    assert "the run uses the procedural generator alone; the run leaves out the tasks smile" in done.stderr
    report = (folder / "report.html").read_text()
    assert "procedural generator alone" in report
    tracks = [m for address, m in manifests(folder / "store").items() if address.startswith("tracks/")]
    for manifest in tracks:
        assert set(manifest["config"]["generators"]) == {"procedural"}
    (evaluation,) = (folder / "store").glob("evaluation/*")
    assert {name.partition("/")[0] for name in open_artifact(evaluation.as_uri()).manifest.inputs} == {"age"}
