"""A copy of the registry in MLflow: a registered model, a model version per version, and its aliases.

In: a tracking server (http://…) or a database (sqlite:///…); MLflow itself reads credentials (MLFLOW_TRACKING_TOKEN,
MLFLOW_TRACKING_USERNAME and _PASSWORD). MLflow numbers versions itself, so the tag `comface.version` says which one it
is. A version is created together with its tags in one request, so there is no half one.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from comface.errors import ConfigurationError, TryAgain
from comface.models.mirrors.interface import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

NUMBER, SHA256 = "comface.version", "comface.manifest_sha256"
QUIET = ("mlflow", "alembic")
DEFAULTS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""No usage data leave the machine; few attempts, because `mirror_registry` tries again itself."""


class MlflowMirror:
    def __init__(self, address: str) -> None:
        self.address = address
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        self._client: MlflowClient | None = None

    @property
    def title(self) -> str:
        return f"MLflow at {self.address}"

    def versions(self, name: str) -> dict[int, str]:
        return {int(each.tags[NUMBER]): each.tags.get(SHA256, "") for each in self._ours(name)}

    def add(self, entry: Entry) -> None:
        from mlflow.exceptions import MlflowException

        tags = {NUMBER: str(entry.number), SHA256: entry.sha256}
        tags |= {f"comface.{key.replace(' ', '.')}": value for key, value in entry.properties.items()}
        with self._answering() as client:
            try:
                client.create_registered_model(entry.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            client.create_model_version(
                entry.name, entry.uri, tags=tags, description=f"{entry.name}@v{entry.number} of the object store"
            )

    def aliases(self, name: str) -> dict[str, int]:
        with self._answering() as client:
            named = client.get_registered_model(name).aliases
        number_of = {str(each.version): int(each.tags[NUMBER]) for each in self._ours(name)}
        return {alias: number_of.get(str(version), 0) for alias, version in named.items()}

    def set_aliases(self, name: str, aliases: Mapping[str, int], removed: frozenset[str]) -> None:
        version_of = {int(each.tags[NUMBER]): str(each.version) for each in reversed(self._ours(name))}
        with self._answering() as client:
            for alias, number in aliases.items():
                client.set_registered_model_alias(name, alias, version_of[number])
            for alias in removed:
                client.delete_registered_model_alias(name, alias)

    def _ours(self, name: str) -> list[Any]:
        """The versions that were copied from an object store, oldest first."""
        found: list[Any] = []
        token: str | None = None
        with self._answering() as client:
            while True:
                page = client.search_model_versions(f"name='{name}'", max_results=200, page_token=token)
                found += [each for each in page if str(each.tags.get(NUMBER, "")).isdigit()]
                token = page.token
                if not token:
                    return sorted(found, key=lambda each: int(each.version))

    @contextlib.contextmanager
    def _answering(self) -> Iterator[MlflowClient]:
        """Yield the client. Its errors become sentences that name the address, never the credentials."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for logger in QUIET:
            logging.getLogger(logger).setLevel(logging.ERROR)
        try:
            self._client = self._client or MlflowClient(self.address, self.address)
            yield self._client
        except MlflowException as error:
            status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
            what = f"{self.title} refused a request ({error.error_code})"
            if status in (401, 403):
                raise ConfigurationError(
                    f"{what}; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
                ) from None
            if status == 429 or status >= 500:
                raise TryAgain(f"{self.title} did not answer as expected ({error.error_code}); try again.") from None
            raise ConfigurationError(f"{what}; check the address and the rights of its user.") from None
        except (SQLAlchemyError, OSError) as error:
            raise TryAgain(f"{self.title} did not answer ({type(error).__name__}); try again.") from None
