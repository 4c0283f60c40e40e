"""The weights location, through resolve: what is there is sealed into the plan, what is wrong is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from weights_location import ATTRIBUTES, GOLDEN, SOURCES, WIDTH, converted, fill, put

from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.plan.configuration import RunConfig, resolve
from comface.plan.step import make_plans, plan_run
from comface.plan.weights import find_generators
from comface.store import FileStore, open_store
from comface.tracks.supplies import find_file, open_supplies

BATCH = "pretrain.pairs_per_step=4"
SMALL = (
    "synthesize.composition=[{generator: stylegan, identities: 4, attributes: [age, smile, weight],"
    " attributes_per_identity: 3}, {generator: stylegan3, identities: 6, attributes: [Smiling, wearing-hat]}]"
)


def paper(weights: str, *overrides: str, store: str = "file:///somewhere") -> RunConfig:
    return resolve("paper", (SMALL, "synthesize.parts=2", BATCH, *overrides), {"store": store, "weights": weights})


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    """Filled; for tests that only read it."""
    store = FileStore(tmp_path_factory.mktemp("weights"))
    fill(store)
    return store


@pytest.fixture
def own(tmp_path: Path) -> FileStore:
    """Empty, to be filled by the test."""
    return FileStore(tmp_path / "weights")


def test_the_whole_paper_resolves_where_the_location_holds_weights_and_directions(
    location: FileStore, s3_environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolve("paper", (), {"store": "s3://comface/whole-paper", "weights": location.uri})
    plans = plan_run(config, "run-1")
    assert "35,350,000 images (350,000 tracks of 250,000 identities)" in capsys.readouterr().err
    assert len(plans.parts) == 512
    plan = json.loads(plans.synthesize.text)
    assert {name: len(supply["directions"]) for name, supply in plan["supplies"].items()} == {
        "stylegan": 3,
        "stylegan3": 40,
    }
    sealed = plan["supplies"]["stylegan3"]["weights"]
    named = json.loads(location.read("stylegan3.safetensors.json"))
    assert (sealed["key"], sealed["sha256"]) == ("stylegan3.safetensors", named["sha256"])
    assert len(plans.synthesize.text) < 16_000, "a parameter of a pod"


def test_other_directions_are_other_plans(location: FileStore, own: FileStore) -> None:
    first = find_generators(paper(location.uri))
    fill(own, {"Smiling_boundary.npy": np.ones((1, WIDTH))})
    second = find_generators(paper(own.uri))
    assert first["stylegan"] == second["stylegan"]
    assert first["stylegan3"].weights == second["stylegan3"].weights
    differ = [a for a, sealed in first["stylegan3"].directions.items() if second["stylegan3"].directions[a] != sealed]
    assert differ == ["smiling"]


def test_a_composition_of_embedded_generators_does_not_look_at_the_location() -> None:
    share = "synthesize.composition=[{generator: procedural, identities: 9, attributes: [weight]}]"
    config = paper("s3://nowhere-at-all/weights", share, "transfer.methods=[comface, scratch]")
    assert find_generators(config) == {}
    assert make_plans(config, "run-1").synthesize.supplies == {}


def test_files_are_found_in_any_folder_and_published_files_need_no_conversion(own: FileStore) -> None:
    fill(own, without=("stylegan3.safetensors", "stylegan3.safetensors.json", "Smiling_boundary.npy"))
    own.upload("nvidia/stylegan3-r-ffhq-1024x1024.pkl", GOLDEN / SOURCES["stylegan3"])
    put(own, "boundaries/ffhq/Smiling_boundary.npy", np.ones((1, WIDTH)))
    found = find_generators(paper(own.uri))["stylegan3"]
    assert found.weights.key == "nvidia/stylegan3-r-ffhq-1024x1024.pkl"
    assert found.directions["smiling"].key == "boundaries/ffhq/Smiling_boundary.npy"


def test_a_converted_file_of_another_name_is_known_by_its_provenance(own: FileStore) -> None:
    fill(own, without=("stylegan3.safetensors", "stylegan3.safetensors.json"))
    for end in (".safetensors", ".safetensors.json"):
        own.write(f"mine{end}", converted()[f"stylegan3{end}"])
    assert find_generators(paper(own.uri))["stylegan3"].weights.key == "mine.safetensors"
    for end in (".safetensors", ".safetensors.json"):
        own.write(f"other{end}", converted()[f"stylegan3{end}"])
    with pytest.raises(
        ConfigurationError, match=r"several weight files of 'stylegan3' \(mine.safetensors, other.safetens"
    ):
        find_generators(paper(own.uri))


def test_of_two_files_the_one_in_the_generators_folder_is_used_and_two_others_are_said(own: FileStore) -> None:
    keys = ["ffhq/a.npy", "stylegan3/a.npy", "b/x.npy", "c/x.npy", "ffhq/y.npy"]
    assert find_file(own, keys, "a.npy", "stylegan3") == "stylegan3/a.npy"
    assert find_file(own, keys, "c/x.npy", "stylegan3") == "c/x.npy"
    assert find_file(own, keys, "y.npy", "stylegan3") == "ffhq/y.npy"
    assert find_file(own, keys, "z.npy", "stylegan3") is None
    with pytest.raises(ConfigurationError, match=r"more than once \(b/x.npy, c/x.npy\)"):
        find_file(own, keys, "x.npy", "stylegan3")


def test_a_direction_of_ones_own_is_an_attribute_more(own: FileStore) -> None:
    fill(own)
    put(own, "directions/stylegan3/long-hair.npy", np.ones((1, WIDTH)), "stylegan3")
    share = "synthesize.composition=[{generator: stylegan3, identities: 9, attributes: [Long_Hair]}]"
    assert list(find_generators(paper(own.uri, share))["stylegan3"].directions) == ["long-hair"]


def test_conditions_are_fetched_with_what_they_are_conditions_of(location: FileStore) -> None:
    found = find_generators(paper(location.uri, "synthesize.directions.stylegan3.smiling.condition=[Male, Young]"))
    assert set(found["stylegan3"].directions) == {"smiling", "wearing-hat", "male", "young"}


# What is wrong, before any GPU is asked for


def test_a_location_without_weights_says_what_to_put_there(own: FileStore, tmp_path: Path) -> None:
    own.write("readme.txt", b"")
    with pytest.raises(
        ConfigurationError,
        match=r"does not contain, for 'stylegan', its weights \(karras2019stylegan-ffhq-1024x1024.pkl\) and 3 "
        r"directions \(stylegan_ffhq_age_w_boundary.npy, .*; put the published files \(or the output of "
        r"`comface convert`\) "
        r"there(.|\n)*does not contain, for 'stylegan3', its weights \(stylegan3-r-ffhq-1024x1024.pkl\) and 2 "
        r"directions \(Smiling_boundary.npy, Wearing_Hat_boundary.npy\)",
    ):
        find_generators(paper(own.uri))
    with pytest.raises(ConfigurationError, match="does not contain, for 'stylegan', its weights"):
        find_generators(paper((tmp_path / "gone").as_uri()))


def test_attributes_without_a_direction_are_named_with_their_files(own: FileStore) -> None:
    fill(own, without=("Smiling_boundary.npy",))
    with pytest.raises(
        ConfigurationError, match=r"does not contain, for 'stylegan3', a direction \(Smiling_boundary.npy\); put"
    ):
        find_generators(paper(own.uri))
    share = "synthesize.composition=[{generator: stylegan, identities: 9, attributes: [wings, age]}]"
    with pytest.raises(ConfigurationError, match=r"does not contain, for 'stylegan', a direction \(wings.npy\)"):
        find_generators(paper(own.uri, share))


def test_forty_missing_directions_are_all_named(own: FileStore) -> None:
    fill(own, without=tuple(f"{name}_boundary.npy" for name in ATTRIBUTES["stylegan3"]))
    everything = f"[{{generator: stylegan3, identities: 90, attributes: [{', '.join(ATTRIBUTES['stylegan3'])}]}}]"
    with pytest.raises(ConfigurationError, match="40 directions") as said:
        find_generators(paper(own.uri, f"synthesize.composition={everything}"))
    assert all(f"{name}_boundary.npy" in str(said.value) for name in ATTRIBUTES["stylegan3"])


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones((1, WIDTH - 1)), r"direction 'smiling' of 'stylegan3' \(Smiling_boundary.npy\) has shape \(1, 31\)"),
        (np.ones((12, WIDTH)), r"has 12 rows, so it cannot be scaled"),
        (np.full((1, WIDTH), np.inf), "not finite"),
        (np.zeros((1, WIDTH)), "is zero"),
        (np.array(["text"]), "is not one array of numbers"),
    ],
)
def test_a_direction_that_does_not_fit_is_refused(own: FileStore, array: np.ndarray, sentence: str) -> None:
    fill(own, {"Smiling_boundary.npy": array})
    with pytest.raises(DataError, match=sentence):
        find_generators(paper(own.uri))


def test_a_pickled_direction_is_never_loaded(own: FileStore, tmp_path: Path) -> None:
    fill(own)
    np.save(tmp_path / "bad.npy", np.array([print], dtype=object), allow_pickle=True)
    own.upload("directions/stylegan3/Smiling_boundary.npy", tmp_path / "bad.npy")
    with pytest.raises(DataError, match=r"cannot be read as \.npy"):
        find_generators(paper(own.uri))


def test_a_direction_of_another_generator_is_refused(own: FileStore) -> None:
    fill(own)
    put(own, "directions/stylegan3/Smiling_boundary.npy", np.ones((1, WIDTH)), "stylegan2")
    with pytest.raises(DataError, match=r"Smiling_boundary.npy' was fitted for 'stylegan2', not for 'stylegan3'"):
        find_generators(paper(own.uri))
    own.delete("directions/stylegan3/Smiling_boundary.npy.json")
    own.write(
        "directions/stylegan3/Smiling_boundary.npy", own.read("directions/stylegan/stylegan_ffhq_smile_w_boundary.npy")
    )
    with pytest.raises(DataError, match=r"is the same direction as '.*smile_w_boundary.npy' of 'stylegan', so it"):
        find_generators(paper(own.uri))


def test_weights_of_another_generator_are_refused(own: FileStore) -> None:
    fill(own, without=("stylegan3.safetensors.json",))
    own.write("stylegan3.safetensors", converted()["stylegan.safetensors"])
    with pytest.raises(ConfigurationError, match="contains a 'stylegan', not a 'stylegan3'"):
        find_generators(paper(own.uri))


def test_weights_that_their_provenance_does_not_describe_are_refused(own: FileStore) -> None:
    fill(own)
    data = bytearray(own.read("stylegan.safetensors"))
    data[-3] ^= 1
    own.write("stylegan.safetensors", bytes(data))
    with pytest.raises(DataError, match=r"'stylegan.safetensors' of .* does not match its provenance"):
        find_generators(paper(own.uri))
    own.write("stylegan.safetensors.json", b"{")
    with pytest.raises(DataError, match=r"provenance 'stylegan.safetensors.json' of .* cannot be read"):
        find_generators(paper(own.uri))


def test_what_was_replaced_after_planning_is_refused_by_the_parts(own: FileStore, tmp_path: Path) -> None:
    fill(own)
    supplies = find_generators(paper(own.uri))
    put(own, "directions/stylegan3/Smiling_boundary.npy", np.ones((1, WIDTH)))
    with pytest.raises(DataError, match=r"Smiling_boundary.npy.* it was replaced during the run"):
        open_supplies(own.uri, supplies, tmp_path)


@pytest.mark.parametrize(
    ("override", "error", "sentence"),
    [
        ("synthesize.truncation_psi=1.2", ConfigurationError, "'synthesize.truncation_psi' is wrong"),
        ("synthesize.truncation_psi=0", ConfigurationError, "'synthesize.truncation_psi' is wrong"),
        ("synthesize.directions.stylegan3.smiling.space=V", ConfigurationError, "smiling.space' is wrong"),
        ("synthesize.directions.stylegan3.smiling.layers=[0, 16]", ConfigurationError, "not among 0 to 15"),
        ("synthesize.directions.stylegan.weight.layers=[4, 12]", ConfigurationError, "not among 0 to 11"),
        (
            "synthesize.directions.stylegan3.smiling={space: Z, truncate: after}",
            ConfigurationError,
            "before truncation",
        ),
        ("synthesize.directions.stylegan3.smiling.condition=[wings]", ConfigurationError, r"direction \(wings.npy\)"),
        ("synthesize.directions.stylegan3.smiling.condition=[smiling]", DataError, "a combination of its conditions"),
    ],
)
def test_a_wrong_setting_is_said(location: FileStore, override: str, error: type[ComfaceError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        find_generators(paper(location.uri, override))


def test_two_spellings_of_one_attribute_would_be_the_same_track_twice(location: FileStore) -> None:
    share = "synthesize.composition=[{generator: stylegan3, identities: 9, attributes: [Smiling, smiling]}]"
    with pytest.raises(ConfigurationError, match="names 'Smiling' twice"):
        find_generators(paper(location.uri, share))


# The same on S3


def test_a_bucket_is_sealed_and_opened_as_a_folder_is(
    s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    weights = open_store("s3://comface/weights-resolve")
    with pytest.raises(
        ConfigurationError, match="s3://comface/weights-resolve does not contain, for 'stylegan', its weights"
    ):
        find_generators(paper(weights.uri))
    fill(weights)
    local = FileStore(tmp_path / "local")
    fill(local)
    supplies = find_generators(paper(weights.uri))
    assert supplies == find_generators(paper(local.uri))
    files = open_supplies(weights.uri, supplies, tmp_path / "cache")
    assert files["stylegan"].weights.read_bytes() == local.read("stylegan.safetensors")
    damaged = files["stylegan"].weights
    damaged.write_bytes(b"torn")
    assert open_supplies(weights.uri, supplies, tmp_path / "cache")["stylegan"].weights.read_bytes() != b"torn"
    put(weights, "directions/stylegan3/Smiling_boundary.npy", np.ones((1, WIDTH)))
    with pytest.raises(DataError, match="it was replaced during the run"):
        open_supplies(weights.uri, supplies, tmp_path / "another-cache")


def test_a_bucket_that_is_not_there_is_said(s3_environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="The bucket 'elsewhere' does not exist; create it"):
        find_generators(paper("s3://elsewhere/weights"))
