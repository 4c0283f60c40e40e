"""A method's entry: all that anyone asks about it, in one place.

Each file of a method fills in one `Method`. Reading an entry imports nothing heavy; only `load` imports torch.
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
    """In tables and plots."""
    load: Callable[[Sources], Encoder]
    """The method at work, with its preprocessing."""
    fields: Callable[[Sources], Mapping[str, Any]] = nothing
    """What of the configuration decides its features, besides a backbone or a weight file."""
    check: Callable[[], object] = usable
    """Raises ConfigurationError where its code or network is not on this machine; imports no code of a user."""
    reads_backbone: bool = False
    """Needs the backbone of a pre-training."""
    fetched: str = ""
    """Weight file that `comface fetch` gets, which it reads where no other is given."""
    file: str = ""
    """Weight file that it needs of the weights location."""
    trainable: bool = True
    """Has layers to fine-tune."""
    challenger: bool = False
    """It is the one that a run trains, gates and registers; one method is."""
    random: bool = False
    """The configured network (`transfer.backbone`) with random weights: the floor of the comparison."""
    style: tuple[str, str] | None = None
    """Colour and marker in plots, told apart by colour-blind readers; None: one that is free."""
    limits: str = ""
    """A sentence for the card of a model whose faces were screened by the method."""

    @property
    def takes_weights(self) -> bool:
        return bool(self.fetched or self.file)

    def weights(self, sources: Sources) -> Path:
        """The weight file that it reads. Raises ConfigurationError where none is given, DataError where none is
        there."""
        if sources.weights is None and self.fetched:
            from comface.weights.fetched import model_path

            return model_path(self.fetched)
        if sources.weights is None:
            raise ConfigurationError(
                f"The method '{self.name}' needs its weights; put them into the weights location as '{self.file}', or "
                "give the file with --weights."
            )
        open_regular(sources.weights, f"The weight file of '{self.name}'").close()
        return sources.weights

    def inputs(self, sources: Sources) -> tuple[dict[str, Any], dict[str, Artifact]]:
        """What its features depend on, no more, so that as much as can be is shared: values, and input artifacts."""
        values = dict(self.fields(sources))
        if self.takes_weights:
            values["weights_sha256"] = file_sha256(self.weights(sources))
        if not self.reads_backbone or sources.backbone is None:
            return values, {}
        return values, {"backbone": sources.backbone}
