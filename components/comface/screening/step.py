"""Screen: measure a sample of tracks, judge every attribute and publish the results.

In: ScreeningConfig, and either a composition (its tracks are rendered, not stored) or parts with their `tracks`
artifacts. Out: an artifact of kind `screening`: screening.json (all figures and verdicts) and screening.png.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comface.artifacts.facts import AttributeFacts, ScreeningFacts, TracksFacts
from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.errors import DataError
from comface.faces import REVISION as FACES
from comface.faces.scorers import SCORERS, score
from comface.generators.registry import generator as registered
from comface.generators.registry import load_generator
from comface.methods import REVISION as METHODS
from comface.methods.gallery import embedder
from comface.screening.config import ScreeningConfig
from comface.screening.figures import Figures, figures
from comface.screening.measure import Instruments, measure
from comface.screening.picture import draw_screening
from comface.screening.sample import RenderedSample, Sample, StoredSample
from comface.screening.verdict import Verdict, also_moves, verdict
from comface.store import Store
from comface.tracks import REVISION as TRACKS
from comface.tracks.composition import check_names
from comface.tracks.config import SynthesizeConfig
from comface.tracks.located import tracks_of_parts
from comface.tracks.sources import Load, open_sources
from comface.tracks.supplies import Files
from comface.weights.fetched import AGE, EXPRESSION, GENDER, LANDMARKS, model_digest

REVISION = 1
"""Raised if the same images give other figures or verdicts."""
REVISIONS = {"screening": REVISION, "faces": FACES, "methods": METHODS}
SAID_FROM_SD = 0.5
"""Other scores that change by at least this much, in SD per 5 units of alpha, are listed in the facts."""


def screen_composition(
    store: Store,
    config: ScreeningConfig,
    synthesize: SynthesizeConfig,
    files: Mapping[str, Files] | None = None,
    load: Load = load_generator,
    instruments: Instruments | None = None,
    device: str = "cpu",
) -> Artifact:
    """Screen the tracks that this composition would give. `files`: the StyleGANs' files from the weights location.
    Raises ConfigurationError if a generator or attribute does not exist."""
    check_names(synthesize)
    names = (share.generator for share in synthesize.composition)
    sources = open_sources(synthesize, names, {}, device, load, files)
    made_from = {
        "synthesize": synthesize.model_dump(mode="json", exclude={"parts", "jpeg_quality", "precision"}),
        "generators": {name: dict(source.fingerprint) for name, source in sources.items()},
    }
    inputs, tools = _tools(config, instruments)
    revisions = REVISIONS | {"tracks": TRACKS} | {name: registered(name).revision for name in sources}
    draft = Draft(store, "screening", made_from | _asked(config, tools), inputs, revisions)
    return draft.published() or _publish(draft, RenderedSample(synthesize, sources, config.seed), config, tools)


def screen_tracks(
    store: Store,
    config: ScreeningConfig,
    parts: Sequence[Artifact],
    load: Load = load_generator,
    instruments: Instruments | None = None,
) -> Artifact:
    """Screen the stored tracks of these parts. Raises DataError if there is no part."""
    if not parts:
        raise DataError("No part was given to screen; run synthesize first.")
    tracks = tracks_of_parts(parts)
    inputs, tools = _tools(config, instruments)
    inputs |= {f"tracks-{i:05d}": each for i, each in enumerate(tracks)}
    revisions = REVISIONS | {
        name: registered(name).revision for name in {each.facts_as(TracksFacts).generator for each in tracks}
    }
    draft = Draft(store, "screening", _asked(config, tools), inputs, revisions)
    return draft.published() or _publish(draft, StoredSample(tracks, config.seed, load), config, tools)


def published_instruments(config: ScreeningConfig) -> tuple[dict[str, Artifact], Instruments]:
    """The published scorers and the configured backbone. A backbone from an artifact is returned as an input."""
    backbone = open_artifact(config.backbone, "backbone") if config.backbone else None
    embed, made, inputs = embedder(config.method, backbone)
    described = {
        "method": config.method,
        **made,
        "scorers_sha256": {name: model_digest(name)[1] for name in (LANDMARKS, AGE, GENDER, EXPRESSION)},
    }
    return dict(inputs), Instruments(lambda images: score(images, list(SCORERS)), embed, described)


def _tools(config: ScreeningConfig, given: Instruments | None) -> tuple[dict[str, Artifact], Instruments]:
    return ({}, given) if given is not None else published_instruments(config)


def _asked(config: ScreeningConfig, tools: Instruments) -> dict[str, Any]:
    """The settings that determine the verdicts. `action` only determines how they are used, so it is left out."""
    return {"screening": config.model_dump(mode="json", exclude={"action"}), "instruments": dict(tools.described)}


def _publish(draft: Draft, sample: Sample, config: ScreeningConfig, tools: Instruments) -> Artifact:
    measured = measure(sample, config, tools)
    if not measured:
        raise DataError(
            "No face was found for any identity of the composition, so there is no track to screen; check the weights "
            "and the truncation."
        )
    found = figures(measured, config)
    judged = [verdict(each, config) for each in found]
    attributes = [_facts(*each) for each in zip(found, judged, strict=True)]
    records = [facts.record() | _per_alpha(each) for facts, each in zip(attributes, found, strict=True)]
    draft.write_json("screening.json", {"attributes": records})
    draft.write("screening.png", draw_screening(measured, found, judged, config))
    facts = ScreeningFacts(
        attributes=tuple(attributes),
        method=config.method,
        others=config.others,
        faces_by_lightness=sample.faces_by_lightness(),
        rehearsal=any(registered(each.kind[0]).drawn for each in measured),
    )
    return draft.publish(facts.record())


def _facts(found: Figures, judged: Verdict) -> AttributeFacts:
    inside = slice(found.range.low, found.range.high + 1)
    return AttributeFacts(
        generator=found.kind[0],
        attribute=found.kind[1],
        kept=judged.kept,
        low=judged.low,
        high=judged.high,
        reason=judged.reason,
        tracks=found.tracks,
        face_found_unedited=found.found,
        face_found_least=float(np.min(found.face_A[inside])) if found.found else 0.0,
        identity_least=float(np.min(found.identity_A[inside])) if found.found else 0.0,
        measured_by=found.scale.title if found.scale else "not measured: no scorer is available",
        rank_correlation=found.monotone,
        own_sd_per_5_alpha=found.own,
        also_moves={name: round(move, 3) for name, move in also_moves(found, SAID_FROM_SD)},
        moves_sd_per_5_alpha=dict(found.moves),
    )


def _per_alpha(found: Figures) -> dict[str, list[Any]]:
    return {
        "alphas": found.alphas_A.tolist(),
        "face_found": found.face_A.tolist(),
        "identity_kept": found.identity_A.tolist(),
        "identity_distance": found.distance_A.tolist(),
        "own_quartiles_sd": found.own_quartiles_3A.tolist(),
    }
