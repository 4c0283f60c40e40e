"""One service: the model's workers, the limits, the metrics. In: uploads. Out: comparisons, or a Refusal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from comface.serve.limits import UPLOAD_S, Admission, Limits, Refusal
from comface.serve.metrics import Metrics
from comface.serve.uploads import Form, FormReader
from comface.serve.work import Recipe
from comface.serve.workers import Workers


class Service:
    def __init__(self, recipe: Recipe, workers: int, limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.workers = Workers(recipe, workers, limits, self.metrics.restarts.inc)
        self.admission = Admission(limits, workers)
        self.stopping = False
        gauge = self.metrics.gauge
        gauge("workers_ready", "workers that have loaded the model", lambda: self.workers.ready)
        gauge("workers_busy", "workers that work on a photo", lambda: self.workers.busy)
        gauge("queue_length", "jobs that wait for a worker", lambda: self.workers.waiting)
        gauge("requests_admitted", "requests that are uploaded, wait or are worked on", lambda: self.admission.requests)
        gauge("upload_bytes", "bytes reserved for uploads in memory", lambda: self.admission.bytes)

    @property
    def ready(self) -> bool:
        return bool(self.workers.ready and self.workers.facts and not self.stopping)

    def facts(self) -> dict[str, Any]:
        """What GET /v1/model answers."""
        limits = {name: getattr(self.limits, name) for name in ("photos", "photo_bytes", "pixels", "request_bytes")}
        return {**self.workers.facts, "limits": limits}

    @contextlib.contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """A place for one request; taken before its body is read. Raises Refusal."""
        if not self.ready:
            sentence = "The service is stopping." if self.stopping else "The model is being loaded; try again soon."
            raise Refusal(503, "stopping" if self.stopping else "not_ready", sentence, retry=True)
        declared = request.headers.get("content-length", "")
        size_bytes = int(declared) if declared.isascii() and declared.isdigit() else self.limits.request_bytes
        if size_bytes > self.limits.request_bytes:
            raise self._too_large()
        with self.admission.place(size_bytes):
            yield

    async def form(self, request: Request) -> Form:
        """The photos and fields of a body. Raises Refusal."""
        reader = FormReader(request.headers.get("content-type", ""), self.limits)
        await self._each_chunk(request, reader.write)
        form = reader.form()
        if len(form.photos) < 2:
            raise Refusal(400, "too_few_photos", "Send at least two photos of one person, the oldest first.")
        return form

    async def body(self, request: Request) -> bytes:
        """The whole body. Raises Refusal."""
        body = bytearray()
        await self._each_chunk(request, body.extend)
        return bytes(body)

    async def compared(self, photos: Sequence[bytes | bytearray], pictures: bool, everything: bool) -> dict[str, Any]:
        """The photos are looked at in parallel, then compared with the first one. Raises Refusal."""
        tasks = [
            asyncio.ensure_future(self._look(data, number, pictures)) for number, data in enumerate(photos, start=1)
        ]
        try:
            looks = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        found: dict[str, Any] = await self.workers.ask("compare", looks, everything, rank=0)
        return found

    async def _look(self, data: bytes | bytearray, number: int, pictures: bool) -> Any:
        try:
            return await self.workers.ask("look", data, str(number), pictures)
        except Refusal as refusal:
            refusal.photo = number if refusal.status < 500 else None
            raise

    async def _each_chunk(self, request: Request, use: Any) -> None:
        read_bytes, started = 0, time.monotonic()
        try:
            async with asyncio.timeout(UPLOAD_S):
                async for chunk in request.stream():
                    read_bytes += len(chunk)
                    if read_bytes > self.limits.request_bytes:
                        raise self._too_large()
                    use(chunk)
        except TimeoutError:
            took = f"{time.monotonic() - started:.0f} s"
            raise Refusal(408, "slow_upload", f"The upload took longer than {took}; send smaller photos.") from None
        except ClientDisconnect:
            raise Refusal(400, "disconnected", "The upload ended early; send the request again.") from None

    def _too_large(self) -> Refusal:
        limit = f"{self.limits.request_bytes / 1e6:.0f} MB"
        return Refusal(413, "too_large", f"The request has more than {limit}, the limit; send fewer or smaller photos.")
