"""The section `registry`: which keys are trusted, and other registries that get a copy of every change."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from comface.config.credentials import carries_credentials
from comface.config.names import LONGEST_PLACE, quoted
from comface.config.section import Once, Section

PREFIX = "ed25519:"
KEY = PREFIX + "[A-Za-z0-9_-]{43}"
"""A public key as text: the prefix and its 32 bytes in base64url."""
PublicKey = Annotated[str, Field(pattern=f"^{KEY}$")]


def _address(text: str) -> str:
    """Messages do not repeat text with an '@': it may contain a secret."""
    if "@" in text or carries_credentials(text):
        raise ValueError("the address contains credentials; remove them: they come from the environment")
    if len(text) > LONGEST_PLACE or not re.fullmatch(r"(https?://[^\s/]+\S*)|(sqlite:///\S+)", text):
        raise ValueError(f"{quoted(text)} is not an address; give http://HOST:PORT, https://HOST or sqlite:///FILE")
    return text.rstrip("/")


MirrorName = Literal["mlflow", "kubeflow"]


class RegistryConfig(Section):
    trusted_keys: Annotated[tuple[PublicKey, ...], Once] = Field(
        default=(),
        max_length=100,
        description="public keys, as `comface models keygen` prints them. If there are any, a model that none of them "
        "signed is refused; if there are none, signatures are not checked",
    )
    mirrors: dict[MirrorName, Annotated[str, AfterValidator(_address)]] = Field(
        default={},
        description="other registries that get every version and alias too, as {NAME: URI}: mlflow (http://…, "
        "sqlite:///…) and kubeflow (Kubeflow Model Registry, http://…). Credentials come from the environment",
    )
