"""The rooms together on real generators: procedural faces synthesized, sharded and read back; screening."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from comface.artifacts.verify import verify
from comface.errors import ConfigurationError
from comface.generators import resized, to_uint8
from comface.generators.registry import load_generator
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import preflight, synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.screen import face_found, finder_for
from comface.tracks.shard_reader import ShardReader
from comface.weights.fetched import DCGAN, LANDMARKS, available

needs_models = pytest.mark.skipif(
    not {DCGAN, LANDMARKS} <= set(available()), reason="the published models are not fetched (comface fetch)"
)


def config(parts: int) -> SynthesizeConfig:
    share = Share(generator="procedural", identities=6, attributes=("smile", "weight"))
    return SynthesizeConfig(composition=(share,), alpha_step=5, image_size_px=64, parts=parts)


def test_procedural_faces_are_the_same_bits_however_they_are_divided_into_parts(tmp_path: Path) -> None:
    store, other = FileStore(tmp_path / "one"), FileStore(tmp_path / "two")  # in one store, nothing is rendered again
    two = shard(other, ShardConfig(), [synthesize(other, config(2), part) for part in (1, 0)])
    one = shard(store, ShardConfig(), [synthesize(store, config(1), 0)])
    assert one.sha256 == two.sha256
    assert one.facts["rehearsal"] is True
    assert len(list(verify(two.uri))) == 1 + 4
    reader = ShardReader(one, "train", tmp_path)
    generator = load_generator("procedural")
    track = reader.tracks[0].track
    w_ND = generator.latents([track.seed]) + 5 * generator.direction(track.attribute)
    wanted = to_uint8(generator.render(w_ND, 64))[0].astype(int)
    assert np.abs(simplejpeg.decode_jpeg(reader.jpeg(0, 2)).astype(int) - wanted).mean() < 6


def test_the_paper_composition_says_that_its_generators_are_not_there_before_it_renders() -> None:
    with pytest.raises(ConfigurationError, match="stylegan"):
        preflight(SynthesizeConfig())


def test_procedural_faces_are_not_screened_and_learned_ones_are() -> None:
    assert finder_for("procedural") is None
    assert finder_for("dcgan") is face_found


@needs_models
def test_screening_keeps_most_learned_faces_and_drops_what_is_none() -> None:
    generator = load_generator("dcgan")
    faces_NHW3 = to_uint8(resized(generator.render(generator.latents(range(40))), 64))
    assert sum(face_found(face) for face in faces_NHW3) >= 30
    noise_NHW3 = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    assert not any(face_found(noise) for noise in noise_NHW3)
