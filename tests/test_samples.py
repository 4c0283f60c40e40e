"""Scored samples: which latents are kept, and scores from a published scorer, a function of one's own or a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_generator import TinyGenerator
from weights_location import GOLDEN, SOURCES

from comface.artifacts.manifest import file_sha256
from comface.cli import main
from comface.directions.interfacegan import sample_facts
from comface.directions.samples import Sampling, own_scorer, score_samples, score_table
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.faces.scorers import score
from comface.generators.registry import load_generator
from comface.seeds import derive_seed
from comface.weights.fetched import AGE, LANDMARKS, available, provenance_path

SCORER = """
import numpy as np
def redness(images):
    assert images.dtype == np.uint8 and images.shape[1:] == (64, 64, 3)
    return images[..., 0].mean((1, 2)) / 255
def short(images):
    return [1.0]
def broken(images):
    raise KeyError("network")
number = 3
"""


@pytest.fixture(autouse=True)
def scorer_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `my_scorer` in the working directory."""
    (tmp_path / "my_scorer.py").write_text(SCORER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    sys.modules.pop("my_scorer", None)


def stylegan3() -> object:
    return load_generator("stylegan3", GOLDEN / SOURCES["stylegan3"])


def test_latents_of_stylegan3_are_truncated_and_those_of_stylegan_are_not(tmp_path: Path) -> None:
    """StyleGAN3-editing fits in ws[:, 0] of psi 0.7, InterFaceGAN in w."""
    for name, source in SOURCES.items():
        faces = load_generator(name, GOLDEN / source)
        (tmp_path / f"{name}.csv").write_text("seed,score\n5,1\n6,2\n")
        paths = score_table(faces, "x", tmp_path / f"{name}.csv", tmp_path / name, 0.7)
        w_ND = faces.latents([5, 6])
        wanted = w_ND if name == "stylegan" else faces.truncate(w_ND, 0.7)
        np.testing.assert_allclose(np.load(paths["latents"]), wanted.numpy(), atol=1e-6)


def test_a_function_of_ones_own_scores_truncated_images_and_a_run_goes_on(tmp_path: Path) -> None:
    faces = stylegan3()
    sampling = Sampling(3, seed=4, psi=0.5, scorer="my_scorer:redness", weights_sha256="abc")
    paths = score_samples(faces, "red", tmp_path / "out", sampling, part=2)
    seeds = [derive_seed(4, "directions", i) for i in range(3)]
    images = faces.render(faces.truncate(faces.latents(seeds), 0.5))
    grey = ((images + 1) * 127.5).round().clamp(0, 255)
    np.testing.assert_allclose(np.load(paths["red"]), grey[:, 0].mean((1, 2)).numpy() / 255, atol=1e-3)
    facts = sample_facts(paths["latents"])
    assert (facts["generator"], facts["attribute"], facts["scorer"]) == ("stylegan3", "red", "my_scorer:redness")
    assert (facts["scored"], facts["weights_sha256"]) == ({"red": 3}, "abc")
    finished = sorted((tmp_path / "out").glob("parts-*/*.npy"))
    before = [path.stat().st_mtime_ns for path in finished]
    score_samples(faces, "red", tmp_path / "out", sampling, part=2)
    assert [path.stat().st_mtime_ns for path in finished] == before


@pytest.mark.parametrize(
    "change", [{"psi": 0.6}, {"weights_sha256": "other"}, {"seed": 1}, {"scorer": "my_scorer:short"}]
)
def test_what_another_setting_had_scored_is_not_taken_over(tmp_path: Path, change: dict[str, object]) -> None:
    faces = TinyGenerator()
    faces.image_size_px = 64
    base = {"scorer": "my_scorer:redness", "samples": 1}
    score_samples(faces, "red", tmp_path / "out", Sampling(**base), part=1)
    score_samples(faces, "red", tmp_path / "out", Sampling(**{**base, **change}), part=1)
    assert faces.rendered == 2


@pytest.mark.parametrize(
    ("scorer", "error", "sentence"),
    [
        ("no_such_module:f", ConfigurationError, "cannot be imported"),
        ("my_scorer:absent", ConfigurationError, "cannot be imported"),
        ("my_scorer:number", ConfigurationError, "is not a function"),
        (":f", ConfigurationError, "cannot be imported"),
        ("my_scorer:short", DataError, r"returned shape \(1,\) or infinity for 2 images"),
        ("my_scorer:broken", DataError, "failed .KeyError: 'network'"),
    ],
)
def test_a_scorer_that_cannot_score_is_named(scorer: str, error: type[ComfaceError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        own_scorer(scorer)(np.zeros((2, 64, 64, 3), np.uint8))


def test_a_table_gives_the_latents_that_render_shows_for_its_seeds(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("seed,comment,score\n7,good,0.5\n3,,\n4294967296,late,-2\n")
    faces = TinyGenerator()
    paths = score_table(faces, "beauty", table, tmp_path / "out")
    assert torch.equal(torch.from_numpy(np.load(paths["latents"])), faces.latents([7, 3, 2**32]))
    np.testing.assert_array_equal(np.load(paths["beauty"]), [0.5, np.nan, -2])
    assert faces.rendered == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has none of the columns seed, score"),
        ("seed,score\n", "has no rows below its first line"),
        ("a,b\n1,2\n", "has none of the columns seed, score"),
        ("seed,value\n1,2\n", "has no column 'score'; its other columns are: value"),
        ("seed,score\n-1,2\n", "Line 2 .* has no valid seed"),
        ("seed,score\n1,inf\n", "Line 2 .* has no number in the column 'score'"),
        ("seed,score\nx,1\n", "Line 2 .* has no number in the column 'seed'"),
        ("seed,score\n1.5,2\n", "Line 2 .* has no valid seed"),
        ("seed,score\n5,1\n6,2\n5,3\n", "Line 4 .* scores the seed of line 2 again; delete one"),
        ("seed,score\n1,many\n", "Line 2 .* has no number in the column 'score'"),
    ],
)
def test_a_table_of_another_form_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    table = tmp_path / "scores.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=sentence):
        score_table(TinyGenerator(), "beauty", table, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_score_and_fit_on_the_command_line_leave_a_direction_that_knows_its_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a table: render's seeds, scored elsewhere."""
    weights = str(GOLDEN / SOURCES["stylegan3"])
    faces = stylegan3()
    truth = torch.randn(32, generator=torch.Generator().manual_seed(0))
    scores = (faces.truncate(faces.latents(range(400)), 0.7) @ truth).tolist()
    (tmp_path / "s.csv").write_text("seed,score\n" + "".join(f"{i},{s}\n" for i, s in enumerate(scores)))
    given = ["--generator", "stylegan3", "--weights", weights, "--attribute", "mine", "--output", "sample"]
    assert main(["directions", "score", *given, "--scorer", "s.csv"]) == 0
    files = ["--latents", "sample/latents.npy", "--scores", "sample/scores.npy"]
    assert (
        main(["directions", "fit", *files, "--fraction", "0.2", "--seed", "3", "--softness", "10", "--output", "n.npy"])
        == 0
    )
    told = json.loads(provenance_path(tmp_path / "n.npy").read_text())
    assert (told["generator"], told["attribute"], told["scorer"]) == ("stylegan3", "mine", "s.csv")
    assert (told["seed"], told["softness"], told["fraction"]) == (3, 10.0, 0.2)
    assert told["sha256"] == file_sha256(tmp_path / "n.npy")
    assert told["weights_sha256"] == file_sha256(Path(weights))
    capsys.readouterr()
    other = ["--generator", "stylegan", "--weights", str(GOLDEN / SOURCES["stylegan"]), "--seeds", "0"]
    assert main(["render", *other, "--direction", "n.npy", "--output", "a.png"]) == 65
    assert "was fitted for 'stylegan3', not for 'stylegan'" in capsys.readouterr().err
    fits = ["--softness", "0"]
    assert main(["directions", "fit", *files, *fits, "--output", "m.npy"]) == 64
    assert "softness 0" in capsys.readouterr().err


@pytest.mark.skipif(not {AGE, LANDMARKS} <= set(available()), reason="the age network is not fetched (make setup)")
def test_an_age_does_not_depend_on_ipp_whose_bits_depend_on_the_processor() -> None:
    photo = Image.open(Path(__file__).parent / "data" / "astronaut.jpg").convert("RGB").resize((100, 100))
    ages = []
    for use in (True, False):
        cv2.ipp.setUseIPP(use)
        ages.append(score(np.asarray(photo)[None], ["age"])["age"][0])
    assert np.isfinite(ages).all()
    assert ages[0] == ages[1]
