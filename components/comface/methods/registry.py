"""The methods that are compared (section 4.3), by name, in the order of the paper's tables.

To add a method, write a file with a `METHOD` (see method.py) and add a line here. Configuration, plan, doctor,
transfer, report, gate and card read this registry. Users can name their own method as `module:function`, and any
network of two libraries as `timm:NAME` or `torchvision:NAME`, without a change here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from comface.config.entries import Entries, findable
from comface.config.names import quoted
from comface.config.outside import FORM, Outside
from comface.errors import ConfigurationError
from comface.methods import comface, timm, torchvision
from comface.methods.encoder import Encoder, Sources, tried
from comface.methods.method import Method
from comface.methods.patients import entry as patients

METHODS: Entries[Method] = Entries(
    "method",
    {
        "scratch": "comface.methods.scratch:METHOD",
        "pixels": "comface.methods.pixels:METHOD",
        "imagenet": "comface.methods.imagenet:METHOD",
        "vggface2": "comface.methods.vggface2:METHOD",
        "simclr": "comface.methods.simclr:METHOD",
        "mocov2": "comface.methods.mocov2:METHOD",
        "swav": "comface.methods.swav:METHOD",
        "barlowtwins": "comface.methods.barlowtwins:METHOD",
        "bulat": "comface.methods.bulat:METHOD",
        "farl": "comface.methods.farl:METHOD",
        "pcl": "comface.methods.pcl:METHOD",
        "stablerep": "comface.methods.stablerep:METHOD",
        "dlib": "comface.methods.dlib:METHOD",
        "comface": "comface.methods.comface:METHOD",
    },
)
FORMS = (patients.FORM, timm.FORM, torchvision.FORM, f"{comface.PREFIX}NAME", FORM)
"""Forms of method names that are not listed in METHODS."""


def method(name: str) -> Method:
    """Return the entry of a method. Raises ConfigurationError with the choices if the name is unknown."""
    if name.startswith("timm:"):
        return timm.method(name)
    if comface.variant_name(name):
        return comface.variant(name)
    if name.startswith("patient-specific:"):
        return patients.method(name)
    if name.startswith("torchvision:"):
        return torchvision.method(name)
    family, separator, option = name.partition(":")
    if separator and family in METHODS:
        if (options := METHODS[family].options) is None:
            raise ConfigurationError(f"The method '{family}' has no option {quoted(option)}; write {family}.")
        return options(option)
    if ":" in name:
        return _outside(name)
    if name in METHODS:
        return METHODS[name]
    raise ConfigurationError(
        f"There is no method {quoted(name)}; choose from {', '.join(METHODS)}, or name your own ({', '.join(FORMS)})."
    )


def _outside(reference: str) -> Method:
    """Return the entry for `module:function`: a function `(Sources) -> Encoder` in the user's module
    (config/outside.py)."""
    own = Outside("method", reference)

    def load(sources: Sources) -> Encoder:
        encoder = own.call(sources)
        if not isinstance(encoder, Encoder):
            raise ConfigurationError(
                f"{own} returns {type(encoder).__name__}, not a comface.methods.encoder.Encoder; return one."
            )
        return tried(encoder, reference)

    return Method(reference, reference, load, lambda _: own.decided_by(), check=own.source)


def challenger() -> Method:
    """Return the method that a run trains, gates and registers."""
    return next(entry for entry in METHODS.all().values() if entry.challenger)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort as in the paper's tables: METHODS in order, then all other methods, then the variants of the challenger,
    then the challenger."""
    listed, variants = list(METHODS), list(comface.VARIANTS)

    def rank(name: str) -> tuple[bool, bool, int, str]:
        variant = comface.variant_name(name)
        among, key = (variants, variant) if variant else (listed, name)
        return method(name).challenger, bool(variant), among.index(key) if key in among else len(among), name

    return sorted(names, key=rank)


MethodName = Annotated[str, findable(method), METHODS]
