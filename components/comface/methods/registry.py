"""The methods that are compared (section 4.3), by name, in the order of the paper's tables.

A further method is a file with a `METHOD` (method.py says what it holds) and a line here; configuration, resolve,
doctor, transfer, report, gate and card read it from then on. People name one of their own by `module:function` and any
timm backbone by `timm:NAME` without either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from comface.config.entries import Entries, findable
from comface.config.names import quoted
from comface.config.outside import FORM, Outside
from comface.errors import ConfigurationError
from comface.methods import timm
from comface.methods.encoder import Encoder, Sources, tried
from comface.methods.method import Method

METHODS: Entries[Method] = Entries(
    "method",
    {
        "scratch": "comface.methods.scratch:METHOD",
        "pixels": "comface.methods.pixels:METHOD",
        "imagenet": "comface.methods.imagenet:METHOD",
        "comface": "comface.methods.comface:METHOD",
    },
)
FORMS = (timm.FORM, FORM)
"""Of names that are in no list."""
NOT_BUILT = ("vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat", "farl", "pcl", "stablerep")
"""Methods of the paper's tables that this version does not have (docs/reproduction.md)."""


def method(name: str) -> Method:
    """Raises ConfigurationError, with the choices, for a name that means no method."""
    if name.startswith("timm:"):
        return timm.method(name)
    if ":" in name:
        return _outside(name)
    if name in METHODS:
        return METHODS[name]
    if name in NOT_BUILT:
        raise ConfigurationError(f"The method '{name}' is not built yet; choose from {', '.join(METHODS)}.")
    raise ConfigurationError(
        f"There is no method {quoted(name)}; choose from {', '.join(METHODS)}, or name your own ({', '.join(FORMS)})."
    )


def _outside(reference: str) -> Method:
    """`module:function`: a function `(Sources) -> Encoder` of a user's own module (config/outside.py)."""
    own = Outside("method", reference)

    def load(sources: Sources) -> Encoder:
        encoder = own.call(sources)
        if not isinstance(encoder, Encoder):
            raise ConfigurationError(
                f"{own} gives {type(encoder).__name__}, not a comface.methods.encoder.Encoder; return one."
            )
        return tried(encoder, reference)

    return Method(reference, reference, load, lambda _: own.decided_by(), check=own.source)


def challenger() -> Method:
    """The method that a run trains, gates and registers."""
    return next(entry for entry in METHODS.all().values() if entry.challenger)


def in_order(names: Iterable[str]) -> list[str]:
    """As in the paper's tables: the challenger last, before it those that are in no list."""
    listed = list(METHODS)
    return sorted(
        names, key=lambda name: (method(name).challenger, listed.index(name) if name in listed else len(listed), name)
    )


MethodName = Annotated[str, findable(method), METHODS]
