"""A copy of the registry in Kubeflow Model Registry: a registered model, and per version a model version with an
artifact.

In: the address of its REST API; the token is read from the file that KF_PIPELINES_SA_TOKEN_PATH names, or from the
pod's service account. The API has no aliases, so they are custom properties of the registered model: `alias.champion`
is `v3`. A version without an artifact is half a version, which the next call completes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlparse

from comface.errors import ConfigurationError, TryAgain
from comface.models.mirrors.interface import Entry

if TYPE_CHECKING:
    from model_registry.core import ModelRegistryAPIClient

TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
AUTHOR, FORMAT = "comface", ("safetensors", "1")
NUMBER, SHA256, ALIAS = "comface_version", "manifest_sha256", "alias."
PORTS = {"http": 8080, "https": 443}
PAGE = 100

T = TypeVar("T")


class KubeflowMirror:
    def __init__(self, address: str, environment: Mapping[str, str] = os.environ) -> None:
        self.address, self.environment = address, environment
        scheme = urlparse(address).scheme
        if scheme not in PORTS:
            raise ConfigurationError(
                f"Kubeflow Model Registry has no address {address}; give registry.mirrors.kubeflow as http://HOST:PORT."
            )

    @property
    def title(self) -> str:
        return f"Kubeflow Model Registry at {self.address}"

    def versions(self, name: str) -> dict[int, str]:
        async def work(api: ModelRegistryAPIClient) -> dict[int, str]:
            model = await api.get_registered_model_by_params(name)
            if model is None:
                return {}
            found = {}
            for version in await self._pages(lambda options: api.get_model_versions(model.id, options)):
                properties = version.custom_properties or {}
                number, artifacts = str(properties.get(NUMBER, "")), await api.get_model_artifacts(version.id)
                if number.isdigit() and artifacts:
                    found[int(number)] = str(properties.get(SHA256, ""))
            return found

        return self._done(work)

    def add(self, entry: Entry) -> None:
        from model_registry.types import ModelArtifact, ModelVersion, RegisteredModel

        properties = {**entry.properties, NUMBER: str(entry.number), SHA256: entry.sha256}

        async def work(api: ModelRegistryAPIClient) -> None:
            model = await api.get_registered_model_by_params(entry.name)
            if model is None:
                model = await api.upsert_registered_model(
                    RegisteredModel(name=entry.name, owner=AUTHOR, custom_properties={"made_by": AUTHOR})
                )
            version = await api.get_model_version_by_params(registered_model_id=model.id, name=f"v{entry.number}")
            if version is None:
                version = await api.upsert_model_version(
                    ModelVersion(name=f"v{entry.number}", author=AUTHOR, custom_properties=properties), model.id
                )
            elif str((version.custom_properties or {}).get(SHA256)) != entry.sha256:
                raise ConfigurationError(
                    f"{self.title} has another model as version v{entry.number} of '{entry.name}'; "
                    "use another model name, or another registry."
                )
            if not await api.get_model_artifacts(version.id):
                artifact = ModelArtifact(
                    name=f"{entry.name}-v{entry.number}",
                    uri=entry.uri,
                    model_format_name=FORMAT[0],
                    model_format_version=FORMAT[1],
                    custom_properties={SHA256: entry.sha256},
                )
                await api.upsert_model_version_artifact(artifact, version.id)

        self._done(work)

    def aliases(self, name: str) -> dict[str, int]:
        async def work(api: ModelRegistryAPIClient) -> dict[str, int]:
            model = await api.get_registered_model_by_params(name)
            properties = (model.custom_properties or {}) if model is not None else {}
            named = {key.removeprefix(ALIAS): str(value) for key, value in properties.items() if key.startswith(ALIAS)}
            return {alias: int(value[1:]) for alias, value in named.items() if value[1:].isdigit()}

        return self._done(work)

    def set_aliases(self, name: str, aliases: Mapping[str, int], removed: frozenset[str]) -> None:
        async def work(api: ModelRegistryAPIClient) -> None:
            model = await api.get_registered_model_by_params(name)
            assert model is not None, "aliases are set after versions"
            gone = {f"{ALIAS}{alias}" for alias in removed}
            kept = {key: value for key, value in (model.custom_properties or {}).items() if key not in gone}
            model.custom_properties = kept | {f"{ALIAS}{alias}": f"v{number}" for alias, number in aliases.items()}
            await api.upsert_registered_model(model)

        self._done(work)

    async def _pages(self, listed: Callable[[Any], Awaitable[list[T]]]) -> list[T]:
        from model_registry.types import ListOptions

        options, found = ListOptions(limit=PAGE), list[T]()
        while True:
            found += await listed(options)
            if not options.next_page_token:
                return found

    def _done(self, work: Callable[[ModelRegistryAPIClient], Awaitable[T]]) -> T:
        """Run `work`. The client's errors become sentences that name the address, never the token."""
        from aiohttp import ClientError
        from mr_openapi.exceptions import ApiException
        from pydantic import ValidationError

        async def run() -> T:
            return await work(self._api())

        try:
            return asyncio.run(run())
        except ApiException as error:
            status = int(error.status or 0)
            if status in (401, 403):
                raise ConfigurationError(
                    f"{self.title} refused the token (status {status}); set {TOKEN_PATH} to the file of a token that "
                    "may write."
                ) from None
            if status in (409, 429) or status >= 500:
                raise TryAgain(f"{self.title} could not do a request (status {status}); try again.") from None
            raise ConfigurationError(
                f"{self.title} refused a request (status {status}); check the address and the version of its server."
            ) from None
        except (ClientError, OSError, TimeoutError) as error:
            raise TryAgain(f"{self.title} did not answer ({type(error).__name__}); try again.") from None
        except ValidationError:
            raise ConfigurationError(
                f"{self.title} gave an answer of another API; check the address and the version of its server."
            ) from None

    def _api(self) -> ModelRegistryAPIClient:
        from model_registry.core import ModelRegistryAPIClient

        parsed = urlparse(self.address)
        port, token = parsed.port or PORTS[parsed.scheme], self._token()
        if parsed.scheme == "http":
            return ModelRegistryAPIClient.insecure_connection(self.address, port, token)
        if token is None:
            raise ConfigurationError(f"{self.title} needs a token; set {TOKEN_PATH} to the file of one.")
        return ModelRegistryAPIClient.secure_connection(self.address, port, user_token=token)

    def _token(self) -> str | None:
        named = self.environment.get(TOKEN_PATH)
        path = Path(named) if named else SERVICE_ACCOUNT
        try:
            return path.read_text("utf-8").strip()
        except (OSError, ValueError):
            if named:
                raise ConfigurationError(
                    f"The token file that {TOKEN_PATH} names cannot be read; correct it."
                ) from None
            return None
