"""The outermost layer of the application: security headers, metrics, and refusals that a client can read.

In: any ASGI application. Out: the same with headers on each response. If a request is refused before its body was read,
the rest is read and dropped for a moment, because a client that still sends would not see the answer.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from comface.serve.limits import DRAIN_S
from comface.serve.metrics import Metrics

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "cache-control": "no-store",
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }.items()
)
CLOSE = (b"connection", b"close")


class Guard:
    def __init__(self, application: Any, metrics: Metrics) -> None:
        self._application, self._metrics = application, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        started, read, status = time.perf_counter(), False, 500

        async def received() -> Any:
            nonlocal read
            message = await receive()
            read = message["type"] != "http.request" or not message.get("more_body")
            return message

        async def sent(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
                if status >= 400 and not read and not await _drained(received, lambda: read):
                    message["headers"].append(CLOSE)
            await send(message)

        try:
            await self._application(scope, received, sent)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # as it is declared, without what a client put into it
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)


async def _drained(receive: Any, ended: Any) -> bool:
    """Drop the rest of a body. False: there is still more."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while not ended():
                await receive()
    except TimeoutError:
        return False
    return True
