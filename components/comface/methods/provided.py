"""What the methods `timm:NAME` and `torchvision:NAME` share: a network of a library, with the user's weights.

In: the network without its classifier and a safetensors or torch file with its tensors. Out: the registry entry.
Nothing is downloaded, and no code in the file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.encoder import Encoder, Sources, tried
from comface.methods.layouts import Layout
from comface.methods.method import Method
from comface.methods.published import load_layout

if TYPE_CHECKING:
    from torch import nn


def layout_of(
    library: str, name: str, network: nn.Module, width: int, dropped: tuple[str, ...], shown: Preprocessing, crop: Crop
) -> Layout:
    """The only layout of a network: its own names. `dropped`: beginnings of the names of its classifier."""
    first = next(iter(network.state_dict()))
    return Layout(
        f"{library}'s {name}", lambda: (network, width), shown, crop, marks=(first,), dropped=dropped, folds=False
    )


def provided(
    library: str, reference: str, names: str, check: Callable[[str], None], layout: Callable[[str], Layout]
) -> Method:
    """The method `reference`, LIBRARY:NAME; `names`: pattern of NAME. `check` and `layout` take NAME. Raises
    ConfigurationError for another form."""
    match = re.fullmatch(f"{library}:({names})", reference)
    if match is None:
        raise ConfigurationError(
            f"The method {quoted(reference)} does not have the form {library}:NAME; give the name of a {library} model."
        )
    name = match[1]

    def load(sources: Sources) -> Encoder:
        check(name)
        path = entry.weights(sources)
        return tried(load_layout(path, [layout(name)], reference), reference)

    files = (f"{library}/{name}.safetensors", f"{library}/{name}.pth")
    entry = Method(reference, f"{name} ({library})", load, check=lambda: check(name), files=files)
    return entry


def unknown(library: str, name: str, known: list[str], listing: str) -> ConfigurationError:
    """The error for a name that the library does not have, with the names that are most alike."""
    import difflib

    near = difflib.get_close_matches(name, known, 3)
    like = f", for example {', '.join(near)}" if near else ""
    return ConfigurationError(f"{library} has no model '{name}'; choose one of `{listing}`{like}.")
