"""HTTP requests to an S3 server, with retries: transient failures are retried for a bounded time, with warnings.

In: the requests of the `minio` client, which all pass through `PatientPool`. Out: a plausible S3 response, GaveUp, or
an error of errors.py. Requests of every HTTP method are retried, because every store operation is repeatable.
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
    """Time limits for requests to a store."""

    within_s: float = 180.0
    """Give up an operation that makes no progress for this long."""
    first_s: float = 10.0
    """The same limit before the first connection, and after an operation was given up, until the store answers."""
    connect_s: float = 5.0
    silence_s: float = 30.0
    """End an attempt that receives nothing for this long; sending a body adds its size divided by `bytes_per_s`."""
    bytes_per_s: float = 20_000.0
    """A body that arrives more slowly counts as no progress."""
    tell_s: float = 10.0
    """Log a warning after this long without progress."""
    pause_s: float = 0.2
    longest_pause_s: float = 10.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.SystemRandom().random
    tell: Callable[[str], None] = logger.warning


PATIENCE = Patience()


class GaveUp(Exception):
    """The last attempt failed. `connected`: a connection was made, but the request did not succeed."""

    def __init__(self, endpoint: str, why: Passing, seconds: float) -> None:
        super().__init__(f"{endpoint} {why}, tried for {seconds:.0f} s")
        self.connected = why.connected


class Operation:
    """One store operation of one thread. A watching thread ends an attempt that exceeds its time limit."""

    def __init__(self, patience: Patience, limit_s: float) -> None:
        self.patience, self.limit_s, self.since = patience, limit_s, patience.clock()
        self.attempt_until, self.last_told, self.why, self.cut = float("inf"), 0.0, "", False
        self.connection: Any = None

    def begin_attempt(self, method: str, sent_bytes: int) -> None:
        """Set the attempt's time limit. A POST that completes a multipart upload may take long; the server sends white
        space meanwhile."""
        allowed_s = self.patience.silence_s + sent_bytes / self.patience.bytes_per_s
        allowed_s = self.patience.within_s if method == "POST" else allowed_s
        self.attempt_until, self.cut = self.patience.clock() + allowed_s, False

    def progress(self) -> None:
        self.since = self.patience.clock()

    def look(self, endpoint: str) -> None:
        """Called by the watching thread. Closing the connection wakes the waiting thread; a socket that receives one
        byte per second would never reach its own timeout."""
        now = self.patience.clock()
        if now > min(self.attempt_until, self.since + self.limit_s) and self.connection is not None:
            self.cut = True
            with contextlib.suppress(OSError, AttributeError):
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        silent_s = now - self.since
        if silent_s > self.patience.tell_s and now - self.last_told > TELL_AGAIN_S:
            self.last_told = now
            self.patience.tell(
                f"The store at {endpoint} {self.why or 'does not answer'} (for {silent_s:.0f} s); "
                f"retrying for up to {max(0.0, self.limit_s - silent_s):.0f} s more."
            )


_thread = threading.local()


def operation_under_way() -> Operation:
    operation: Operation = _thread.operation
    return operation


class PatientPool(urllib3.PoolManager):
    """Connections to one endpoint (`scheme://host:port`). `answers`: None before the first response, True after it,
    False after an operation was given up."""

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
        """The result of `action`, which is called again after each Passing until the time limit. A nested `run` in the
        same thread shares the outer one's limit."""
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
        """The response to one request. Redirects are not followed: they would send the signature to another host."""
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
        """Restart the time limit of the current operation."""
        operation_under_way().progress()

    def copy(self, response: Any, write: Callable[[bytes], object]) -> None:
        """Pass the body of a streamed response to `write`, chunk by chunk."""
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
                    raise Passing(f"sends only {got / passed_s:,.0f} bytes/s")
        except (HTTPError, TimeoutError, ConnectionError) as error:
            raise self._translated(error, operation) from None

    def _translated(self, error: Exception, operation: Operation) -> Exception:
        if operation.cut:
            return Passing(operation.why or "receives or sends almost no data")
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
        """Watch all operations; end after a few rounds without any."""
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
    """A connection that registers itself with the operation of its thread."""

    sock: Any

    def connect(self) -> None:
        self._noted()
        super().connect()  # type: ignore[misc]

    def request(self, *arguments: Any, **options: Any) -> None:
        """Clear the connect timeout before sending; the watching thread limits the time of sending a body."""
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
    """The same response with an unread body, for callers that asked for a stream."""
    return urllib3.HTTPResponse(
        body=io.BytesIO(data), headers=response.headers, status=response.status, preload_content=False,
        request_method=method,
    )  # fmt: skip


def _reason(error: Exception, patience: Patience) -> str:
    if isinstance(error, NameResolutionError):
        return "has a host name that cannot be resolved"
    if isinstance(error, NewConnectionError):  # a ConnectTimeoutError too
        cause = error.__cause__
        return "refuses connections" if isinstance(cause, ConnectionRefusedError) else "accepts no connection"
    if isinstance(error, ConnectTimeoutError):
        return f"accepts no connection within {patience.connect_s:.0f} s"
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return f"sent nothing for {patience.silence_s:.0f} s"
    if any(isinstance(each, http.client.IncompleteRead) for each in (error, *error.args)):
        return "sends truncated responses"
    if any(isinstance(arg, ConnectionError) for arg in error.args):
        return "closes connections"
    return f"sends responses that are not valid HTTP ({type(error).__name__})"
