"""The object store, one interface for two kinds: `file:///…` (one machine) and `s3://bucket/prefix` (MinIO, any S3).

In: keys relative to the store's root. Out: bytes. Credentials come from the environment only (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION) and never appear in a URI, a message or a log line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlparse

from comface.config.names import place_uri
from comface.errors import ConfigurationError
from comface.store.folder import FileStore
from comface.store.interface import (
    LARGEST_BYTES,
    READINGS,
    REMAKE,
    Store,
    TooLargeError,
    checked_key,
    ends_early,
    missing,
    too_large,
)

__all__ = [
    "LARGEST_BYTES",
    "READINGS",
    "REMAKE",
    "FileStore",
    "Store",
    "TooLargeError",
    "checked_key",
    "ends_early",
    "missing",
    "open_named",
    "open_store",
    "too_large",
]


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> Store:
    """The store at `uri` (a URI or a plain path). Raises ConfigurationError for any other scheme, for credentials in
    the URI, and for missing credentials."""
    uri = place_uri(uri)
    parsed = urlparse(uri)
    if "@" in uri.removeprefix("file://").partition("/")[0] or parsed.username or parsed.password:
        raise ConfigurationError(
            "The store's URI contains credentials; remove them and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path.startswith("/"):
        path = unquote_to_bytes(parsed.path.encode("utf-8", "surrogateescape"))
        return FileStore(Path(os.fsdecode(path)))  # file names are bytes, independent of the locale
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if uri.startswith("s3://") and bucket:
        from comface.store.s3 import S3Store, access_from

        prefix = prefix.strip("/")
        return S3Store(access_from(environment), bucket, checked_key(prefix) if prefix else "")
    raise ConfigurationError(
        f"The store '{uri}' is neither file:///absolute/path nor s3://bucket/prefix; give one of these, or a path."
    )


def open_named(uri: str) -> Store:
    """As `open_store`, for a store that somebody named to read from it. Raises ConfigurationError for a folder that
    does not exist: as a store without models, it would hide a mistyped name."""
    store = open_store(uri)
    if isinstance(store, FileStore) and not os.path.isdir(store.root):
        raise ConfigurationError(f"There is no store at {store.uri}; check the path.")
    return store
