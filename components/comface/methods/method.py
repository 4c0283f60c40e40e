"""The registry entry of a method: everything that other modules need to know about it.

Each method has a file with one `Method`. Importing an entry is cheap; only `load`, and the `check` of timm's backbones,
import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comface.artifacts.manifest import file_sha256
from comface.errors import ConfigurationError
from comface.files import open_regular
from comface.methods.encoder import Encoder, Sources
from comface.methods.layouts import Layout

if TYPE_CHECKING:
    from comface.artifacts.manifest import Artifact


def nothing(_: Sources) -> Mapping[str, Any]:
    return {}


def usable() -> None:
    pass


@dataclass(frozen=True)
class Method:
    name: str
    title: str
    """Name in tables and plots."""
    load: Callable[[Sources], Encoder]
    """Loads the network with its preprocessing."""
    fields: Callable[[Sources], Mapping[str, Any]] = nothing
    """Returns the configuration values that affect the features, apart from a backbone or a weight file."""
    check: Callable[[], object] = usable
    """Raises ConfigurationError if the method's code or network is not installed. Imports no user code."""
    reads_backbone: bool = False
    """Whether it needs the backbone from pre-training."""
    of_champion: bool = False
    """Whether that backbone is the champion's, not one that the run trains."""
    fetched: str = ""
    """Name of the weight file that `comface fetch` downloads; the default weights."""
    files: tuple[str, ...] = ()
    """Published names of the weight file in the weights location, preferred first. The first that is there is used; its
    layout is recognised from its content. Without one, `fetched` is used."""
    layouts: tuple[Layout, ...] = ()
    """The layouts of these files (layouts.py, published.py)."""
    options: Callable[[str], Method] | None = None
    """Returns the method `NAME:OPTION`, another choice of what it computes; None if it has no options."""
    trainable: bool = True
    """Whether it can be fine-tuned."""
    challenger: bool = False
    """Whether it is the method that a run trains, gates and registers. Exactly one method is."""
    random: bool = False
    """Whether it is the configured network (`transfer.backbone`) with random weights, the lower bound."""
    patient_days: int | None = None
    """Of the patient-specific method (methods/patients): the days of each test patient on which it is fine-tuned. None:
    the method is an encoder."""
    limits: str = ""
    """A sentence about the limits of screening with this method, for the model card."""

    @property
    def takes_weights(self) -> bool:
        return bool(self.fetched or self.files)

    @property
    def needs_file(self) -> bool:
        """Whether it cannot run without a file from the weights location."""
        return bool(self.files) and not self.fetched

    def weights(self, sources: Sources) -> Path:
        """Return the path of the weight file. Raises ConfigurationError if no file is given, or if there is none."""
        if sources.weights is None and self.fetched:
            from comface.weights.fetched import model_path

            return model_path(self.fetched)
        if sources.weights is None:
            raise ConfigurationError(
                f"The method '{self.name}' needs its weights; save them in the weights location as "
                f"{self.file_names()}, or give the file with --weights."
            )
        open_regular(sources.weights, f"The weight file of '{self.name}'", ConfigurationError).close()
        return sources.weights

    def file_names(self) -> str:
        """The names in `files`, quoted, for messages."""
        return " or ".join(f"'{name}'" for name in self.files)

    def inputs(self, sources: Sources) -> tuple[dict[str, Any], dict[str, Artifact]]:
        """Return the values and the input artifacts that its features depend on, and nothing else, so that runs can
        share features."""
        values = dict(self.fields(sources))
        if self.takes_weights:
            values["weights_sha256"] = file_sha256(self.weights(sources))
        if not self.reads_backbone or sources.backbone is None:
            return values, {}
        return values, {"backbone": sources.backbone}
