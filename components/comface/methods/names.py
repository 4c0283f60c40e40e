"""The names of the methods, as configuration and command line spell them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

NOT_BUILT = ("vggface2", "simclr", "mocov2", "swav", "barlowtwins", "bulat", "farl", "pcl", "stablerep")
"""Methods of the paper's tables that this version does not have (docs/reproduction.md)."""


def _built(method: Any) -> Any:
    if method in NOT_BUILT:
        raise ValueError(f"the method '{method}' is not built yet; choose from scratch, pixels, imagenet, comface")
    return method


Method = Annotated[Literal["scratch", "pixels", "imagenet", "comface"], BeforeValidator(_built)]
