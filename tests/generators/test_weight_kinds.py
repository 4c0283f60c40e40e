"""Weight files as people really have them: other protocols, whole trainings, other element types, parts left out."""

from __future__ import annotations

import argparse
import collections
import io
import json
import pathlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from test_stylegan2 import reference_map
from torch import nn
from weight_files import (
    GOLDEN,
    State,
    nvidia_pickle,
    published_modules,
    rosinality_file,
    stylegan1_state,
    stylegan2_state,
    torch_file,
)

from comface.cli import main
from comface.generators.registry import load_generator
from comface.generators.stylegan.build import build
from comface.weights.container import Container, parse, read_container
from comface.weights.pickle_machine import Refused

CASES = Path(__file__).parents[1] / "data" / "cases" / "weights"


def same(found: Container, wanted: Container) -> bool:
    return set(found.arrays) == set(wanted.arrays) and all(
        np.array_equal(found.arrays[name], array) for name, array in wanted.arrays.items()
    )


def rosinality(drop: str = "") -> State:
    """A state under rosinality's names, without the tensors that begin with `drop`."""
    content = torch.load(io.BytesIO(rosinality_file(stylegan2_state())), weights_only=True)
    return {name: tensor for name, tensor in content["g_ema"].items() if not drop or not name.startswith(drop)}


@pytest.mark.parametrize("name", ["ros_control.pt", "ros_published256_layout.pt", "ros_own_training.pt"])
def test_every_file_of_the_rosinality_cases_converts_and_renders(name: str, tmp_path: Path) -> None:
    output = tmp_path / "stylegan2.safetensors"
    assert main(["convert", str(CASES / name), "--output", str(output)]) == 0
    original, converted = load_generator("stylegan2", CASES / name), load_generator("stylegan2", output)
    images_NCHW = converted.render(converted.latents([1, 2]))
    assert images_NCHW.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(images_NCHW.numpy(), original.render(original.latents([1, 2])).numpy())


def test_a_file_without_mean_and_noise_gets_both_seeded_recorded_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "stylegan2.safetensors"
    assert main(["convert", str(CASES / "ros_published256_layout.pt"), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "w_avg: the file holds none: mean of the mapping network's w" in said
    assert "noise: the file holds none: constant, N(0, 1)" in said
    notes = json.loads((tmp_path / "stylegan2.safetensors.json").read_text())["notes"]
    assert (notes["w_avg"]["samples"], notes["w_avg"]["seed"], notes["noise"]["seed"]) == (10_000, 123, 0)
    state = read_container(output).arrays
    z_ND = np.random.RandomState(123).randn(10_000, 16)
    mean_D = np.mean(
        [reference_map({k: v.astype(np.float64) for k, v in state.items()}, z, 8) for z in z_ND[:2_000]], 0
    )
    assert np.linalg.norm(state["mapping.w_avg"] - mean_D) < 0.1 * np.linalg.norm(mean_D)
    noise = np.concatenate([array.ravel() for name, array in state.items() if name.endswith("noise_const")])
    assert (abs(noise.mean()) < 0.05, abs(noise.std() - 1) < 0.05) == (True, True)
    again = tmp_path / "again.safetensors"
    assert main(["convert", str(output), "--output", str(again)]) == 0
    assert json.loads((tmp_path / "again.safetensors.json").read_text())["notes"] == notes


def test_the_mean_is_that_of_all_10000_latents() -> None:
    network = build("stylegan2", parse(torch_file(rosinality("noises."), True)).arrays, {})
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    rows = [reference_map(state, z, 3) for z in np.random.RandomState(123).randn(10_000, 6)]
    np.testing.assert_allclose(network.mapping.w_avg.numpy(), np.mean(rows, 0), rtol=1e-4, atol=1e-6)


def test_a_training_of_ones_own_gives_its_averaged_generator_with_its_own_noise() -> None:
    own = read_container(CASES / "ros_own_training.pt")
    assert own.notes == {"entry": "g_ema"}
    content = torch.load(CASES / "ros_control.pt", weights_only=True)["g_ema"]
    assert own.arrays["synthesis.b8.conv0.noise_const"].shape == content["noises.noise_1"].shape[2:]
    network = build(own.family, own.arrays, own.facts)
    assert set(network.computed) == {"w_avg"}


def test_protocols_2_to_5_give_equal_weights() -> None:
    assert same(read_container(CASES / "sg3r_proto3.pkl"), read_container(GOLDEN / "sg3r_tiny_nvpkl_old.pkl"))
    state = stylegan2_state()
    wanted = parse(nvidia_pickle(state, {"z_dim": 6}, clamp=256))
    for protocol in (2, 3, 5):
        found = parse(nvidia_pickle(state, {"z_dim": 6}, clamp=256, protocol=protocol))
        assert same(found, wanted)
        assert found.facts == wanted.facts


def beside() -> dict[str, Any]:
    """What files carry next to the generator, and what nobody needs."""
    return {
        "D": nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(), nn.Conv2d(1, 1, 1).to(torch.bfloat16)),
        "training_set_kwargs": {
            "path": pathlib.PurePosixPath("/data/faces.zip"),
            "seed": np.int64(3),
            "share": np.float32(0.5),
            "dtype": np.dtype("float32"),
            "kind": np.float16,
            "words": np.array(["a", "b"]),
            "resolution": torch.Size([8, 8]),
        },
        "args": argparse.Namespace(size=8, path=pathlib.PurePosixPath("/data")),
        "settings": [slice(1, 2), complex(1, 2), {"a"}, frozenset({"b"}), torch.device("cpu"), torch.float16],
        "counts": collections.Counter("aab"),
        "recent": collections.deque([1, 2]),
        "defaults": collections.defaultdict(list, {"a": [1]}),
        "optimiser": torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict(),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_stands_beside_a_generator_is_inert(protocol: int) -> None:
    state = stylegan2_state()
    found = parse(nvidia_pickle(state, {"z_dim": 6}, protocol=protocol, beside=beside()))
    assert same(found, parse(nvidia_pickle(state, {"z_dim": 6})))
    trained = parse(torch_file({"g_ema": rosinality(), **beside()}, zipped=bool(protocol % 2)))
    assert same(trained, parse(torch_file(rosinality(), True)))


WRAPPED: dict[str, Callable[[State], Any]] = {
    "alone": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "arrays of numpy": lambda state: {"g_ema": {name: tensor.numpy() for name, tensor in state.items()}},
    "DataParallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "g_ema in state": lambda state: {"state": {"g_ema": state, "d": {"x": torch.zeros(1)}}, "args": None},
    "averaged before trained": lambda state: {
        "g": {name: tensor + 1 for name, tensor in state.items()},
        "g_ema": {f"module.{name}": tensor for name, tensor in state.items()},
    },
    "Lightning": lambda state: {
        "state_dict": {
            **{f"G.{name}": tensor + 1 for name, tensor in state.items()},
            **{f"g_ema.{name}": tensor for name, tensor in state.items()},
            "D.weight": torch.zeros(2),
        }
    },
}


@pytest.mark.parametrize("case", WRAPPED)
@pytest.mark.parametrize("made", [rosinality, stylegan2_state, stylegan1_state])
def test_the_averaged_generator_is_found_wherever_it_stands(case: str, made: Callable[[], State]) -> None:
    wanted = parse(torch_file(made(), True))
    for zipped in (True, False):
        assert same(parse(torch_file(WRAPPED[case](made()), zipped)), wanted)


def test_the_averaged_one_of_two_is_taken_by_the_names_that_restorers_use() -> None:
    other = {name: 2 * tensor for name, tensor in rosinality().items()}
    wanted = parse(torch_file({"params_ema": rosinality()}, True))
    assert same(parse(torch_file({"params": other, "params_ema": rosinality()}, True)), wanted)


def test_two_generators_of_which_none_is_averaged_are_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"several generators \('a', 'b'\), and none is named as the averaged one"):
        parse(torch_file({"a": rosinality(), "b": rosinality()}, True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_width_of_floats_is_read(dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in stylegan1_state().items()}
    wanted = {name: tensor.float().numpy() for name, tensor in state.items()}
    for content in (safetensors.torch.save(state), torch_file(state, True), torch_file(state, False)):
        found = parse(content)
        assert all(np.array_equal(found.arrays[name], array) for name, array in wanted.items())
    nvidia = {name: tensor.to(dtype) for name, tensor in stylegan2_state().items()}
    assert parse(nvidia_pickle(nvidia, {"z_dim": 6})).family == "stylegan2"


def test_a_type_that_is_not_read_is_named() -> None:
    state = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in stylegan1_state().items()}
    with pytest.raises(Refused, match="has the unsupported type 'F8_E4M3'"):
        parse(safetensors.torch.save(state))
    complex_ones = {name: tensor.to(torch.complex64) for name, tensor in stylegan1_state().items()}
    with pytest.raises(Refused, match="has the type complex64"):
        parse(torch_file(complex_ones, True))


def refusal(content: bytes) -> str:
    try:
        container = parse(content)
        build(container.family, container.arrays, container.facts, container.own_names)
    except Refused as refused:
        return str(refused)
    raise AssertionError("it was taken")


def test_a_refusal_names_what_the_file_holds() -> None:
    state = rosinality()
    state["style.2.weight"] = torch.zeros(6, 7)
    assert "its tensor style.2.weight (mapping.fc1.weight in comface)" in refusal(torch_file(state, True))
    without = refusal(torch_file(rosinality("style.2.weight"), True))
    assert without == "its layers are not numbered as those of a generator"
    assert "it lacks the tensor that is called synthesis.b8.conv1.noise_const in" in refusal(
        torch_file(rosinality("noises.noise_2"), True)
    )
    assert "has the tensor 'extra', which" in refusal(torch_file(rosinality() | {"extra": torch.zeros(1)}, True))
    assert "no generator (neither G_ema nor (G, D, Gs)), but a dictionary of 'G', 'epoch'" in refusal(
        b"\x80\x04" + b"}(\x8c\x01GN\x8c\x05epochK\x03u."
    )
    assert "known generator (it has 'encoder.weight')" in refusal(torch_file({"encoder.weight": torch.ones(1)}, True))
    nested = torch_file({"GAN": {"S.net.0.weight": torch.ones(1)}, "version": "1"}, True)
    assert "known generator (it has 'S.net.0.weight')" in refusal(nested)
    assert refusal(nvidia_pickle(stylegan2_state(), {}, beside={"G_ema": None})).endswith(
        "(its G_ema is not a network)"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the old file names numpy.core
def test_a_tensorflow_pickle_of_any_protocol_gives_equal_weights() -> None:
    original = (GOLDEN / "sg1_tiny_tfpkl_old.pkl").read_bytes()
    with published_modules():
        value = pickle.loads(original)
        contents = [pickle.dumps(value, protocol) for protocol in (2, 3, 5)]
    for content in contents:
        assert same(parse(content), parse(original))
