"""The object store on S3 (MinIO, SeaweedFS, AWS, …), through the `minio` client.

In: keys below a prefix of a bucket. Out: bytes. Every error of the server becomes an error of errors.py, without the
access key or the secret. S3 makes each put atomic. A request that fails in transit is retried (s3_http.py), and a body
counts as read only if its length and ETag match.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast
from xml.etree.ElementTree import ParseError

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.files import READING, failure, make_private_folder
from comface.store.interface import LARGEST_BYTES, Filling, checked_key, ends_early, missing, too_large
from comface.store.s3_access import Access, access_from, connected
from comface.store.s3_answers import FULL, Passing, no_access
from comface.store.s3_body import Body
from comface.store.s3_http import GaveUp, PatientPool

__all__ = ["Access", "S3Store", "access_from", "connected"]

T = TypeVar("T")
ABSENT = ("NoSuchKey", "NoSuchObject", "NotFound")
TAKEN = "PreconditionFailed"
BEYOND_END = "InvalidRange"
GONE = "NoSuchUpload"
UNCONDITIONAL = ("NotImplemented", "InvalidArgument")
"""Answers of servers that do not implement conditional puts."""
EXPECTED_CODES = (*ABSENT, TAKEN, BEYOND_END, GONE)
SETTLE_S = 2.0
"""How long `create` waits for concurrent puts on a server that ignores conditional puts. A put that takes longer could
still overwrite the object."""


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, access: Access, bucket: str, prefix: str, settle_s: float = SETTLE_S) -> None:
        self.access, self.bucket, self.prefix, self.settle_s = access, bucket, prefix, settle_s
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        check_bucket(bucket)

    @property
    def client(self) -> Any:
        """One client per process: a forked worker must not share its parent's connections, or it would read answers
        meant for another process."""
        return connected(self.access, os.getpid())[0]

    @property
    def pool(self) -> PatientPool:
        return connected(self.access, os.getpid())[1]

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES, is_checked: bool = False) -> bytes:
        body = self._body(key, io.BytesIO(), limit_bytes, is_checked)
        self._fetch(key, body)
        data: bytes = body.sink.getvalue()
        return data

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        if size_bytes == 0:  # the client interprets length 0 as "to the end"
            return b""
        body = Body(io.BytesIO(), True, size_bytes, lambda _: Passing("sends more bytes than the requested range"))
        self._fetch(key, body, offset, size_bytes)  # the server refuses an offset beyond the end: see _call
        data: bytes = body.sink.getvalue()
        if len(data) != size_bytes:
            raise ends_early(self.uri, key, offset, size_bytes)
        return data

    def write(self, key: str, data: bytes | Filling) -> None:
        if callable(data):
            with tempfile.NamedTemporaryFile(prefix="comface-") as file:
                try:
                    data(cast(BinaryIO, file))
                    file.flush()
                except OSError as error:
                    raise failure(error, f"'{file.name}'") from error
                self.upload(key, Path(file.name))
            return
        self._put(key, lambda: self.client.put_object(self.bucket, self._key(key), io.BytesIO(data), len(data)))

    def create(self, key: str, data: bytes) -> bool:
        """A conditional put. A second put tests whether the server honours the condition (it must then refuse). If not,
        the last writer wins: wait SETTLE_S, then read the object to see whose data it has. A refused put may be a
        repetition of our own put whose first answer was lost."""
        if self.exists(key):
            return False
        if not self._put_if_absent(key, data):
            return self.read(key) == data
        if not self._put_if_absent(key, data):
            return True
        time.sleep(self.settle_s)
        return self.read(key) == data

    def upload(self, key: str, path: Path) -> None:
        self._put(key, lambda: self.client.fput_object(self.bucket, self._key(key), str(path)))

    def download(self, key: str, path: Path, limit_bytes: int | None = None, is_checked: bool = False) -> None:
        partial = path.parent / f"{READING}{uuid.uuid4().hex}"
        try:
            make_private_folder(path.parent)
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w+b") as file:
                self._fetch(key, self._body(key, file, limit_bytes, is_checked))
            partial.replace(path)
        except OSError as error:
            raise failure(error, f"'{path}'") from error
        finally:
            partial.unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        from minio.error import S3Error

        try:
            self._asked(key, lambda: self.client.stat_object(self.bucket, self._key(key)))
        except S3Error:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        yield from sorted(name for name in self._listed(prefix) if not name.endswith("/"))

    def listing(self) -> dict[str, tuple[int, str]]:
        """Size in bytes and version (ETag and modification time) of every object, by key."""
        return {key: (each.size, f"{each.etag} {each.last_modified}") for key, each in sorted(self._listed("").items())}

    def _listed(self, prefix: str) -> dict[str, Any]:
        """The server's entry for each object, by key. An interrupted listing resumes after the last key."""
        full = "/".join(part for part in (self.prefix, checked_key(prefix) if prefix else "") if part)
        options: dict[str, Any] = {"prefix": f"{full}/" if full else None, "recursive": True}
        found: dict[str, Any] = {}

        def go_on() -> None:
            for item in self.client.list_objects(self.bucket, **options, start_after=next(reversed(found), None)):
                if not item.object_name or not item.object_name.startswith(options["prefix"] or ""):
                    raise Passing("sends an invalid response")
                found[item.object_name] = item
                self.pool.progress()

        self._call(prefix, go_on)
        cut = len(self.prefix) + 1 if self.prefix else 0
        return {name[cut:]: item for name, item in found.items()}

    def delete(self, key: str) -> None:
        self._call(key, lambda: self.client.remove_object(self.bucket, self._key(key)))

    def versioning(self) -> str:
        """The bucket's versioning status: 'Enabled', 'Suspended' or 'Off'."""
        status: str = self._call("", lambda: self.client.get_bucket_versioning(self.bucket).status)
        return status

    def child(self, prefix: str) -> S3Store:
        return S3Store(self.access, self.bucket, self._key(prefix), self.settle_s)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}".lstrip("/")

    def _body(self, key: str, sink: Any, limit_bytes: int | None, is_checked: bool) -> Body:
        return Body(
            sink, is_checked, limit_bytes, lambda size_bytes: too_large(self.uri, key, size_bytes, limit_bytes or 0)
        )

    def _fetch(self, key: str, body: Body, offset: int = 0, length: int = 0) -> None:
        """Fill `body` with an object, or with `length` bytes of it from `offset`. A retry resumes after the bytes that
        have arrived."""

        def go_on() -> None:
            from minio.error import S3Error

            at = body.sink.tell()
            if at and at == (length or body.size_bytes):
                return body.check()
            where = {"offset": offset + at, "length": length - at if length else 0}
            condition = {"If-Match": f'"{body.etag}"'} if at and body.etag else None
            try:
                response = self.client.get_object(self.bucket, self._key(key), **where, request_headers=condition)
            except S3Error as error:
                if not at or error.code not in (TAKEN, BEYOND_END):
                    raise
                raise body.anew("replaced the object during the download") from None
            try:
                if response.status not in (200, 206):
                    raise Passing(f"answers {response.status}")
                if (offset or length) and response.status != 206:
                    raise body.anew("does not send the requested range of the object")
                body.expect(response, at)
                self.pool.copy(response, body.write)
            finally:
                response.close()
                response.release_conn()
            body.check()

        self._call(key, go_on, ends_early(self.uri, key, offset, length))

    def _put(self, key: str, action: Callable[[], object]) -> None:
        """Put an object. If the final answer of a multipart upload was lost, the retry finds the upload complete and
        therefore gone (NoSuchUpload); the whole upload is then repeated once."""
        from minio.error import S3Error

        for last in (False, True):
            try:
                self._translated(key, action)
            except S3Error as error:
                if error.code == GONE and not last:
                    continue
                raise self._refusal(key, error) from None
            return

    def _put_if_absent(self, key: str, data: bytes) -> bool:
        """Put unless the object exists; False if it does. A server that rejects the condition gets a plain put. The
        client has no public method for the If-None-Match header."""
        from minio.error import S3Error

        options = {"bucket_name": self.bucket, "object_name": self._key(key), "body": data}

        def put() -> None:
            try:
                self.client._execute("PUT", **options, headers={"If-None-Match": "*"})
            except S3Error as error:
                if error.code not in UNCONDITIONAL:
                    raise
                self.client._execute("PUT", **options)

        try:
            self._translated(key, put)
        except S3Error as error:
            if error.code == TAKEN:
                return False
            raise missing(self.uri, key) from None
        return True

    def _call(self, key: str, action: Callable[[], T], beyond_end: ComfaceError | None = None) -> T:
        from minio.error import S3Error

        try:
            return self._asked(key, action)
        except S3Error as error:
            raise (beyond_end if beyond_end and error.code == BEYOND_END else missing(self.uri, key)) from None

    def _asked(self, key: str, action: Callable[[], T]) -> T:
        """`_translated` with retries: an answer that cannot be parsed repeats the whole request."""

        def readable() -> T:
            try:
                return action()
            except (ParseError, ValueError):
                raise Passing("sends an invalid response") from None

        return self._translated(key, lambda: self.pool.run(readable))

    def _translated(self, key: str, action: Callable[[], T]) -> T:
        """The result of `action`. S3Error is raised for an object that is absent, too short or already present; every
        other failure becomes an error of errors.py."""
        from minio.error import MinioException, S3Error

        try:
            return action()
        except S3Error as error:
            if error.code in EXPECTED_CODES:
                raise
            raise self._refusal(key, error) from None
        except GaveUp as error:
            what = f"the object '{key}'" if key else "the listing"
            if not error.connected:
                raise TryAgain(
                    f"The store {self.uri} cannot be reached to access {what} ({error}); "
                    "check AWS_ENDPOINT_URL and the network, then run again."
                ) from None
            raise TryAgain(
                f"The store {self.uri} did not complete a request for {what} ({error}); "
                "check the store's log and the network, then run again."
            ) from None
        except (MinioException, ParseError, ValueError) as error:
            status = getattr(error, "status_code", getattr(error, "_code", ""))
            raise TryAgain(
                f"The store {self.uri} sent an invalid response for '{key}' "
                f"({f'status {status}' if status else type(error).__name__}); check the store's log, then run again."
            ) from None

    def _refusal(self, key: str, error: Any) -> ComfaceError:
        code = error.code or "an error"
        if code in ("BadRequest", "AccessDenied") and not error.response.data:  # a HEAD response has no reason
            self._translated(key, lambda: next(self.client.list_objects(self.bucket), None))
        if code == "NoSuchBucket":
            return ConfigurationError(f"The bucket '{self.bucket}' does not exist; create it.")
        if code == "InvalidBucketName":
            return invalid_bucket(self.bucket)
        if code in FULL:
            return TryAgain(f"The store {self.uri} is full ({code}) at '{key}'; free space in it, then run again.")
        return no_access(self.uri, code, not self.access.access_key) or TryAgain(
            f"The store {self.uri} answered {code} for '{key}'; run again."
        )


def check_bucket(name: str) -> None:
    from minio.helpers import check_bucket_name

    try:
        check_bucket_name(name)
    except ValueError:
        raise invalid_bucket(name) from None


def invalid_bucket(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"The bucket name '{name}' is not valid (3 to 63 lowercase letters, digits, dots and hyphens, with a letter or "
        "digit at both ends); correct the store's URI."
    )
