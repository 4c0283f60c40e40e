"""The object store on S3 (MinIO, SeaweedFS, AWS, …), through the `minio` client.

In: keys below a prefix of a bucket. Out: bytes; every refusal of the server as one sentence of our own error tree,
without the key or the secret in it. S3 itself makes each put atomic. What fails on the way is tried again
(`store_s3_http`), and a body counts as read only when its length and its ETag hold.
"""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.files import failure, make_private_folder
from comface.store.interface import LARGEST_BYTES, checked_key, ends_early, missing, too_large
from comface.store.s3_access import Access, access_from, connected, minio_client
from comface.store.s3_answers import FULL, Passing, no_access
from comface.store.s3_body import Body
from comface.store.s3_http import GaveUp, PatientPool

__all__ = ["Access", "S3Store", "access_from", "minio_client"]

T = TypeVar("T")
ABSENT = ("NoSuchKey", "NoSuchObject", "NotFound")
TAKEN = "PreconditionFailed"
BEYOND_END = "InvalidRange"
GONE = "NoSuchUpload"
UNCONDITIONAL = ("NotImplemented", "InvalidArgument")
"""What servers answer to a conditional put that they do not know."""
TOLD = (*ABSENT, TAKEN, BEYOND_END, GONE)
SETTLE_S = 2.0
"""How long `create` waits on a server that ignores conditional puts; a put that takes longer could still win."""


class S3Store:
    """A prefix of a bucket."""

    def __init__(self, access: Access, bucket: str, prefix: str, settle_s: float = SETTLE_S) -> None:
        self.access, self.bucket, self.prefix, self.settle_s = access, bucket, prefix, settle_s
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        check_bucket(bucket)

    @property
    def client(self) -> Any:
        """This process's own: a forked worker that used its parent's connections would read another's answers."""
        return minio_client(self.access, os.getpid())

    @property
    def pool(self) -> PatientPool:
        return connected(self.access, os.getpid())[1]

    def read(self, key: str, limit_bytes: int = LARGEST_BYTES, is_checked: bool = False) -> bytes:
        body = self._body(key, io.BytesIO(), limit_bytes, is_checked)
        self._fetch(key, body)
        data: bytes = body.sink.getvalue()
        return data

    def read_range(self, key: str, offset: int, size_bytes: int) -> bytes:
        if size_bytes == 0:  # the client takes length 0 for "to the end"
            return b""
        body = Body(io.BytesIO(), True, size_bytes, lambda _: Passing("gives more of an object than was asked for"))
        self._fetch(key, body, offset, size_bytes)  # an offset beyond the end is refused: see _call
        data: bytes = body.sink.getvalue()
        if len(data) != size_bytes:
            raise ends_early(self.uri, key, offset, size_bytes)
        return data

    def write(self, key: str, data: bytes) -> None:
        self._put(key, lambda: self.client.put_object(self.bucket, self._key(key), io.BytesIO(data), len(data)))

    def create(self, key: str, data: bytes) -> bool:
        """A conditional put. A second one tells whether the server keeps the condition (it must be refused); where it
        does not, the last writer wins, and who that was is read once all puts have settled. A put that is refused may
        be our own: its first answer was lost on the way."""
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
        partial = path.parent / f".reading-{uuid.uuid4().hex}"
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
        """Every object's size in bytes and what changes with its content (ETag and time), by key."""
        return {key: (each.size, f"{each.etag} {each.last_modified}") for key, each in sorted(self._listed("").items())}

    def _listed(self, prefix: str) -> dict[str, Any]:
        """What the server says of each object, by key; a listing that breaks off goes on where it did."""
        full = "/".join(part for part in (self.prefix, checked_key(prefix) if prefix else "") if part)
        options: dict[str, Any] = {"prefix": f"{full}/" if full else None, "recursive": True}
        found: dict[str, Any] = {}

        def go_on() -> None:
            for item in self.client.list_objects(self.bucket, **options, start_after=next(reversed(found), None)):
                if not item.object_name or not item.object_name.startswith(options["prefix"] or ""):
                    raise Passing("gives a garbled answer")
                found[item.object_name] = item
                self.pool.progress()

        self._call(prefix, go_on)
        cut = len(self.prefix) + 1 if self.prefix else 0
        return {name[cut:]: item for name, item in found.items()}

    def delete(self, key: str) -> None:
        self._call(key, lambda: self.client.remove_object(self.bucket, self._key(key)))

    def versioning(self) -> str:
        """What the bucket does with what is replaced or deleted: 'Enabled', 'Suspended' or 'Off'."""
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
        """Fill `body` with an object, or `length` bytes of it, going on where an attempt broke off."""

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
                raise body.anew("gives an object that is replaced meanwhile") from None
            try:
                if response.status not in (200, 206):
                    raise Passing(f"answers {response.status}")
                if (offset or length) and response.status != 206:
                    raise body.anew("does not give the part of an object that was asked for")
                body.expect(response, at)
                self.pool.copy(response, body.write)
            finally:
                response.close()
                response.release_conn()
            body.check()

        self._call(key, go_on, ends_early(self.uri, key, offset, length))

    def _put(self, key: str, action: Callable[[], object]) -> None:
        """An upload in parts whose last answer was lost is found to be complete, that is gone, and made once more."""
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
        """False when the server says that the object is there; one that refuses the condition is asked without it.
        The client offers no public call with this header."""
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
        """`_translated`, for what is asked again as a whole when its answer cannot be read."""

        def readable() -> T:
            try:
                return action()
            except (ParseError, ValueError):
                raise Passing("gives a garbled answer") from None

        return self._translated(key, lambda: self.pool.run(readable))

    def _translated(self, key: str, action: Callable[[], T]) -> T:
        """What `action` gives. S3Error passes for an object that is not there, ends early or is taken; every other
        failure becomes one of ours."""
        from minio.error import MinioException, S3Error

        try:
            return action()
        except S3Error as error:
            if error.code in TOLD:
                raise
            raise self._refusal(key, error) from None
        except GaveUp as error:
            what = f"the object '{key}'" if key else "the listing"
            if not error.connected:
                raise TryAgain(
                    f"The store {self.uri} cannot be reached for {what} ({error}); "
                    "check AWS_ENDPOINT_URL and the network, then run again."
                ) from None
            raise TryAgain(
                f"The store {self.uri} did not complete a request for {what} ({error}); "
                "look at the store's log and the network, then run again."
            ) from None
        except (MinioException, ParseError, ValueError) as error:
            status = getattr(error, "status_code", getattr(error, "_code", ""))
            raise TryAgain(
                f"The store {self.uri} gave an answer for '{key}' that cannot be read "
                f"({f'status {status}' if status else type(error).__name__}); look at the store's log, then run again."
            ) from None

    def _refusal(self, key: str, error: Any) -> ComfaceError:
        code = error.code or "an error"
        if code in ("BadRequest", "AccessDenied") and not error.response.data:  # an answer to HEAD does not say why
            self._translated(key, lambda: next(self.client.list_objects(self.bucket), None))
        if code == "NoSuchBucket":
            return ConfigurationError(f"The bucket '{self.bucket}' does not exist; create it.")
        if code == "InvalidBucketName":
            return invalid_bucket(self.bucket)
        if code in FULL:
            return TryAgain(f"The store {self.uri} is full ({code}) at '{key}'; free some room, then run again.")
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
