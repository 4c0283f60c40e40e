"""Every public container gives the same tensors; what does not fit is refused in one sentence."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from weight_files import (
    GOLDEN,
    TINY1,
    State,
    nvidia_pickle,
    rosinality_file,
    stylegan1_state,
    stylegan2_state,
    tensorflow_pickle,
    torch_file,
)

from comface.errors import ConfigurationError, DataError
from comface.generators.registry import load_generator
from comface.generators.stylegan.build import build
from comface.weights.container import parse, read_container
from comface.weights.pickle_machine import Refused


def assert_same(content: bytes, family: str, state: State) -> None:
    found = parse(content)
    assert found.family == family
    assert set(found.arrays) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(found.arrays[name], tensor.numpy(), err_msg=name)
        assert found.arrays[name].dtype == np.float32


@pytest.mark.parametrize("zipped", [True, False])
def test_interfacegan_files_load_in_both_layouts_of_torch(zipped: bool) -> None:
    state = OrderedDict(stylegan1_state())
    state._metadata = OrderedDict()  # type: ignore[attr-defined]
    assert_same(torch_file(state, zipped), "stylegan", state)


@pytest.mark.parametrize("zipped", [True, False])
def test_genforce_files_load_from_their_averaged_generator(zipped: bool) -> None:
    """Fused weights are OIHW there, HWIO with InterFaceGAN."""
    state = {k: torch.from_numpy(v) for k, v in read_container(GOLDEN / "sg1_tiny_tfpkl_old.pkl").arrays.items()}
    renamed = {}
    for name, tensor in state.items():
        if name == "synthesis.layer10.weight":
            tensor = tensor.permute(3, 2, 0, 1)
        for ours, theirs in (
            ("epilogue.style_mod.dense.linear", "style"),
            ("epilogue.style_mod.dense.wscale", "style"),
            ("epilogue.", ""),
            (".linear.", "."),
            (".wscale.", "."),
            (".conv.", "."),
            ("first_layer", "const"),
        ):
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    wrong = {name: torch.zeros_like(tensor) for name, tensor in renamed.items()}
    content = torch_file({"generator": wrong, "discriminator": {}, "generator_smooth": renamed}, zipped)
    assert_same(content, "stylegan", state)


def test_stylegan3_editing_files_load_also_without_the_input_transform() -> None:
    original = read_container(GOLDEN / "sg3r_tiny_nvpkl_old.pkl")
    state = {name: torch.from_numpy(array) for name, array in original.arrays.items()}
    del state["synthesis.input.transform"]
    content = torch_file(state, zipped=True)
    assert_same(content, "stylegan3", state)
    network = build("stylegan3", parse(content).arrays, {})
    torch.testing.assert_close(network.synthesis.input.transform, torch.eye(3))


def test_stylegan2_loads_from_nvidias_pickle_with_its_clamp() -> None:
    state = stylegan2_state()
    content = nvidia_pickle(state, {"z_dim": 6, "synthesis_kwargs": {"channel_base": 32768}}, clamp=256)
    found = parse(content)
    assert found.facts["conv_clamp"] == 256
    assert found.facts["synthesis_kwargs"] == {"channel_base": 32768}
    assert_same(content, "stylegan2", state)


def test_stylegan2_loads_from_rosinalitys_file() -> None:
    state = stylegan2_state()
    left_out = ("synthesis.b4.resample_filter", "conv1.resample_filter")
    kept = {name: tensor for name, tensor in state.items() if not name.endswith(left_out)}
    assert_same(rosinality_file(state), "stylegan2", kept)
    completed = build("stylegan2", parse(rosinality_file(state)).arrays, {})
    torch.testing.assert_close(dict(completed.state_dict()), state)


def test_stylegan2_loads_from_tensorflow_with_kernels_turned_and_biases_raised() -> None:
    state = {name: tensor.numpy() for name, tensor in stylegan2_state().items()}
    synthesis: dict[str, np.ndarray] = {"4x4/Const/const": state["synthesis.b4.const"][None]}
    for size, part, name, noise in ((4, "conv1", "Conv", 0), (8, "conv0", "Conv0_up", 1), (8, "conv1", "Conv1", 2)):
        ours, theirs = f"synthesis.b{size}.{part}", f"{size}x{size}/{name}"
        weight = state[f"{ours}.weight"][:, :, ::-1, ::-1] if part == "conv0" else state[f"{ours}.weight"]
        synthesis |= {
            f"noise{noise}": state[f"{ours}.noise_const"][None, None],
            f"{theirs}/weight": weight.transpose(2, 3, 1, 0),
            f"{theirs}/mod_weight": state[f"{ours}.affine.weight"].T,
            f"{theirs}/mod_bias": state[f"{ours}.affine.bias"] - 1,
            f"{theirs}/noise_strength": state[f"{ours}.noise_strength"],
            f"{theirs}/bias": state[f"{ours}.bias"],
        }
    for size in (4, 8):
        ours, theirs = f"synthesis.b{size}.torgb", f"{size}x{size}/ToRGB"
        synthesis |= {
            f"{theirs}/weight": state[f"{ours}.weight"].transpose(2, 3, 1, 0),
            f"{theirs}/mod_weight": state[f"{ours}.affine.weight"].T,
            f"{theirs}/mod_bias": state[f"{ours}.affine.bias"] - 1,
            f"{theirs}/bias": state[f"{ours}.bias"],
        }
    mapping = {f"Dense{i}/weight": state[f"mapping.fc{i}.weight"].T for i in range(3)}
    mapping |= {f"Dense{i}/bias": state[f"mapping.fc{i}.bias"] for i in range(3)}
    parts = {
        "": {"lod": np.float32(0), "dlatent_avg": state["mapping.w_avg"]},
        "mapping": mapping,
        "synthesis": synthesis,
    }
    found = parse(tensorflow_pickle(parts))
    network = build(found.family, found.arrays, found.facts)
    assert found.family == "stylegan2"
    for name, array in state.items():
        np.testing.assert_allclose(network.state_dict()[name].numpy(), array, atol=1e-6, err_msg=name)


def test_float16_and_float64_files_become_float32() -> None:
    for kind in (torch.float16, torch.float64):
        state = {name: tensor.to(kind) for name, tensor in stylegan1_state().items()}
        assert_same(torch_file(state, zipped=True), "stylegan", {n: t.float() for n, t in state.items()})


def test_numbers_that_are_not_finite_are_refused() -> None:
    for value in (float("nan"), float("inf")):
        state = stylegan1_state()
        state["synthesis.layer1.epilogue.bias"][0] = value
        with pytest.raises(Refused, match=r"synthesis\.layer1\.epilogue\.bias' contains NaN or infinity"):
            parse(torch_file(state, zipped=True))
    too_large = {name: tensor.double() for name, tensor in stylegan1_state().items()}
    too_large["mapping.dense0.wscale.bias"][0] = 1e300
    with pytest.raises(Refused, match="NaN or infinity"):
        parse(torch_file(too_large, zipped=True))


def test_missing_further_and_misshapen_tensors_are_named() -> None:
    def built(state: State) -> None:
        build("stylegan", {name: tensor.numpy() for name, tensor in state.items()}, {})

    state = stylegan1_state()
    built(state)
    with pytest.raises(Refused, match=r"tensor synthesis\.layer3\.epilogue\.bias is missing"):
        built({k: v for k, v in state.items() if k != "synthesis.layer3.epilogue.bias"})
    with pytest.raises(Refused, match=r"the tensor 'extra', which the architecture lacks"):
        built({**state, "extra": torch.ones(1)})
    with pytest.raises(
        Refused, match=r"synthesis\.layer1\.conv\.weight has the shape \(4, 3, 3, 3\), not \(4, 4, 3, 3\)"
    ):
        built({**state, "synthesis.layer1.conv.weight": torch.ones(4, 3, 3, 3)})


@pytest.mark.parametrize(
    "facts", [{"first_cutoff": 1e9}, {"filter_size": 10**6}, {"margin_size": "10"}, {"num_critical": 1.5}]
)
def test_impossible_arguments_are_refused(facts: dict[str, object]) -> None:
    arrays = read_container(GOLDEN / "sg3r_tiny_nvpkl_old.pkl").arrays
    with pytest.raises(Refused, match=next(iter(facts))):
        build("stylegan3", arrays, facts)


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "stylegan.pth"
    file.write_bytes(torch_file(stylegan1_state(), zipped=True))
    assert load_generator("stylegan", file).image_size_px == TINY1.image_size_px
    cases: list[tuple[type[Exception], str, object]] = [
        (ConfigurationError, "'stylegan2' needs its public weight file", lambda: load_generator("stylegan2")),
        (ConfigurationError, "contains a 'stylegan', not a 'stylegan3'", lambda: load_generator("stylegan3", file)),
        (ConfigurationError, "no.pkl' does not exist", lambda: load_generator("stylegan", tmp_path / "no.pkl")),
        (ConfigurationError, "is a folder", lambda: load_generator("stylegan", tmp_path)),
        (
            ConfigurationError,
            "no built-in direction 'smile'",
            lambda: load_generator("stylegan", file).direction("smile"),
        ),
        (DataError, r"needs latents of shape \(N, 6\) or \(N, 4, 6\), not \(2, 7\)", lambda: _render(file, (2, 7))),
        (DataError, r"not \(2, 3, 6\)", lambda: _render(file, (2, 3, 6))),
    ]
    for error, sentence, call in cases:
        with pytest.raises(error, match=sentence) as caught:
            call()  # type: ignore[operator]
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)


def _render(file: Path, shape: tuple[int, ...]) -> None:
    load_generator("stylegan", file).render(torch.zeros(shape))


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"PK\x03\x04", b"\x80\x02}.", b"\x89HDF", b"<html>quota exceeded</html>"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"weights\.pkl was refused"):
        read_container(tmp_path / "weights.pkl")
