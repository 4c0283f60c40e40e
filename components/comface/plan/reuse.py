"""A run on a backbone that exists (`pretrain.reuse`), without faces to generate and without pre-training.

In: a RunConfig. Out: the same with the model pinned by its hash, and with its network in the section `pretrain`.
"""

from __future__ import annotations

import logging

from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import ConfigurationError
from comface.methods.config import TrainedConfig
from comface.models.references import DEFAULT_NAME, place_of, resolve_model
from comface.models.registry import names
from comface.models.shipped import NAME as SHIPPED
from comface.models.signing import check_signature
from comface.plan.configuration import RunConfig
from comface.store import Store, open_store

logger = logging.getLogger(__name__)
AT_HAND = "at-hand"
"""The model that is used if no other is named: the champion, else the newest model, else the one in the package."""


def reused(config: RunConfig) -> Artifact | None:
    """The model or backbone whose backbone the run uses. Raises ConfigurationError or DataError if there is none."""
    reference = config.pretrain.reuse
    if not reference:
        return None
    if (uri := place_of(reference)) is not None:
        return open_artifact(uri)
    store = open_store(config.store)
    return _at_hand(store)[1] if reference == AT_HAND else resolve_model(store, reference)[1]


def _at_hand(store: Store) -> tuple[str, Artifact]:
    return resolve_model(store, None if DEFAULT_NAME in names(store) else SHIPPED)


def with_reused(config: RunConfig) -> RunConfig:
    """The configuration with the model pinned and its network in `pretrain`; unchanged if it reuses none."""
    found = reused(config)
    if found is None:
        return config
    if found.manifest.kind not in ("model", "backbone"):
        raise ConfigurationError(
            f"pretrain.reuse names {found.uri}, an artifact of kind '{found.manifest.kind}'; name a model or a "
            "backbone."
        )
    if found.manifest.kind == "model":
        check_signature(found)
    network = TrainedConfig.of(found).model_dump()
    pretrain = config.pretrain.model_copy(update={**network, "reuse": found.pinned})
    return config.model_copy(update={"pretrain": pretrain})


def told(config: RunConfig) -> str:
    """A sentence on the model that the run uses; empty if it pre-trains."""
    reference = config.pretrain.reuse
    if not reference:
        return ""
    what = _at_hand(open_store(config.store))[0] if reference == AT_HAND else reference
    which = "the model that ships with the package (a rehearsal)" if what == SHIPPED else what
    return f"The run uses the backbone of {which}, so nothing is pre-trained; to pre-train, set pretrain.reuse=''."
