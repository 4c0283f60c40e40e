"""The whole work in a few seconds: every step once, small, with fixed seeds, on one core, in float32.

In: an empty folder for the store. Out: per artifact what it holds, as numbers that another processor reproduces within
a tolerance: size, mean, spread and samples of every array, words as they are. Steps that need fetched weights
(`dcgan`, the published scorers and ImageNet network) are left out where these are not at hand.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from comface.artifacts.arrays import read_arrays
from comface.artifacts.manifest import Artifact
from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.rehearsal.step import rehearse
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.step import evaluate
from comface.generators import draw
from comface.generators.registry import GENERATORS, load_generator
from comface.methods.encoder import Sources
from comface.pretrain.config import PretrainConfig
from comface.pretrain.step import pretrain
from comface.register.config import RegisterConfig
from comface.register.step import gate, register
from comface.screening.config import ScreeningConfig
from comface.screening.step import screen_tracks
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tasks.config import Task
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader
from comface.transfer.align import align_dataset
from comface.transfer.config import TransferConfig
from comface.transfer.features import features
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer
from comface.weights.fetched import ALL, models_folder

DATA = Path(__file__).parents[1] / "data"
SAMPLES = 8
"""Of each array, evenly spread over it."""
FETCHED = all((models_folder() / name).is_file() for name in ALL)
STYLEGANS = {"stylegan": "sg1_tiny_tfpkl_old.pkl", "stylegan3": "sg3t_tiny_nvpkl_old.pkl"}
AGE = Task(dataset="fgnet", label="age", unit="years")


@dataclass(frozen=True)
class Made:
    """One artifact: the revisions that decide its address, and what it holds."""

    revisions: Mapping[str, int]
    values: Mapping[str, Any]


def small_run(folder: Path) -> dict[str, Made]:
    torch.set_num_threads(1)
    store, made = FileStore(folder / "store"), dict[str, Made]()

    def keep(name: str, artifact: Artifact, values: Mapping[str, Any]) -> Artifact:
        made[name] = Made(artifact.manifest.revisions, dict(values))
        return artifact

    tracks = [synthesize(store, composition("procedural"), 0)]
    if FETCHED:
        tracks.append(synthesize(store, composition("dcgan"), 0))
    by_generator = [shard(store, ShardConfig(), [each]) for each in tracks]
    for each in by_generator:
        keep(f"tracks of {each.facts['generators'][0]}", each.inputs()["tracks-00000"], images_of(each, folder))
    shards = by_generator[0]
    keep("shards", shards, {split: shards.facts[split] for split in ("train", "validation")} | order_of(shards, folder))
    if FETCHED:
        screened = screen_tracks(store, ScreeningConfig(tracks=3, alphas=3, others=2), tracks)
        keep("screening", screened, judged(screened))
    backbone = pretrain(store, pretraining(), shards, folder / "cache")
    weights = {
        k: v for k, v in tensors(backbone, "model.safetensors").items() if isinstance(v, dict) and v["shape"][1:]
    }
    keep("backbone", backbone, weights | flattened(backbone.read_json("curve.json")))

    rehearsals = {"fgnet": "fgnet", "edema-a": "edema", "disfa": "disfa"} | ({"cohort": "pairs"} if FETCHED else {})
    photos = {name: rehearse(store, name, layout, rehearsal()) for name, layout in rehearsals.items()}
    for name, each in photos.items():
        keep(f"rehearsal of {name}", each, files(each))
    faces = align_dataset(store, "fgnet", DataSource(layout="fgnet", face_size_px=64), photos["fgnet"])
    keep("faces with landmarks", faces, arrays(faces, "faces-00000.npy", "faces.npy") | {"found": faces.facts["found"]})
    if FETCHED:
        source = DataSource(layout="edema", uri=str(DATA / "cases" / "edema" / "base"), face_size_px=64)
        found = align_dataset(store, "edema", source)
        keep("faces found", found, arrays(found, "faces-00000.npy", "faces.npy") | {"missed": found.facts["missed"]})
    settings = TransferConfig(
        backbone="narrow",
        image_size_px=48,
        view_share=0.75,
        pairs_per_subject=4,
        epochs=2,
        batch_pairs=8,
        folds=2,
        head_rate=(1e-3,),
    )
    for method in ("pixels", "scratch", "comface", *(("imagenet",) if FETCHED else ())):
        each = features(store, method, faces, Sources.of(backbone, None, settings))
        mirrored = arrays(each, "mirrored-00000.npy", "mirrored.npy") if method == "comface" else {}
        keep(f"features of {method}", each, arrays(each, "features-00000.npy", "features.npy") | mirrored)
    protocol = draw_protocol(store, settings, "age", AGE, faces)
    folds = flattened(protocol.read_json("folds.json"))
    keep("protocol", protocol, {name: value for name, value in folds.items() if name != "faces"} | truth_of(protocol))
    results = []
    for method, mode in (("scratch", "linear"), ("comface", "linear"), ("comface", "finetune")):
        result = transfer(store, settings, Item("age", AGE, method, mode), {"protocol": protocol, "backbone": backbone})
        predictions = flattened(result.read_json("predictions.json"))
        head = tensors(result, "head.safetensors") if method == "comface" else {}
        keep(f"{mode} transfer of {method}", result, predictions | head)
        results.append(result)
    evaluation = evaluate(store, EvaluateConfig(bootstrap=50), results)
    keep("evaluation", evaluation, evaluation.facts["metrics"])
    settings = RegisterConfig(must_beat=None)
    decision, decided = gate(store, settings, evaluation)
    keep("decision", decided, {"outcome": decision.outcome, "checks": len(decision.checks)})
    registered = register(store, settings, evaluation, backbone, results, datetime(2026, 1, 1, tzinfo=UTC), folder)
    assert registered.model is not None
    heads = flattened(registered.model.read_json("heads.json"))
    keep("model", registered.model, {name: value for name, value in heads.items() if "sha256" not in name})
    for name in ("stylegan", "stylegan3"):
        generator = load_generator(name, DATA / "generators" / STYLEGANS[name])
        images_NCHW = generator.render(draw(generator, [1, 2], 0.7)).clamp(-1, 1)
        made[f"images of {name}"] = Made({name: GENERATORS[name].revision}, {"images": told(images_NCHW.numpy())})
    return made


def truth_of(protocol: Artifact) -> dict[str, Any]:
    return {name: told(array) for name, array in read_arrays(protocol, "truth.npz").items()}


def judged(screening: Artifact) -> dict[str, Any]:
    words = ("kept", "low", "high", "own_sd_per_5_alpha", "identity_least", "face_found_least")
    rows = screening.facts["attributes"]
    return {f"{row['generator']}/{row['attribute']}": [row[word] for word in words] for row in rows}


def composition(generator: str) -> SynthesizeConfig:
    attributes = ("weight", "smile") if generator == "procedural" else ("smile", "age")
    share = Share(generator=generator, identities=16, attributes=attributes)
    return SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=64, parts=1)


def pretraining() -> PretrainConfig:
    return PretrainConfig(
        backbone="narrow", image_size_px=48, view_share=0.75, projection_hidden=32, projection_width=16, epochs=2,
        curriculum_ends=(1, 2), pairs_per_step=8, steps_per_epoch=3, learning_rate=1e-4, halve_at_epoch=None,
        precision="fp32", loader_workers=0, nodes=1, gpus_per_node=0,
    )  # fmt: skip


def rehearsal() -> RehearseConfig:
    return RehearseConfig(
        disfa_subjects=4, disfa_frames=20, fgnet_subjects=5, fgnet_images=3, edema_a_patients=4, edema_sessions=1,
        edema_frames=1, cohort_subjects=4, cohort_photos=2, image_size_px=96,
    )  # fmt: skip


def images_of(shards: Artifact, folder: Path) -> dict[str, Any]:
    """The tracks (they pass through the shards as they are): by alpha, the images of all of them."""
    found: dict[str, list[NDArray[np.uint8]]] = {}
    for split in ("train", "validation"):
        reader = ShardReader(shards, split, folder / "cache")
        for number, (track, _) in enumerate(reader.tracks):
            found[track.key] = [pixels(reader.jpeg(number, alpha)) for alpha in range(len(track.alphas))]
    stacked_ATHWC = np.stack([found[key] for key in sorted(found)], axis=1)
    return {"tracks": sorted(found)} | {f"alpha {number}": told(each) for number, each in enumerate(stacked_ATHWC)}


def order_of(shards: Artifact, folder: Path) -> dict[str, Any]:
    readers = {split: ShardReader(shards, split, folder / "cache") for split in ("train", "validation")}
    return {f"order of {split}": [track.key for track, _ in reader.tracks] for split, reader in readers.items()}


def files(artifact: Artifact) -> dict[str, Any]:
    """Names, the pixels of all pictures and the first frame of each film in a row, and the words of all texts."""
    names = sorted(artifact.manifest.objects)
    pictures, words = [], list[Any]()
    for name in names:
        if name.lower().endswith((".jpg", ".png")):
            pictures.append(pixels(artifact.read(name)).reshape(-1))
        elif name.endswith(".avi"):
            pictures.append(cv2.VideoCapture(str(artifact.store.path(artifact.key(name)))).read()[1].reshape(-1))
        else:
            words += numbers(artifact.read(name).decode())
    return {"files": names, "pixels": told(np.concatenate(pictures)), "words": words[:: max(1, len(words) // 40)]}


def numbers(text: str) -> list[Any]:
    """Words and numbers of a table, each by itself."""
    found: list[Any] = []
    for word in text.replace(",", " ").split():
        try:
            found.append(float(word))
        except ValueError:
            found.append(word)
    return found


def arrays(artifact: Artifact, name: str, known: str) -> dict[str, Any]:
    return {known: told(np.load(io.BytesIO(artifact.read(name))))}


def tensors(artifact: Artifact, name: str) -> dict[str, Any]:
    return {key: told(value) for key, value in sorted(safetensors.numpy.load(artifact.read(name)).items())}


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def told(array: NDArray[Any]) -> dict[str, Any] | float:
    """Size, mean, spread, and a few values evenly spread over the array; of one number, the number."""
    if array.size == 1:
        return float(array.reshape(()))
    flat = array.reshape(-1).astype(np.float64)
    at = np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).round().astype(int)
    kind = "levels" if array.dtype == np.uint8 else "numbers"
    return {
        "shape": list(array.shape), "kind": kind, "mean": shorter(flat.mean()), "sd": shorter(flat.std()),
        "samples": [shorter(value) for value in flat[at]],
    }  # fmt: skip


def shorter(value: float) -> float:
    return float(f"{value:.7g}")


def flattened(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one: {"a": [{"b": 1}]} -> {"a/0/b": 1}; long lists of numbers as arrays."""
    if isinstance(content, Mapping):
        items: Sequence[tuple[str, Any]] = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list) and content and not all(isinstance(value, int | float) for value in content):
        items = [(str(number), value) for number, value in enumerate(content)]
    elif isinstance(content, list) and len(content) > SAMPLES:
        return {prefix: told(np.array(content, np.float64))}
    else:
        return {prefix: content}
    return {k: v for key, value in items for k, v in flattened(value, f"{prefix}/{key}" if prefix else key).items()}


def recorded(path: Path) -> dict[str, Made]:
    return {name: Made(**each) for name, each in json.loads(path.read_text()).items()}
