"""The data set from StyleGANs: tracks of both generators, in any order, side by side, after a kill, from a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from tar_tracks import Stored
from tar_tracks import tracks_of_part as stored
from torch import nn
from weights_location import WIDTH, fill, put

from comface.artifacts.manifest import Artifact, open_artifact
from comface.generators.registry import load_generator
from comface.generators.stylegan.generator import z_of
from comface.plan.configuration import RunConfig, resolve
from comface.plan.step import Plans, make_plans
from comface.plan.weights import find_generators
from comface.store import FileStore, Store, open_store
from comface.synthesize.from_plan import synthesize_part
from comface.tracks.composition import totals
from comface.tracks.tar import Track

COMPOSITION = (
    "synthesize.composition=[{generator: stylegan, identities: 2, attributes: [age, smile, weight],"
    " attributes_per_identity: 3}, {generator: stylegan3, identities: 8, attributes: [Smiling, Wearing_Hat, young]}]"
)
SETTINGS = (
    COMPOSITION, "synthesize.alpha_step=5", "synthesize.image_size_px=32", "synthesize.screen_faces=false",
    "transfer.methods=[comface, scratch]",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    store = FileStore(tmp_path_factory.mktemp("weights"))
    fill(store)
    return store


def configured(store: str, weights: Store, parts: int, *overrides: str) -> RunConfig:
    places = {"store": store, "weights": weights.uri}
    return resolve("paper", (*SETTINGS, f"synthesize.parts={parts}", *overrides), places)


def planned(store: Path | str, weights: Store, parts: int, *overrides: str) -> Plans:
    """As resolve plans it, after its checks."""
    config = configured(store if isinstance(store, str) else store.as_uri(), weights, parts, *overrides)
    return make_plans(config, "", supplies=find_generators(config))


def make(plans: Plans, part: int, tmp_path: Path) -> Artifact:
    return open_artifact(synthesize_part(plans.synthesize.text, part, str(tmp_path / "page.html")), "part")


@pytest.fixture(scope="module")
def whole(weights: FileStore, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("whole")
    return stored(make(planned(folder / "store", weights, 1), 0, folder))


def test_every_planned_track_is_there_once(whole: Stored) -> None:
    planned_ = totals(resolve("paper", SETTINGS).synthesize)
    assert len(whole) == planned_.tracks == 2 * 3 + 8
    counted: dict[str, dict[str, int]] = {}
    for track, _ in whole.values():
        by_attribute = counted.setdefault(track.generator, {})
        by_attribute[track.attribute] = by_attribute.get(track.attribute, 0) + 1
    assert counted == planned_.tracks_by_attribute
    assert len({(t.identity, t.attribute.lower()) for t, _ in whole.values()}) == len(whole)


def test_parts_in_any_order_and_side_by_side_hold_the_same_bytes(
    weights: FileStore, whole: Stored, tmp_path: Path
) -> None:
    plans = planned(tmp_path / "store", weights, 3)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda part: stored(make(plans, part, tmp_path)), (2, 0, 1)))
    assert sum(map(len, made)) == len(whole)
    assert made[0] | made[1] | made[2] == whole


def test_every_image_is_the_edit_that_the_catalogue_says(weights: FileStore, whole: Stored) -> None:
    """Latents moved by a loop written here, with the network alone."""
    for key, (track, jpegs) in whole.items():
        faces = load_generator(track.generator, weights.path(f"{track.generator}.safetensors"))
        mean = faces.network.state_dict()["truncation.w_avg" if track.generator == "stylegan" else "mapping.w_avg"]
        n = direction_of(weights, track)
        w = faces.mapped(torch.from_numpy(z_of(track.seed, WIDTH)))[0]
        for alpha, jpeg in zip(track.alphas, jpegs, strict=True):
            truncated = mean + 0.7 * (w - mean)
            rows = [truncated + alpha * n] * 16
            if track.attribute == "weight":
                rows = [truncated + alpha * n] * 8 + [w] * 4
            elif track.generator == "stylegan":
                rows = [mean + 0.7 * (w + alpha * n - mean)] * 8 + [w + alpha * n] * 4
            image = faces.render(torch.stack(rows)[None])
            small = nn.functional.interpolate(image, (32, 32), mode="bicubic", align_corners=False, antialias=True)
            wanted = ((small[0] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()
            wanted = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(np.ascontiguousarray(wanted), 90, "RGB", "444"))
            assert np.abs(simplejpeg.decode_jpeg(jpeg).astype(float) - wanted).mean() < 0.3, key


def direction_of(weights: FileStore, track: Track) -> torch.Tensor:
    """(D,): boundaries of norm 1, the facial weight as it is."""
    files = {"age": "stylegan_ffhq_age_w_boundary", "smile": "stylegan_ffhq_smile_w_boundary",
             "weight": "weight_orth_mouth", "young": "Young_boundary"}  # fmt: skip
    name = files.get(track.attribute, f"{track.attribute}_boundary")
    n = torch.from_numpy(np.load(weights.path(f"directions/{track.generator}/{name}.npy"))).float()[0]
    return n if track.attribute == "weight" else n / n.norm()


@pytest.mark.system
def test_a_part_killed_by_sigkill_goes_on_and_ends_with_the_same_manifest(
    weights: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = "synthesize.composition=[{generator: stylegan3, identities: 8, attributes: [Bald, Male]}]"
    monkeypatch.setattr("comface.tracks.blocks.MOST", 2)
    undisturbed = make(planned(tmp_path / "undisturbed", weights, 1, smaller), 0, tmp_path)
    plans = planned(tmp_path / "killed", weights, 1, smaller)
    script = (
        "import sys; from comface.tracks import blocks; from comface.synthesize import from_plan; "
        "blocks.MOST = 2; "
        "from_plan.synthesize_part(sys.argv[1], 0, sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", script, plans.synthesize.text, str(tmp_path / "page.html")])
    until = time.monotonic() + 100
    while not list((tmp_path / "killed").rglob("tracks/*/manifest.json")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "killed").rglob("part/*/manifest.json"))
    resumed = make(plans, 0, tmp_path)
    assert resumed.sha256 == undisturbed.sha256


def test_other_weights_directions_and_settings_are_other_artifacts(weights: FileStore, tmp_path: Path) -> None:
    few = "synthesize.composition=[{generator: stylegan3, identities: 1, attributes: [Smiling]}]"
    other = FileStore(tmp_path / "weights")
    fill(other)
    first = make(planned(tmp_path / "store", weights, 1, few), 0, tmp_path)
    assert make(planned(tmp_path / "store", other, 1, few), 0, tmp_path).uri == first.uri, "the same bytes elsewhere"
    put(other, "directions/stylegan3/Smiling_boundary.npy", np.ones((1, WIDTH)))
    uris = {first.uri, make(planned(tmp_path / "store", other, 1, few), 0, tmp_path).uri}
    for setting in (
        "synthesize.directions.stylegan3.Smiling={truncate: before, layers: [1, 15]}",
        "synthesize.pseudo_aligned=true",
        "synthesize.input_transform=[10, 0.1, 0]",
    ):
        uris.add(make(planned(tmp_path / "store", weights, 1, few, setting), 0, tmp_path).uri)
    assert len(uris) == 5


def test_a_bucket_gives_the_bytes_that_a_folder_gives(
    s3_environment: dict[str, str], whole: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    bucket = open_store("s3://comface/weights-tracks")
    fill(bucket)
    plans = planned("s3://comface/stylegan-tracks", bucket, 2)
    made = [stored(make(plans, part, tmp_path)) for part in (1, 0)]
    assert made[1] | made[0] == whole


def test_the_step_alone_finds_the_location_too(weights: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from comface.cli import main

    few = "synthesize.composition=[{generator: stylegan, identities: 2, attributes: [weight]}]"
    words = [word for setting in (*SETTINGS, few, "synthesize.parts=1") for word in ("--set", setting)]
    store = (tmp_path / "store").as_uri()
    assert main(["synthesize", *words, "--set", f"weights={weights.uri}", "--store", store]) == 0
    assert len(stored(open_artifact(capsys.readouterr().out.strip(), "part"))) == 2
    assert main(["synthesize", *words, "--set", f"weights={tmp_path.as_uri()}", "--store", store]) == 64
    assert "does not contain, for 'stylegan', its weights" in capsys.readouterr().err
