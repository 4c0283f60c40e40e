"""Screening finds planted faults, each for its own reason, and what it drops does not reach pre-training."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from planted import INSTRUMENTS, PlantedGenerator, along, found

from comface.artifacts.facts import ScreeningFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.verify import verify
from comface.errors import ConfigurationError, DataError
from comface.pretrain.pairs import PairSampler
from comface.screening.config import ScreeningConfig
from comface.screening.step import screen_composition, screen_tracks
from comface.screening.table import text_table
from comface.shard.config import ShardConfig
from comface.shard.from_plan import shard_tracks
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader
from comface.weights.fetched import ALL, available

CONFIG = ScreeningConfig(tracks=20, others=5)
SETTINGS = SynthesizeConfig(
    composition=(Share(generator="dcgan", identities=60, attributes=("mouth", "brow")),),
    alpha_step=1.0,
    image_size_px=32,
    jpeg_quality=100,
    parts=1,
    screen_faces=False,
)
SOUND = along(mouth=1.0)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def planted(mouth: torch.Tensor = SOUND, **limits: float) -> PlantedGenerator:
    return PlantedGenerator({"mouth": mouth, "brow": along(brow=1.0)}, **limits)


def screened(store: FileStore, generator: PlantedGenerator, config: ScreeningConfig = CONFIG) -> Artifact:
    return screen_composition(store, config, SETTINGS, load=generator.load, instruments=INSTRUMENTS)


def of(artifact: Artifact, attribute: str = "mouth") -> dict:
    return next(each for each in artifact.facts["attributes"] if each["attribute"] == attribute)


def test_a_sound_direction_holds_over_the_whole_sweep(store: FileStore) -> None:
    figures = of(screened(store, planted()))
    assert (figures["kept"], figures["low"], figures["high"], figures["reason"]) == (True, -5, 5, "")
    assert figures["rank_correlation"] > 0.9
    assert figures["own_sd_per_5_alpha"] > 1
    assert figures["identity_least"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("direction", "reason"),
    [
        (along(nothing=1.0), r"no clear effect: 'mouth' changes by \+0.00 SD"),
        (along(mouth=-1.0), "reversed: 'mouth' changes by −"),
        (along(mouth=1.0, person=2.0), "accepted range narrower than 2 units of alpha; lost: identity at alpha"),
        (along(mouth=0.6, light=2.0), r"changes 'light' \(\+.* SD per 5 alpha\) more than its own score 'mouth'"),
        (along(mouth=1.0, fades=2.0), "accepted range narrower than 2 units of alpha; lost: face at alpha"),
    ],
    ids=["does nothing", "goes backwards", "swaps identity", "entangled", "destroys the face"],
)
def test_a_faulty_direction_is_dropped_for_its_own_reason(
    store: FileStore, direction: torch.Tensor, reason: str
) -> None:
    artifact = screened(store, planted(direction, limit=1.5))
    assert not of(artifact)["kept"]
    assert re.search(reason, of(artifact)["reason"]), of(artifact)["reason"]
    assert of(artifact, "brow")["kept"]


def test_a_face_that_is_lost_beyond_two_narrows_the_range_to_two(store: FileStore) -> None:
    figures = of(screened(store, planted(along(mouth=1.0, fades=1.0), limit=2.5)))
    assert (figures["kept"], figures["low"], figures["high"]) == (True, -2, 2)
    assert figures["reason"] == "lost: face at alpha −3 (0%), face at alpha +3 (0%)"


def test_a_range_may_end_on_one_side_only(store: FileStore) -> None:
    class FadesAbove(PlantedGenerator):
        def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
            return super().render(torch.cat([w_ND[:, :8], w_ND[:, 8:9].clamp(min=0), w_ND[:, 9:]], 1), size_px)

    generator = FadesAbove({"mouth": along(mouth=1.0, fades=1.0), "brow": along(brow=1.0)}, limit=3.5)
    figures = of(screened(store, generator))
    assert (figures["low"], figures["high"], figures["reason"]) == (-5, 3, "lost: face at alpha +4 (0%)")


def test_the_entanglement_matrix_names_what_moves_with_what(store: FileStore) -> None:
    figures = of(screened(store, planted(along(mouth=1.0, brow=0.7))))
    assert figures["kept"]
    moves = figures["moves_sd_per_5_alpha"]
    assert 0.5 < moves["brow"] < moves["mouth"]
    assert abs(moves["light"]) < 0.05
    assert set(figures["also_moves"]) == {"brow"}


def test_without_a_scorer_an_attribute_is_kept_as_not_measured_and_a_renderers_parameter_is_named_as_one(
    store: FileStore,
) -> None:
    settings = SETTINGS.model_copy(
        update={"composition": (Share(generator="procedural", identities=40, attributes=("weight", "mole")),)}
    )

    class Renderer(PlantedGenerator):
        name = "procedural"

        def truth(self, w_ND: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"weight_kg": 70 + 10 * w_ND[:, 6]}

    generator = Renderer({"weight": along(mouth=1.0), "mole": along(nothing=1.0)})
    artifact = screen_composition(store, CONFIG, settings, load=generator.load, instruments=INSTRUMENTS)
    assert of(artifact, "mole")["measured_by"] == "not measured: no scorer is available"
    assert of(artifact, "mole")["own_sd_per_5_alpha"] is None
    assert of(artifact, "mole")["kept"]
    assert of(artifact, "weight")["measured_by"] == "weight_kg (parameter of the renderer)"
    assert of(artifact, "weight")["own_sd_per_5_alpha"] > 3
    assert "not measured" in text_table(artifact.facts_as(ScreeningFacts))


def test_stored_tracks_are_judged_as_the_same_tracks_rendered(store: FileStore) -> None:
    generator = planted(along(mouth=1.0, fades=1.0), limit=2.5)
    part = synthesize(store, SETTINGS, 0, load=generator.load)
    stored = screen_tracks(store, CONFIG, [part], load=generator.load, instruments=INSTRUMENTS)
    rendered = screened(store, generator)
    for attribute in ("mouth", "brow"):
        mine, other = of(stored, attribute), of(rendered, attribute)
        assert (mine["kept"], mine["low"], mine["high"], mine["reason"]) == (
            other["kept"], other["low"], other["high"], other["reason"],
        )  # fmt: skip
        assert mine["own_sd_per_5_alpha"] == pytest.approx(other["own_sd_per_5_alpha"], abs=0.05)
    assert {each.manifest.kind for each in verify(stored.uri)} == {"screening", "tracks"}


def test_identities_without_a_face_are_left_out_as_synthesize_leaves_them_out(store: FileStore) -> None:
    class SomeHaveNone(PlantedGenerator):
        def latents(self, seeds: object) -> torch.Tensor:
            rows = super().latents(seeds)
            rows[:, 8] = torch.where(rows[:, 10] > 0.5, 9.0, 0.0)
            return rows

    generator = SomeHaveNone({"mouth": SOUND, "brow": along(brow=1.0)}, limit=5.0)
    settings = SETTINGS.model_copy(update={"screen_faces": True})
    kept = synthesize(store, settings, 0, load=generator.load, find=found)
    stored = screen_tracks(store, CONFIG, [kept], load=generator.load, instruments=INSTRUMENTS)
    assert kept.facts["dropped"]["identities"] > 5
    assert of(stored)["face_found_unedited"] == 1
    everybody = screened(store, generator)
    assert of(everybody)["face_found_unedited"] < 1


def test_screening_again_is_done_already_and_elsewhere_gives_the_same_bits(store: FileStore, tmp_path: Path) -> None:
    first = screened(store, planted())
    assert screened(store, planted()).sha256 == first.sha256
    assert screened(FileStore(tmp_path / "other"), planted()).sha256 == first.sha256
    for action in ("restrict", "skip"):
        assert screened(store, planted(), CONFIG.model_copy(update={"action": action})).uri == first.uri


def test_a_composition_is_screened_anew_when_its_tracks_get_another_revision(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = screened(store, planted())
    assert first.manifest.revisions.keys() == {"tracks", "dcgan", "faces", "methods", "screening"}
    monkeypatch.setattr("comface.screening.step.TRACKS", first.manifest.revisions["tracks"] + 1)
    assert screened(store, planted()).uri != first.uri


def test_the_picture_is_a_picture_of_every_attribute(store: FileStore) -> None:
    picture = Image.open(io.BytesIO(screened(store, planted()).read("screening.png")))
    assert picture.size[0] > 1200
    assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_too_few_identities_to_tell_one_from_are_refused_in_one_sentence(store: FileStore) -> None:
    few = SETTINGS.model_copy(update={"composition": (Share(generator="dcgan", identities=2, attributes=("mouth",)),)})
    with pytest.raises(DataError, match="has 2 identities with a face"):
        screen_composition(store, CONFIG, few, load=planted().load, instruments=INSTRUMENTS)
    wings = few.model_copy(update={"composition": (Share(generator="dcgan", identities=9, attributes=("wings",)),)})
    with pytest.raises(ConfigurationError, match="no direction for wings"):
        screen_composition(store, CONFIG, wings, load=planted().load, instruments=INSTRUMENTS)


# What follows


def stored_and_screened(store: FileStore, generator: PlantedGenerator) -> tuple[Artifact, Artifact]:
    part = synthesize(store, SETTINGS, 0, load=generator.load)
    return part, screen_tracks(store, CONFIG, [part], load=generator.load, instruments=INSTRUMENTS)


def test_reporting_changes_nothing_that_is_learned_from(store: FileStore) -> None:
    part, screening = stored_and_screened(store, planted(along(mouth=-1.0)))
    plain = shard(store, ShardConfig(), [part])
    reported = shard(store, ShardConfig(), [part], screening, "report")
    assert reported.manifest.objects == plain.manifest.objects
    assert reported.facts == plain.facts
    assert reported.input("screening").uri == screening.uri


def test_restricting_leaves_out_dropped_attributes_and_alphas_outside_the_range(store: FileStore) -> None:
    part, screening = stored_and_screened(store, planted(along(mouth=-1.0)))
    shards = shard(store, ShardConfig(), [part], screening, "restrict")
    assert shards.facts["train"]["tracks_by_attribute"].keys() == {"dcgan"}
    assert shards.facts["train"]["tracks_by_attribute"]["dcgan"].keys() == {"brow"}
    assert shards.facts["screened_out_tracks"] == 30

    part, screening = stored_and_screened(store, planted(along(mouth=1.0, fades=1.0), limit=2.5))
    shards = shard(store, ShardConfig(), [part], screening, "restrict")
    reader = ShardReader(shards, "train", store.root)
    assert shards.facts["screened_out_tracks"] == 0
    sampler = PairSampler([sharded.track.identity for sharded in reader.tracks], reader.alphas, 8, 0, reader.usable())
    seen: dict[str, set[float]] = {"mouth": set(), "brow": set()}
    for step in range(sampler.full_epoch_steps):
        pairs = sampler.batch(1, step, 10.0)
        for track, x, y in zip(pairs.track_N, pairs.x_N, pairs.y_N, strict=True):
            seen[reader.tracks[track].track.attribute] |= {reader.alphas[x], reader.alphas[y]}
    assert seen == {"mouth": {-2, -1, 0, 1, 2}, "brow": set(range(-5, 6))}


def test_refusing_stops_with_the_attribute_and_its_reason_in_one_sentence(store: FileStore) -> None:
    part, screening = stored_and_screened(store, planted(along(mouth=-1.0)))
    with pytest.raises(DataError, match=r"'mouth' of 'dcgan' did not pass screening .reversed: .*restrict"):
        shard(store, ShardConfig(), [part], screening, "refuse")
    part, screening = stored_and_screened(store, planted())
    assert shard(store, ShardConfig(), [part], screening, "refuse").facts["alpha_ranges"]["dcgan"].keys() == {
        "mouth", "brow",
    }  # fmt: skip


# The published scorers, on the learned generator


needs_models = pytest.mark.skipif(set(ALL) - set(available()), reason="needs what `comface fetch` takes from packages")


@needs_models
def test_the_shard_step_screens_its_parts_with_the_published_instruments_and_says_what_it_found(
    store: FileStore, tmp_path: Path
) -> None:
    settings = SynthesizeConfig(
        composition=(Share(generator="procedural", identities=6, attributes=("weight", "smile")),),
        alpha_step=5.0,
        image_size_px=64,
        parts=1,
    )
    part = synthesize(store, settings, 0)
    screening = ScreeningConfig(tracks=3, alphas=3, others=2).model_dump(mode="json")
    plan = json.dumps(
        {"store": store.uri, "run": "", "shard": ShardConfig().model_dump(mode="json"), "screening": screening}
    )
    shards = open_artifact(shard_tracks(plan, [part.uri], str(tmp_path / "page.md")), "shards")
    assert "screening" in shards.manifest.inputs
    assert "| procedural | weight | " in (tmp_path / "page.md").read_text()
    found = shards.input("screening", "screening").facts["attributes"]
    assert found[1]["measured_by"] == "weight_kg (parameter of the renderer)"


@needs_models
def test_the_published_instruments_find_faults_planted_into_dcgan(store: FileStore) -> None:
    from comface.generators.dcgan import DcganGenerator
    from comface.seeds import numpy_rng

    class Faulty(DcganGenerator):
        def direction(self, attribute: str) -> torch.Tensor:
            other = torch.from_numpy(numpy_rng(3, attribute).standard_normal((1, 100)).astype(np.float32))
            other /= other.norm()
            good = super().direction("smile")
            return {"smile": -good, "male": 0.02 * other, "age": 6 * other}[attribute]

    settings = SynthesizeConfig(
        composition=(Share(generator="dcgan", identities=60, attributes=("smile", "male", "age")),),
        alpha_step=2.5,
        image_size_px=64,
    )
    artifact = screen_composition(
        store, ScreeningConfig(tracks=4, alphas=5, others=4), settings, load=lambda *_: Faulty()
    )
    assert of(artifact, "smile")["reason"].startswith("reversed: 'smile'")
    assert of(artifact, "male")["reason"].startswith("no clear effect: 'male'")
    assert "identity at alpha" in of(artifact, "age")["reason"] or "face at alpha" in of(artifact, "age")["reason"]
