"""The object store on S3 (MinIO, SeaweedFS, AWS, …), through the `minio` client.

In: keys below a prefix of a bucket. Out: bytes; every refusal of the server as one sentence of our own error tree,
without the key or the secret in it. S3 itself makes each put atomic.
"""

from __future__ import annotations

import functools
import io
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.files import failure, make_private_folder
from comface.store import LARGEST_BYTES, checked_key, ends_early, missing, too_large

ABSENT = ("NoSuchKey", "NoSuchObject", "NotFound")
REFUSED = (
    "AccessDenied", "AllAccessDisabled", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch",
)  # fmt: skip
FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage")
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict")
BEYOND_END = "InvalidRange"
SETTLE_S = 2.0
"""How long `create` waits on a server that ignores conditional puts; a put that takes longer could still win."""


@dataclass(frozen=True)
class Access:
    """Where a store is and what opens it."""

    endpoint: str
    secure: bool
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False, default=None)
    attempts: int = 5


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, access: Access, bucket: str, prefix: str, settle_s: float = SETTLE_S) -> None:
        self.access, self.bucket, self.prefix, self.settle_s = access, bucket, prefix, settle_s
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    @property
    def client(self) -> Any:
        """This process's own: a forked worker that used its parent's connections would read another's answers."""
        return minio_client(self.access, os.getpid())

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES) -> bytes:
        return self._get(key, limit_bytes)

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        if size_bytes == 0:  # the client takes length 0 for "to the end"
            return b""
        data = self._get(
            key, size_bytes, offset=offset, length=size_bytes
        )  # an offset beyond the end is refused: see _call
        if len(data) != size_bytes:
            raise ends_early(self.uri, key, offset, size_bytes)
        return data

    def write(self, key: str, data: bytes) -> None:
        self._call(key, self.client.put_object, self.bucket, self._key(key), io.BytesIO(data), len(data))

    def create(self, key: str, data: bytes) -> bool:
        """A conditional put. A second one tells whether the server keeps the condition (it must be refused); where it
        does not, the last writer wins, and who that was is read once all puts have settled."""
        if self.exists(key) or not self._put_if_absent(key, data):
            return False
        if not self._put_if_absent(key, data):
            return True
        time.sleep(self.settle_s)
        return self.read(key) == data

    def upload(self, key: str, path: Path) -> None:
        self._call(key, self.client.fput_object, self.bucket, self._key(key), str(path))

    def download(self, key: str, path: Path, limit_bytes: int | None = None) -> None:
        """The client removes what is at its destination before it renames, so it gets a name of its own."""
        partial = path.parent / f".reading-{uuid.uuid4().hex}"
        whole = partial.with_suffix(".whole")
        source = (self.bucket, self._key(key), str(whole))
        if limit_bytes is not None:
            self._check_size(key, self._call(key, self.client.stat_object, *source[:2]).size, limit_bytes)
        try:
            make_private_folder(path.parent)
            partial.touch(mode=0o600)
            self._call(key, self.client.fget_object, *source, tmp_file_path=str(partial))
            whole.replace(path)
        except OSError as error:
            raise failure(error, f"'{path}'") from error
        finally:
            partial.unlink(missing_ok=True)
            whole.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        from minio.error import S3Error

        try:
            self._translated(key, self.client.stat_object, self.bucket, self._key(key))
        except S3Error:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        full = "/".join(part for part in (self.prefix, checked_key(prefix) if prefix else "") if part)
        listing = self.client.list_objects(self.bucket, prefix=f"{full}/" if full else None, recursive=True)
        cut = len(self.prefix) + 1 if self.prefix else 0
        names = [item.object_name[cut:] for item in self._call(prefix, list, listing)]
        yield from sorted(name for name in names if not name.endswith("/"))

    def delete(self, key: str) -> None:
        self._call(key, self.client.remove_object, self.bucket, self._key(key))

    def child(self, prefix: str) -> S3Store:
        return S3Store(self.access, self.bucket, self._key(prefix), self.settle_s)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}".lstrip("/")

    def _get(self, key: str, limit_bytes: int, **options: Any) -> bytes:
        response = self._call(key, self.client.get_object, self.bucket, self._key(key), **options)
        try:
            self._check_size(key, int(response.headers.get("Content-Length", 0)), limit_bytes)
            return self._call(key, response.read)
        finally:
            response.close()
            response.release_conn()

    def _check_size(self, key: str, size_bytes: int, limit_bytes: int) -> None:
        if size_bytes > limit_bytes:
            raise too_large(self.uri, key, size_bytes, limit_bytes)

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        """False when the server says that the object is there. The client offers no public call with this header."""
        from minio.error import S3Error

        options = {"bucket_name": self.bucket, "object_name": self._key(key), "body": data}
        try:
            self._translated(key, self.client._execute, "PUT", **options, headers={"If-None-Match": "*"})
        except S3Error as error:
            if error.code in TAKEN:
                return False
            raise missing(self.uri, key) from None
        return True

    def _call(self, key: str, action: Any, *arguments: Any, **options: Any) -> Any:
        from minio.error import S3Error

        try:
            return self._translated(key, action, *arguments, **options)
        except S3Error as error:
            if error.code == BEYOND_END:
                raise ends_early(self.uri, key, options["offset"], options["length"]) from None
            raise missing(self.uri, key) from None

    def _translated(self, key: str, action: Any, *arguments: Any, **options: Any) -> Any:
        """What `action` gives. S3Error passes for an object that is not there, ends early or is taken; every other
        failure becomes one of ours."""
        from minio.error import MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            return action(*arguments, **options)
        except S3Error as error:
            if error.code in (*ABSENT, *TAKEN, BEYOND_END):
                raise
            raise self._refusal(key, error.code or "an error") from None
        except (MinioException, HTTPError, ConnectionError, TimeoutError) as error:
            raise TryAgain(
                f"The store {self.uri} cannot be reached for '{key}' ({type(error).__name__}); "
                "check AWS_ENDPOINT_URL and the network, then run again."
            ) from None
        except ValueError as error:
            raise ConfigurationError(f"The store {self.uri} has no valid name ({error}); mend its URI.") from None

    def _refusal(self, key: str, code: str) -> ComfaceError:
        if code == "NoSuchBucket":
            return ConfigurationError(f"The bucket '{self.bucket}' does not exist; create it.")
        if code in REFUSED:
            return ConfigurationError(
                f"The store {self.uri} refused the access key ({code}); "
                "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the bucket's policy and this machine's clock."
            )
        if code in FULL:
            return TryAgain(f"The store {self.uri} is full ({code}) at '{key}'; free some room, then run again.")
        return TryAgain(f"The store {self.uri} answered {code} for '{key}'; run again.")


def access_from(environment: Mapping[str, str]) -> Access:
    """Raises ConfigurationError when a credential is missing or the endpoint is no URL."""
    endpoint = urlparse(environment.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com")
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        raise ConfigurationError(
            "An s3:// store needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment "
            "(and AWS_ENDPOINT_URL for MinIO); set them, or mount the secret."
        )
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path.strip("/"):
        raise ConfigurationError("AWS_ENDPOINT_URL is not http://host:port or https://host:port; mend it.")
    return Access(
        endpoint=endpoint.netloc,
        secure=endpoint.scheme == "https",
        region=environment.get("AWS_REGION") or "us-east-1",
        access_key=access_key,
        secret_key=secret_key,
        session_token=environment.get("AWS_SESSION_TOKEN"),
    )


@functools.cache
def minio_client(access: Access, process: int) -> Any:
    """One client, with its connections, per process."""
    import urllib3
    from minio import Minio

    retries = urllib3.Retry(total=access.attempts - 1, backoff_factor=0.3, status_forcelist=[500, 502, 503, 504])
    return Minio(
        access.endpoint,
        access_key=access.access_key,
        secret_key=access.secret_key,
        session_token=access.session_token,
        secure=access.secure,
        region=access.region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60), maxsize=16, retries=retries, cert_reqs="CERT_REQUIRED"
        ),
    )
