"""A method that no file of the package knows goes the whole way: resolve, transfer, report, gate."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from comface.artifacts.arrays import array_bytes
from comface.artifacts.manifest import Artifact, Draft
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.step import evaluate
from comface.faces.preprocessing import Preprocessing
from comface.methods import METHODS, load_method, method
from comface.methods.encoder import Encoder, Sources, encode, encode_images
from comface.methods.method import Method
from comface.networks.backbones import build_backbone
from comface.plan.checks import survey_run
from comface.plan.configuration import RunConfig, resolve
from comface.plan.consistency import items
from comface.plan.missing import absent_methods, without_missing
from comface.plan.step import make_plans
from comface.register.config import RegisterConfig
from comface.register.step import gate
from comface.store import FileStore
from comface.tasks.config import Task
from comface.transfer.config import TransferConfig
from comface.transfer.features import features
from comface.transfer.from_plan import weight_file
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer

TASK = Task(dataset="fgnet", label="age", unit="years")
CONFIG = TransferConfig(backbone="narrow", image_size_px=32, pairs_per_subject=12, folds=2)
TIMM = "timm:test_resnet"


def corner(sources: Sources) -> Encoder:
    """The mean colour of a face, which in these tests grows with the label."""
    return Encoder(3, Preprocessing(size_px=8), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


@pytest.fixture
def toy() -> Iterator[str]:
    METHODS.add("toy", Method("toy", "Mean colour", corner, trainable=False))
    yield "toy"
    METHODS.remove("toy")


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Writes a module `NAME.py` on the Python path; returns the reference to its function `encoder`."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, body: str) -> str:
        (tmp_path / f"{name}.py").write_text(
            "from torch import nn\nfrom comface.faces.preprocessing import Preprocessing\n"
            f"from comface.methods.encoder import Encoder\n{body}\n"
        )
        return f"{name}:encoder"

    return write


FUNCTION = """
def encoder(sources):
    return Encoder(3, Preprocessing(size_px=8), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    return FileStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def faces(store: FileStore) -> Artifact:
    """8 people, 6 photos each, whose brightness is their age."""
    rng = np.random.default_rng(0)
    age_N = rng.integers(10, 60, 48)
    images = np.clip(age_N[:, None, None, None] * 4 + rng.integers(-9, 9, (48, 32, 32, 3)), 0, 255).astype(np.uint8)
    rows = [
        {"subject": f"s{i % 8}", "labels": {"age": float(age_N[i])}, "session": "", "phase": "", "sha256": f"{i:064d}"}
        for i in range(48)
    ]
    draft = Draft(store, "faces", {"name": "drawn"}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(images))
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": "fgnet", "rehearsal": True, "found": 48, "missed": {}})


@pytest.fixture(scope="module")
def backbone(store: FileStore) -> Artifact:
    network, _ = build_backbone("narrow")
    config = {"backbone": "narrow", "image_size_px": 32, "view_share": 1.0}
    draft = Draft(store, "backbone", config, {}, {"test": 1})
    state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    draft.write("model.safetensors", safetensors.torch.save(state))
    return draft.publish({})


def configured(*overrides: str) -> RunConfig:
    return resolve("laptop", ["transfer.tasks=[age]", *overrides], {"store": "file:///somewhere"})


def whole_way(store: FileStore, faces: Artifact, backbone: Artifact, name: str) -> tuple[str, str]:
    """(report, decision) of a run whose rival is the method `name`."""
    config = configured(f"transfer.methods=[comface, {name}]", "transfer.modes=[linear]", f"register.must_beat={name}")
    assert [(row.task, row.method) for row in items(config)] == [("age", "comface"), ("age", name)]
    assert {row.method for row in make_plans(config, "run-1").items.rows} == {"comface", name}
    reads = {"protocol": draw_protocol(store, CONFIG, "age", TASK, faces), "backbone": backbone}
    results = [transfer(store, CONFIG, Item("age", TASK, each, "linear"), reads) for each in ("comface", name)]
    evaluation = evaluate(store, EvaluateConfig(bootstrap=50), results)
    _, recorded = gate(store, RegisterConfig(must_beat=name), evaluation)
    return evaluation.read("report.html").decode(), recorded.read("decision.md").decode()


def test_a_method_that_only_this_test_knows_goes_from_resolve_to_report_and_gate(store, faces, backbone, toy) -> None:
    report, decision = whole_way(store, faces, backbone, toy)
    assert "Mean colour" in report
    assert "| beats toy | age | linear |" in decision
    with pytest.raises(ConfigurationError, match="has no layers to fine-tune"):
        transfer(
            store,
            CONFIG,
            Item("age", TASK, toy, "finetune"),
            {"protocol": draw_protocol(store, CONFIG, "age", TASK, faces)},
        )


def test_a_function_of_a_module_goes_the_same_way_under_its_own_name(store, faces, backbone, write_module) -> None:
    name = write_module("lab_colour", FUNCTION)
    report, decision = whole_way(store, faces, backbone, name)
    assert name in report
    assert f"| beats {name} | age | linear |" in decision


def test_features_of_a_function_are_made_anew_when_its_source_changes_and_kept_while_its_revision_stays(
    store, faces, write_module
) -> None:
    def address(body: str) -> str:
        return features(store, write_module("lab_kept", body), faces, Sources.of(None, None, CONFIG)).uri

    assert address(FUNCTION) == address(FUNCTION)
    assert address(FUNCTION) != address(FUNCTION + "\n# another remark\n")
    assert address(FUNCTION + "\nREVISION = 1\n") == address(FUNCTION + "\nREVISION = 1  # another remark\n")
    assert address(FUNCTION + "\nREVISION = 1\n") == address(FUNCTION + "\nREVISION: int = 1\n")
    assert address(FUNCTION + "\nREVISION = 1\n") != address(FUNCTION + "\nREVISION = 2\n")
    for value in ("...", "b'1'", "[1]", "int('1')"):
        with pytest.raises(ConfigurationError, match="has a REVISION that is not a whole number or a text; write one"):
            address(FUNCTION + f"\nREVISION = {value}\n")


def test_resolve_finds_a_function_without_running_its_module(write_module) -> None:
    name = write_module("lab_unrun", FUNCTION + "\nraise RuntimeError('run')\n")
    survey = survey_run(configured(f"transfer.methods=[comface, scratch, '{name}']"))
    (check,) = (check for check in survey.checks if check.name == f"method {name}")
    assert check.ask() == "found"
    with pytest.raises(
        ConfigurationError, match=rf"The method '{name}' failed \(RuntimeError in line \d+ of lab_unrun.py: run\)"
    ):
        load_method(name, Sources())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere.lab:encoder", "needs the module 'nowhere.lab', which is not on the Python path; install it"),
        ("subprocess:run", "is in a module of Python's standard library"),
        ("comface.seeds:encoder", "needs 'encoder', which .*seeds.py does not define"),
        ("timm:resnet19", "timm has no model 'resnet19'; .*for example resnet1"),
    ],
)
def test_a_name_from_outside_that_means_nothing_is_told_before_the_run(name: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        method(name).check()


def test_a_module_that_python_cannot_look_for_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "lab_bare", types.ModuleType("lab_bare"))  # without a spec, as a script's __main__
    (tmp_path / "lab_half").mkdir()
    (tmp_path / "lab_half" / "__init__.py").write_text("raise RuntimeError('half')")
    with pytest.raises(ConfigurationError, match="needs the module 'lab_bare', which is not on the Python path"):
        method("lab_bare:encoder").check()
    with pytest.raises(ConfigurationError, match=r"package of 'lab_half.inner' failed \(RuntimeError: half\); correct"):
        method("lab_half.inner:encoder").check()


@pytest.mark.parametrize(
    "name", ["timm:Res Net", "timm:", "torchvision:Res Net", "lab:", ":encoder", "../lab:encoder", "lab:encoder()"]
)
def test_a_name_of_another_form_is_a_wrong_field(name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'transfer.methods.1' is wrong: the method .* (is not of|does not have) the form"
    ):
        configured(f"transfer.methods=[comface, '{name}']")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def encoder(sources):\n    return 3", "returns int, not a comface.methods.encoder.Encoder"),
        (
            "def encoder(sources):\n    return 1 / 0",
            "failed .ZeroDivisionError in line 5 of .*: division by zero.; correct",
        ),
        ("def encoder(sources):\n    raise SystemExit(0)", "failed .SystemExit in line 5 of .*: 0.; correct"),
        (FUNCTION.replace("Encoder(3", "Encoder(4"), r"features of shape \(1, 3\) for one face, not \(1, 4\)"),
        (FUNCTION.replace("nn.Flatten()", "nn.Linear(9, 9)"), "cannot encode a face"),
        ("def encoder(sources):\n    return Encoder(3, Preprocessing(size_px=8), len)", "cannot encode a face"),
        ("encoder = (", "cannot be read"),
    ],
)
def test_a_function_that_gives_no_encoder_is_one_sentence(write_module, body: str, told: str) -> None:
    name = write_module(f"lab_{abs(hash(body))}", body)
    with pytest.raises(ConfigurationError, match=told):
        load_method(name, Sources())


# A backbone of timm


@pytest.fixture(scope="module")
def timm_state() -> dict[str, torch.Tensor]:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_resnet", pretrained=False).state_dict()


def test_a_backbone_of_timm_reads_its_weights_from_a_file_and_shows_faces_as_timm_says(
    tmp_path: Path, timm_state: dict[str, torch.Tensor]
) -> None:
    import timm

    torch.save(timm_state, tmp_path / "w.pth")
    faces_N = np.random.default_rng(0).integers(0, 256, (2, 160, 160, 3), np.uint8)
    encoder = load_method(TIMM, Sources(weights=tmp_path / "w.pth"))
    assert encoder.preprocessing == Preprocessing(size_px=160)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=0).eval()
    network.load_state_dict({name: value for name, value in timm_state.items() if not name.startswith("fc.")})
    with torch.inference_mode():
        expected = network((torch.from_numpy(faces_N).float() / 255 - 0.5).permute(0, 3, 1, 2) / 0.5)
    assert np.allclose(encode(encoder, faces_N), expected.numpy(), atol=1e-5)
    with pytest.raises(ConfigurationError, match=f"'{TIMM}' needs its weights; .* as 'timm/test_resnet.safetensors'"):
        load_method(TIMM, Sources())
    safetensors.torch.save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match=r"no weights of 'timm:test_resnet'.* must be timm's test_resnet \(conv1"):
        load_method(TIMM, Sources(weights=tmp_path / "other.safetensors"))


def test_the_plan_seals_a_backbone_of_timm_in_the_weights_location_and_without_it_the_method_is_absent(
    tmp_path: Path, timm_state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFACE_CACHE", str(tmp_path / "cache"))
    location = tmp_path / "weights"
    config = configured(f"transfer.methods=[comface, '{TIMM}']", f"weights={location}", "register.must_beat=null")
    absent = absent_methods(config, set())
    assert absent == {
        TIMM: f"{location.as_uri()} does not contain 'timm/test_resnet.safetensors' or 'timm/test_resnet.pth'; put its "
        "weights there"
    }
    left, notes = without_missing(config, set(), absent)
    assert left.transfer.methods == ("comface",)
    assert notes == [f"The method {TIMM} is left out: {absent[TIMM]}."]

    (location / "timm").mkdir(parents=True)
    safetensors.torch.save_file(timm_state, location / "timm" / "test_resnet.safetensors")
    assert absent_methods(config, set()) == {}
    plans = make_plans(config, "run-1").items
    assert weight_file(plans, TIMM) is not None
    assert weight_file(plans, "comface") is None
    (location / "timm" / "test_resnet.safetensors").write_bytes(b"another")
    with pytest.raises(DataError, match="it was replaced during the run"):
        weight_file(plans, TIMM)


def test_features_of_a_backbone_of_timm_by_the_command_line(
    tmp_path: Path, timm_state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    safetensors.torch.save_file(timm_state, tmp_path / "w.safetensors")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "a.png")
    words = ["features", "--method", TIMM, str(tmp_path / "a.png"), "--output", str(tmp_path / "o.npy")]
    assert main(words) == 64
    assert "needs its weights" in capsys.readouterr().err
    assert main([*words[:2], "timm:resnet19", *words[3:]]) == 64
    assert "timm has no model 'resnet19'" in capsys.readouterr().err
    assert main([*words, "--weights", str(tmp_path / "w.safetensors")]) == 0
    assert np.load(tmp_path / "o.npy").shape == (1, 96)


# A network of torchvision, and timm's own input


def test_a_network_of_torchvision_reads_its_file_and_gives_the_input_of_its_classifier(tmp_path: Path) -> None:
    from torchvision import models

    for name, top in (("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3")):
        network = models.get_model(name, weights=None).eval()
        torch.save(
            {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "w"
        )
        encoder = load_method(f"torchvision:{name}", Sources(weights=tmp_path / "w"))
        network.set_submodule(top, nn.Identity())
        image_HW3 = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        official = getattr(
            models, {"resnet18": "ResNet18_Weights", "mobilenet_v3_small": "MobileNet_V3_Small_Weights"}[name]
        )
        x_NCHW = official.DEFAULT.transforms()(Image.fromarray(image_HW3))[None]
        with torch.inference_mode():
            assert np.allclose(encode_images(encoder, [image_HW3]), network(x_NCHW).numpy(), atol=1e-4)
        assert encoder.origin is not None
        assert {f"module.{top}.{part}" for part in ("weight", "bias")} == set(encoder.origin.dropped)


def test_networks_of_torchvision_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from torchvision import models

    safetensors.torch.save_file(models.get_model("resnet18", weights=None).state_dict(), tmp_path / "w.safetensors")
    sources = Sources(weights=tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"do not fit the network \(\d+ missing"):
        load_method("torchvision:resnet34", sources)
    with pytest.raises(
        DataError, match=r"no weights of 'torchvision:vit_b_16': .*torchvision's vit_b_16 \(class_token"
    ):
        load_method("torchvision:vit_b_16", sources)
    with pytest.raises(ConfigurationError, match=r"torchvision has no model 'resnet19'; .*for example resnet1"):
        load_method("torchvision:resnet19", sources)
    with pytest.raises(ConfigurationError, match="has no linear classifier"):
        load_method("torchvision:squeezenet1_0", sources)
    with pytest.raises(
        ConfigurationError, match=r"as 'torchvision/resnet18\.safetensors' or 'torchvision/resnet18\.pth'"
    ):
        load_method("torchvision:resnet18", Sources())


def test_an_image_as_it_is_gets_the_input_of_timm(tmp_path: Path, timm_state: dict[str, torch.Tensor]) -> None:
    import timm

    torch.save(timm_state, tmp_path / "w.pth")
    encoder = load_method(TIMM, Sources(weights=tmp_path / "w.pth"))
    image_HW3 = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    config = timm.data.resolve_model_data_config(encoder.network)
    expected = timm.data.create_transform(**config, is_training=False)(Image.fromarray(image_HW3))
    torch.testing.assert_close(encoder.input_of(image_HW3)[0], expected, rtol=0, atol=1e-5)
