"""Access to an S3 store: access keys or a workload identity from the environment, and one client per process.

In: the environment variables of the AWS tools. Out: `Access`, and a `minio` client with its connection pool.

Credentials, in this order: access keys in the environment; a web identity (AWS_WEB_IDENTITY_TOKEN_FILE and
AWS_ROLE_ARN: IRSA on EKS, or MinIO's own STS); container credentials (AWS_CONTAINER_CREDENTIALS_FULL_URI: EKS Pod
Identity).
"""

from __future__ import annotations

import functools
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import ParseResult, urlparse
from xml.etree.ElementTree import ParseError

from comface.errors import ConfigurationError
from comface.files import read_bounded
from comface.store.s3_answers import PASSING_STATUS, Passing
from comface.store.s3_http import PATIENCE, Patience, PatientPool

WEB_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
TOKEN_BYTES = 1 << 16
CONTAINER = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")


@dataclass(frozen=True)
class Access:
    """Endpoint and credentials of a store. `sts`: the address that exchanges a web identity for access keys."""

    endpoint: str
    secure: bool
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)
    sts: str = ""
    ca_file: str = ""
    patience: Patience = PATIENCE

    @property
    def address(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.endpoint}"


def access_from(environment: Mapping[str, str]) -> Access:
    """Raises ConfigurationError if there are no credentials or the endpoint is not a URL."""
    endpoint = urlparse(environment.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com")
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    has_identity = any(environment.get(name) for name in (WEB_IDENTITY, *CONTAINER))
    if not (access_key and secret_key) and not has_identity:
        raise ConfigurationError(
            "An s3:// store needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment "
            f"(and AWS_ENDPOINT_URL for MinIO), or a workload identity ({WEB_IDENTITY} and AWS_ROLE_ARN); "
            "set them, or mount the secret."
        )
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path.strip("/"):
        raise ConfigurationError("AWS_ENDPOINT_URL is not http://host:port or https://host:port; correct it.")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    keys = bool(access_key and secret_key)
    return Access(
        endpoint=endpoint.netloc,
        secure=endpoint.scheme == "https",
        region=region,
        access_key=access_key or "" if keys else "",
        secret_key=secret_key or "" if keys else "",
        session_token=environment.get("AWS_SESSION_TOKEN") if keys else None,
        sts=_sts(environment, endpoint, region) if environment.get(WEB_IDENTITY) else "",
        ca_file=environment.get("AWS_CA_BUNDLE") or "",
    )


def _sts(environment: Mapping[str, str], endpoint: ParseResult, region: str) -> str:
    """The STS address: AWS has one STS per region; MinIO serves STS at its own address."""
    amazon = re.search(r"\.amazonaws\.com(\.cn)?$", endpoint.hostname or "")
    usual = f"https://sts.{region}.amazonaws.com{amazon[1] or ''}" if amazon else endpoint.geturl()
    return environment.get("AWS_ENDPOINT_URL_STS") or usual


@functools.cache
def connected(access: Access, process: int) -> tuple[Any, PatientPool]:
    """The client of one process and its connection pool."""
    from minio import Minio

    if access.ca_file:
        try:
            ssl.create_default_context(cafile=access.ca_file)
        except OSError:  # ssl.SSLError is one, too
            raise ConfigurationError(
                f"AWS_CA_BUNDLE is '{access.ca_file}', which is not a readable PEM file of certificates; correct it."
            ) from None
    pool = PatientPool(access.address, access.region, access.patience, access.ca_file)
    try:
        client = Minio(
            access.endpoint,
            access_key=access.access_key or None,
            secret_key=access.secret_key or None,
            session_token=access.session_token,
            secure=access.secure,
            region=access.region,
            http_client=pool,
            credentials=None if access.access_key else _identity(access),
        )
    except ValueError as error:
        raise ConfigurationError(
            f"AWS_ENDPOINT_URL ({access.address}) or AWS_REGION ({access.region}) is not valid ({error}); correct it."
        ) from None
    return client, pool


class IdentityPool(PatientPool):
    """Connections to the credentials endpoint, which is not an S3 API. The client puts the identity token into the URL,
    which proxies may log; this class moves it into the request body."""

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        address, _, query = url.partition("?")
        if method == "POST" and query:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return super().urlopen(method, address, **{**options, "body": query, "headers": form})
        return super().urlopen(method, url, **options)

    def _objection(self, method: str, response: Any, data: bytes, whole: bool) -> Exception | None:
        return Passing(f"answers {response.status}") if response.status in PASSING_STATUS else None


def check_token(path: str) -> None:
    """Check the token file, because the client reads a file of any size. Raises ConfigurationError without the path:
    some users set the variable to the token itself."""
    what = f"The token file of the workload identity ({WEB_IDENTITY})"
    try:
        token = read_bounded(Path(path), TOKEN_BYTES, what, ConfigurationError) if path else b"none is needed"
    except ConfigurationError as error:
        raise ConfigurationError(str(error).replace(f" '{path[:200]}'", "").replace(f" '{path}'", "")) from None
    if not token.strip():
        raise ConfigurationError(f"{what} is empty; check the volume that mounts it.")


def _identity(access: Access) -> Any:
    """A credentials provider that renews keys before they expire. Its errors never contain a token."""
    from minio.credentials.providers import IamAwsProvider, Provider

    pool = IdentityPool(access.sts or "the credentials' endpoint", access.region, access.patience, access.ca_file)

    class WorkloadIdentity(Provider):
        def retrieve(self) -> Any:
            check_token(os.environ.get(WEB_IDENTITY, ""))
            try:
                return source.retrieve()
            except (ValueError, OSError, KeyError, ParseError) as error:
                status = re.search(r"status code (\d+)", str(error))
                why = f"status {status[1]}" if status else "its token file or the response cannot be read"
                raise ConfigurationError(
                    f"The workload identity gave no credentials for the store ({why}); check {WEB_IDENTITY} and "
                    "AWS_ROLE_ARN (or the pod's identity association) and the role's trust policy."
                ) from None

    source = IamAwsProvider(custom_endpoint=access.sts or None, http_client=pool)
    return WorkloadIdentity()
