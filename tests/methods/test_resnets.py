"""The methods of the ResNet-50 family: every layout gives the golden features, and every image the official input."""

from __future__ import annotations

import logging
import pickle
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from checkpoints import NAMES, golden_arrays, golden_image, golden_input, golden_resnet50, random_weights
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from comface.artifacts.arrays import array_bytes
from comface.artifacts.manifest import Draft, file_sha256
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.evaluate.provenance import origins
from comface.methods import METHODS, load_method
from comface.methods.encoder import Sources
from comface.store import FileStore
from comface.transfer.features import features
from comface.weights.tensor_tables import read_records

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "features"
DROPPED = {
    "imagenet": {"fc"},
    "vggface2-1-pickle": {"fc"},
    "vggface2-2-caffe": {"classifier"},
    "simclr-1": {"fc"},
    "simclr-2": {"resnet.fc", "head.layers"},
    "simclr-3-vissl": set(),
    "mocov2": {"encoder_q.fc", "encoder_k", "queue", "queue_ptr"},
    "swav": {"projection_head", "prototypes"},
    "barlowtwins": set(),
    "barlowtwins-training": {"projector", "bn"},
    "bulat": {"projection_net", "prototypes"},
}
MEAN = np.array([0.485, 0.456, 0.406])
RGB_MEAN = np.array([131.0912, 103.8827, 91.4953])
Pixels = NDArray[np.uint8]


def by_imagenet(red_std: float) -> Callable[[Pixels], NDArray[np.float64]]:
    return lambda image: (image / 255 - MEAN) / [red_std, 0.224, 0.225]


COLOURS: dict[str, Callable[[Pixels], NDArray[np.float64]]] = {
    "imagenet": by_imagenet(0.229),
    "vggface2-1-pickle": lambda image: (image - RGB_MEAN)[..., ::-1],
    "vggface2-2-caffe": lambda image: image - RGB_MEAN,
    "simclr-1": lambda image: image / 255,
    "simclr-2": lambda image: image / 255,
    "simclr-3-vissl": by_imagenet(0.229),
    "mocov2": by_imagenet(0.229),
    "swav": by_imagenet(0.228),
    "barlowtwins": by_imagenet(0.229),
    "barlowtwins-training": by_imagenet(0.229),
    "bulat": by_imagenet(0.228),
}
"""The scaling of the colours, as the official code of each layout does it."""


def write(folder: Path, layout: str, container: str = "") -> Path:
    """The golden checkpoint, under a name that says nothing."""
    container = container or described(layout).container
    random_weights().write_checkpoint(folder / "w", container, golden_arrays(layout))
    return folder / "w"


def described(layout: str) -> random_weights().Published:
    return random_weights().read_layout(random_weights().FOLDER / f"{layout}.txt")


@pytest.mark.parametrize(("layout", "container"), [*((name, "") for name in NAMES), ("swav", "state_dict")])
def test_every_layout_gives_the_golden_features_and_its_own_colours(
    tmp_path: Path, layout: str, container: str, caplog: pytest.LogCaptureFixture
) -> None:
    method = described(layout).method
    with caplog.at_level(logging.INFO, "comface"):
        encoder = load_method(method, Sources(weights=write(tmp_path, layout, container)))
    golden = np.load(GOLDEN / f"{'vggface2_resnet50' if method == 'vggface2' else 'resnet50_torchvision'}.npz")
    with torch.inference_mode():
        features = encoder.for_inference()(torch.from_numpy(golden_input()))
    np.testing.assert_allclose(features.numpy(), golden["feats_tensor"], atol=1e-4, rtol=1e-4)
    seen = encoder.input_of(golden_image())[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(seen, COLOURS[layout](golden_image()), atol=1e-4)
    aligned = encoder.preprocessing(golden_image()[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(aligned, seen)
    assert encoder.origin is not None
    for part in DROPPED[layout]:
        assert any(name.removeprefix("module.").startswith(part) for name in encoder.origin.dropped), part
        assert part in caplog.text
    kept = {name for name in golden_arrays(layout) if name.endswith("conv1.weight") or "_3x3.weight" in name}
    assert not {name.rsplit("trunk.", 1)[-1] for name in encoder.origin.dropped if "encoder_k" not in name} & kept


def test_simclr_with_tensorflows_pooling_gives_its_golden_features(tmp_path: Path) -> None:
    encoder = load_method("simclr:tf-pool", Sources(weights=write(tmp_path, "simclr-1")))
    golden = np.load(GOLDEN / "resnet50_simclr_tf_same_maxpool.npz")["feats_tensor"]
    with torch.inference_mode():
        features = encoder.for_inference()(torch.from_numpy(golden_input())).numpy()
    np.testing.assert_allclose(features, golden, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigurationError, match="has no option 'same'; write simclr or simclr:tf-pool"):
        load_method("simclr:same", Sources())


@pytest.mark.parametrize("layout", ["vggface2-1-pickle", "simclr-1", "bulat"])
def test_the_command_line_gives_the_features_of_the_official_input(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, layout)
    Image.fromarray(golden_image()).save(tmp_path / "i.png")
    method = described(layout).method
    words = ["features", "--method", method, "--weights", str(path), str(tmp_path / "i.png")]
    assert main([*words, "--output", str(tmp_path / "f.npy")]) == 0
    network = load_method(method, Sources(weights=path)).network
    if method != "vggface2":  # the network of VGGFace2 is held by its golden features
        network = torchvision.models.resnet50(weights=None)
        network.fc = torch.nn.Identity()
        network.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in golden_resnet50().items()})
    x_NCHW = torch.from_numpy(np.ascontiguousarray(COLOURS[layout](golden_image()))).float().permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.eval()(x_NCHW).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), expected, atol=1e-4, rtol=1e-4)


def test_old_torch_files_of_older_numpy_and_half_precision_are_read(tmp_path: Path) -> None:
    """torch before 1.6 writes another format; old files lack num_batches_tracked; numpy before 2 has other names."""
    arrays = {n: a for n, a in golden_arrays("swav").items() if not n.endswith("num_batches_tracked")}
    tensors = {name: torch.from_numpy(array).half() for name, array in arrays.items()}
    value = {"state_dict": tensors, "optimizer": {"param_groups": [{"lr": np.float64(0.3)}]}, "args": Namespace(a=1)}
    torch.save(value, tmp_path / "w", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w").read_bytes()
    assert b"numpy._core.multiarray" in content
    (tmp_path / "w").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    encoder = load_method("swav", Sources(weights=tmp_path / "w"))
    golden = np.load(GOLDEN / "resnet50_torchvision.npz")["feats_tensor"]
    with torch.inference_mode():
        features = encoder.for_inference()(torch.from_numpy(golden_input())).numpy()
    assert np.abs(features - golden).max() < 0.02 * np.abs(golden).max(), "half precision"


def test_the_artifact_of_features_records_the_file_its_layout_and_what_was_dropped(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    draft = Draft(store, "faces", {"name": "drawn"}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(np.zeros((2, 64, 64, 3), np.uint8)))
    row = {"subject": "s", "labels": {"age": 1.0}, "session": "", "phase": ""}
    draft.write_json("photos.json", [row | {"sha256": digit * 64} for digit in "01"])
    faces = draft.publish({"dataset": "fgnet", "rehearsal": True, "found": 2, "missed": {}})
    path = write(tmp_path, "bulat").rename(tmp_path / f"{'0' * 32}-flr_r50_vgg_face.pth")  # as the cache names its copy
    made = features(store, "bulat", faces, Sources(weights=path))
    assert made.manifest.config["weights_sha256"] == file_sha256(path)
    assert (made.facts["weight_file"], made.facts["layout"]) == ("flr_r50_vgg_face.pth", "Bulat et al.")
    assert "module.prototypes.weight" in made.facts["dropped"]
    (line,) = origins([made])
    assert line.what == "bulat, fgnet, flr_r50_vgg_face.pth (Bulat et al.)", "in the provenance of the report"


# Checkpoints that cannot be used


def refused(path: Path, method: str) -> str:
    with pytest.raises(DataError) as raised:
        load_method(method, Sources(weights=path))
    assert str(raised.value).count(". ") == 0, "one sentence"
    return str(raised.value)


@pytest.mark.parametrize("layout", ["mocov2", "vggface2-2-caffe"])
def test_a_checkpoint_with_another_prefix_a_missing_tensor_or_another_shape_is_refused(
    tmp_path: Path, layout: str
) -> None:
    method, container = described(layout).method, described(layout).container
    arrays = golden_arrays(layout)
    one = next(name for name in arrays if name.endswith(("layer3.1.conv2.weight", "conv4_2_3x3.weight")))
    cases = {
        "prefix": {f"other.{name}": array for name, array in arrays.items()},
        "lack": {name: array for name, array in arrays.items() if name != one},
        "shape": arrays | {one: np.zeros((256, 256, 5, 5), np.float32)},
    }
    told = {}
    for case, changed in cases.items():
        random_weights().write_checkpoint(tmp_path / case, container, changed)
        told[case] = refused(tmp_path / case, method)
    assert re.search(
        rf"^'prefix' contains no weights of '{method}': its tensors are .*other\..*the layout must be", told["prefix"]
    )
    assert "1 missing, 0 unknown or of another shape, first 'layer3.1.conv2.weight'" in told["lack"]
    assert "0 missing, 1 unknown or of another shape, first 'layer3.1.conv2.weight'" in told["shape"]


@pytest.mark.parametrize(
    ("layout", "classes", "method", "other"),
    [
        ("vggface2-1-pickle", 8631, "imagenet", "VGGFace2"),
        ("vggface2-1-pickle", 8631, "simclr", "VGGFace2"),
        ("imagenet", 1000, "vggface2", "ImageNet"),
        ("simclr-1", 1000, "vggface2", "ImageNet"),
    ],
)
def test_a_file_with_the_same_names_that_was_trained_on_other_classes_is_refused(
    tmp_path: Path, layout: str, classes: int, method: str, other: str
) -> None:
    arrays = golden_arrays(layout) | {"fc.weight": np.zeros((classes, 2048), np.float32)}
    random_weights().write_checkpoint(tmp_path / "file", described(layout).container, arrays)
    assert f"has {classes:,} classes, so it was trained on {other}" in refused(tmp_path / "file", method)


def test_a_supervised_network_is_not_taken_for_one_that_was_trained_without_labels(tmp_path: Path) -> None:
    assert "2 unknown or of another shape, first 'fc.weight'" in refused(write(tmp_path, "imagenet"), "barlowtwins")


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "w").write_bytes(pickle.dumps({"conv1.weight": Evil()}, protocol=2))
    assert "system', which no weight file needs" in refused(tmp_path / "w", "vggface2")
    torch.save({"state_dict": {}, "args": Evil()}, tmp_path / "v")
    assert "system', which no weight file needs" in refused(tmp_path / "v", "mocov2")
    assert not (tmp_path / "ran").exists()


def python2_pickle(arrays: dict[str, np.ndarray]) -> bytes:
    """A pickle of protocol 2 as Python 2 writes it: names and bytes are `str` (opcodes U and T)."""

    def text(value: bytes) -> bytes:
        if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        return b"T" + len(value).to_bytes(4, "little") + value

    out = b"\x80\x02}("
    for name, array in arrays.items():
        shape = b"(" + b"".join(b"J" + size.to_bytes(4, "little") for size in array.shape) + b"t"
        out += text(name.encode()) + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b")
        out += b"tR(K\x01" + shape + b"cnumpy\ndtype\n(" + text(b"f4") + b"K\x00K\x01tR(K\x03" + text(b"<")
        out += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(array.tobytes()) + b"tb"
    return out + b"u."


def test_a_pickle_of_python_2_is_read_as_pythons_latin1_reads_it(tmp_path: Path) -> None:
    arrays = {"a.weight": golden_resnet50()["layer1.0.conv1.weight"], "b": np.array([1, -2, 3e9], np.float32)}
    (tmp_path / "w").write_bytes(python2_pickle(arrays))
    read = pickle.loads((tmp_path / "w").read_bytes(), encoding="latin1")
    found = read_records(tmp_path / "w").arrays({name: name for name in arrays})
    for name, array in arrays.items():
        assert np.array_equal(read[name], array), "the pickle is right"
        assert np.array_equal(found[name], array)


# Images of any size


def pillow(image: Pixels) -> Image.Image:
    return Image.fromarray(image)


def by_torchvision(short: int, size: int, how: v2.InterpolationMode) -> Callable[[Pixels], Pixels]:
    steps = v2.Compose([v2.Resize(short, how, antialias=True), v2.CenterCrop(size)])
    return lambda image: np.asarray(steps(pillow(image)))


def by_oxford(image: Pixels) -> Pixels:
    """As the official feature extractor of VGGFace2."""
    opened = pillow(image)
    ratio = 224.0 / np.min(opened.size)
    size = tuple(int(np.ceil(side * ratio)) for side in opened.size)
    x = np.array(opened.resize(size, Image.Resampling.BILINEAR))
    top, left = (x.shape[0] - 224) // 2, (x.shape[1] - 224) // 2
    return x[top : top + 224, left : left + 224]


BILINEAR, BICUBIC = v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC
CROPS = {
    ("imagenet", 0): by_torchvision(256, 224, BICUBIC),
    ("imagenet", 1): by_torchvision(256, 224, BICUBIC),
    ("vggface2", 1): by_oxford,
    ("simclr", 0): by_torchvision(256, 256, BILINEAR),
}
"""(method, number of its layout) -> the official crop; Resize(256) and CenterCrop(224) for all others."""
SIZES = [
    (480, 640),
    (641, 479),
    (257, 255),
    (333, 1000),
    (225, 224),
    (224, 225),
    (3, 5),
    (1, 1),
    (90, 61),
    (256, 256),
    (375, 500),
]


@pytest.mark.parametrize("method", ["imagenet", "vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat"])
def test_images_of_any_size_are_cropped_as_the_official_code_crops_them(method: str) -> None:
    rng = np.random.default_rng(0)
    for number, layout in enumerate(METHODS[method].layouts):
        official = CROPS.get((method, number), by_torchvision(256, 224, BILINEAR))
        for height, width in SIZES:
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            found = layout.crop(image, layout.preprocessing.size_px)
            np.testing.assert_array_equal(found, official(image), err_msg=f"{layout.name}, {width} x {height}")
        image = rng.integers(0, 256, (224, 224, 3), np.uint8)
        assert layout.crop(image, layout.preprocessing.size_px) is image
    with pytest.raises(DataError, match="An image of 9000 x 1 px is too narrow to be resized to 256 px"):
        METHODS["swav"].layouts[0].crop(np.zeros((1, 9000, 3), np.uint8), 224)


def test_a_method_without_official_code_sees_the_central_square_of_an_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 61, 3), np.uint8)
    encoder = load_method("pixels", Sources())
    for turned in (image, image.transpose(1, 0, 2)):
        high, wide = turned.shape[:2]
        square = turned[(high - 40) // 2 :, (wide - 40) // 2 :][:40, :40]
        np.testing.assert_array_equal(encoder.input_of(turned), encoder.preprocessing(square[None]))


def test_gray_and_transparent_files_are_read_as_pillow_converts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Pixels] = []
    monkeypatch.setattr(
        "comface.methods.encoder.encode_images", lambda encoder, images: seen.extend(images) or np.zeros((1, 1))
    )
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (40, 50, 4), np.uint8))
    files = []
    for mode in ("L", "RGBA", "LA", "1", "CMYK"):
        files.append(tmp_path / (f"{mode}.tif" if mode == "CMYK" else f"{mode}.png"))
        image.convert(mode).save(files[-1])
    words = ["features", "--method", "pixels", *map(str, files), "--output", str(tmp_path / "f.npy")]
    assert main(words) == 0
    for path, found in zip(files, seen, strict=True):
        np.testing.assert_array_equal(found, np.asarray(Image.open(path).convert("RGB")), err_msg=path.name)
