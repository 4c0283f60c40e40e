"""`comface render`: sheets and raw output, and every wrong input's sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_generator import TinyGenerator, load_tiny

from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.tracks.render import Wanted, parse_alphas, parse_seeds, render


def call(output: Path, load: Callable[..., TinyGenerator] = load_tiny, **options: Any) -> Path:
    return render(Wanted("procedural", output, **options), load=load)


def test_raw_output_holds_for_every_latent_every_alpha_the_networks_float32(tmp_path: Path) -> None:
    alphas = (-2.0, 0.0, 3.0)
    output = call(tmp_path / "raw.npy", seeds=(4, 7), attribute="smile", alphas=alphas)
    raw = np.load(output)
    assert (raw.dtype, raw.shape) == (np.float32, (6, 3, 32, 32))
    generator = TinyGenerator()
    rows = [
        generator.render(generator.latents([seed]) + alpha * generator.direction("smile"))[0]
        for seed in (4, 7)
        for alpha in alphas
    ]
    np.testing.assert_allclose(raw, torch.stack(rows).numpy(), atol=1e-6)


def test_raw_output_of_many_batches_equals_that_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.load(call(tmp_path / "a.npy", seeds=range(9), attribute="age", alphas=(-1, 1)))
    monkeypatch.setattr("comface.tracks.render.AT_ONCE_PX", 32 * 32 * 4)
    pieces = np.load(call(tmp_path / "b.npy", seeds=range(9), attribute="age", alphas=(-1, 1)))
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


def test_latents_are_taken_as_they_are(tmp_path: Path) -> None:
    class Truncating(TinyGenerator):
        def truncate(self, w_ND: torch.Tensor, psi: float) -> torch.Tensor:
            return psi * w_ND

    generator = Truncating()
    w_ND = generator.latents([1, 2])
    np.save(tmp_path / "w.npy", w_ND.numpy().astype(np.float64))
    given_ = np.load(call(tmp_path / "a.npy", latents=tmp_path / "w.npy", psi=0.5, load=lambda *_: generator))
    np.testing.assert_allclose(given_, generator.render(w_ND).numpy(), atol=1e-6)
    drawn = np.load(call(tmp_path / "b.npy", seeds=(1, 2), psi=0.5, load=lambda *_: generator))
    np.testing.assert_allclose(drawn, generator.render(0.5 * w_ND).numpy(), atol=1e-6)


def test_layered_latents_are_edited_in_every_layer(tmp_path: Path) -> None:
    class Layered(TinyGenerator):
        layers = 3

        def render(self, w: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
            return super().render(w.mean(1) if w.ndim == 3 else w, size_px)

    w_NLD = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "w.npy", w_NLD.numpy())
    np.save(tmp_path / "n.npy", np.eye(6, dtype=np.float32)[:1])
    files = {"latents": tmp_path / "w.npy", "direction": tmp_path / "n.npy", "alphas": (0.0, 2.0)}
    raw = np.load(call(tmp_path / "raw.npy", load=lambda *_: Layered(), **files))
    w_ND = w_NLD.mean(1).repeat_interleave(2, 0)
    w_ND[1::2, 0] += 2
    np.testing.assert_allclose(raw, TinyGenerator().render(w_ND).numpy(), atol=1e-5)


def test_a_direction_file_does_what_its_attribute_does(tmp_path: Path) -> None:
    np.save(tmp_path / "n.npy", TinyGenerator().direction("age").numpy()[0])  # (D,) is taken for (1,D)
    by_file = np.load(call(tmp_path / "a.npy", seeds=(0,), direction=tmp_path / "n.npy"))
    by_name = np.load(call(tmp_path / "b.npy", seeds=(0,), attribute="age"))
    assert by_file.shape[0] == 3  # alphas -5, 0, 5 where none are given
    np.testing.assert_array_equal(by_file, by_name)


def test_a_sheet_has_a_row_per_seed_and_a_column_per_alpha(tmp_path: Path) -> None:
    few = Image.open(call(tmp_path / "few.png", seeds=(0, 1), attribute="age"))
    more = Image.open(call(tmp_path / "more.png", seeds=range(4), attribute="age", alphas=(-5, -2, 0, 2, 5)))
    assert few.mode == "RGB"
    assert more.width - few.width == 2 * 116
    assert more.height - few.height == 2 * 116


def test_another_size_is_rendered_when_asked_for(tmp_path: Path) -> None:
    assert np.load(call(tmp_path / "raw.npy", seeds=(0,), size_px=48)).shape == (1, 3, 48, 48)


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-7,9", (*range(8), 9)), ("5", (5,)), ("3,1", (3, 1)), (" 1 - 2 , 4", (1, 2, 4))]
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text.replace(" - ", "-")) == seeds


@pytest.mark.parametrize("text", ["", "a", "1,", "-3", "7-0", "1--2", "1-2-3", "0-1000000000", "1.5", "9" * 40, "²"])
def test_seeds_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_seeds(text)


@given(st.text("0123456789-, e.a", max_size=12))
def test_whatever_the_text_seeds_and_alphas_parse_or_are_refused_in_a_sentence(text: str) -> None:
    for parse in (parse_seeds, parse_alphas):
        with contextlib.suppress(ConfigurationError):
            assert parse(text)


@pytest.mark.parametrize("text", ["", "a", "1,,2", "nan", "inf", "1;2"])
def test_alphas_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_alphas(text)


WRONG: list[tuple[dict[str, object], type[ComfaceError], str]] = [
    ({"psi": 0.0}, ConfigurationError, "psi"),
    ({"psi": 1.1}, ConfigurationError, "psi"),
    ({"psi": float("nan")}, ConfigurationError, "psi"),
    ({"seeds": None}, ConfigurationError, "exactly one"),
    ({"latents": "w.npy"}, ConfigurationError, "exactly one"),
    ({"attribute": "beard"}, ConfigurationError, "no direction 'beard'; it has age, smile, weight"),
    ({"attribute": "age", "direction": "n.npy"}, ConfigurationError, "one of them"),
    ({"alphas": (1.0,)}, ConfigurationError, "no direction or attribute"),
    ({"attribute": "age", "alphas": ()}, ConfigurationError, "empty"),
    ({"attribute": "age", "alphas": (float("inf"),)}, ConfigurationError, "not finite"),
    ({"size_px": 5}, ConfigurationError, "5 px"),
    ({"direction": "none.npy"}, ConfigurationError, "does not exist"),
    ({"direction": "wide.npy"}, DataError, r"shape \(2, 7\)"),
    ({"direction": "nan.npy"}, DataError, "not finite"),
    ({"seeds": None, "latents": "wide.npy"}, DataError, r"shape \(2, 7\), but 'procedural' needs \(N, 6\)"),
    ({"seeds": None, "latents": "layers.npy"}, DataError, r"shape \(2, 3, 6\)"),
    ({"seeds": None, "latents": "empty.npy"}, DataError, r"shape \(0, 6\)"),
    ({"seeds": None, "latents": "nan.npy"}, DataError, "not finite"),
    ({"seeds": None, "latents": "text.npy"}, DataError, "cannot be read as .npy"),
    ({"seeds": None, "latents": "pickled.npy"}, DataError, "cannot be read as .npy"),
    ({"seeds": None, "latents": "words.npy"}, DataError, "not one array of numbers"),
    ({"seeds": None, "latents": "many.npz"}, DataError, "an .npz archive, not one array"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_wrong_input_is_said_in_one_sentence_and_nothing_is_written(
    tmp_path: Path, options: dict[str, object], error: type[ComfaceError], message: str, suffix: str
) -> None:
    np.save(tmp_path / "wide.npy", np.ones((2, 7)))
    np.save(tmp_path / "layers.npy", np.ones((2, 3, 6)))
    np.save(tmp_path / "empty.npy", np.ones((0, 6)))
    np.save(tmp_path / "nan.npy", np.full((1, 6), np.nan))
    np.save(tmp_path / "n.npy", np.ones((1, 6)))
    np.save(tmp_path / "words.npy", np.array([["a"] * 6]))
    np.save(tmp_path / "pickled.npy", np.array([[print] * 6], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "many.npz", w=np.ones((2, 6)))
    (tmp_path / "text.npy").write_text("hello")
    files = {k: tmp_path / v for k, v in options.items() if isinstance(v, str) and k != "attribute"}
    generator = TinyGenerator()
    output = tmp_path / "out" / f"result{suffix}"
    with pytest.raises(error, match=message):
        call(output, **{"seeds": (0,), "load": lambda *_: generator, **options, **files})
    assert generator.rendered == 0
    assert not output.parent.exists()


@pytest.mark.parametrize("name", ["out.jpg", "out", "out.npz"])
def test_another_kind_of_output_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must end in \.png"):
        call(tmp_path / name, seeds=(0,))


def test_a_sheet_too_long_to_look_at_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        call(tmp_path / "sheet.png", seeds=range(500))


def test_a_render_that_breaks_off_leaves_what_was_there_and_no_scraps(tmp_path: Path) -> None:
    class Breaking(TinyGenerator):
        def render(self, *_: object) -> torch.Tensor:
            raise DataError("half of it")

    for output in (tmp_path / "sheet.png", tmp_path / "raw.npy"):
        output.write_bytes(b"before")
        with pytest.raises(DataError, match="half of it"):
            render(Wanted("tiny", output, seeds=(0,)), load=lambda *_: Breaking())
        assert output.read_bytes() == b"before"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "raw.npy", tmp_path / "sheet.png"]


@pytest.mark.parametrize("generator", ["procedural"])
@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_alphas_beyond_all_faces_are_a_sentence_and_give_no_file(tmp_path: Path, generator: str, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    for alpha in (1e30, -1e308):
        with pytest.raises(DataError, match="Latents with values above 1,000,000 give no face; use smaller alphas"):
            render(Wanted(generator, output, seeds=(1,), attribute="smile", alphas=(alpha,)))
    assert not list(tmp_path.iterdir())
