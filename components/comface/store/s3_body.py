"""The content of an object during a download: how much has arrived, and whether it matches the object's ETag.

In: S3 responses and chunks of their bodies. Out: a sink with the whole object, or Passing (read it again).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from comface.store.interface import READINGS
from comface.store.s3_answers import Passing

PART_BYTES = 5 << 20
"""Part size of the client's multipart uploads; the ETag of such an object is computed from its parts."""
LARGE_BYTES = 1 << 20


class Body:
    """The content of an object as it arrives in `sink`, possibly in several attempts. `is_checked`: the caller checks
    the content, so this class does not; `refusal`: makes the error for an object of more than `limit_bytes`."""

    def __init__(
        self, sink: Any, is_checked: bool, limit_bytes: int | None, refusal: Callable[[int], Exception]
    ) -> None:
        self.is_checked, self.limit_bytes, self.refusal = is_checked, limit_bytes, refusal
        self.sink, self.etag, self.size_bytes, self._seen, self._read = sink, "", -1, "", 0
        self._digest: EtagDigest | None = None

    def anew(self, why: str) -> Passing:
        """Discard the content so far. Returns the error that asks for another attempt; final after READINGS."""
        self.sink.seek(0)
        self.sink.truncate()
        self._digest, self._read = None, self._read + 1
        return Passing(why, final=self._read >= READINGS)

    def expect(self, response: Any, at: int) -> None:
        """Read the response's headers. If `at` bytes have arrived but the response starts at the beginning, start over;
        also if the content is encoded (compressed), because its bytes are not those of the object."""
        headers = response.headers
        packed = "content-encoding" in headers
        if at and (response.status != 206 or packed):
            again = self.anew("closes the connection before the end")
            if response.status == 206 or again.final:
                raise again
            at = 0
        if not at:
            self._check_size(int(headers.get("content-length") or 0))
            self.etag = "" if packed else (headers.get("etag") or "").strip('"')
            size = headers.get("content-length") or ""
            self.size_bytes = int(size) if size.isdigit() and not packed else -1
            own_kind = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"  # its ETag is not a digest
            is_told = response.status == 200 and not own_kind and not self.is_checked
            if is_told and re.fullmatch("[0-9a-f]{32}(-[0-9]+)?", self.etag):
                self._digest = EtagDigest(self.size_bytes > LARGE_BYTES, "-" in self.etag)

    def write(self, chunk: bytes) -> None:
        self.sink.write(chunk)
        self._check_size(self.sink.tell())
        if self._digest is not None:
            self._digest.add(chunk)

    def check(self) -> None:
        """Raises Passing if the content does not match the ETag. Content that arrives twice with the same digest is
        accepted: some servers compute other ETags, and some objects were uploaded in parts of another size."""
        seen = self._digest.etag() if self._digest is not None else self.etag
        if seen not in (self.etag, self._seen):
            self._seen = seen
            raise self.anew("sends content that does not match its ETag")

    def _check_size(self, size_bytes: int) -> None:
        if self.limit_bytes is not None and size_bytes > self.limit_bytes:
            raise self.refusal(size_bytes)


class EtagDigest:
    """The ETag of content: its MD5, or the MD5 of its parts' MD5s followed by the number of parts. `beside`: compute it
    in a separate thread (in order), because MD5 takes as long as receiving."""

    def __init__(self, beside: bool, in_parts: bool) -> None:
        self._in_parts, self._parts, self._part, self._room = in_parts, b"", _md5(), PART_BYTES
        self._thread = ThreadPoolExecutor(1) if beside else None

    def add(self, chunk: bytes) -> None:
        if self._thread is not None:
            self._thread.submit(self._add, chunk)
        else:
            self._add(chunk)

    def etag(self) -> str:
        if self._thread is not None:
            self._thread.shutdown()
        if not self._in_parts:
            whole: str = self._part.hexdigest()
            return whole
        parts = self._parts + (self._part.digest() if self._room < PART_BYTES else b"")
        return f"{_md5(parts).hexdigest()}-{len(parts) // 16}"

    def _add(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while self._in_parts and len(rest) >= self._room:
            self._part.update(rest[: self._room])
            rest, self._parts = rest[self._room :], self._parts + self._part.digest()
            self._part, self._room = _md5(), PART_BYTES
        self._part.update(rest)
        self._room -= len(rest)


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
