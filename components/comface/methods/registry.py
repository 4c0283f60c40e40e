"""The methods that are compared (section 4.3), by name, in the order of the paper's tables.

A further method is a file with a `METHOD` (method.py says what it holds) and a line here; configuration, resolve,
doctor, transfer, report, gate and card read it from then on. People name one of their own by `module:function` and any
timm backbone by `timm:NAME` without either.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

from comface.config.entries import Entries, in_field
from comface.config.names import quoted
from comface.config.outside import FORM
from comface.errors import ConfigurationError
from comface.methods import outside, timm
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
        return outside.method(name)
    if name in METHODS:
        return METHODS[name]
    if name in NOT_BUILT:
        raise ConfigurationError(f"The method '{name}' is not built yet; choose from {', '.join(METHODS)}.")
    raise ConfigurationError(
        f"There is no method {quoted(name)}; choose from {', '.join(METHODS)}, or name your own ({', '.join(FORMS)})."
    )


def challenger() -> Method:
    """The method that a run trains, gates and registers."""
    return next(entry for entry in METHODS.all().values() if entry.challenger)


def in_order(names: Iterable[str]) -> list[str]:
    """As in the paper's tables: the challenger last, before it those that are in no list."""
    listed = list(METHODS)
    return sorted(
        names, key=lambda name: (method(name).challenger, listed.index(name) if name in listed else len(listed), name)
    )


def _known(name: str) -> str:
    try:
        return method(name).name
    except ConfigurationError as error:
        raise ValueError(in_field(error)) from None


MethodName = Annotated[str, AfterValidator(_known), METHODS]
