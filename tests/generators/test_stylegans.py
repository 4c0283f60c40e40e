"""StyleGAN, StyleGAN3-T and -R against the published implementations (tests/data/generators)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from weight_files import GOLDEN

from comface.generators import edit, to_uint8
from comface.generators.registry import load_generator
from comface.generators.stylegan.build import build
from comface.generators.stylegan.generator import StyleGanGenerator, z_of
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan3 import StyleGan3, StyleGan3Config, layer_plans, user_transform
from comface.tracks.render import Wanted, render
from comface.weights import stylegan_names as naming
from comface.weights.container import read_container

FILES = {
    "sg3t_tiny": "sg3t_tiny_nvpkl_old.pkl",
    "sg3r_tiny": "sg3r_tiny_nvpkl_old.pkl",
    "sg1_tiny": "sg1_tiny_tfpkl_old.pkl",
}
THREES = ("sg3t_tiny", "sg3r_tiny")


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


@cache
def generator(name: str) -> StyleGanGenerator:
    return load_generator("stylegan" if name == "sg1_tiny" else "stylegan3", GOLDEN / FILES[name])


def tensor(name: str, key: str) -> torch.Tensor:
    return torch.from_numpy(golden(name)[key])


def assert_w(found: torch.Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=2e-5)


def assert_image(found: torch.Tensor, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.numpy() - wanted).max() <= 2e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", FILES)
def test_containers_give_the_published_state_bit_for_bit(name: str) -> None:
    wanted = json.loads(str(golden(name)["state_sha256_json"]))
    found = read_container(GOLDEN / FILES[name]).arrays
    assert {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in found.items()} == wanted


@pytest.mark.parametrize("name", THREES)
def test_stylegan3_maps_and_truncates_as_published(name: str) -> None:
    faces = generator(name)
    w_ND = faces.mapped(tensor(name, "in/z"))
    assert_w(w_ND, golden(name)["out/w"])
    assert_w(faces.truncate(w_ND, 0.7), golden(name)["out/w_psi07"])


@pytest.mark.parametrize("name", THREES)
def test_stylegan3_renders_as_published(name: str) -> None:
    faces, wanted = generator(name), golden(name)
    assert_image(faces.render(tensor(name, "out/w")[:1]), wanted["out/img_psi1"])
    assert_image(faces.render(tensor(name, "out/w_psi07")), wanted["out/img_psi07"])
    assert_image(faces.render(tensor(name, "out/ws_psi05_cutoff8")[:1]), wanted["out/img_psi05_cutoff8"])


@pytest.mark.parametrize("name", THREES)
def test_stylegan3_edits_as_published(name: str) -> None:
    edited_NAD = edit(tensor(name, "out/w_psi07")[:1], tensor(name, "in/direction"), tensor(name, "in/alphas").tolist())
    assert_image(generator(name).render(edited_NAD[0]), golden(name)["out/img_psi07_edit"])


@pytest.mark.parametrize("name", THREES)
def test_stylegan3_pseudo_aligns_transforms_and_clamps_as_published(name: str) -> None:
    container = read_container(GOLDEN / FILES[name])
    w_1D = tensor(name, "out/w_psi07")[:1]
    aligned = StyleGanGenerator(build("stylegan3", container.arrays, container.facts), pseudo_aligned=True)
    assert_image(aligned.render(w_1D), golden(name)["out/img_psi07_pseudo_aligned"])
    np.testing.assert_allclose(user_transform(15, 0.1, -0.2).numpy(), golden(name)["in/transform"], atol=1e-6)
    moved = {**container.arrays, "synthesis.input.transform": golden(name)["in/transform"]}
    turned = StyleGanGenerator(build("stylegan3", moved, container.facts))
    assert_image(turned.render(w_1D), golden(name)["out/img_psi07_transform"])
    clamped = StyleGanGenerator(build("stylegan3", container.arrays, {**container.facts, "conv_clamp": 0.8}))
    assert_image(clamped.render(w_1D), golden(name)["out/img_psi07_clamp08"])


@pytest.mark.parametrize("name", THREES)
def test_stylegan3_designs_the_published_filters_and_geometry(name: str) -> None:
    config = generator(name).network.config
    plans = layer_plans(config)
    for plan, layer in zip(plans, json.loads(str(golden(name)["layers_json"])), strict=True):
        assert (plan.name, plan.up, plan.down, plan.radial) == tuple(layer[k] for k in ("name", "up", "down", "radial"))
        assert [plan.before.size, plan.after.size] == [layer["in_size"][0], layer["out_size"][0]]
        assert [*plan.padding, *plan.padding] == layer["padding"]
    designed = StyleGan3(config).state_dict()
    for key, taps in json.loads(str(golden(name)["filters_json"])).items():
        np.testing.assert_allclose(designed[key].numpy(), taps, atol=1e-7)


def test_stylegan_maps_truncates_and_edits_as_published() -> None:
    faces, wanted = generator("sg1_tiny"), golden("sg1_tiny")
    w_ND = faces.mapped(tensor("sg1_tiny", "in/z_preprocessed"))
    assert_w(w_ND, wanted["out/w"])
    assert_w(faces.mapped(tensor("sg1_tiny", "in/z")), wanted["out/w_from_raw_z"])
    wp_NLD = faces.truncate(w_ND, 0.7)
    assert_w(wp_NLD, wanted["out/wp_psi07_l8"])
    n_1D, (minus5, plus3) = tensor("sg1_tiny", "in/direction"), tensor("sg1_tiny", "in/alphas").tolist()
    before = faces.truncate(edit(w_ND[:1], n_1D, [minus5, plus3])[0], 0.7)
    assert_w(before, wanted["out/wp_edit_w_then_trunc"])
    after = edit(wp_NLD[:1], n_1D, [minus5, plus3])[0]
    assert_w(after, wanted["out/wp_edit_wp_after_trunc"])
    images = faces.render(torch.stack([before[1], after[0]]))[:, :, ::2, ::2]
    assert_image(images[:1], wanted["out/img_edit_w_then_trunc_alpha3"])
    assert_image(images[1:], wanted["out/img_edit_wp_after_trunc_alpha_m5"])


def test_stylegan_renders_as_published() -> None:
    faces, wanted = generator("sg1_tiny"), golden("sg1_tiny")
    assert_image(faces.render(tensor("sg1_tiny", "out/wp_psi07_l8"))[:, :, ::2, ::2], wanted["out/img_psi07_l8"])
    assert_image(faces.render(tensor("sg1_tiny", "out/w")[:1])[:, :, ::2, ::2], wanted["out/img_psi1"])


@pytest.mark.parametrize(
    ("keys", "network", "config"),
    [
        ("sg3_t_1024", StyleGan3, StyleGan3Config()),
        ("sg3_r_1024", StyleGan3, StyleGan3Config(channel_base=65536, channel_max=1024, kernel=1, radial=True)),
        ("stylegan1_interfacegan_1024", StyleGan1, StyleGan1Config()),
    ],
)
def test_full_networks_have_the_published_names_and_shapes_in_order(keys: str, network: type, config: object) -> None:
    wanted = json.loads((GOLDEN / "full_size_keys.json").read_text())[keys]
    with torch.device("meta"):
        found = {name: list(value.shape) for name, value in network(config).state_dict().items()}
    assert list(found.items()) == list(wanted.items())


@pytest.mark.parametrize(
    ("keys", "family", "config"),
    [
        ("sg3_t_1024", "stylegan3", StyleGan3Config()),
        ("sg3_r_1024", "stylegan3", StyleGan3Config(channel_base=65536, channel_max=1024, kernel=1, radial=True)),
        ("stylegan1_interfacegan_1024", "stylegan", StyleGan1Config()),
        ("stylegan1_genforce_modelzoo_1024", "stylegan", StyleGan1Config()),
    ],
)
def test_files_with_the_published_names_and_shapes_build_the_full_networks(
    keys: str, family: str, config: StyleGan1Config | StyleGan3Config
) -> None:
    """build refuses a missing or unknown name and a wrong shape; each array here is one number seen as many."""
    shapes = json.loads((GOLDEN / "full_size_keys.json").read_text())[keys]
    arrays = {
        name: np.ndarray(shape, np.float32, bytearray(4), strides=(0,) * len(shape)) for name, shape in shapes.items()
    }
    found, _, renamed = naming.canonical(arrays)
    assert found == family
    network = build(family, renamed, {})
    assert network.config.image_size_px == 1024
    with torch.device("meta"):
        wanted = (StyleGan3 if family == "stylegan3" else StyleGan1)(config)  # type: ignore[arg-type]
    assert {n: t.shape for n, t in network.state_dict().items()} == {n: t.shape for n, t in wanted.state_dict().items()}


@cache
def layers() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "layers.npz") as stored:
        return dict(stored)


def layer_outputs(faces: StyleGanGenerator, names: list[str], w: torch.Tensor) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    handles = [
        faces.network.synthesis.get_submodule(name).register_forward_hook(
            lambda module, given, made, name=name: found.__setitem__(name, made.clone())
        )
        for name in names
    ]
    faces.render(w)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", THREES)
def test_every_layer_of_stylegan3_puts_out_what_the_published_one_does(name: str) -> None:
    golden_layers = {k.split("/")[1]: v for k, v in layers().items() if k.startswith(f"{name}/")}
    statistics, _ = golden_layers.pop("statistics"), golden_layers.pop("pixels")
    found = layer_outputs(generator(name), list(golden_layers), tensor(name, "out/w_psi07")[:1])
    for (layer, wanted), row in zip(golden_layers.items(), statistics, strict=True):
        made = found[layer]
        assert np.abs(made[:, :, ::8, ::8].numpy() - wanted).max() <= 5e-5 * np.abs(wanted).max(), layer
        measured = [made.mean(), made.std(correction=0), made.abs().max()]
        np.testing.assert_allclose(np.array(measured), row, atol=5e-5 * max(1, row[2]), err_msg=layer)


def test_every_layer_of_stylegan_puts_out_what_the_published_one_does() -> None:
    faces, wp_NLD = generator("sg1_tiny"), tensor("sg1_tiny", "out/wp_psi07_l8")
    wanted = {k.split("/")[1]: v for k, v in layers().items() if k.startswith("sg1_tiny/")}
    found = layer_outputs(faces, [f"layer{i}" for i in range(12)], wp_NLD[:1])
    for i in range(6):
        found[f"output{i}"] = faces.network.synthesis.get_submodule(f"output{i}")(found[f"layer{2 * i + 1}"])
    for layer, made in found.items():
        kept = made if made.shape[-1] <= 16 else made[:, :, ::8, ::8]
        assert np.abs(kept.numpy() - wanted[layer]).max() <= 5e-5 * np.abs(wanted[layer]).max(), layer
    style = faces.network.synthesis.layer0.epilogue.style_mod.dense(wp_NLD[:, 0])
    np.testing.assert_allclose(style.numpy(), wanted["style"], atol=2e-5)


@pytest.mark.parametrize(("name", "latents"), [*((n, "out/w_psi07") for n in THREES), ("sg1_tiny", "out/wp_psi07_l8")])
def test_pixels_are_the_published_ones_to_one_step(name: str, latents: str) -> None:
    """Published code rounds down (StyleGAN3) or to the nearest (StyleGAN)."""
    step = 2 if name == "sg1_tiny" else 1
    found = to_uint8(generator(name).render(tensor(name, latents))[:, :, ::step, ::step])
    assert np.abs(found.astype(int) - layers()[f"{name}/pixels"].astype(int)).max() <= 1


@pytest.mark.parametrize("name", FILES)
def test_a_row_alone_and_in_a_batch_give_the_same_image(name: str) -> None:
    faces = generator(name)
    w_ND = faces.latents([3, 4, 2**40])
    together = faces.render(w_ND)
    for i in range(3):
        alone = faces.render(w_ND[i : i + 1])[0]
        assert (alone - together[i]).abs().max() <= 1e-4 * together.abs().max()


def test_seeds_draw_what_the_published_tools_draw() -> None:
    np.testing.assert_array_equal(z_of(5, 32), np.random.RandomState(5).randn(1, 32))
    assert not np.array_equal(z_of(2**40, 4), z_of(2**40 + 1, 4))
    assert not np.array_equal(z_of(2**40, 4), z_of(2**40 + 2**33, 4))


def test_a_direction_with_layers_edits_each_row_by_its_own(tmp_path: Path) -> None:
    """The facial-weight script: new[:8] = (w + coeff * direction)[:8] on a code of W+."""
    faces = generator("sg1_tiny")
    generator_ = torch.Generator().manual_seed(3)
    w_1LD = faces.truncate(faces.latents([1]), 0.7)
    n_LD = torch.randn(12, 32, generator=generator_)
    np.save(tmp_path / "w.npy", w_1LD.numpy())
    np.save(tmp_path / "n.npy", n_LD.numpy().astype(np.float64))
    wanted = w_1LD[0].clone()
    wanted[:8] = (w_1LD[0] + 3 * n_LD)[:8]
    options = {"weights": GOLDEN / FILES["sg1_tiny"], "latents": tmp_path / "w.npy", "direction": tmp_path / "n.npy"}
    output = render(Wanted("stylegan", tmp_path / "out.npy", **options, alphas=(3,), layers=range(8)))
    np.testing.assert_allclose(np.load(output), faces.render(wanted[None]).numpy(), atol=1e-4)


def test_a_direction_is_broadcast_over_the_layers_of_w_plus() -> None:
    w_ND, wp_NLD = torch.randn(2, 3), torch.randn(2, 4, 3)
    n_1D, n_LD = torch.randn(1, 3), torch.randn(4, 3)
    assert edit(w_ND, n_1D, [1.0, 2.0]).shape == (2, 2, 3)
    torch.testing.assert_close(edit(w_ND, n_LD, [2.0])[:, 0], w_ND[:, None] + 2 * n_LD)
    torch.testing.assert_close(edit(wp_NLD, n_1D, [2.0])[:, 0], wp_NLD + 2 * n_1D)
    torch.testing.assert_close(edit(wp_NLD, n_LD, [0.5, 2.0])[:, 1], wp_NLD + 2 * n_LD)


def test_smaller_images_are_resized() -> None:
    images = generator("sg1_tiny").render(generator("sg1_tiny").latents([1]), 64)
    assert images.shape == (1, 3, 64, 64)


def test_configurations_can_be_told() -> None:
    for name in FILES:
        config = generator(name).network.config
        assert json.loads(json.dumps(config.facts()))
        assert dataclasses.is_dataclass(config)
