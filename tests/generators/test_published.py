"""The catalogue of published directions: whole, spelled as people spell, and changed by a configuration."""

from __future__ import annotations

import pytest

from comface.directions.config import DirectionUse
from comface.directions.published import (
    attribute_name,
    catalogue,
    check_published_name,
    entry_for,
    named_space,
    weight_files,
    weights_origin,
)
from comface.errors import ConfigurationError
from comface.tracks.config import CELEBA


def test_the_catalogue_has_the_papers_43_attributes_of_its_two_generators() -> None:
    assert {name: len(entries) for name, entries in catalogue().items()} == {"stylegan": 3, "stylegan3": 40}
    assert set(catalogue()["stylegan"]) == {"age", "smile", "weight"}
    assert {entry.file for entry in catalogue()["stylegan3"].values()} == {f"{name}_boundary.npy" for name in CELEBA}
    for entries in catalogue().values():
        for name, entry in entries.items():
            assert name == name.lower()
            assert "_" not in name
            assert entry.alpha
            assert entry.source.startswith("github.com/")
            assert entry.licence


def test_each_direction_is_used_as_its_publishers_do() -> None:
    smile, weight = entry_for("stylegan", "smile"), entry_for("stylegan", "weight")
    assert (smile.space, smile.layers, smile.truncate, smile.unit_norm) == ("W", None, "before", True)
    assert (weight.space, weight.layers, weight.truncate, weight.unit_norm) == ("W+", (0, 7), "after", False)
    hat = entry_for("stylegan3", "wearing-hat")
    assert (hat.space, hat.layers, hat.truncate, hat.unit_norm) == ("W", None, "after", True)


def test_every_spelling_is_one_attribute() -> None:
    assert attribute_name("5_o_Clock_Shadow") == "5-o-clock-shadow"
    assert entry_for("stylegan3", "Wearing_Hat") == entry_for("stylegan3", "wearing-hat")


def test_a_direction_of_ones_own_is_called_as_its_attribute_and_a_configuration_changes_any() -> None:
    own = entry_for("stylegan2", "Long_Hair")
    assert (own.file, own.space, own.unit_norm, own.condition) == ("long-hair.npy", None, False, ())
    changed = entry_for("stylegan", "age", DirectionUse(truncate="after", condition=("smile",)))
    assert (changed.truncate, changed.condition) == ("after", ("smile",))
    assert changed.file == entry_for("stylegan", "age").file
    assert entry_for("stylegan3", "Young", DirectionUse(space="Z")).truncate is None, "an edit in Z is before"


def test_a_published_name_of_another_generator_is_refused() -> None:
    check_published_name("Smiling_boundary.npy", "stylegan3")
    check_published_name("my-own.npy", "stylegan")
    with pytest.raises(ConfigurationError, match="is a direction of 'stylegan3', not of 'stylegan'"):
        check_published_name("Smiling_boundary.npy", "stylegan")


def test_converted_weights_are_looked_for_before_published_ones() -> None:
    for generator in ("stylegan", "stylegan2", "stylegan3"):
        assert weight_files(generator)[0] == f"{generator}.safetensors"
        assert len(weight_files(generator)) > 1
        assert weights_origin(generator).keys() == {"source", "licence"}


@pytest.mark.parametrize(
    ("file", "space"),
    [
        ("stylegan_ffhq_age_boundary.npy", "Z"),
        ("stylegan_ffhq_age_w_boundary.npy", "W"),
        ("stylegan_ffhq_age_c_gender_boundary.npy", "Z"),
        ("boundaries/stylegan_ffhq_eyeglasses_boundary.npy", "Z"),
        ("pggan_celebahq_pose_boundary.npy", "Z"),
        ("stylegan_ffhq_age_boundary (1).npy", "Z"),
        ("stylegan_ffhq_age_boundary - Copy (2).npy", "Z"),
        ("stylegan-ffhq-age-w-boundary_copy.npy", "W"),
        ("stylegan2_livingroom_view_boundary.npy", "Z"),
        ("Smiling_boundary.npy", None),
        ("stylegan_age_boundary.npy", None),
        ("stylegan_mine_age_boundary.npy", None),
        ("weight_orth_mouth.npy", None),
    ],
)
def test_an_interfacegan_name_says_its_space(file: str, space: str | None) -> None:
    assert named_space(file) == space


def test_a_file_of_the_configuration_is_used_as_its_name_says() -> None:
    entry = entry_for("stylegan", "age", DirectionUse(file="stylegan_ffhq_age_boundary.npy"))
    assert (entry.space, entry.truncate, entry.unit_norm) == ("Z", None, True)
    said = entry_for("stylegan", "age", DirectionUse(file="stylegan_ffhq_age_boundary.npy", space="W"))
    assert (said.space, said.truncate) == ("W", "before")
    assert entry_for("stylegan", "gender", DirectionUse(file="stylegan_ffhq_gender_w_boundary.npy")).space == "W"
    with pytest.raises(ConfigurationError, match="belongs to pggan celebahq, not to"):
        entry_for("stylegan", "age", DirectionUse(file="pggan_celebahq_age_boundary.npy"))


@pytest.mark.parametrize(
    ("file", "generator", "weights", "said"),
    [
        ("pggan_celebahq_age_boundary.npy", "stylegan", "", "belongs to pggan celebahq, not to 'stylegan'"),
        (
            "stylegan_celebahq_age_w_boundary.npy",
            "stylegan",
            "",
            "celebahq, but these weights are of ffhq",
        ),
        (
            "stylegan_ffhq_age_w_boundary.npy",
            "stylegan",
            "karras2019stylegan-celebahq-1024x1024.pkl",
            "give one of celebahq",
        ),
        ("stylegan2_metfaces_age_boundary.npy", "stylegan2", "", "belongs to stylegan2 metfaces"),
        ("stylegan_livingroom_view_boundary (1).npy", "stylegan2", "", "belongs to stylegan livingroom"),
        ("stylegan_ffhq_gender_boundary.npy", "stylegan3", "", "belongs to stylegan ffhq, not to 'stylegan3'"),
        ("stylegan_ffhq_gender_boundary.npy", "dcgan", "", "belongs to stylegan ffhq, not to 'dcgan'"),
    ],
)
def test_a_direction_of_another_gan_or_other_pictures_is_refused(
    file: str, generator: str, weights: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_published_name(file, generator, weights)
    check_published_name("stylegan_celebahq_age_w_boundary.npy", "stylegan", "stylegan_celebahq.pth")
