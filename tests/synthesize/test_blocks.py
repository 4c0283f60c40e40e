"""Another composition renders only what is not stored yet, counted in images, and gives the same tracks as anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from tar_tracks import Stored, tracks_of_part
from tiny_generator import TinyGenerator, is_bright

from comface.artifacts.manifest import Artifact
from comface.artifacts.verify import verify
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.blocks import part_count
from comface.tracks.config import Share, SynthesizeConfig

ALPHAS = 3
SHARES = {
    "all": Share(generator="procedural", identities=50, attributes=("smile", "age"), attributes_per_identity=2),
    "dealt": Share(generator="dcgan", identities=70, attributes=("smile", "age", "weight")),
}


def config(parts: int = 2, **changes: object) -> SynthesizeConfig:
    values = {"composition": tuple(SHARES.values()), "alpha_step": 5, "image_size_px": 32, "parts": parts, **changes}
    return SynthesizeConfig.model_validate(values)


def with_share(name: str, **changes: object) -> tuple[Share, ...]:
    return tuple((SHARES | {name: SHARES[name].model_copy(update=changes)}).values())


class OnGpu(TinyGenerator):
    """As a StyleGAN on a GPU, whose images depend on the precision."""

    def set_precision(self, precision: str) -> bool:
        return precision == "fast"


class Made:
    """The parts of a composition, and how many images were rendered to make them."""

    def __init__(self, store: FileStore, settings: SynthesizeConfig, kind: type[TinyGenerator] = TinyGenerator) -> None:
        generators: dict[str, TinyGenerator] = {}

        def load(name: str, weights: Path | None = None, device: str = "cpu") -> TinyGenerator:
            return generators.setdefault(name, kind(name))

        self.parts: list[Artifact] = [
            synthesize(store, settings, part, load=load, find=is_bright) for part in range(part_count(settings))
        ]
        self.images = sum(generator.rendered for generator in generators.values())

    @property
    def tracks(self) -> Stored:
        return {key: held for part in self.parts for key, held in tracks_of_part(part).items()}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def fresh(tmp_path: Path, settings: SynthesizeConfig) -> Made:
    return Made(FileStore(tmp_path / "fresh"), settings)


def test_another_number_of_parts_renders_nothing_and_gives_the_same_shards(store: FileStore) -> None:
    first = Made(store, config(parts=1))
    assert first.images == (50 + 70) + ALPHAS * len(first.tracks), "each identity is looked at once"
    shards = shard(store, ShardConfig(shard_size_mb=0.15), first.parts)
    for parts in (2, 5):
        again = Made(store, config(parts=parts))
        assert len(again.parts) == parts
        assert again.images == 0
        assert shard(store, ShardConfig(shard_size_mb=0.15), again.parts[::-1]).sha256 == shards.sha256
    kinds = [each.manifest.kind for each in verify(shards.uri)]
    assert set(kinds) == {"shards", "tracks"}


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("identities", [71, 83, 96, 128, 150])
def test_more_identities_render_only_the_new_ones(store: FileStore, tmp_path: Path, name: str, identities: int) -> None:
    before = Made(store, config())
    grown = config(composition=with_share(name, identities=identities))
    made, whole = Made(store, grown), fresh(tmp_path, grown)
    more = identities - SHARES[name].identities
    assert made.images == more + ALPHAS * (len(whole.tracks) - len(before.tracks))
    assert made.tracks == whole.tracks
    assert [part.manifest.facts for part in made.parts] == [part.manifest.facts for part in whole.parts]
    back = Made(store, config())
    assert (back.images, [part.uri for part in back.parts]) == (0, [part.uri for part in before.parts])


def test_fewer_identities_render_nothing(store: FileStore, tmp_path: Path) -> None:
    Made(store, config())
    fewer = config(composition=with_share("all", identities=27))
    made = Made(store, fewer)
    assert made.images == 0
    assert made.tracks == fresh(tmp_path, fewer).tracks


def test_a_composition_that_grows_three_times_renders_every_track_once(store: FileStore, tmp_path: Path) -> None:
    sizes = (50, 53, 100, 131)
    images = [Made(store, config(composition=with_share("all", identities=n))).images for n in sizes]
    last = config(composition=with_share("all", identities=sizes[-1]))
    assert sum(images) == fresh(tmp_path, last).images
    assert Made(store, last).images == 0


def test_a_further_attribute_renders_only_its_own_tracks_and_looks_at_nobody_again(
    store: FileStore, tmp_path: Path
) -> None:
    before = Made(store, config())
    more = config(composition=with_share("all", attributes=("smile", "age", "weight"), attributes_per_identity=3))
    made, whole = Made(store, more), fresh(tmp_path, more)
    assert made.images == ALPHAS * (len(whole.tracks) - len(before.tracks))
    assert made.tracks == whole.tracks
    assert {track.attribute for track, _ in made.tracks.values()} == {"smile", "age", "weight"}


def test_a_further_share_renders_only_its_own_tracks(store: FileStore, tmp_path: Path) -> None:
    before = Made(store, config())
    extra = Share(generator="dcgan", identities=10, attributes=("smile",))
    more = config(composition=(*SHARES.values(), extra))
    made = Made(store, more)
    assert made.images == 10 + ALPHAS * (len(made.tracks) - len(before.tracks))
    assert made.tracks == fresh(tmp_path, more).tracks


def test_a_setting_that_a_generator_does_not_know_renders_nothing_anew(store: FileStore) -> None:
    Made(store, config())
    assert Made(store, config(truncation_psi=0.5)).images == 0, "these generators do not truncate"
    assert Made(store, config(jpeg_quality=80)).images > 0


def test_another_precision_renders_again_where_it_changes_the_images_and_nowhere_else(store: FileStore) -> None:
    fast, exact = config(precision="fast"), config(precision="exact")
    first = Made(store, fast)
    again = Made(store, exact)
    assert again.images == 0, "on a CPU, both are the same"
    assert [part.uri for part in again.parts] == [part.uri for part in first.parts]
    assert Made(store, exact, OnGpu).images == 0, "exact is what a CPU computes"
    assert Made(store, fast, OnGpu).images == first.images
    assert Made(store, fast, OnGpu).images == 0


def test_a_block_that_was_deleted_is_made_again_and_what_was_made_of_it_still_holds(store: FileStore) -> None:
    first = Made(store, config())
    shards = shard(store, ShardConfig(), first.parts)
    gone = first.parts[0].input("tracks-00000", "tracks")
    for path in gone.store.root.iterdir():
        path.unlink()
    again = Made(store, config())
    assert 0 < again.images < first.images
    assert [part.sha256 for part in again.parts] == [part.sha256 for part in first.parts]
    assert list(verify(shards.uri))
