"""Limits of the service, and how a request beyond them is refused.

In: a request. Out: nothing, or a Refusal with its HTTP status, a code for programs and one sentence for people.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comface.errors import ComfaceError, DataError, TryAgain

RETRY_AFTER_S = 2
UPLOAD_S = 60.0
"""Longest time for the body of a request: 40 MB at 5 Mbit/s."""
DRAIN_S = 5.0
"""How long the rest of a refused upload is read and dropped, so that the client can read the answer."""


@dataclass(frozen=True)
class Limits:
    """`queue`: requests that may wait while others are worked on; more are refused with 429."""

    queue: int = 16
    wait_s: float = 20.0
    """Longest wait of a photo for a worker; then its request is refused."""
    work_s: float = 30.0
    """Longest time for one photo; then its worker is ended."""
    photo_bytes: int = 25_000_000
    photos: int = 12
    request_bytes: int = 60_000_000
    memory_bytes: int = 400_000_000
    """All uploads that are in memory at a time."""
    pixels: int = 64_000_000

    def photo_too_large(self, number: int) -> Refusal:
        limit = f"{self.photo_bytes / 1e6:.0f} MB"
        refusal = Refusal(413, "too_large", f"Photo {number} has more than {limit}, the limit; save it smaller.")
        refusal.photo = number
        return refusal


class Refusal(Exception):
    """`reason`: a word for programs and for the metrics. `retry`: the same request may succeed later. `photo`: the
    number of the photo that is refused, from 1."""

    photo: int | None = None

    def __init__(self, status: int, reason: str, sentence: str, retry: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.sentence, self.retry = status, reason, sentence, retry

    def record(self) -> dict[str, Any]:
        said = {"code": self.reason, "message": self.sentence}
        return {"error": said if self.photo is None else {**said, "photo": self.photo}}


def refusal_of(error: ComfaceError) -> Refusal:
    """The refusal for an error that a worker met. `reason`: of an error about a photo (faces/detection.py)."""
    reason = str(getattr(error, "reason", "")).replace(" ", "_")
    if isinstance(error, DataError):
        return Refusal(422, reason or "unusable_photo", str(error))
    if isinstance(error, TryAgain):
        return Refusal(503, "try_again", str(error), retry=True)
    return Refusal(500, "failed", str(error))


class Admission:
    """Counts requests and the bytes of their uploads. A request that finds no place is refused before its body is
    read."""

    def __init__(self, limits: Limits, at_once: int) -> None:
        self.limits, self.places = limits, limits.queue + at_once
        self.requests = self.bytes = 0

    @contextlib.contextmanager
    def place(self, size_bytes: int) -> Iterator[None]:
        """`size_bytes`: the declared length of the body, or the largest that is allowed."""
        if self.requests >= self.places or self.bytes + size_bytes > self.limits.memory_bytes:
            raise Refusal(429, "busy", "The service is busy; try again in a few seconds.", retry=True)
        self.requests += 1
        self.bytes += size_bytes
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= size_bytes
