"""The object store: `file:///…` on one machine, `s3://bucket/prefix` (MinIO or any S3) elsewhere, one small interface.

In: keys relative to the store's root. Out: bytes. A write is atomic: a reader sees the old object, the new one,
or none, never a part. Credentials come from the environment only (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION), and are never part of a URI, a message or a log line.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from comface.errors import ConfigurationError, DataError, TryAgain


class Store(Protocol):
    """Keys are relative POSIX paths. Errors: DataError (no such object), TryAgain (unreachable, full),
    ConfigurationError (credentials or bucket refused)."""

    uri: str

    def read(self, key: str) -> bytes: ...
    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes: ...
    def write(self, key: str, data: bytes) -> None: ...
    def upload(self, key: str, path: Path) -> None: ...
    def download(self, key: str, path: Path) -> None: ...
    def exists(self, key: str) -> bool: ...
    def keys(self, prefix: str = "") -> Iterator[str]: ...
    def delete(self, key: str) -> None: ...
    def child(self, prefix: str) -> Store: ...


def open_store(uri: str, environment: Mapping[str, str] = os.environ) -> Store:
    """The store at `uri`. Raises ConfigurationError for another scheme or missing credentials."""
    parsed = urlparse(uri)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost"):
        return FileStore(Path(unquote(parsed.path)))
    if parsed.scheme == "s3" and parsed.netloc:
        return S3Store(_minio_client(environment), parsed.netloc, parsed.path.strip("/"))
    raise ConfigurationError(
        f"The store '{uri}' is neither file:///absolute/path nor s3://bucket/prefix; give one of these."
    )


def _checked(key: str) -> str:
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ConfigurationError(f"The object key '{key}' is not a relative path below the store; rename it.")
    return str(path)


class FileStore:
    """A folder. Data are written to a temporary name beside their place, flushed, then renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = self.root.as_uri()

    def path(self, key: str) -> Path:
        return self.root / _checked(key)

    def read(self, key: str) -> bytes:
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise _missing(self.uri, key) from error
        except OSError as error:
            raise _refused(error, self.uri, key) from error

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        try:
            with self.path(key).open("rb") as file:
                file.seek(offset)
                return file.read(size_bytes)
        except FileNotFoundError as error:
            raise _missing(self.uri, key) from error

    def write(self, key: str, data: bytes) -> None:
        self._publish(key, lambda temporary: temporary.write_bytes(data))

    def upload(self, key: str, path: Path) -> None:
        self._publish(key, lambda temporary: shutil.copyfile(path, temporary))

    def download(self, key: str, path: Path) -> None:
        try:
            shutil.copyfile(self.path(key), path)
        except FileNotFoundError as error:
            raise _missing(self.uri, key) from error
        except OSError as error:
            raise _refused(error, self.uri, key) from error

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def keys(self, prefix: str = "") -> Iterator[str]:
        top = self.root / prefix if prefix else self.root
        for path in sorted(top.rglob("*")):
            if path.is_file() and not path.name.startswith(".writing-"):
                yield path.relative_to(self.root).as_posix()

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def child(self, prefix: str) -> FileStore:
        return FileStore(self.path(prefix))

    def _publish(self, key: str, fill: Any) -> None:
        path = self.path(key)
        temporary = path.parent / f".writing-{uuid.uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fill(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError as error:
            raise _refused(error, self.uri, key) from error
        finally:
            temporary.unlink(missing_ok=True)


class S3Store:
    """A prefix of a bucket, through the `minio` client. S3 itself makes each put atomic."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{_checked(key)}".lstrip("/")

    def _get(self, key: str, **options: Any) -> bytes:
        response = self._call(key, self.client.get_object, self.bucket, self._key(key), **options)
        try:
            return self._call(key, response.read)
        finally:
            response.close()
            response.release_conn()

    def read(self, key: str) -> bytes:
        return self._get(key)

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        return self._get(key, offset=offset, length=size_bytes)

    def write(self, key: str, data: bytes) -> None:
        import io

        self._call(key, self.client.put_object, self.bucket, self._key(key), io.BytesIO(data), len(data))

    def upload(self, key: str, path: Path) -> None:
        self._call(key, self.client.fput_object, self.bucket, self._key(key), str(path))

    def download(self, key: str, path: Path) -> None:
        self._call(key, self.client.fget_object, self.bucket, self._key(key), str(path))

    def exists(self, key: str) -> bool:
        try:
            self._call(key, self.client.stat_object, self.bucket, self._key(key))
        except DataError:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        full = f"{self.prefix}/{prefix}".strip("/")
        listing = self.client.list_objects(self.bucket, prefix=f"{full}/" if full else None, recursive=True)
        cut = len(self.prefix) + 1 if self.prefix else 0
        for item in self._call(prefix, list, listing):
            yield item.object_name[cut:]

    def delete(self, key: str) -> None:
        self._call(key, self.client.remove_object, self.bucket, self._key(key))

    def child(self, prefix: str) -> S3Store:
        return S3Store(self.client, self.bucket, self._key(prefix))

    def _call(self, key: str, action: Any, *arguments: Any, **options: Any) -> Any:
        from minio.error import MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            return action(*arguments, **options)
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchObject", "NotFound"):
                raise _missing(self.uri, key) from None
            if error.code == "NoSuchBucket":
                raise ConfigurationError(f"The bucket '{self.bucket}' does not exist; create it.") from None
            if error.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden"):
                raise ConfigurationError(
                    f"The store {self.uri} refused the access key ({error.code}); "
                    "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy."
                ) from None
            raise TryAgain(f"The store {self.uri} answered {error.code} for '{key}'; run again.") from None
        except (MinioException, HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise _refused(error, self.uri, key) from error
            raise TryAgain(
                f"The store {self.uri} cannot be reached for '{key}' ({type(error).__name__}); "
                "check AWS_ENDPOINT_URL and the network, then run again."
            ) from None


def _minio_client(environment: Mapping[str, str]) -> Any:
    import urllib3
    from minio import Minio

    endpoint = urlparse(environment.get("AWS_ENDPOINT_URL", "https://s3.amazonaws.com"))
    access_key, secret_key = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key:
        raise ConfigurationError(
            "An s3:// store needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment "
            "(and AWS_ENDPOINT_URL for MinIO); set them, or mount the secret."
        )
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc:
        raise ConfigurationError("AWS_ENDPOINT_URL is not http://host:port or https://host:port; mend it.")
    retries = urllib3.Retry(total=4, backoff_factor=0.3, status_forcelist=[500, 502, 503, 504])
    return Minio(
        endpoint.netloc,
        access_key=access_key,
        secret_key=secret_key,
        secure=endpoint.scheme == "https",
        region=environment.get("AWS_REGION", "us-east-1"),
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=60), maxsize=16, retries=retries, cert_reqs="CERT_REQUIRED"
        ),
    )


def _missing(uri: str, key: str) -> DataError:
    return DataError(f"There is no object '{key}' in {uri}; run the step that makes it.")


def _refused(error: OSError, uri: str, key: str) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TryAgain(f"The disk is full while writing '{key}' to {uri}; free some room, then run again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ConfigurationError(f"{uri} does not allow '{key}' to be read or written; check its permissions.")
    return TryAgain(f"{uri} failed on '{key}' ({error.strerror}); run again.")
