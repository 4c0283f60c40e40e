"""How a request reaches an S3 server: tried again while what fails may pass, for a bounded time, never in silence.

In: the requests of the `minio` client, which all pass through `PatientPool`. Out: an answer that S3 may have given, or
GaveUp, or one of our errors. Every verb is tried again, since every operation of the store may be repeated.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from comface.store.s3_answers import Passing, no_address, no_tls, objection, untrusted

logger = logging.getLogger(__name__)

T = TypeVar("T")
CHUNK_BYTES = 1 << 20
TELL_AGAIN_S = 30.0


@dataclass(frozen=True)
class Patience:
    """How long a store is waited for."""

    within_s: float = 180.0
    """An operation that makes no progress for so long is given up."""
    first_s: float = 10.0
    """The same while no connection was ever made, and after an operation was given up, until the store answers."""
    connect_s: float = 5.0
    silence_s: float = 30.0
    """An attempt that brings nothing for so long is ended; one that sends data gets the time of `bytes_per_s` more."""
    bytes_per_s: float = 20_000.0
    """A body that arrives more slowly makes no progress."""
    tell_s: float = 10.0
    """A person hears of it after so long."""
    pause_s: float = 0.2
    longest_pause_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.SystemRandom().random
    tell: Callable[[str], None] = logger.warning


PATIENCE = Patience()


class GaveUp(Exception):
    """The last of several attempts failed too. `connected`: something was there, but did not do what was asked."""

    def __init__(self, endpoint: str, why: Passing, seconds: float) -> None:
        super().__init__(f"{endpoint} {why}, tried for {seconds:.0f} s")
        self.connected = why.connected


class Operation:
    """What one thread asks of the store. Another thread watches it and ends an attempt whose time is over."""

    def __init__(self, patience: Patience, limit_s: float) -> None:
        self.patience, self.limit_s, self.since = patience, limit_s, patience.clock()
        self.attempt_until, self.last_told, self.why, self.cut = float("inf"), 0.0, "", False
        self.connection: Any = None

    def begin_attempt(self, method: str, sent_bytes: int) -> None:
        """A server may take long over a POST that puts parts together, and sends blanks meanwhile."""
        allowed_s = self.patience.silence_s + sent_bytes / self.patience.bytes_per_s
        allowed_s = self.patience.within_s if method == "POST" else allowed_s
        self.attempt_until, self.cut = self.patience.clock() + allowed_s, False

    def progress(self) -> None:
        self.since = self.patience.clock()

    def look(self, endpoint: str) -> None:
        """What the watching thread does. Closing the connection wakes the thread that waits on it: a socket that
        gets one byte a second never runs into its own time limit."""
        now = self.patience.clock()
        if now > min(self.attempt_until, self.since + self.limit_s) and self.connection is not None:
            self.cut = True
            with contextlib.suppress(OSError, AttributeError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        silent_s = now - self.since
        if silent_s > self.patience.tell_s and now - self.last_told > TELL_AGAIN_S:
            self.last_told = now
            self.patience.tell(
                f"The store at {endpoint} {self.why or 'does not answer'} (for {silent_s:.0f} s now); "
                f"trying again for up to {max(0.0, self.limit_s - silent_s):.0f} s more."
            )


_thread = threading.local()


def operation_under_way() -> Operation:
    operation: Operation = _thread.operation
    return operation


class PatientPool(urllib3.PoolManager):
    """Connections to one endpoint (`scheme://host:port`). `answers`: None before the first answer, False after an
    operation was given up."""

    def __init__(self, endpoint: str, region: str, patience: Patience, ca_file: str = "") -> None:
        timeout = urllib3.Timeout(connect=patience.connect_s, read=patience.silence_s)
        super().__init__(
            timeout=timeout, maxsize=16, retries=False, cert_reqs="CERT_REQUIRED", ca_certs=ca_file or None
        )
        self.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        self.endpoint, self.region, self.patience = endpoint, region, patience
        self.answers: bool | None = None
        self._under_way: set[Operation] = set()
        self._lock, self._watching = threading.Lock(), False

    def run(self, action: Callable[[], T]) -> T:
        """What `action` gives; it is called again after each Passing until its time is over. Within another `run`
        of the same thread the time is that one's."""
        if hasattr(_thread, "operation"):
            return self._tried(action, _thread.operation)
        patience = self.patience
        operation = Operation(patience, patience.first_s if self.answers is False else patience.within_s)
        self._watch(operation)
        _thread.operation = operation
        try:
            return self._tried(action, operation)
        finally:
            del _thread.operation
            self._under_way.discard(operation)
            if operation.last_told and self.answers:
                patience.tell(f"The store at {self.endpoint} answers again.")

    def _tried(self, action: Callable[[], T], operation: Operation) -> T:
        patience = self.patience
        for attempt in itertools.count():
            try:
                return action()
            except Passing as error:
                pause_s = min(patience.longest_pause_s, patience.pause_s * 2 ** min(attempt, 16))
                pause_s *= 0.5 + patience.random() / 2
                unreached = self.answers is None and not error.connected
                limit_s = patience.first_s if unreached else operation.limit_s
                passed_s = patience.clock() - operation.since
                if error.final or passed_s + pause_s > limit_s:
                    self.answers = False
                    raise GaveUp(self.endpoint, error, passed_s) from None
                operation.why = str(error)
                patience.sleep(pause_s)
        raise AssertionError("the loop above has no end")

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override]
        """The answer to one request. Redirects are not followed: they would take the signature to another host."""
        return self.run(lambda: self._once(method, url, **options))

    def _once(self, method: str, url: str, **options: Any) -> Any:
        operation, whole = operation_under_way(), options.get("preload_content", True)
        operation.begin_attempt(method, len(options.get("body") or b""))
        try:
            response = super().urlopen(method, url, **{**options, "redirect": False, "retries": False})
            data = response.data if whole or response.status >= 300 else b""
        except (HTTPError, OSError) as error:
            raise self._translated(error, operation) from None
        operation.attempt_until = float("inf")
        problem = self._objection(method, response, data, whole)
        if problem is not None:
            response.close()
            raise problem
        self.answers = True
        return response if whole or response.status < 300 else _unread(response, data, method)

    def _objection(self, method: str, response: Any, data: bytes, whole: bool) -> Exception | None:
        return objection(self.endpoint, self.region, method, response, data, whole)

    def progress(self) -> None:
        """The operation under way got on: its time begins anew."""
        operation_under_way().progress()

    def copy(self, response: Any, write: Callable[[bytes], object]) -> None:
        """Hand the body of a streamed answer to `write`, piece by piece as it arrives."""
        operation, patience = operation_under_way(), self.patience
        window_s, since, got = patience.tell_s / 2, patience.clock(), 0
        try:
            while chunk := response.read1(CHUNK_BYTES):
                write(chunk)
                got += len(chunk)
                passed_s = patience.clock() - since
                if got >= patience.bytes_per_s * window_s:
                    operation.progress()
                    since, got = operation.since, 0
                elif passed_s > patience.silence_s:
                    raise Passing(f"sends {got / passed_s:,.0f} bytes a second")
        except (HTTPError, TimeoutError, ConnectionError) as error:
            raise self._translated(error, operation) from None

    def _translated(self, error: Exception, operation: Operation) -> Exception:
        if operation.cut:
            return Passing(operation.why or "takes or sends almost nothing")
        cause = error.args[0] if isinstance(error, SSLError) and error.args else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return untrusted(self.endpoint, cause.verify_message)
        if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return no_tls(self.endpoint)
        connected = not isinstance(error, NewConnectionError | ConnectTimeoutError)
        if isinstance(error, LocationValueError):
            return no_address(self.endpoint)
        return Passing(_reason(error, self.patience), connected)

    def _watch(self, operation: Operation) -> None:
        with self._lock:
            self._under_way.add(operation)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        """Ends when there was nothing to watch for a while."""
        idle = 0
        while True:
            time.sleep(min(1.0, self.patience.tell_s / 4))
            with self._lock:
                operations = list(self._under_way)
                idle = 0 if operations else idle + 1
                if idle > 5:
                    self._watching = False
                    return
            for operation in operations:
                operation.look(self.endpoint)


class _Known:
    """A connection that the operation of its thread knows."""

    sock: Any

    def connect(self) -> None:
        self._noted()
        super().connect()  # type: ignore[misc]

    def request(self, *arguments: Any, **options: Any) -> None:
        """The time limit of a connection being made is not the one of sending a body, which the watch limits."""
        self._noted()
        if self.sock is None:
            self.connect()
        self.sock.settimeout(None)
        super().request(*arguments, **options)  # type: ignore[misc]

    def _noted(self) -> None:
        operation = getattr(_thread, "operation", None)
        if operation is not None:
            operation.connection = self


class _Connection(_Known, HTTPConnection): ...


class _TlsConnection(_Known, HTTPSConnection): ...


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _unread(response: Any, data: bytes, method: str) -> Any:
    """The same answer, its body unread: who asked for a stream reads the body himself."""
    return urllib3.HTTPResponse(
        body=io.BytesIO(data), headers=response.headers, status=response.status, preload_content=False,
        request_method=method,
    )  # fmt: skip


def _reason(error: Exception, patience: Patience) -> str:
    if isinstance(error, NameResolutionError):
        return "is a name that cannot be resolved"
    if isinstance(error, NewConnectionError):  # a ConnectTimeoutError too
        cause = error.__cause__
        return "refuses connections" if isinstance(cause, ConnectionRefusedError) else "cannot be connected to"
    if isinstance(error, ConnectTimeoutError):
        return f"takes no connection within {patience.connect_s:.0f} s"
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return f"sent nothing for {patience.silence_s:.0f} s"
    if any(isinstance(each, http.client.IncompleteRead) for each in (error, *error.args)):
        return "gives answers that break off"
    if any(isinstance(arg, ConnectionError) for arg in error.args):
        return "closes connections"
    return f"gives answers that are no HTTP ({type(error).__name__})"
