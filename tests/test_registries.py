"""What exists stands once, in a registry: nothing else compares with a name of a method, generator, layout or task."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tiny_generator import ATTRIBUTES, TinyGenerator

from comface.config.entries import Entries
from comface.datasets import open_dataset
from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.datasets.registry import LAYOUTS, Layout, layout
from comface.datasets.rehearsal.registry import REHEARSALS
from comface.errors import ConfigurationError
from comface.generators.registry import GENERATORS, Generator, load_generator
from comface.methods import METHODS
from comface.plan.configuration import resolve
from comface.plan.consistency import composition_problems
from comface.plan.datasets import check_dataset
from comface.register.card import CardFacts, card
from comface.register.origins import Origins
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tasks.registry import KNOWN
from comface.tracks.composition import check_names
from comface.tracks.config import SynthesizeConfig
from comface.tracks.located import located_tracks

PACKAGE = Path(__file__).resolve().parents[1] / "components" / "comface"
ROOMS = {
    "methods": set(METHODS),
    "generators": set(GENERATORS),
    "datasets": {*LAYOUTS, *REHEARSALS},
    "tasks": set(KNOWN),
}
"""Each registry's folder, which alone may tell its names apart."""


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, word) of every word that something is compared with, or looked up among."""
    for node in ast.walk(tree):
        sides = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.MatchValue):
            sides = [node.value]
        for side in sides:
            for each in side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.lineno, each.value


def listed(tree: ast.AST) -> Iterator[tuple[int, set[str]]]:
    """(line, words) of every list, or table by word, that stands in the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict | ast.Tuple | ast.List | ast.Set):
            parts = node.keys if isinstance(node, ast.Dict) else node.elts
            yield node.lineno, {each.value for each in parts if isinstance(each, ast.Constant)}


def test_no_module_outside_a_registrys_folder_compares_with_one_of_its_names() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        names = set().union(*(own for other, own in ROOMS.items() if other != room))
        lines = compared(ast.parse(path.read_text("utf-8")))
        found += [f"{path.relative_to(PACKAGE)}:{line}: '{word}'" for line, word in lines if word in names]
    assert found == []


@pytest.mark.parametrize("room", ["methods", "generators"])
def test_no_module_outside_a_registrys_folder_lists_its_names_again(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != room
        for line, words in listed(ast.parse(path.read_text("utf-8")))
        if len(words & ROOMS[room]) > 1
    ]
    assert found == []


def test_the_names_of_all_registries_are_asked_for_and_every_entry_read_without_importing_tensors() -> None:
    code = (
        "import sys\n"
        "from comface.datasets.registry import LAYOUTS\n"
        "from comface.datasets.rehearsal.registry import REHEARSALS\n"
        "from comface.generators.registry import GENERATORS\n"
        "from comface.methods import METHODS, method\n"
        "from comface.tasks.registry import KNOWN\n"
        "for entries in (LAYOUTS, GENERATORS, METHODS):\n"
        "    assert [entry.name for entry in entries.all().values()] == list(entries)\n"
        "method('timm:resnet18'), method('lab:encoder')\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'cv2', 'simplejpeg', 'dlib', 'kfp'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_registry_names_its_choices_and_takes_no_name_twice() -> None:
    entries: Entries[Generator] = Entries("generator", {"dcgan": "comface.generators.entries.dcgan:GENERATOR"})
    assert entries["dcgan"].fetched == "dcgan.safetensors"
    with pytest.raises(ConfigurationError, match="There is no generator 'gan'; choose from dcgan"):
        entries["gan"]
    with pytest.raises(ConfigurationError, match="There is a generator 'dcgan' already"):
        entries.add("dcgan", entries["dcgan"])


@pytest.fixture
def discs() -> Iterator[str]:
    made = Generator(
        "discs", lambda weights, device: TinyGenerator("discs"), embedded=True, attributes=lambda: ATTRIBUTES,
        always_a_face=True, limits="Its faces are discs.",
    )  # fmt: skip
    GENERATORS.add("discs", made)
    yield "discs"
    GENERATORS.remove("discs")


def test_a_generator_that_only_this_test_knows_is_composed_checked_rendered_and_told_of_in_the_card(
    tmp_path: Path, discs: str
) -> None:
    composed = "synthesize.composition=[{{generator: discs, identities: 60, attributes: [{}]}}]"
    sizes = ("synthesize.image_size_px=32", "synthesize.alpha_step=2.5", "pretrain.pairs_per_step=8")
    config = resolve("laptop", [composed.format("age"), *sizes])
    assert [str(problem) for problem in composition_problems(config)] == []
    wrong = resolve("laptop", [composed.format("hat"), *sizes])
    (problem,) = composition_problems(wrong)
    assert str(problem).startswith("The generator 'discs' has no direction for hat; it has age, smile, weight")
    tracks = synthesize(FileStore(tmp_path), config.synthesize.model_copy(update={"parts": 30}), 0)
    assert (tracks.facts["generators"], tracks.facts["embedded"], tracks.facts["rehearsal"]) == (["discs"], True, False)
    made = Origins(("discs", "of another version"), 2, 10, 2, (), (), screened_by=("imagenet", "pixels"))
    text = card(CardFacts("comface", "narrow", 32, made, [], {}, 0.9, {}))
    assert "- discs: Its faces are discs.\n- of another version: Its range of skin tones" in text
    assert "- Screening by ImageNet: Its features describe appearance" in text
    assert "Pixels" not in text


def make_discs(weights: Path | None, device: str) -> TinyGenerator:
    return TinyGenerator("mine")


def make_nothing(weights: Path | None, device: str) -> object:
    return object()


def test_a_generator_of_ones_own_makes_tracks_whose_keys_have_no_dot(tmp_path: Path) -> None:
    values = {"identities": 2, "attributes": ["age"]}
    settings = SynthesizeConfig(
        composition=[{"generator": f"{__name__}:make_discs", **values}],
        image_size_px=32, alpha_step=2.5, parts=1, screen_faces=False,
    )  # fmt: skip
    made = synthesize(FileStore(tmp_path), settings, 0)
    tracks = made.inputs()
    assert made.facts["embedded"] is False
    assert set(tracks["tracks-00000"].manifest.config["generators"][f"{__name__}:make_discs"]) >= {
        "source_sha256",
        "weights_sha256",
    }
    keys = [located.track.key for located in located_tracks(list(tracks.values()))]
    assert keys == [f"{__name__}-make_discs-{number:07d}-age" for number in (0, 1)]
    with pytest.raises(ConfigurationError, match=r"returns object, which lacks name, latent_width, .*; return a"):
        load_generator(f"{__name__}:make_nothing")
    with pytest.raises(ConfigurationError, match="too long for a track's key, which has at most 80 characters"):
        check_names(SynthesizeConfig(composition=[{"generator": f"{'m' * 70}:make", **values}]))


def read_flat(folder: Path, source: DataSource, place: str, quick: bool) -> DataSet:
    """Photos called SUBJECT-AGE.png."""
    named = [(path, *path.stem.split("-")) for path in sorted(folder.glob("*.png"))]
    return DataSet([Photo(who, {"age": float(age)}, path) for path, who, age in named], ("age",))


@pytest.fixture
def flat() -> Iterator[str]:
    LAYOUTS.add("flat", Layout("flat", read_flat))
    yield "flat"
    LAYOUTS.remove("flat")


def test_a_layout_that_only_this_test_knows_is_configured_checked_and_read(tmp_path: Path, flat: str) -> None:
    face = Image.open(Path(__file__).parent / "data/cases/photos/face_ok.jpg")
    for number in range(8):
        face.resize((160, 160 + number)).save(tmp_path / f"p{number // 2}-{20 + number}.png")
    place = f"data.mine={{layout: flat, uri: {tmp_path.as_uri()}}}"
    tasks = ("tasks.ageing={dataset: mine, label: age, unit: years}", "transfer.tasks=[ageing]")
    config = resolve("laptop", [place, *tasks])
    assert check_dataset(config, "mine") == f"8 photos of 4 people at {tmp_path.as_uri()}"
    named = resolve("laptop", [place.replace("flat", "test_registries:read_flat"), *tasks])
    assert check_dataset(named, "mine") == check_dataset(config, "mine")
    assert set(layout("test_registries:read_flat").decided_by()) == {"source_sha256"}
    with pytest.raises(ConfigurationError, match=r"there is no layout 'round'; choose from disfa, fgnet, edema, pairs"):
        resolve("laptop", ["data.mine={layout: round}"])


def test_the_layout_that_docs_data_shows_reads_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PACKAGE.parents[1] / "docs" / "data.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(# clinic_photos\.py.*?)```", page, re.DOTALL)
    (tmp_path / "clinic_photos.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    for patient, kg in (("P07", 62.5), ("P07", 60.0), ("P08", 71.0)):
        Image.new("L", (16, round(kg))).save(tmp_path / f"{patient}_{kg}.jpg")
    found = open_dataset(DataSource(layout="clinic_photos:read", uri=tmp_path.as_uri()))
    assert {(photo.subject, photo.labels["weight"]) for photo in found.photos} == {
        ("P07", 62.5), ("P07", 60.0), ("P08", 71.0)
    }  # fmt: skip
    assert layout("clinic_photos:read").decided_by() == {"revision": 1}
    Image.new("L", (16, 16)).save(tmp_path / "P09_heavy.jpg")
    where = r"failed \(ValueError in line \d+ of clinic_photos\.py\); correct the function"  # without its text
    with pytest.raises(ConfigurationError, match=where):
        open_dataset(DataSource(layout="clinic_photos:read", uri=tmp_path.as_uri()))
