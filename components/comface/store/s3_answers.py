"""Classify the responses of an S3 server: success, a transient failure, or a configuration to change.

In: HTTP responses and TLS failures. Out: None, Passing, or a ConfigurationError that names the endpoint. Messages show
only scheme, host and port of an address: the rest could contain a signature or a token.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from comface.errors import ComfaceError, ConfigurationError, TryAgain

FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage")
PASSING = (
    "BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError", "OperationAborted",
    "RequestThrottled", "RequestTimeout", "ServiceUnavailable", "SlowDown", "SlowDownRead", "SlowDownWrite",
    "Throttling", "ThrottlingException", "TooManyRequests", "XAmzContentSHA256Mismatch", "XMinioServerNotInitialized",
)  # fmt: skip
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504, *range(520, 530))
"""520 to 529: gateways report failures of the server behind them."""
SKEWED = "RequestTimeTooSkewed"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired")
FORBIDDEN = ("AccessDenied", "AllAccessDisabled", "Forbidden")
UNKNOWN_KEY = ("InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
MINIO_PORTS = "MinIO's console listens on port 9001, its API on port 9000"


class Passing(Exception):
    """A transient failure; the next attempt may succeed. The text is a predicate that follows the server's name.
    `connected`: a connection was made; `final`: no more attempts."""

    def __init__(self, why: str, connected: bool = True, final: bool = False) -> None:
        super().__init__(why)
        self.connected, self.final = connected, final


def objection(
    endpoint: str, region: str, method: str, response: Any, data: bytes, whole: bool
) -> Passing | ConfigurationError | None:
    """Why this response cannot be used; None if the client may read it. `data`: its body, if already read; `whole`: it
    is a response to parse, not the content of an object."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    status = response.status
    element = _xml(data) if "xml" in kind or data.lstrip()[:1] == b"<" else None
    code = _text(element, "Code")
    if code in FULL:
        return None
    if status in PASSING_STATUS or code in PASSING:
        return Passing(f"answers {status} {code}".rstrip())
    if (elsewhere := _elsewhere(endpoint, region, response, element, code)) is not None:
        return elsewhere
    if status == 413 and element is None:
        return ConfigurationError(
            f"A proxy in front of the store at {endpoint} refuses requests of this size (413); set its limit to 16 MB "
            "or more (nginx: client_max_body_size)."
        )
    from_s3 = any(name.lower().startswith(("x-amz", "x-minio")) for name in response.headers)
    page = kind == "text/html" and (data or method == "HEAD" or not whole)
    if not from_s3 and (page or (status >= 300 and data and "xml" not in kind)):
        return _no_s3(endpoint, status, kind, data)
    if element is None and data and whole and (status < 300 or "xml" in kind):
        return Passing("sends an invalid response")
    if element is not None and whole and status < 300 and element.tag.endswith("Error"):
        return Passing(f"answers {code or 'an error'}")
    return None


def no_access(uri: str, code: str, has_identity: bool) -> ComfaceError | None:
    """The error for refused credentials; None for any other code. `has_identity`: the keys come from a workload
    identity, so the next process gets new ones."""
    if code == SKEWED:
        return ConfigurationError(
            f"The clocks of this machine and the store {uri} differ too much ({code}); set this machine's clock."
        )
    if code in EXPIRED and has_identity:
        return TryAgain(
            f"The store {uri} reports that the keys of the workload identity have expired ({code}); run again. If this "
            "happens again, check this machine's clock."
        )
    if code in EXPIRED:
        return ConfigurationError(
            f"The session of the access key for the store {uri} has expired ({code}); set a new AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then run again."
        )
    if code in FORBIDDEN:
        return ConfigurationError(
            f"The store {uri} refused the access key ({code}); check AWS_ACCESS_KEY_ID and the bucket's policy, which "
            "must allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject."
        )
    if code in UNKNOWN_KEY:
        return ConfigurationError(
            f"The store {uri} refused the access key ({code}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
            "AWS_SESSION_TOKEN."
        )
    return None


def untrusted(endpoint: str, reason: str) -> ConfigurationError:
    """`reason`: OpenSSL's message, for example 'self-signed certificate'."""
    what = f"The certificate of {endpoint} is not trusted ({reason})"
    if "expired" in reason or "not yet valid" in reason:
        return ConfigurationError(f"{what}; renew it, or set this machine's clock.")
    if "mismatch" in reason or "not valid for" in reason:
        return ConfigurationError(f"{what}; use a host name in AWS_ENDPOINT_URL that the certificate names.")
    return ConfigurationError(
        f"{what}; set SSL_CERT_FILE or AWS_CA_BUNDLE to a PEM file with the certificate of its authority."
    )


def no_address(endpoint: str) -> ConfigurationError:
    return ConfigurationError(f"AWS_ENDPOINT_URL ({endpoint}) is not a valid address; correct it.")


def no_tls(endpoint: str) -> ConfigurationError:
    plain = endpoint.replace("https://", "http://")
    return ConfigurationError(f"{endpoint} does not speak TLS; set AWS_ENDPOINT_URL to {plain}, or to its TLS port.")


def _elsewhere(endpoint: str, region: str, response: Any, element: Any, code: str) -> ConfigurationError | None:
    """The error for a bucket in another region or a server that redirects to another address; else None."""
    if response.status not in (301, 302, 303, 307, 308, 400):
        return None
    expected = re.search(r"expecting '([a-z0-9-]+)'", _text(element, "Message"))
    actual = (
        response.headers.get("x-amz-bucket-region") or _text(element, "Region") or (expected[1] if expected else "")
    )
    if re.fullmatch("[a-z0-9-]{2,40}", actual) and actual != region:
        return ConfigurationError(
            f"The bucket is in the region '{actual}', not in '{region}'; set AWS_REGION={actual} "
            "(and AWS_ENDPOINT_URL, if it is set, to an address of that region)."
        )
    if response.status == 400:
        return None
    location = response.headers.get("location") or ""
    host = _text(element, "Endpoint")
    parts = urlsplit(location if "//" in location else f"{urlsplit(endpoint).scheme}://{host}" if host else endpoint)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if address.lower() == endpoint.lower():
        return _no_s3(endpoint, response.status, "a redirect to itself", b"")
    return ConfigurationError(
        f"{endpoint} redirects to {address}; set AWS_ENDPOINT_URL to that address, if it is the store you mean."
    )


def _no_s3(endpoint: str, status: int, kind: str, data: bytes) -> ConfigurationError:
    if b"HTTP request to an HTTPS server" in data:
        secure = endpoint.replace("http://", "https://")
        return ConfigurationError(f"{endpoint} speaks TLS only; set AWS_ENDPOINT_URL to {secure}.")
    what = "a web page" if kind == "text/html" else kind or "no content type"
    return ConfigurationError(
        f"{endpoint} is not an S3 API (it answers {status} with {what}); "
        f"set AWS_ENDPOINT_URL to the address of the API ({MINIO_PORTS})."
    )


def _xml(data: bytes) -> Any:
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _text(element: Any, name: str) -> str:
    """The text of the child called `name`, in any namespace."""
    for child in [] if element is None else element:
        if child.tag.rpartition("}")[2] == name:
            return (child.text or "").strip()
    return ""
