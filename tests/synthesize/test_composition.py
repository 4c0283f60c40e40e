"""The composition: which tracks a configuration asks for, and in which part each is made."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.config.reading import parse
from comface.errors import ConfigurationError
from comface.tracks.composition import (
    TRACKS_PER_CHUNK,
    check_names,
    chunks,
    identities,
    part_identities,
    totals,
    tracks,
)
from comface.tracks.config import CELEBA, Share, SynthesizeConfig
from comface.tracks.tar import Track


@st.composite
def configs(draw: st.DrawFn) -> SynthesizeConfig:
    shares = []
    for _ in range(draw(st.integers(1, 3))):
        attributes = draw(st.lists(st.sampled_from(CELEBA), min_size=1, max_size=7, unique=True))
        shares.append(
            Share(
                generator=draw(st.sampled_from(["procedural", "dcgan", "stylegan"])),
                identities=draw(st.integers(1, 40)),
                attributes=tuple(attributes),
                attributes_per_identity=draw(st.integers(1, len(attributes))),
            )
        )
    parts = draw(st.integers(1, min(12, sum(share.identities for share in shares))))
    return SynthesizeConfig(composition=tuple(shares), parts=parts, seed=draw(st.integers(0, 3)))


def test_the_default_composition_is_350_000_tracks_and_35_35_million_images() -> None:
    whole = totals(SynthesizeConfig())
    assert (whole.tracks, whole.images, whole.identities) == (350_000, 35_350_000, 250_000)
    assert whole.tracks_by_attribute["stylegan"] == {"age": 50_000, "smile": 50_000, "weight": 50_000}
    assert whole.tracks_by_attribute["stylegan3"] == dict.fromkeys(CELEBA, 5_000)


def test_enumerating_the_default_composition_takes_less_than_a_second() -> None:
    started = time.process_time()
    keys = sum(len(identity.attributes) for identity in identities(SynthesizeConfig(), range(250_000)))
    assert keys == 350_000
    assert time.process_time() - started < 1


@given(configs())
@settings(max_examples=60, deadline=None)
def test_totals_count_what_the_enumeration_yields(config: SynthesizeConfig) -> None:
    everything = list(tracks(config))
    whole = totals(config)
    assert len(everything) == whole.tracks
    assert len({track.identity for track in everything}) == whole.identities
    counted = Counter((track.generator, track.attribute) for track in everything)
    stated = {(g, a): n for g, by in whole.tracks_by_attribute.items() for a, n in by.items() if n}
    assert counted == stated


@given(configs())
@settings(max_examples=60, deadline=None)
def test_keys_are_unique_and_tracks_are_valid(config: SynthesizeConfig) -> None:
    everything = list(tracks(config))
    assert len({track.key for track in everything}) == len(everything)
    for track in everything[:5]:
        assert Track.model_validate(track.model_dump()) == track
        assert track.key == f"{track.identity}-{track.attribute}"


@given(configs())
@settings(max_examples=60, deadline=None)
def test_a_share_deals_its_attributes_out_evenly_and_never_twice_to_one_identity(config: SynthesizeConfig) -> None:
    first = 0
    for share in config.composition:
        mine = list(identities(config, range(first, first + share.identities)))
        first += share.identities
        dealt = Counter(attribute for identity in mine for attribute in identity.attributes)
        assert max(dealt.values()) - min(dealt[a] for a in share.attributes) <= 1
        assert all(len(set(identity.attributes)) == share.attributes_per_identity for identity in mine)


@given(configs())
@settings(max_examples=60, deadline=None)
def test_parts_are_contiguous_whole_and_balanced_in_tracks(config: SynthesizeConfig) -> None:
    ranges = [part_identities(config, part) for part in range(config.parts)]
    assert ranges[0].start == 0
    assert ranges[-1].stop == totals(config).identities
    assert all(before.stop == after.start for before, after in pairwise(ranges))
    assert all(len(which) >= 1 for which in ranges)
    sizes = [sum(len(identity.attributes) for identity in identities(config, which)) for which in ranges]
    largest = max(share.attributes_per_identity for share in config.composition)
    ideal = totals(config).tracks / config.parts
    if ideal >= largest:
        assert max(sizes) <= ideal + largest
        assert min(sizes) >= ideal - largest


@given(configs())
@settings(max_examples=60, deadline=None)
def test_chunks_tile_their_part_with_few_tracks_of_one_generator_each(config: SynthesizeConfig) -> None:
    for part in range(config.parts):
        pieces = chunks(config, part)
        assert [i for piece in pieces for i in piece] == list(part_identities(config, part))
        for piece in pieces:
            members = list(identities(config, piece))
            assert len({identity.generator for identity in members}) == 1
            assert sum(len(identity.attributes) for identity in members) <= TRACKS_PER_CHUNK


@given(configs(), st.data())
@settings(max_examples=40, deadline=None)
def test_an_identity_is_the_same_wherever_and_in_whatever_order_it_is_made(
    config: SynthesizeConfig, data: st.DataObject
) -> None:
    everything = list(identities(config, range(totals(config).identities)))
    index = data.draw(st.integers(0, len(everything) - 1))
    (alone,) = identities(config, range(index, index + 1))
    assert alone == everything[index]
    assert alone.seed == everything[index].seed


def test_a_larger_composition_keeps_the_identities_of_a_smaller_one() -> None:
    def seeds(count: int) -> list[int]:
        share = Share(generator="dcgan", identities=count, attributes=("smile",))
        return [i.seed for i in identities(SynthesizeConfig(composition=(share,)), range(count))]

    assert seeds(20)[:5] == seeds(5)


def test_two_shares_of_one_generator_have_identities_of_their_own() -> None:
    share = Share(generator="dcgan", identities=3, attributes=("smile",))
    names = [i.name for i in identities(SynthesizeConfig(composition=(share, share)), range(6))]
    assert names == [f"dcgan-000000{n}" for n in range(6)]


def test_an_empty_range_has_no_tracks() -> None:
    assert list(tracks(SynthesizeConfig(), range(0))) == []


@pytest.mark.parametrize(("part", "parts"), [(-1, 2), (2, 2), (0, 4)])
def test_a_part_that_is_not_there_is_said_in_one_sentence(part: int, parts: int) -> None:
    share = Share(generator="dcgan", identities=3, attributes=("smile",))
    with pytest.raises(ConfigurationError, match="part"):
        part_identities(SynthesizeConfig(composition=(share,), parts=parts), part)


def test_attributes_that_cannot_name_a_track_are_refused() -> None:
    share = Share(generator="dcgan", identities=3, attributes=("smile", "Smile"))
    with pytest.raises(ConfigurationError, match="names 'smile' twice for 'dcgan'"):
        check_names(SynthesizeConfig(composition=(share,)))
    for name in ("a.b", "a/b", "../q", "", "x" * 64):
        with pytest.raises(ConfigurationError, match="cannot be part of a key"):
            parse(Share, {"generator": "dcgan", "identities": 3, "attributes": [name]})
