from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from drawing import drawn_face

from comface.artifacts.arrays import array_bytes
from comface.artifacts.manifest import Draft, open_artifact
from comface.errors import ConfigurationError, DataError
from comface.networks.backbones import ChangeHead, build_backbone
from comface.networks.head import Head
from comface.pretrain.config import PretrainConfig
from comface.store import FileStore
from comface.tasks.config import Task
from comface.tasks.predictions import read_predictions
from comface.transfer.align import read_faces
from comface.transfer.config import TransferConfig
from comface.transfer.features import read_features
from comface.transfer.pairs import draw_pairs
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer

CONFIG = TransferConfig(
    backbone="narrow", image_size_px=32, pairs_per_subject=12, epochs=3, backbone_rate=(1e-3,), head_rate=(1e-2,)
)
TASK = Task(dataset="drawn", label="smile", unit="steps", direction_accuracy=True)
ACROSS = Task(dataset="drawn", train_dataset="other", label="smile", unit="steps")


def drawn_faces(store, name="drawn", subjects=8, photos=8, seed=0):
    """Faces whose smile is the label; every subject has colours of its own."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for subject in range(subjects):
        for _ in range(photos):
            smile = float(rng.integers(0, 5))
            image = drawn_face(32, smile, seed * 100 + subject)
            row = {"subject": f"Jane {subject}", "labels": {"smile": smile}, "session": "", "phase": ""}
            rows.append(row | {"sha256": hashlib.sha256(image.tobytes()).hexdigest()})
            images.append(image)
    draft = Draft(store, "faces", {"name": name}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(np.stack(images)))
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": name, "rehearsal": True, "found": len(rows), "missed": {"no face": 2}})


def random_backbone(store):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, width = build_backbone("narrow")
        head = ChangeHead(width)
    state = {f"backbone.{k}": v for k, v in network.state_dict().items()}
    state |= {f"head.{k}": v for k, v in head.state_dict().items()}
    config = PretrainConfig(backbone="narrow", image_size_px=32).model_dump(mode="json")
    draft = Draft(store, "backbone", config, {}, {"test": 1})
    draft.write("model.safetensors", safetensors.torch.save(state))
    return draft.publish({})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    store = FileStore(tmp_path_factory.mktemp("store"))
    return store, drawn_faces(store), drawn_faces(store, "other", seed=7), random_backbone(store)


def drawn(world, task=TASK, config=CONFIG, name="drawn-smile"):
    store, faces, other, *_ = world
    return draw_protocol(store, config, name, task, faces, *([other] if task.train_dataset else []))


def run(world, method="pixels", mode="linear", task=TASK, config=CONFIG, seed=0):
    reads = {"protocol": drawn(world, task, config), "backbone": world[3]}
    return transfer(world[0], config, Item("drawn-smile", task, method, mode, seed), reads)


def metrics(result):
    return read_predictions(result).metrics


def test_linear_evaluation_estimates_a_change_that_the_features_show(world):
    result = run(world)
    assert metrics(result)["corr"] > 0.7
    assert metrics(result)["acc"] > 0.75
    assert result.facts["missed"] == {"no face": 2}
    assert len(result.facts["penalties"]) == 4


def test_predictions_are_of_every_drawn_pair_once_and_do_not_name_subjects(world):
    result, faces = run(world), world[1]
    read = read_predictions(result)
    pairs = draw_pairs(faces.read_json("photos.json"), "smile", 12, 0.0, 0, "drawn-smile")
    assert sorted(zip(read.x_P, read.y_P, read.change_P, strict=True)) == sorted(
        zip(pairs.x_P, pairs.y_P, pairs.change_P, strict=True)
    )
    assert all(b"Jane" not in artifact.read(name) for artifact in (result, result.input("protocol"))
               for name in artifact.manifest.objects)  # fmt: skip
    fold_of = dict(zip(read.subjects, read.fold_P, strict=True))
    assert len(fold_of) == 8
    assert all(fold_of[s] == f for s, f in zip(read.subjects, read.fold_P, strict=True))
    assert set(result.read_json("predictions.json")) == {"fold", "predicted"}, "no truth"


def test_all_methods_modes_and_seeds_are_tested_on_the_same_pairs(world):
    protocols = {
        run(world, method, mode, seed=seed).manifest.inputs["protocol"].sha256
        for method, mode, seed in (
            ("pixels", "linear", 0),
            ("scratch", "linear", 1),
            ("comface", "linear+antisymmetric+standardised", 0),
            ("scratch", "finetune", 0),
        )
    }
    assert protocols == {drawn(world).sha256}


def test_the_published_head_is_fitted_on_all_subjects_and_standardises_by_itself(world):
    result, faces = run(world, "comface"), world[1]
    assert "head.safetensors" not in run(world, "pixels").manifest.objects, "only ComFace is registered"
    head = Head.read(safetensors.numpy.load(result.read("head.safetensors")))
    features = result.input("features", "features")
    h = read_features(features)[:]
    pairs = draw_pairs(faces.read_json("photos.json"), "smile", 12, 0.0, 0, "drawn-smile")
    assert np.corrcoef(head(h[pairs.x_P], h[pairs.y_P]), pairs.change_P)[0, 1] > 0.8


def test_training_subjects_can_take_turns_to_validate(world):
    config = CONFIG.model_copy(update={"validation_turns": 3})
    one, turns = run(world), run(world, config=config)
    assert turns.uri != one.uri
    assert metrics(turns)["corr"] > 0.7
    assert metrics(run(world, task=ACROSS, config=config))["corr"] > 0.5


def test_a_task_across_data_sets_trains_on_one_and_tests_all_of_the_other(world):
    result = run(world, task=ACROSS)
    read = read_predictions(result)
    assert len(set(read.subjects)) == 8
    first = read.x_P[read.fold_P == 0]
    assert len(first) == 8 * 12
    assert all(np.array_equal(read.x_P[read.fold_P == fold], first) for fold in range(4)), "one model per fold of A"
    assert len(set(np.round(read.predicted_P[read.y_P == read.y_P[0]], 6))) > 1, "other models"
    assert result.input("train_faces").uri == world[2].uri
    assert metrics(result)["corr"] > 0.5


def test_features_are_shared_by_tasks_and_the_backbone_matters_to_comface_alone(world):
    store, _, _, backbone = world
    other_task = TASK.model_copy(update={"min_change": 1.0})
    one, two = run(world), run(world, task=other_task)
    assert one.manifest.inputs["features"] == two.manifest.inputs["features"]
    without = transfer(store, CONFIG, Item("drawn-smile", TASK, "pixels", "linear"), {"protocol": drawn(world)})
    assert without.uri == one.uri
    ours = run(world, "comface").input("features")
    assert ours.input("backbone").uri == backbone.uri


def test_fine_tuning_learns_repeats_itself_and_says_which_head_it_began_with(world):
    store = world[0]
    many = (store, drawn_faces(store, "many", subjects=16), None, world[3])
    config = CONFIG.model_copy(update={"epochs": 12, "folds": 2, "batch_pairs": 16})
    fresh = run(many, "scratch", "finetune", config=config)
    assert metrics(fresh)["corr"] > 0.5
    assert fresh.facts["heads"] == ["fresh"] * 2
    assert "head.safetensors" not in fresh.manifest.objects
    short = CONFIG.model_copy(update={"folds": 2, "epochs": 1})
    assert run(world, "comface", "finetune", config=short).facts["heads"] == ["transferred"] * 2
    assert run(world, "scratch", "finetune", config=short).facts["heads"] == ["fresh"] * 2
    assert run(world, "comface", "finetune+fresh", config=short).facts["heads"] == ["fresh"] * 2


def test_a_pre_trained_head_that_says_the_same_of_every_pair_is_not_said_to_be_transferred(world):
    store, faces, _, backbone = world
    state = safetensors.torch.load(backbone.read("model.safetensors"))
    state["head.linear.weight"].zero_()
    draft = Draft(store, "backbone", {**backbone.manifest.config, "seed": 5}, {}, {"test": 1})
    draft.write("model.safetensors", safetensors.torch.save(state))
    dead = draft.publish({})
    config = CONFIG.model_copy(update={"folds": 2, "epochs": 1, "pairs_per_subject": 4})
    item = Item("t", TASK, "comface", "finetune")
    protocol = draw_protocol(store, config, "t", TASK, faces)
    result = transfer(store, config, item, {"protocol": protocol, "backbone": dead})
    assert result.facts["heads"] == ["fresh", "fresh"]
    assert result.facts["final_head"] == "fresh"


def test_the_fine_tuned_network_of_all_subjects_is_published_and_estimates_the_change(world):
    store = world[0]
    many = drawn_faces(store, "many", subjects=16)
    config = CONFIG.model_copy(update={"epochs": 12, "folds": 2, "batch_pairs": 16})
    result = run((store, many, None, world[3]), "comface", "finetune+fresh", config=config)
    best = sorted(each["epochs"] for each in result.facts["chosen"])
    assert result.facts["final_epochs"] == best[1]
    state = safetensors.torch.load(result.read("backbone.safetensors"))
    assert all(v.dtype == (torch.float16 if v.dim() > 1 else v.dtype) for v in state.values())
    network, _ = build_backbone("narrow")
    network.load_state_dict({k.removeprefix("backbone."): v.float() for k, v in state.items()})
    head = Head.read(safetensors.numpy.load(result.read("head.safetensors")))
    faces = torch.from_numpy(read_faces(many)[:]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        h = network.eval()(faces).double().numpy()
    pairs = draw_pairs(many.read_json("photos.json"), "smile", 12, 0.0, 0, "drawn-smile")
    estimate = head(h[pairs.x_P], h[pairs.y_P])
    assert np.corrcoef(estimate, pairs.change_P)[0, 1] > 0.7
    assert 0.4 < estimate.std() / pairs.change_P.std() < 1.6, "in the task's unit"


def test_the_digest_of_the_protocol_follows_every_part_of_it(world):
    store, faces = world[:2]
    digest = run(world).facts["protocol_sha256"]
    for changed in ({"seed": 1}, {"folds": 3}, {"pairs_per_subject": 11}, {"validation_fraction": 0.3}):
        assert drawn(world, config=CONFIG.model_copy(update=changed)).facts["protocol_sha256"] != digest
    assert drawn(world, ACROSS).facts["protocol_sha256"] != digest
    repainted = Draft(store, "faces", {"name": "repainted"}, {}, {"test": 1})
    rows = faces.read_json("photos.json")
    rows[0]["sha256"] = "0" * 64
    repainted.write("faces.npy", faces.read("faces.npy"))
    repainted.write_json("photos.json", rows)
    other = repainted.publish(faces.facts)
    assert drawn((store, other, None)).facts["protocol_sha256"] != digest


def test_the_columns_of_a_transfer_are_those_of_its_protocol(world):
    result = run(world)
    read = read_predictions(result)
    assert read.facts.pairs == len(read.change_P) == len(read.predicted_P) == 8 * 12
    assert read.facts.subjects == len(set(read.subjects)) == 8


@pytest.mark.parametrize(("method", "mode"), [("pixels", "linear"), ("comface", "finetune")])
@pytest.mark.parametrize("task", [TASK, ACROSS], ids=["own", "across"])
def test_a_transfer_gives_the_same_estimates_if_the_truth_is_poisoned_or_missing(world, tmp_path, task, method, mode):
    """The labels of test subjects are in truth.npz and in the rows of the faces, which no transfer reads, and in
    all.npz, which only a transfer that can be registered reads, after its predictions."""
    config = CONFIG.model_copy(update={"epochs": 1, "folds": 2, "pairs_per_subject": 4})
    seen = run(world, method, mode, task, config)
    shutil.copytree(world[0].root, tmp_path / "blind", ignore=shutil.ignore_patterns("transfer"))
    blind = FileStore(tmp_path / "blind")
    protocol = open_artifact(f"{blind.uri}/{drawn(world, task, config).address}")
    for name in ("truth.npz", *(["all.npz"] if method == "pixels" else [])):
        blind.child(protocol.address).write(name, b"poison")
    (tmp_path / "blind" / protocol.input("faces").address / "photos.json").unlink()
    reads = {"protocol": protocol, "backbone": open_artifact(f"{blind.uri}/{world[3].address}")}
    result = transfer(blind, config, Item("drawn-smile", task, method, mode), reads)
    assert result.uri.startswith(blind.uri)
    assert result.read("predictions.json") == seen.read("predictions.json")
    with pytest.raises(DataError, match=r"'truth\.npz' of .* does not match its manifest"):
        read_predictions(result)


def test_fine_tuning_twice_gives_the_same_predictions(world, tmp_path):
    faces, backbone = world[1], world[3]
    config = CONFIG.model_copy(update={"epochs": 1, "folds": 2, "pairs_per_subject": 4})
    item = Item("t", TASK, "comface", "finetune")
    protocol = draw_protocol(world[0], config, "t", TASK, faces)
    predictions = [
        transfer(FileStore(tmp_path / name), config, item, {"protocol": protocol, "backbone": backbone}).read(
            "predictions.json"
        )
        for name in "ab"
    ]
    assert predictions[0] == predictions[1]


def test_linear_evaluation_with_features_at_hand_does_not_import_torch(world):
    store, faces, _, _ = world
    run(world, "scratch")
    code = f"""
import sys
from comface.tasks.config import Task
from comface.transfer.config import TransferConfig
from comface.artifacts.manifest import open_artifact
from comface.store import open_store
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer
config = TransferConfig.model_validate_json('''{CONFIG.model_copy(update={"seed": 0, "folds": 3}).model_dump_json()}''')
task = Task.model_validate_json('''{TASK.model_dump_json()}''')
item = Item("t", task, "scratch", "linear")
protocol = draw_protocol(open_store({store.uri!r}), config, "t", task, open_artifact({faces.uri!r}))
result = transfer(open_store({store.uri!r}), config, item, {{"protocol": protocol}})
assert "torch" not in sys.modules and "cv2" not in sys.modules
print(result.uri)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_combinations_that_make_no_sense_are_refused(world):
    store, faces, other, _ = world
    with pytest.raises(ConfigurationError, match="'pixels' has no layers to fine-tune"):
        run(world, "pixels", "finetune")
    with pytest.raises(ConfigurationError, match="trains on 'other'; pass the faces"):
        draw_protocol(store, CONFIG, "t", ACROSS, faces)
    with pytest.raises(ConfigurationError, match="trains on its own data set"):
        draw_protocol(store, CONFIG, "t", TASK, faces, other)
    with pytest.raises(ConfigurationError, match="is of the task 'drawn-smile', not of 't'; pass that of the task"):
        transfer(store, CONFIG, Item("t", TASK, "pixels", "linear"), {"protocol": drawn(world)})
    with pytest.raises(ConfigurationError, match="no mode 'zero-shot'"):
        run(world, mode="zero-shot")
    with pytest.raises(DataError, match="No subject has two photos with comparable values of 'weight'"):
        run(world, task=TASK.model_copy(update={"label": "weight"}))
