"""FaRL, StableRep and PCL: their files in the true layouts, against features of the official code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import SCRIPT, golden_fill, golden_image, golden_input, random_weights
from PIL import Image
from torchvision import transforms

from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.methods import load_method, method
from comface.methods.encoder import Encoder, Sources

DATA = Path(__file__).parents[1] / "data/features"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def shapes(layout: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a published file: name -> shape."""
    return random_weights().read_layout(SCRIPT.parent / "layouts" / f"{layout}.txt").shapes


def checkpoint(names: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a file: those with the backbone's prefix by the golden rule, the others as ones."""
    return {
        name: torch.from_numpy(np.asarray(golden_fill(name.removeprefix(prefix), shape)))
        if name.startswith(prefix)
        else torch.ones(shape)
        for name, shape in names.items()
    }


def thinned(name: str, prefix: str) -> dict[str, tuple[int, ...]]:
    """The names of a published file, without all but the first block of its text tower, which takes time to write."""
    return {
        key: shape
        for key, shape in shapes(name).items()
        if key.startswith(prefix) or "resblocks." not in key or "resblocks.0." in key
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    made = tmp_path_factory.mktemp("weights")
    yield made
    for path in made.iterdir():
        path.unlink()


@pytest.fixture(scope="module")
def farl_file(folder: Path) -> Path:
    """With a text tower whose tensors have the names of the image tower without `visual.`."""
    names = thinned("farl", "visual.") | {"visual.lm_head.weight": (8, 768), "visual.lm_head.bias": (8,)}
    torch.save({"state_dict": checkpoint(names, "visual.")}, folder / "farl.pth")
    return folder / "farl.pth"


@pytest.fixture(scope="module")
def farl(farl_file: Path) -> Encoder:
    return load_method("farl", Sources(weights=farl_file))


@pytest.fixture(scope="module")
def stablerep_file(folder: Path) -> Path:
    """StableRep++, with the options of its training as a Python object."""
    state = checkpoint(thinned("stablerep-1-language", "visual."), "visual.")
    torch.save({"model": state, "optimizer": {}, "epoch": 34, "args": argparse.Namespace(lr=1.0)}, folder / "s.pth")
    return folder / "s.pth"


@pytest.fixture(scope="module")
def pcl_file(folder: Path) -> Path:
    state = checkpoint(shapes("pcl"), "module.encoder.")
    torch.save({"epoch": 1000, "state_dict": state}, folder / "best.pth")
    return folder / "best.pth"


def feature(encoder: Encoder, x_NCHW: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return encoder.network(x_NCHW).numpy()


def x_of_golden() -> torch.Tensor:
    return torch.from_numpy(golden_input())


def close(found: np.ndarray, golden: np.ndarray) -> None:
    np.testing.assert_allclose(found, golden, rtol=1e-4, atol=1e-4)


def test_farl_gives_the_golden_features_and_drops_the_text_tower_and_the_decoder(farl: Encoder) -> None:
    golden = np.load(DATA / "farl_clip_vitb16_visual.npz")
    close(feature(farl, x_of_golden()), golden["feats_lnpost_tensor"])
    farl.network.output = "proj"  # what farl:proj builds, without reading the file again
    try:
        close(feature(farl, x_of_golden()), golden["feats_proj_tensor"])
    finally:
        farl.network.output = "cls"
    assert farl.origin is not None
    for name in ("transformer.resblocks.0.ln_1.weight", "positional_embedding", "visual.lm_head.weight"):
        assert name in farl.origin.dropped
    assert method("farl:proj").title == "FaRL, projection"


def test_the_command_gives_the_features_of_clips_own_preprocessing(
    farl: Encoder, farl_file: Path, tmp_path: Path
) -> None:
    image = Image.fromarray(np.random.RandomState(1).randint(0, 256, (150, 301, 3)).astype(np.uint8))
    image.save(tmp_path / "wide.png")
    Image.fromarray(golden_image()).save(tmp_path / "square.png")
    output = tmp_path / "features.npy"
    images = [str(tmp_path / name) for name in ("wide.png", "square.png")]
    assert main(["features", "--method", "farl", "--weights", str(farl_file), *images, "--output", str(output)]) == 0
    official = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    x_NCHW = torch.stack([official(Image.open(path)) for path in images])
    close(np.load(output), feature(farl, x_NCHW))


def test_stablerep_plus_plus_gives_the_golden_features_without_its_text_tower(stablerep_file: Path) -> None:
    encoder = load_method("stablerep", Sources(weights=stablerep_file))
    close(feature(encoder, x_of_golden()), np.load(DATA / "stablerep_vitb16.npz")["feats_tensor"])
    assert encoder.origin is not None
    assert encoder.origin.layout == "StableRep++"
    dropped = set(encoder.origin.dropped)
    assert {"token_embedding.weight", "logit_scale", "image_mlp.layer1.weight"} <= dropped
    assert not any(name.startswith("visual.") for name in dropped)


def test_both_layouts_of_stablerep_are_told_apart_by_their_names() -> None:
    for name, layout in (("stablerep-2", "StableRep"), ("stablerep-1-language", "StableRep++")):
        names = {f"model.{key}": None for key in shapes(name)}
        found = next(each for each in method("stablerep").layouts if each.start(names) is not None)
        assert (found.name, found.start(names)) == (layout, "model.visual.")


def test_the_inputs_are_those_of_the_official_codes(farl: Encoder) -> None:
    image_HW3 = np.random.RandomState(2).randint(0, 256, (333, 260, 3)).astype(np.uint8)
    for name, steps in {
        "stablerep": [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ],
        "pcl": [transforms.Resize(100), transforms.CenterCrop(100), transforms.ToTensor()],
    }.items():
        layout = method(name).layouts[0]
        x_CHW = layout.preprocessing.colours(layout.crop(image_HW3, layout.preprocessing.size_px)[None])[0]
        torch.testing.assert_close(x_CHW, transforms.Compose(steps)(Image.fromarray(image_HW3)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("output", ["trunk", "exp", "pose"])
@pytest.mark.parametrize("size_px", [64, 100, 112, 224])
def test_every_output_and_size_of_pcl_gives_the_golden_features(pcl_file: Path, output: str, size_px: int) -> None:
    golden = np.load(DATA / "pcl_cnn.npz")
    x = np.random.RandomState(777 + size_px).uniform(0, 1, (1, 3, size_px, size_px)).astype(np.float32)
    flat = load_method(f"pcl:{output}-flatten-{size_px}", Sources(weights=pcl_file))
    pooled = load_method(f"pcl:{output}-gap-{size_px}", Sources(weights=pcl_file))
    (found,) = feature(flat, torch.from_numpy(x))
    assert len(found) == flat.width == golden[f"{output}_{size_px}_len"]
    close(found[:256], golden[f"{output}_{size_px}_first256"])
    assert np.linalg.norm(found) == pytest.approx(golden[f"{output}_{size_px}_l2"], rel=1e-4)
    close(feature(pooled, torch.from_numpy(x))[0], golden[f"{output}_{size_px}_gap"])


def test_pcl_is_by_default_what_its_linear_evaluation_uses(pcl_file: Path) -> None:
    encoder = load_method("pcl", Sources(weights=pcl_file))
    assert (encoder.width, encoder.preprocessing.size_px) == (6272, 100)
    assert encoder.preprocessing.mean == (0, 0, 0)
    assert encoder.preprocessing.std == (1, 1, 1)
    assert encoder.origin is not None
    assert all("encoder" not in name for name in encoder.origin.dropped)
    assert "module.decoder.fc.weight" in encoder.origin.dropped


@pytest.mark.parametrize("name", ["pcl:", "pcl:best", "pcl:exp-max", "pcl:exp-gap-9999", "pcl:exp-gap-16", "farl:cls"])
def test_options_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"does not have the form pcl:OUTPUT|has no option"):
        method(name)


def test_files_of_other_networks_or_with_missing_or_wrong_tensors_are_refused(tmp_path: Path, pcl_file: Path) -> None:
    state = torch.load(pcl_file, weights_only=True)["state_dict"]
    first = "module.encoder.conv1.0.weight"
    cases = {
        "none": ({f"trunk.{key}": value for key, value in state.items()}, "contains no weights of 'pcl'"),
        "text": ({"transformer.resblocks.0.ln_1.weight": torch.ones(512)}, "contains no weights of 'pcl'"),
        "lacking": ({k: v for k, v in state.items() if "layer3_1.2" not in k}, r"do not fit the network \(2 missing"),
        "wrong": (state | {first: torch.zeros(64, 3, 5, 5)}, r"first 'conv1\.0\.weight'"),
    }
    for name, (tensors, sentence) in cases.items():
        torch.save({"state_dict": tensors}, tmp_path / f"{name}.pth")
        with pytest.raises(DataError, match=sentence):
            load_method("pcl", Sources(weights=tmp_path / f"{name}.pth"))
    with pytest.raises(DataError, match="contains no weights of 'farl'"):
        load_method("farl", Sources(weights=pcl_file))
    with pytest.raises(DataError, match="contains no weights of 'stablerep'"):
        load_method("stablerep", Sources(weights=pcl_file))
