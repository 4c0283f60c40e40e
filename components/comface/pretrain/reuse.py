"""Uses the backbone of a model, or a published one, instead of training one (`pretrain.reuse`).

In: a `model` or `backbone` artifact, of any store. Out: a `backbone` artifact in the run's store: the one that the
model was made from, if it is there, else a copy of the model's weights with their configuration and card.
"""

from __future__ import annotations

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.errors import ComfaceError, DataError
from comface.store import Store

REVISION = 1
WEIGHTS, CARD = "model.safetensors", "card.md"


def reused_backbone(store: Store, reference: str) -> Artifact:
    """Raises DataError if `reference` is neither a model nor a backbone, or was changed."""
    given = open_artifact(reference)
    if given.manifest.kind not in ("model", "backbone"):
        raise DataError(
            f"{given.uri} is an artifact of kind '{given.manifest.kind}', neither a backbone nor a model; name one of "
            "them in pretrain.reuse."
        )
    there = given
    if given.manifest.kind == "model":
        try:
            there = given.input("backbone", "backbone")
        except ComfaceError:  # the model was copied without what it was made from
            return _copied(store, given)
    return there if there.root == store.uri else _copied(store, there)


def _copied(store: Store, given: Artifact) -> Artifact:
    config = given.manifest.config if given.manifest.kind == "backbone" else given.read_json("config.json")["pretrain"]
    weights_sha256 = given.manifest.objects[WEIGHTS].sha256
    address = dict(config) | {"reused": {"kind": given.manifest.kind, "weights_sha256": weights_sha256}}
    draft = Draft(store, "backbone", address, {}, {"reuse": REVISION})
    if (done := draft.published()) is not None:
        return done
    for name in (WEIGHTS, CARD):
        if name in given.manifest.objects:
            draft.write(name, given.read(name))
    return draft.publish({"reused": given.uri, "steps": 0, "pairs": 0, "validation": {}})
