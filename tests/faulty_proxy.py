"""A proxy before an S3 server that spoils a share of what passes through it, as networks and servers do."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

KINDS = ("503", "slow down", "reset", "lost", "truncated", "flipped", "garbled", "stalled")
"""503 with no body; 503 with S3's error; reset before anything is done; done, but the answer is lost; a body that ends
early; a bit that changes in a body; a listing that is no XML; an answer that comes late."""
BODIES = ("truncated", "flipped", "trickle")


class FaultyProxy(http.server.ThreadingHTTPServer):
    """`share` of all requests with one of `commands` for a path that holds `path` meets one of `kinds`. `seen` counts
    what happened, `asked` keeps what came; `stall_s`: how late is late."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: str, share: float, kinds: Sequence[str], seed: int = 0, stall_s: float = 0.5) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.share, self.kinds, self.stall_s = urlsplit(target).netloc, share, kinds, stall_s
        self.commands: Sequence[str] = ("GET", "HEAD", "PUT", "POST", "DELETE")
        self.path = ""
        self.draw, self.lock = random.Random(seed), threading.Lock()
        self.seen: Counter[str] = Counter()
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, command: str, path: str, listing: bool) -> str:
        """The kind that this request meets, one of those that it can meet."""
        kinds = [kind for kind in self.kinds if kind not in BODIES or command in ("GET", "POST")]
        kinds = [kind for kind in kinds if kind != ("flipped" if listing else "garbled")]
        with self.lock:
            spoilt = kinds and command in self.commands and self.path in path and self.draw.random() < self.share
            return min(kinds, key=lambda kind: (self.seen[kind], self.draw.random())) if spoilt else ""

    def happened(self, kind: str, command: str) -> None:
        with self.lock:
            self.seen[kind] += 1
            self.seen[f"{kind} {command}"] += 1

    def handle_error(self, *_: object) -> None:
        """Clients that leave are what this is about."""


@contextlib.contextmanager
def faulty(target: str, share: float, *kinds: str, seed: int = 0, stall_s: float = 0.5) -> Iterator[FaultyProxy]:
    with FaultyProxy(target, share, kinds or KINDS, seed, stall_s) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()
        yield proxy
        proxy.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        listing = self.command == "GET" and "list-type=2" in self.path
        kind = self.server.fault(self.command, self.path, listing)
        if kind in ("503", "slow down", "reset"):
            self.server.happened(kind, self.command)
            return self._reset() if kind == "reset" else self._busy(kind)
        status, headers, data = self._forward(body)
        if not kind or (kind in (*BODIES, "garbled") and len(data) < 2):
            return self._send(status, headers, data)
        self.server.happened(kind, self.command)
        if kind == "lost":
            return self._reset()
        if kind == "stalled":
            time.sleep(self.server.stall_s)
        if kind in ("flipped", "garbled"):
            data = bytearray(data)
            at = self.server.draw.randrange(len(data)) if kind == "flipped" else 1
            data[at] ^= 1 << self.server.draw.randrange(8) if kind == "flipped" else 0xFF
        if kind == "trickle":
            return self._trickle(status, headers, data)
        self._send(status, headers, bytes(data), cut=len(data) // 2 if kind == "truncated" else None)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.target, timeout=60)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "connection":
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        dropped = ("connection", "server", "date", "transfer-encoding", "content-length")
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        return answer.status, [*headers, ("Content-Length", size or "0")], data

    def _send(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: int | None = None) -> None:
        self._head(status, headers)
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    def _trickle(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self._head(status, headers)
        for place in range(len(data)):
            self.wfile.write(data[place : place + 1])
            self.wfile.flush()
            time.sleep(0.05)

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _busy(self, kind: str) -> None:
        data = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
        if kind == "503" or self.command == "HEAD":
            return self._send(503, [("Content-Length", "0")], b"")
        self._send(503, [("Content-Type", "application/xml"), ("Content-Length", str(len(data)))], data)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass
