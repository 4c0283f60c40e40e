"""Runs the service until it is told to stop.

In: a Service and an address. Out: nothing, or the error why the model could not be loaded. SIGTERM and Ctrl-C end it
gracefully: no new request is taken, and those in work are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from comface.errors import ConfigurationError
from comface.runtime.output import say
from comface.serve.app import make_app
from comface.serve.service import Service

logger = logging.getLogger(__name__)
IDLE_S = 15
MOST_CONNECTIONS = 512
LARGEST_HEADER_BYTES = 16_384


class Protocol(H11Protocol):
    """HTTP/1.1 with a time limit for headers and a limit of connections, which uvicorn lacks: a client that sends a
    byte now and then cannot hold a connection."""

    header_s = 10.0
    """Longest time for the header of a request."""
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """While a header is incomplete, its timer runs."""
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_s, self.transport.abort)

    def _unwatch(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unwatch()  # until the next request begins, uvicorn's own timer for idle connections runs


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stopping = True
        super().handle_exit(sig, frame)


def listening(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises ConfigurationError if the address is in use or not of this machine."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio switches Nagle's algorithm off only if the protocol is named; with it, each answer waits 40 ms.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()  # at once, so that no other socket can listen there, for example that of the metrics
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"The address {host}, port {port}, cannot be used ({why}); choose another --host or --port."
        ) from None
    return found


def run(service: Service, place: socket.socket) -> None:
    """Serve until a signal comes. Raises ComfaceError if the model cannot be loaded, and what the signal's handler
    raises."""
    failures: list[Exception] = []

    async def load() -> None:
        try:
            await service.workers.start()
            say(f"Ready: {_url(place)} (model {service.workers.facts['reference']}; Ctrl-C stops it)")
        except Exception as error:  # a defect too: without workers, the service would never be ready
            failures.append(error)
            server.should_exit = True

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await service.workers.stop()

    settings: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "ws": "none"}
    config = uvicorn.Config(
        make_app(service, lifespan), http=Protocol, lifespan="on", proxy_headers=False, timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=int(service.limits.wait_s + service.limits.work_s),
        h11_max_incomplete_event_size=LARGEST_HEADER_BYTES, **settings,
    )  # fmt: skip
    server = Server(config, service)
    server.run(sockets=[place])
    if failures:
        raise failures[0]


def _url(place: socket.socket) -> str:
    host, port, *_ = place.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
