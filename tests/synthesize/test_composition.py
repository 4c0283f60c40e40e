"""The composition: which tracks a configuration asks for, and in which part each is made."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comface.config.reading import parse
from comface.errors import ConfigurationError
from comface.tracks.blocks import MOST, blocks, cut, part_blocks, part_count
from comface.tracks.composition import check_names, identities, totals, tracks_of
from comface.tracks.config import CELEBA, Share, SynthesizeConfig
from comface.tracks.tar import Track


def tracks(config: SynthesizeConfig) -> list[Track]:
    every = identities(config, range(totals(config).identities))
    return [track for identity in every for track in tracks_of(identity, config.alphas)]


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
    everything = tracks(config)
    whole = totals(config)
    assert len(everything) == whole.tracks
    assert len({track.identity for track in everything}) == whole.identities
    counted = Counter((track.generator, track.attribute) for track in everything)
    stated = {(g, a): n for g, by in whole.tracks_by_attribute.items() for a, n in by.items() if n}
    assert counted == stated


@given(configs())
@settings(max_examples=60, deadline=None)
def test_keys_are_unique_and_tracks_are_valid(config: SynthesizeConfig) -> None:
    everything = tracks(config)
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
def test_blocks_hold_every_track_once_and_none_more_than_its_limit(config: SynthesizeConfig) -> None:
    every = blocks(config)
    held = [t for block in every for identity in block.identities() for t in tracks_of(identity, config.alphas)]
    assert sorted(t.key for t in held) == sorted(t.key for t in tracks(config))
    assert {t.key: t for t in held} == {t.key: t for t in tracks(config)}
    assert all(block.count <= MOST and block.start % block.count == 0 for block in every)
    assert all(block.count.bit_count() == 1 for block in every)


@given(configs())
@settings(max_examples=60, deadline=None)
def test_parts_are_contiguous_blocks_as_balanced_as_these_allow(config: SynthesizeConfig) -> None:
    parts = [part_blocks(config, part) for part in range(part_count(config))]
    assert [block for part in parts for block in part] == blocks(config)
    assert all(parts)
    sizes = [sum(block.count for block in part) for part in parts]
    largest = max(block.count for block in blocks(config))
    ideal = totals(config).tracks / len(parts)
    if ideal >= largest:
        assert max(sizes) <= ideal + largest
        assert min(sizes) >= ideal - largest


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_row_that_grows_keeps_its_whole_blocks_and_what_is_left_of_the_others_lies_in_larger_ones(
    short: int, longer: int
) -> None:
    short, longer = sorted((short, longer))
    before, after = list(cut(short)), list(cut(longer))
    assert [start + i for start, count in before for i in range(count)] == list(range(short))
    changed = [piece for piece in before if piece not in after]
    assert len(changed) <= MOST.bit_length() - 1
    for start, count in changed:
        assert any(other <= start and start + count <= other + most for other, most in after)


def test_the_default_composition_has_a_few_thousand_blocks_in_512_parts() -> None:
    started = time.process_time()
    sizes = [sum(block.count for block in part_blocks(SynthesizeConfig(), part)) for part in (0, 255, 511)]
    assert len(blocks(SynthesizeConfig())) < 6000
    assert part_count(SynthesizeConfig()) == 512
    assert all(abs(size - 350_000 / 512) <= MOST for size in sizes)
    assert time.process_time() - started < 1


def test_there_are_no_more_parts_than_blocks() -> None:
    share = Share(generator="dcgan", identities=9, attributes=("smile",))
    assert part_count(SynthesizeConfig(composition=(share,), parts=9)) == 2  # 8 + 1


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


@pytest.mark.parametrize(("part", "parts"), [(-1, 2), (2, 2), (0, 4)])
def test_a_part_that_is_not_there_is_said_in_one_sentence(part: int, parts: int) -> None:
    share = Share(generator="dcgan", identities=3, attributes=("smile",))
    with pytest.raises(ConfigurationError, match="part"):
        part_blocks(SynthesizeConfig(composition=(share,), parts=parts), part)


def test_attributes_that_cannot_name_a_track_are_refused() -> None:
    share = Share(generator="dcgan", identities=3, attributes=("smile", "Smile"))
    with pytest.raises(ConfigurationError, match="names 'smile' twice for 'dcgan'"):
        check_names(SynthesizeConfig(composition=(share,)))
    for name in ("a.b", "a/b", "../q", "", "x" * 64):
        with pytest.raises(ConfigurationError, match="cannot be part of a key"):
            parse(Share, {"generator": "dcgan", "identities": 3, "attributes": [name]})
