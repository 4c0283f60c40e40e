"""The API of a Kubeflow Pipelines server: address, token, and one message for every refusal.

In: an endpoint (--endpoint, KFP_ENDPOINT, or in a pod the service `ml-pipeline`), a token (KFP_EXISTING_TOKEN, or in a
pod the projected one). The kfp command line reads the same names. Out: answers of kfp_server_api, KFP's published
client. kfp.Client is built on it, but waits 25 s with tracebacks if the server is unreachable.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.config.credentials import carries_credentials
from comface.config.names import quoted
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.runtime.logs import in_pod

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
TOKEN_FILE = "/var/run/secrets/kubeflow/pipelines/token"
NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
CONNECT_AND_ANSWER_S = (5, 20)
"""Longer than any answer takes; replacing a schedule depends on it (schedules.py)."""


@dataclass(frozen=True)
class Connection:
    """`namespace` is empty on a single-user server. `page` is the address of the UI."""

    endpoint: str
    namespace: str
    page: str
    client: Any

    def ask(self, service: str, method: str, *arguments: Any, **options: Any) -> Any:
        """One call of KFP's client, e.g. ask("RunServiceApi", "run_service_get_run", run_id). Raises ConfigurationError
        (address, credentials, argument) or TryAgain (unreachable, overloaded)."""
        import kfp_server_api
        from urllib3.exceptions import HTTPError

        api = getattr(kfp_server_api, service)(self.client)
        try:
            return getattr(api, method)(*arguments, _request_timeout=CONNECT_AND_ANSWER_S, **options)
        except kfp_server_api.ApiException as error:
            raise refusal(self.endpoint, error.status, error.body or error.reason or "") from None
        except HTTPError as error:
            raise unreachable(self.endpoint, error) from None

    def health(self) -> dict[str, Any]:
        """The server's version and mode. Raises ConfigurationError if the endpoint is not KFP."""
        answer = self.ask("HealthzServiceApi", "healthz_service_get_healthz", _preload_content=False)
        try:
            found = json.loads(answer.data)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise login_needed(self.endpoint, "it answered with a web page instead of data")
        return found


def connect(endpoint: str | None, namespace: str | None, environment: Mapping[str, str] = os.environ) -> Connection:
    """A connection that was tested. On a multi-user server the namespace is the given one, or the pod's own."""
    address = endpoint_from(endpoint, environment)
    page = environment.get("KF_PIPELINES_UI_ENDPOINT") or address
    if carries_credentials(page):
        raise ConfigurationError("KF_PIPELINES_UI_ENDPOINT contains credentials; remove them.")
    found = Connection(address, "", page.rstrip("/"), _client(address, environment))
    multi_user = bool(found.health().get("multi_user"))
    if not multi_user:
        return found
    own = namespace or environment.get("KFP_NAMESPACE") or _text(NAMESPACE_FILE)
    if not own:
        raise ConfigurationError(f"The KFP at {address} is a multi-user server; name your namespace with --namespace.")
    return Connection(address, own, found.page, found.client)


def endpoint_from(given: str | None, environment: Mapping[str, str]) -> str:
    address = (given or environment.get("KFP_ENDPOINT") or "").rstrip("/")
    if not address and in_pod(environment):
        return IN_CLUSTER
    if not address:
        raise ConfigurationError(
            "No KFP server is named; give --endpoint or set KFP_ENDPOINT, e.g. http://localhost:8888 after "
            "`kubectl -n kubeflow port-forward svc/ml-pipeline 8888`."
        )
    if not address.startswith(("http://", "https://")):
        raise ConfigurationError(f"The endpoint {shown(address)} does not start with http:// or https://; correct it.")
    if carries_credentials(address) or "@" in address.split("/")[2]:
        raise ConfigurationError(
            "The endpoint's URL contains credentials, which logs would show; remove them and set "
            "KFP_EXISTING_TOKEN to a token."
        )
    return address


def shown(address: str) -> str:
    return "given" if "@" in address else quoted(address)


def refusal(endpoint: str, status: int, body: Any) -> ComfaceError:
    """The error for an HTTP status other than success."""
    said = server_words(body)
    if status == 0:
        return untrusted(endpoint, said)
    if 300 <= status < 400:
        return login_needed(endpoint, f"it answered {status}, a redirect")
    if status in (401, 403):
        return ConfigurationError(
            f"The KFP at {endpoint} denied access ({status}{said}); set KFP_EXISTING_TOKEN to a token with access, "
            "and check --namespace."
        )
    if status == 404:
        return ConfigurationError(f"The KFP at {endpoint} did not find it (404{said}); check --endpoint and the name.")
    if 400 <= status < 500 and status not in (408, 429):
        return ConfigurationError(f"The KFP at {endpoint} refused the request ({status}{said}); correct it.")
    return TryAgain(f"The KFP at {endpoint} failed ({status}{said}); retry in a minute.")


def login_needed(endpoint: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{endpoint} is not the KFP API, or requires a login ({what}); set KFP_EXISTING_TOKEN to a token that it "
        "accepts, or give --endpoint the address of the API itself (a port-forward of svc/ml-pipeline)."
    )


def untrusted(endpoint: str, said: str) -> ConfigurationError:
    """`said`: the message of the TLS library."""
    if "certificate" not in said.lower():
        return ConfigurationError(
            f"The TLS connection to {endpoint} failed{said}; check the port, or write http:// if the server has no TLS."
        )
    if "expired" in said or "not yet valid" in said:
        what, how = "is not valid today", "renew it on the server, and check this machine's clock"
    elif "mismatch" in said or "doesn't match" in said or "not valid for" in said:
        what, how = "is for another name", "give --endpoint the name in the certificate"
    else:
        what, how = "is not trusted", "set SSL_CERT_FILE (or REQUESTS_CA_BUNDLE) to a PEM file with its authority"
    return ConfigurationError(f"The certificate of {endpoint} {what}{said}; {how}.")


def server_words(body: Any) -> str:
    """': MESSAGE OF THE SERVER' on one line without a full stop, or nothing (gateways answer with HTML)."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        values = json.loads(text)
        text = str(values.get("message") or values.get("error") or "")
    except (ValueError, AttributeError):
        text = "" if "<" in text else text
    text = " ".join(text.split())[:300].rstrip(".")
    return f": {text}" if text else ""


def unreachable(endpoint: str, error: Exception) -> TryAgain:
    reason = getattr(error, "reason", None) or error
    return TryAgain(
        f"The KFP at {endpoint} cannot be reached ({type(reason).__name__}); check the address, the network and "
        "whether its port-forward still runs."
    )


def _client(address: str, environment: Mapping[str, str]) -> Any:
    import kfp_server_api

    configuration = kfp_server_api.Configuration(host=address)
    configuration.retries = False  # a create request that is sent twice creates two objects
    configuration.ssl_ca_cert = _authorities(environment)
    token_file = environment.get("KF_PIPELINES_SA_TOKEN_PATH") or TOKEN_FILE

    def take_token(configuration: Any) -> None:
        """Before every request: Kubernetes renews a pod's token every hour, and waiting for a run takes days."""
        token = environment.get("KFP_EXISTING_TOKEN") or _text(token_file)
        configuration.api_key = {"authorization": token} if token else {}

    configuration.api_key_prefix = {"authorization": "Bearer"}
    configuration.refresh_api_key_hook = take_token
    take_token(configuration)  # the client calls the hook only if there is a token already

    class Client(kfp_server_api.ApiClient):  # type: ignore[misc]  # kfp_server_api is untyped
        def request(self, *arguments: Any, **options: Any) -> Any:
            """A TLS error has no body, and the caller decodes the body."""
            try:
                return super().request(*arguments, **options)
            except kfp_server_api.ApiException as error:
                error.body = error.body or (error.reason or "").encode()
                raise

    return Client(configuration)


def _authorities(environment: Mapping[str, str]) -> str | None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if path := environment.get(name):
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                raise ConfigurationError(
                    f"{name} is '{path}', which contains no readable certificates ({error.strerror or error}); "
                    "name a PEM file."
                ) from None
            return path
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""
