from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from comface.errors import ConfigurationError, DataError
from comface.methods import METHODS, load_method
from comface.methods.encoder import Encoder, Sources, encode
from comface.methods.imagenet import METHOD
from comface.networks.backbones import build_backbone
from comface.weights import fetched as models


def faces(count: int = 3, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def load_imagenet(path: Path) -> Encoder:
    return load_method("imagenet", Sources(weights=path))


def package_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's names to those of the package, written independently: block by block, counted through."""
    places = ["0.0", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1", "3.2", "4.0", "4.1", "4.2", "5.0", "5.1", "5.2", "5.3",
              "6.0"]  # fmt: skip
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            index = places.index(".".join(parts[1:3]))
            if index == 0:
                names = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
            else:
                names = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                         "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
            renamed[f"_blocks.{index}.{names[parts[3]]}.{parts[4]}"] = value
        else:
            top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}[parts[0]]
            renamed[f"{top}.{parts[1]}"] = value
    return renamed | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def lite0_state() -> dict[str, torch.Tensor]:
    import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).state_dict()


def test_efficientnet_is_recognised_by_content_under_either_naming_and_gives_the_same_features(tmp_path, lite0_state):
    ours, theirs = tmp_path / "a.safetensors", tmp_path / "b.pth"
    safetensors.torch.save_file(package_names(lite0_state), ours)
    torch.save(lite0_state, theirs)
    features = [encode(load_imagenet(path), faces()) for path in (ours, theirs)]
    assert features[0].shape == (3, 1280)
    assert np.array_equal(*features)
    layout = METHOD.layouts[0]
    back = {layout.renamed(key): value for key, value in package_names(lite0_state).items()}
    assert all(torch.equal(back[key], value) for key, value in lite0_state.items())


def test_efficientnet_sees_rgb_less_127_over_128_at_224_pixels(tmp_path, lite0_state):
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file(package_names(lite0_state), path)
    images = faces(1, 224)
    x = load_imagenet(path).preprocessing(images)
    assert x.shape == (1, 3, 224, 224)
    assert np.allclose(x[0].permute(1, 2, 0).numpy(), (images[0].astype(float) - 127) / 128, atol=1e-6)


def test_a_torchvision_resnet50_is_recognised_and_normalised_as_imagenet_is(tmp_path):
    network, _ = build_backbone("resnet50")
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict() | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    encoder = load_imagenet(path)
    images = faces(1, 224)
    expected = (images[0] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(encoder.preprocessing(images)[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)
    with torch.no_grad():
        expected = network.eval()(encoder.preprocessing(images)).numpy()
    np.testing.assert_allclose(encode(encoder, images), expected, rtol=1e-4, atol=1e-4)  # features reach 80


def test_weights_of_no_known_layout_are_refused_with_what_was_expected(tmp_path):
    other, damaged = tmp_path / "other.safetensors", tmp_path / "damaged.pth"
    safetensors.torch.save_file({"x": torch.zeros(2)}, other)
    damaged.write_bytes(b"not a torch file")
    with pytest.raises(
        DataError, match=r"contains no weights of 'imagenet': its tensors are x …, but the layout must be .*"
    ):
        load_imagenet(other)
    with pytest.raises(DataError, match=r"damaged\.pth' was refused: it is neither a pickle"):
        load_imagenet(damaged)
    with pytest.raises(ConfigurationError, match=r"none\.pth' does not exist"):
        load_imagenet(tmp_path / "none.pth")


def test_weights_that_do_not_fit_the_network_are_refused(tmp_path, lite0_state):
    state = package_names(lite0_state)
    del state["_blocks.3._bn1.running_mean"]
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"1 missing, 0 unknown .* 'blocks.2.0.bn2.running_mean'"):
        load_imagenet(tmp_path / "a.safetensors")


@pytest.mark.skipif(models.IMAGENET not in models.available(), reason="the published weights have not been fetched")
def test_the_published_efficientnet_tells_faces_apart_from_noise_of_the_same_colours():
    encoder = load_method("imagenet", Sources())
    smooth = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None, None], 64, axis=2).repeat(3, axis=3)
    h = encode(encoder, np.concatenate([smooth, smooth[:, ::-1], faces(1)]))
    assert np.isfinite(h).all()
    assert np.linalg.norm(h[0] - h[1]) < np.linalg.norm(h[0] - h[2])


def test_random_features_are_a_function_of_the_seed_alone():
    images = faces()
    torch.manual_seed(1)
    one = encode(load_method("scratch", Sources(network="narrow", image_size_px=64, seed=3)), images)
    torch.manual_seed(2)
    two = encode(load_method("scratch", Sources(network="narrow", image_size_px=64, seed=3)), images)
    three = encode(load_method("scratch", Sources(network="narrow", image_size_px=64, seed=4)), images)
    assert np.array_equal(one, two)
    assert not np.allclose(one, three)


def test_loading_a_method_leaves_the_global_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    load_method("scratch", Sources(network="narrow", image_size_px=64))
    assert torch.equal(torch.rand(1), expected)


def test_features_do_not_depend_on_the_batch(monkeypatch):
    encoder = load_method("scratch", Sources(network="narrow", image_size_px=64))
    images = faces(5)
    whole = encode(encoder, images)
    monkeypatch.setattr("comface.methods.encoder.BATCH", 2)
    assert np.allclose(encode(encoder, images), whole, atol=1e-5)


def test_pixels_are_the_area_means_of_twelve_by_twelve_squares():
    images = faces(1, 48)
    squares = images.reshape(1, 12, 4, 12, 4, 3).mean(axis=(2, 4)) / 255
    h = encode(load_method("pixels", Sources()), images)
    assert np.allclose(h.reshape(3, 12, 12).transpose(1, 2, 0), squares[0], atol=0.5 / 255 + 1e-6)


def test_a_method_that_is_not_built_in_and_comface_without_a_backbone_are_refused():
    with pytest.raises(ConfigurationError, match=f"choose from {', '.join(METHODS)}"):
        load_method("fable", Sources())
    with pytest.raises(ConfigurationError, match="needs a pre-trained backbone"):
        load_method("comface", Sources())
