"""Synthesize: a part is made whole, in any order, with the same bits, and goes on after a kill."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from tar_tracks import Stored
from tar_tracks import tracks_of_part as stored
from tiny_generator import ATTRIBUTES, TinyGenerator, is_bright, load_tiny

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.generators import edit, resized, to_uint8
from comface.store import FileStore
from comface.synthesize.step import preflight, synthesize
from comface.tracks.composition import identities, totals
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.located import INDEX

TESTS = Path(__file__).resolve().parents[1]


def config(parts: int = 1, **changes: object) -> SynthesizeConfig:
    values = {
        "composition": (
            Share(generator="procedural", identities=50, attributes=ATTRIBUTES, attributes_per_identity=2),
            Share(generator="dcgan", identities=30, attributes=("smile", "age")),
        ),
        "alpha_step": 2.5,
        "image_size_px": 32,
        "parts": parts,
        **changes,
    }
    return SynthesizeConfig.model_validate(values)


def make(store: FileStore, settings: SynthesizeConfig, part: int = 0) -> Artifact:
    return synthesize(store, settings, part, load=load_tiny, find=is_bright)


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = (make(FileStore(tmp_path / name), config()) for name in "ab")
    assert first.sha256 == second.sha256
    other = make(FileStore(tmp_path / "c"), config(seed=1))
    assert stored(other)
    assert stored(other) != stored(first)


def test_parts_made_in_any_order_hold_the_tracks_that_one_part_holds_bit_for_bit(tmp_path: Path) -> None:
    whole = stored(make(FileStore(tmp_path), config()))
    together: Stored = {}
    for part in (2, 0, 1):
        made = stored(make(FileStore(tmp_path), config(parts=3), part))
        assert not together.keys() & made.keys()
        together |= made
    assert together == whole


def test_every_image_is_its_latent_moved_along_its_direction(tmp_path: Path) -> None:
    settings = config()
    generator = TinyGenerator()
    for track, jpegs in list(stored(make(FileStore(tmp_path), settings)).values())[::20]:
        w_1D = generator.latents([track.seed])
        for alpha, jpeg in zip(track.alphas, jpegs, strict=True):
            image = generator.render(edit(w_1D, generator.direction(track.attribute), [alpha])[0])
            wanted = to_uint8(resized(image, 32))[0].astype(int)
            got = simplejpeg.decode_jpeg(jpeg).astype(int)
            assert got.shape == (32, 32, 3)
            assert np.abs(got - wanted).mean() < 4


def test_faces_are_checked_while_tracks_are_rendered(tmp_path: Path) -> None:
    """The first track waits until the second identity's face check runs: one after the other, it would wait in vain."""
    second_check = threading.Event()
    checks, waited = [], []

    def find(image_HW3: np.ndarray) -> bool:
        checks.append(len(image_HW3))
        if len(checks) == 2:
            second_check.set()
        return True

    class Waiting(TinyGenerator):
        def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
            if len(w_ND) > 1 and not waited:
                waited.append(second_check.wait(timeout=20))
            return super().render(w_ND, size_px)

    synthesize(FileStore(tmp_path), config(), 0, load=lambda name, weights, device: Waiting(name), find=find)
    assert waited == [True]


def test_a_generator_that_is_slower_on_a_gpu_stays_on_the_cpu(tmp_path: Path) -> None:
    devices = {}

    def load(name: str, weights: Path | None, device: str) -> TinyGenerator:
        devices[name] = device
        return TinyGenerator(name)

    synthesize(FileStore(tmp_path), config(), 0, device="cuda", load=load, find=is_bright)
    assert devices == {"procedural": "cpu", "dcgan": "cuda"}


def test_what_is_dropped_is_counted_by_generator_and_attribute(tmp_path: Path) -> None:
    artifact = make(FileStore(tmp_path), config())
    facts, planned = artifact.facts, totals(config())
    kept = stored(artifact)
    assert 0 < facts["dropped"]["identities"] < planned.identities
    assert facts["tracks"] == len(kept)
    assert facts["images"] == 5 * len(kept)
    assert facts["identities"] + facts["dropped"]["identities"] == planned.identities
    for generator, by_attribute in planned.tracks_by_attribute.items():
        for attribute, count in by_attribute.items():
            mine = facts["tracks_by_attribute"][generator].get(attribute, 0)
            assert mine == sum((t.generator, t.attribute) == (generator, attribute) for t, _ in kept.values())
            assert mine + facts["dropped"]["tracks_by_attribute"][generator].get(attribute, 0) == count


def test_without_screening_nothing_is_dropped(tmp_path: Path) -> None:
    artifact = make(FileStore(tmp_path), config(screen_faces=False))
    assert stored(artifact).keys() == {
        f"{i.name}-{attribute}" for i in identities(config(), range(80)) for attribute in i.attributes
    }


def test_a_part_in_which_no_face_is_found_is_published_empty(tmp_path: Path) -> None:
    artifact = synthesize(FileStore(tmp_path), config(), 0, load=load_tiny, find=lambda image: False)
    assert (artifact.facts["tracks"], artifact.facts["identities"]) == (0, 0)
    assert stored(artifact) == {}


def test_the_manifest_says_when_generators_are_embedded_or_a_rehearsal(tmp_path: Path) -> None:
    facts = make(FileStore(tmp_path), config()).facts
    assert (facts["generators"], facts["embedded"], facts["rehearsal"]) == (["dcgan", "procedural"], True, True)
    learned = make(FileStore(tmp_path), config(composition=config().composition[1:])).facts
    assert (learned["generators"], learned["rehearsal"]) == (["dcgan"], False)


def test_the_sheet_is_a_picture_that_shows_every_attribute(tmp_path: Path) -> None:
    sheet = Image.open(io.BytesIO(make(FileStore(tmp_path), config()).read("sheet.jpg")))
    assert 400 < sheet.width < 2500
    assert sheet.height > 600


def test_the_second_call_finds_the_part_made_and_renders_nothing(tmp_path: Path) -> None:
    first = make(FileStore(tmp_path), config())
    generator = TinyGenerator()
    again = synthesize(FileStore(tmp_path), config(), 0, load=lambda *_: generator, find=is_bright)
    assert again.sha256 == first.sha256
    assert generator.rendered == 0


def test_a_part_killed_by_sigkill_goes_on_and_ends_with_the_same_manifest(tmp_path: Path) -> None:
    settings = config(jpeg_quality=80)
    undisturbed = make(FileStore(tmp_path / "undisturbed"), settings)
    script = tmp_path / "part.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(TESTS)!r})\n"
        "from pathlib import Path\n"
        "from tiny_generator import is_bright, load_tiny\n"
        "from comface.tracks.config import SynthesizeConfig\n"
        "from comface.store import FileStore\n"
        "from comface.synthesize.step import synthesize\n"
        "def find(image):\n"
        "    time.sleep(0.02)\n"  # slow enough to be killed in the middle
        "    return is_bright(image)\n"
        "settings = SynthesizeConfig.model_validate_json(sys.argv[1])\n"
        "synthesize(FileStore(Path(sys.argv[2])), settings, 0, load=load_tiny, find=find)\n"
    )
    store = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, str(script), settings.canonical(), str(store)])
    until = time.monotonic() + 60
    while not list(store.rglob("tracks/*/manifest.json")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(store.rglob("tracks/*/manifest.json"))
    assert not list(store.rglob("part/*/manifest.json"))
    generator = TinyGenerator()
    resumed = synthesize(FileStore(store), settings, 0, load=lambda *_: generator, find=is_bright)
    assert resumed.sha256 == undisturbed.sha256
    fresh = TinyGenerator()
    synthesize(FileStore(tmp_path / "fresh"), settings, 0, load=lambda *_: fresh, find=is_bright)
    assert 0 < generator.rendered < fresh.rendered


@pytest.mark.parametrize("damage", ["flipped bit", "index lost", "index torn"])
def test_a_leftover_block_that_was_not_published_is_made_again(tmp_path: Path, damage: str) -> None:
    good = make(FileStore(tmp_path), config())
    block = good.input("tracks-00001", "tracks")
    (block.store.root / "manifest.json").unlink()
    (good.store.root / "manifest.json").unlink()
    tar, index = (block.store.root / name for name in ("tracks.tar", "tracks.index.json"))
    if damage == "flipped bit":
        data = bytearray(tar.read_bytes())
        data[INDEX.validate_json(index.read_bytes())[0].images[1].offset + 30] ^= 4
        tar.write_bytes(data)
    elif damage == "index lost":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-100])
    again = make(FileStore(tmp_path), config())
    assert again.sha256 == good.sha256
    assert stored(again) == stored(make(FileStore(tmp_path / "elsewhere"), config()))


@pytest.mark.parametrize("part", [-1, 3])
def test_a_part_out_of_range_is_refused_before_any_generator_is_opened(tmp_path: Path, part: int) -> None:
    with pytest.raises(ConfigurationError, match="no part"):
        synthesize(FileStore(tmp_path), config(parts=3), part, load=lambda *_: pytest.fail("opened"))


def test_an_attribute_without_a_direction_is_named_before_anything_is_rendered(tmp_path: Path) -> None:
    settings = config(composition=(Share(generator="dcgan", identities=4, attributes=("smile", "Bald")),))
    generator = TinyGenerator("dcgan")
    sentence = "'dcgan' has no direction for Bald; it has age, smile, weight"
    with pytest.raises(ConfigurationError, match=sentence):
        synthesize(FileStore(tmp_path), settings, 0, load=lambda *_: generator)
    with pytest.raises(ConfigurationError, match=sentence):
        preflight(settings, load=lambda *_: generator)
    assert generator.rendered == 0
    assert not list(tmp_path.iterdir())


def test_a_generator_that_is_not_there_and_weights_that_are_not_there_are_said(tmp_path: Path) -> None:
    share = Share(generator="stylegan2", identities=4, attributes=("smile",))
    with pytest.raises(ConfigurationError, match="stylegan2"):
        synthesize(FileStore(tmp_path), config(composition=(share,)), 0)
    with pytest.raises(ConfigurationError, match=r"weights of 'dcgan' are not at .*gone"):
        synthesize(FileStore(tmp_path), config(), 0, weights={"dcgan": tmp_path / "gone"}, load=load_tiny)


class Lopsided(TinyGenerator):
    bad = torch.zeros(1, 6)

    def direction(self, attribute: str) -> torch.Tensor:
        return self.bad


@pytest.mark.parametrize("bad", [torch.zeros(1, 6), torch.ones(1, 5), torch.ones(6), torch.full((1, 6), torch.nan)])
def test_a_direction_that_does_not_fit_is_refused(tmp_path: Path, bad: torch.Tensor) -> None:
    generator = Lopsided()
    generator.bad = bad
    with pytest.raises(DataError, match="direction"):
        synthesize(FileStore(tmp_path), config(), 0, load=lambda *_: generator)
    assert generator.rendered == 0


def test_other_weights_make_another_artifact(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    uris = set()
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        made = synthesize(
            FileStore(tmp_path / "store"), config(), 0, weights={"dcgan": weights}, load=load_tiny, find=is_bright
        )
        uris.add(made.uri)
    assert len(uris) == 2


def test_images_are_brought_to_size_with_antialiasing() -> None:
    stripes = torch.ones(1, 3, 64, 64)
    stripes[..., ::2] = -1
    small = to_uint8(resized(stripes, 16))
    assert small.shape == (1, 16, 16, 3)
    assert np.abs(small[:, :, 2:-2].astype(int) - 128).max() <= 8  # without antialiasing it would be 0 or 255


def test_truncation_reaches_a_generator_that_knows_it(tmp_path: Path) -> None:
    class Truncating(TinyGenerator):
        def truncate(self, w_ND: torch.Tensor, psi: float) -> torch.Tensor:
            return psi * w_ND

    settings = config(truncation_psi=0.5, screen_faces=False)
    plain = synthesize(FileStore(tmp_path / "a"), settings, 0, load=load_tiny)
    truncated = synthesize(FileStore(tmp_path / "b"), settings, 0, load=lambda name, *_: Truncating(name))
    assert stored(plain).keys() == stored(truncated).keys()
    assert stored(plain) != stored(truncated)
