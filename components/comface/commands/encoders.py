"""The encoder that a command's options name: --method, --weights and --backbone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from comface.commands.options import REFERENCE
from comface.commands.surface import option
from comface.errors import ConfigurationError

if TYPE_CHECKING:
    from comface.methods.encoder import Encoder
    from comface.plan.configuration import RunConfig

BACKBONE = option("--backbone", "REF", f"backbone or model, for the method comface: {REFERENCE}")


def load_encoder(method: str, weights: Path | None, backbone: str | None, config: RunConfig) -> Encoder:
    """Load a method. Raises ConfigurationError for an option that the method does not take."""
    from comface.methods import load_method
    from comface.methods import method as method_called
    from comface.methods.encoder import Sources
    from comface.models.registry import resolve_backbone, resolve_model
    from comface.store import open_store

    wanted, artifact = method_called(method), None
    if weights is not None and not wanted.takes_weights:
        raise ConfigurationError(f"The method '{method}' takes no --weights; omit this option.")
    if backbone is not None and not wanted.reads_backbone:
        raise ConfigurationError(f"The method '{method}' takes no --backbone; omit this option.")
    if wanted.reads_backbone:
        store = open_store(config.store)
        artifact = resolve_backbone(store, backbone or resolve_model(store, None)[0])
    return load_method(method, Sources.of(artifact, weights, config.transfer))
